"""What we say to a running engine: is it there, who uses it, and the few things we change.

Called from threads: everything blocks. The invariant: our own accounts are never counted as use,
and no password is ever part of a statement, only its hash.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc import sql
from byoc.dataplane import counting
from byoc.dataplane.engine_sql import (
    INTERNAL,
    OURS,
    PROBE,
    Answer,
    change_variables,
    give_admin_password,
    usage,
)
from byoc.dataplane.local import command
from byoc.errors import NotAuthenticated, TooManyRequests
from byoc.model.metrics import Metric

PATIENCE: Final = 2.0
"""Seconds to wait for one answer."""
_RESIZE_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Door:
    """How to reach one engine."""

    socket: Path
    port: int
    internal_password: str


def ask(door: Door, names: tuple[str, ...]) -> Answer:
    """Ask ``SELECT 1`` over the socket and over TCP, and what an observation needs.

    Raises:
        Unreachable, UsageError: it does not answer as it should.
    """
    try:
        with _internal(door) as session:
            session.ping()
            answer = usage(session, names)
    except NotAuthenticated:
        answer = Answer(locked_out=True)
    _ask_over_tcp(door)
    return answer


def set_admin_password(door: Door, password: str, *, first: bool) -> None:
    """Give ``admin`` its password, and prove it by logging in over TCP.

    Raises:
        Unreachable, NotAuthenticated, UsageError: it was not done, or not proved.
    """
    with _internal(door) as session:
        give_admin_password(session, password, first=first)
    try:
        with sql.connect(
            command.HOST, door.port, "admin", password, timeout=PATIENCE, answer_timeout=PATIENCE
        ) as session:
            session.ping()
    except TooManyRequests:
        # All connections are taken by others; the server has the new password all the same.
        return


def set_variables(door: Door, wanted: dict[str, int]) -> bool:
    """Change variables of the running engine; returns whether all are in force soon after.

    Raises:
        Unreachable, NotAuthenticated: it does not answer.
    """
    with _internal(door) as session:
        return change_variables(session, wanted, seconds=_RESIZE_SECONDS, poll=_POLL_SECONDS)


def count(door: Door) -> dict[Metric, float]:
    """Ask the engine for what it counts.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests, UsageError: it does not answer as it should.
    """
    with _internal(door) as session:
        return counting.metrics(counting.ask(session, OURS))


def _internal(door: Door) -> sql.Session:
    return sql.connect(
        socket=str(door.socket),
        user=INTERNAL,
        password=door.internal_password,
        timeout=PATIENCE,
        answer_timeout=PATIENCE,
    )


def _ask_over_tcp(door: Door) -> None:
    try:
        with sql.connect(
            command.HOST,
            door.port,
            PROBE,
            door.internal_password,
            timeout=PATIENCE,
            answer_timeout=PATIENCE,
        ) as session:
            session.ping()
    except (NotAuthenticated, TooManyRequests):
        # A refusal is an answer: the port is served, by a server that is busy or was told to refuse us.
        return
