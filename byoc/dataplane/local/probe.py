"""What we say to a running engine: is it there, who uses it, and the few things we change.

Called from threads: everything blocks. The invariant: our own accounts are never counted as use,
and no password is ever part of a statement, only its hash.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc import sql
from byoc.dataplane import counting
from byoc.dataplane.local import command
from byoc.errors import NotAuthenticated, TooManyRequests
from byoc.model.metrics import Metric

PATIENCE: Final = 2.0
"""Seconds to wait for one answer."""
_RESIZE_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.02
_NOT_OURS: Final = f"NOT IN ({', '.join(repr(name) for name in command.OURS)})"


@dataclass(frozen=True, slots=True)
class Door:
    """How to reach one engine."""

    socket: Path
    port: int
    internal_password: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a living engine said.

    Attributes:
        locked_out: it answers, but somebody took away the rights of our account.
        variables: values in force, by name; empty if we are locked out.
    """

    connections: int = 0
    queries: int = 0
    variables: dict[str, int] | None = None
    locked_out: bool = False


def ask(door: Door, names: tuple[str, ...]) -> Answer:
    """Ask ``SELECT 1`` over the socket and over TCP, and what an observation needs.

    Queries are counted per account by the server itself (``userstat``), so that ours can be left out.

    Raises:
        Unreachable, UsageError: it does not answer as it should.
    """
    try:
        with _internal(door) as session:
            session.ping()
            answer = _facts(session, names)
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
        for statement in command.admin_statements(password, first=first):
            session.execute(statement)
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
    names = tuple(wanted)
    with _internal(door) as session:
        for name, value in wanted.items():
            session.execute(f"SET GLOBAL {name} = {int(value)}")
        end = time.monotonic() + _RESIZE_SECONDS
        while _facts(session, names).variables != wanted:
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
    return True


def count(door: Door) -> dict[Metric, float]:
    """Ask the engine for what it counts.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests, UsageError: it does not answer as it should.
    """
    with _internal(door) as session:
        return counting.metrics(counting.ask(session, command.OURS))


def _internal(door: Door) -> sql.Session:
    return sql.connect(
        socket=str(door.socket),
        user=command.INTERNAL,
        password=door.internal_password,
        timeout=PATIENCE,
        answer_timeout=PATIENCE,
    )


def _ask_over_tcp(door: Door) -> None:
    try:
        with sql.connect(
            command.HOST,
            door.port,
            command.PROBE,
            door.internal_password,
            timeout=PATIENCE,
            answer_timeout=PATIENCE,
        ) as session:
            session.ping()
    except (NotAuthenticated, TooManyRequests):
        # A refusal is an answer: the port is served, by a server that is busy or was told to refuse us.
        return


def _facts(session: sql.Session, names: tuple[str, ...]) -> Answer:
    values = ", ".join(f"@@GLOBAL.{name}" for name in names)
    (row,) = session.execute(
        f"SELECT (SELECT COUNT(*) FROM information_schema.processlist WHERE user {_NOT_OURS}), "  # noqa: S608
        "(SELECT COALESCE(SUM(select_commands + update_commands + other_commands), 0) "
        f"FROM information_schema.user_statistics WHERE user {_NOT_OURS}), {values}"
    ).rows
    connections, queries, *numbers = (int(value) for value in row)
    return Answer(connections, queries, dict(zip(names, numbers, strict=True)))
