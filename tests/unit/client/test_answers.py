import pytest

from byoc import errors
from byoc.client.answers import Answer, error_classes, to_error


def _text(status: int, body: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "text/plain; charset=utf-8", **named}, body.encode())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.UsageError),
        (401, errors.NotAuthenticated),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (418, errors.UsageError),
        (429, errors.TooManyRequests),
        (500, errors.Failed),
        (503, errors.Unreachable),
        (302, errors.Failed),
    ],
)
def test_an_answer_without_a_code_is_read_by_its_status(status: int, kind: type[errors.ByocError]) -> None:
    error = to_error(_text(status, "why"))
    assert type(error) is kind
    assert error.message == "why"


def test_the_code_in_the_header_says_more_than_the_status() -> None:
    answer = _text(409, "not now", byoc_error="illegal_state", byoc_hint="wait", byoc_request_id="r-1")
    error = to_error(answer)
    assert type(error) is errors.IllegalState
    assert (error.message, error.hint, error.request_id) == ("not now", "wait", "r-1")


def test_a_problem_document_is_read() -> None:
    body = b'{"title":"Forbidden","status":403,"detail":"no","code":"refused_by_cell","hint":"ask"}'
    error = to_error(Answer(403, {"content-type": "application/problem+json"}, body))
    assert type(error) is errors.RefusedByCell
    assert (error.message, error.hint) == ("no", "ask")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"detail":null}'])
def test_a_damaged_problem_still_says_the_status(body: bytes) -> None:
    error = to_error(Answer(500, {"content-type": "application/problem+json"}, body))
    assert error.message == "the control plane answered with status 500"


def test_a_page_of_a_proxy_is_not_shown() -> None:
    error = to_error(Answer(502, {"content-type": "text/html"}, b"<html>oops</html>"))
    assert type(error) is errors.Unreachable
    assert "html" not in error.message


def test_a_message_is_one_line_of_bounded_length() -> None:
    error = to_error(_text(400, "a\nb " + "x" * 2000))
    assert "\n" not in error.message
    assert len(error.message) == 500


def test_who_is_not_logged_in_is_told_how() -> None:
    assert "byoc login" in to_error(_text(401, "unauthorized")).hint


def test_every_error_of_the_tree_is_known_by_its_code() -> None:
    known = error_classes()
    assert known["cell_away"] is errors.CellAway
    assert known["unreachable"] is errors.Unreachable
    assert len(known) == len(set(known.values()))
