"""What the agent says to an engine in a pod: over TCP, over TLS, and only to the engine that is meant.

Called from threads: everything blocks. The invariant: an answer counts only from a server that proves
the workspace's own name, so neither a wrong pod behind an address nor a stranger is taken for it.
"""

import ssl
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from byoc import sql
from byoc.dataplane import counting
from byoc.dataplane.engine_sql import INTERNAL, OURS, Answer, change_variables, give_admin_password, usage
from byoc.dataplane.kubernetes.names import PORT
from byoc.errors import NotAuthenticated, TooManyRequests
from byoc.model.metrics import Metric

if TYPE_CHECKING:
    from byoc.dataplane.kubernetes.sessions import Sessions

PATIENCE: Final = 3.0
"""Seconds to wait for one answer."""
_RESIZE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_OF_TAKEN: Final = (Metric.CPU_USAGE_SECONDS_TOTAL, Metric.MEM_USED_B, Metric.DISK_USED_B)
_TAKEN: Final = (
    "SELECT (SELECT COALESCE(SUM(cpu_time), 0) FROM information_schema.user_statistics), "
    "(SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'MEMORY_USED'), "
    "(SELECT COALESCE(SUM(allocated_size), 0) FROM information_schema.innodb_sys_tablespaces)"
)
_HELD: Final = "SELECT SUM(allocated_size) FROM information_schema.innodb_sys_tablespaces"
"""A pod cannot be looked into from outside: what it takes, the engine says itself."""


@dataclass(frozen=True, slots=True)
class Door:
    """How to reach one engine.

    Attributes:
        address: of the pod.
        name: that its certificate must bear.
    """

    address: str
    name: str
    authority: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer, and the certificate (PEM) that the engine showed with it."""

    answer: Answer
    certificate: bytes


def ask(sessions: "Sessions", door: Door, names: tuple[str, ...]) -> Heard:
    """Ask ``SELECT 1`` and what an observation needs.

    Raises:
        Unreachable, UsageError: it does not answer as it should.
    """

    def work(session: sql.Session) -> Heard:
        session.ping()
        return Heard(usage(session, names), shown(session))

    try:
        return sessions.use(door, work)
    except (NotAuthenticated, TooManyRequests) as error:
        # A refusal is an answer: it is there, busy, or was told to refuse us.
        return Heard(Answer(locked_out=isinstance(error, NotAuthenticated)), b"")


def set_admin_password(sessions: "Sessions", door: Door, password: str, *, first: bool) -> None:
    """Give ``admin`` its password, and prove it by logging in.

    Raises:
        Unreachable, NotAuthenticated, UsageError: it was not done, or not proved.
    """
    sessions.use(door, lambda session: give_admin_password(session, password, first=first))
    try:
        with connected(replace(door, password=password), "admin") as session:
            session.ping()
    except TooManyRequests:
        # All connections are taken by others; the server has the new password all the same.
        return


def set_variables(door: Door, wanted: dict[str, int]) -> bool:
    """Change variables of the running engine; returns whether all are in force soon after.

    Raises:
        Unreachable, NotAuthenticated: it does not answer.
    """
    with internal(door) as session:
        return change_variables(session, wanted, seconds=_RESIZE_SECONDS, poll=_POLL_SECONDS)


def count(door: Door) -> dict[Metric, float]:
    """Ask the engine for what it counts, its processor, memory and files among it.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests, UsageError: it does not answer as it should.
    """
    with internal(door) as session:
        counted = counting.metrics(counting.ask(session, OURS))
        (row,) = session.execute(_TAKEN).rows
    taken = zip(_OF_TAKEN, (float(value or 0) for value in row), strict=True)
    return counted | dict(taken)


def held(door: Door) -> float:
    """Ask the engine how many bytes its files have, its log apart.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests, UsageError: it does not answer as it should.
    """
    with internal(door) as session:
        (row,) = session.execute(_HELD).rows
    return float(row[0] or 0)


def take_new_certificate(door: Door) -> None:
    """Have the engine read its certificate's files again; connections that are open go on.

    Raises:
        Unreachable, NotAuthenticated, UsageError: it was not done; an unreadable file changes nothing.
    """
    with internal(door) as session:
        session.execute("FLUSH SSL")


def internal(door: Door) -> sql.Session:
    """Return a session of our own account.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests: there is none.
    """
    return connected(door, INTERNAL)


def connected(door: Door, user: str, *, answer_timeout: float = PATIENCE) -> sql.Session:
    """Return a session of ``user``, whose password the door holds.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests: there is none.
    """
    return sql.connect(
        door.address,
        PORT,
        user,
        door.password,
        tls=sql.Tls(door.authority, door.name),
        timeout=PATIENCE,
        answer_timeout=answer_timeout,
    )


def shown(session: sql.Session) -> bytes:
    """Return the certificate (PEM) that the engine showed."""
    certificate = session.certificate
    return ssl.DER_cert_to_PEM_cert(certificate).encode() if certificate else b""
