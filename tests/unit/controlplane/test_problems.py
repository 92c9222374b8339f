"""Errors as HTTP answers."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc import errors
from byoc.controlplane import problems

VENDOR = {400, 401, 403, 404, 409, 429, 500}


def _tree(root: type[errors.ByocError]) -> Iterator[type[errors.ByocError]]:
    for child in root.__subclasses__():
        yield child
        yield from _tree(child)


@pytest.mark.parametrize("kind", sorted(_tree(errors.ByocError), key=lambda kind: kind.__name__))
def test_every_error_has_a_status_that_vendor_clients_know(kind: type[errors.ByocError]) -> None:
    error = kind.__new__(kind)  # some take more than a message, which is of no matter here
    errors.ByocError.__init__(error, "what is wrong", hint="what to do")
    problem = problems.of_exception(error)
    vendor = problems.render(problem, "/v1/regions", "id")
    assert vendor.status_code in VENDOR
    assert vendor.status_code == kind.http_status or kind.http_status not in VENDOR
    assert (vendor.body, vendor.headers["byoc-error"]) == (b"what is wrong", kind.code)
    own = problems.render(problem, "/byoc/v1/cells", "id")
    content = json.loads(bytes(own.body))
    assert own.status_code == content["status"] == kind.http_status
    assert (content["detail"], content["code"], content["hint"]) == ("what is wrong", kind.code, "what to do")
    assert content["requestID"] == "id"


@pytest.mark.parametrize(("status", "shown"), [(412, 409), (405, 404), (503, 500), (504, 500), (413, 400)])
def test_other_statuses_become_the_nearest_that_vendor_clients_know(status: int, shown: int) -> None:
    assert problems.render(problems.Problem(status, "c", "m"), "/v1/x", "id").status_code == shown


def test_an_unforeseen_error_says_nothing_of_itself() -> None:
    problem = problems.of_exception(ValueError("secret"))
    assert "secret" not in str(problem)
    assert problem.status == 500


@given(message=st.text(), hint=st.text())
def test_any_text_makes_one_line_and_a_header_that_can_be_sent(message: str, hint: str) -> None:
    problem = problems.Problem(400, "bad_request", message.encode("utf-8", "replace").decode(), hint)
    answer = problems.render(problem, "/v1/x", "id")
    assert len(bytes(answer.body).decode().splitlines()) <= 1
    for name, value in answer.raw_headers:
        assert value.decode("ascii").isprintable(), name


def test_too_many_requests_say_when_to_come_again() -> None:
    problem = problems.of_exception(errors.TooManyRequests("slower", retry_after=3))
    for path in ("/v1/regions", "/byoc/v1/cells"):
        answer = problems.render(problem, path, "id")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    unknown = problems.render(problems.of_exception(errors.TooManyRequests("slower")), "/v1/regions", "id")
    assert "retry-after" not in unknown.headers
