"""Which trouble has a code, and what limits are in force: the pure parts of the local runtime."""

import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from byoc.dataplane.local.limits import variables
from byoc.dataplane.local.probe import Answer
from byoc.dataplane.local.runtime import _coded, _in_force
from byoc.dataplane.local.volume import Run, Volume, choose_port
from byoc.dataplane.runtime import Limits
from byoc.errors import ByocError, EngineFailed, PreconditionFailed, Unreachable, Unwritable
from byoc.ids import WorkspaceID
from byoc.model.report import Reason

RUN = Run(1, Limits("S-00"), datetime(2030, 1, 1, tzinfo=UTC), 0, 4711)


def caused(error: ByocError, number: int) -> ByocError:
    error.__cause__ = OSError(number, "x")
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "x"), Reason.DISK_FULL),
        (OSError(errno.EDQUOT, "x"), Reason.DISK_FULL),
        (caused(Unwritable("x"), errno.ENOSPC), Reason.DISK_FULL),
        (caused(Unwritable("x"), errno.EACCES), None),
        (OSError(errno.EADDRINUSE, "x"), Reason.PORT_TAKEN),
        (PreconditionFailed("x"), Reason.ENGINE_MISSING),
        (EngineFailed("x"), Reason.ENGINE_CANNOT_START),
        (Unreachable("x"), None),
        (FileNotFoundError(errno.ENOENT, "x"), None),
    ],
)
def test_only_trouble_that_is_understood_has_a_code(
    error: OSError | ByocError, reason: Reason | None
) -> None:
    assert _coded(error) is reason


def test_limits_are_in_force_if_the_engine_says_the_same() -> None:
    said = variables(Limits("S-00"))
    assert _in_force(Answer(variables=said), RUN) == Limits("S-00")
    assert _in_force(Answer(variables={**said, "max_connections": 1}), RUN) is None
    assert _in_force(Answer(locked_out=True), RUN) == Limits("S-00")
    assert _in_force(Answer(variables=said), None) is None


def test_a_socket_with_a_long_path_gets_a_short_one_of_its_own() -> None:
    short = Volume(Path("/data/volumes"), WorkspaceID("w"))
    long = Volume(Path("/" + "d" * 120), WorkspaceID("w"))
    other = Volume(Path("/" + "d" * 120), WorkspaceID("v"))
    assert short.socket == Path("/data/volumes/w/sock")
    assert len(str(long.socket)) < 100
    assert long.socket != other.socket


def test_a_port_is_the_same_for_the_same_id_and_never_one_that_is_taken() -> None:
    ports = range(21000, 21050)
    first = choose_port(WorkspaceID("w"), ports, [])
    assert first in ports
    assert choose_port(WorkspaceID("w"), ports, []) == first
    assert first is not None
    assert choose_port(WorkspaceID("w"), ports, [first]) not in {first, None}
    assert choose_port(WorkspaceID("w"), ports, ports) is None
