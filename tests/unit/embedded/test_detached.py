from pathlib import Path

import pytest

from byoc import errors
from byoc.embedded import detached
from byoc.embedded.processes import Identity
from byoc.embedded.registry import Instance
from byoc.embedded.supervisor import Ready
from byoc.errors import ByocError

READY = Ready(
    Instance(
        "http://127.0.0.1:1", Path("/d"), Identity(7, 1.5), "org", "cell", "wss://127.0.0.1:2/nimbus/v1"
    ),
    "key",
    {"supervisor": 7, "agent": 8},
)


def test_what_is_ready_crosses_the_pipe_whole() -> None:
    assert detached.ready_from_json(detached.ready_to_json(READY)) == READY


@pytest.mark.parametrize(
    "kind", [errors.DataInUse, errors.PreconditionFailed, errors.Cancelled, errors.Failed]
)
def test_an_error_crosses_the_pipe_as_what_it_is(kind: type[ByocError]) -> None:
    back = detached.error_from_json(detached.error_to_json(kind("what", hint="how")))
    assert (type(back), back.message, back.hint) == (kind, "what", "how")


def test_an_error_that_is_not_in_the_tree_is_a_failure() -> None:
    assert isinstance(detached.error_from_json({"code": "new", "message": "m", "hint": ""}), errors.Failed)
