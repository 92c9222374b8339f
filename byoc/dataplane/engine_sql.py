"""What is said to a MariaDB engine in SQL, whoever runs it: accounts, use, limits.

Used by the local runtime and the cluster's. The invariants: ``admin`` has neither FILE nor SUPER, and
nothing else that reaches files, other processes or replication; no password stands in a statement, only
its hash; our own accounts are never counted as use.
"""

import time
from dataclasses import dataclass
from typing import Final

from byoc import sql

INTERNAL: Final = "byoc_internal"
"""Our account; made anew at each start, so that nobody locks us out for long."""
PROBE: Final = "byoc_probe"
"""Our account behind a local port: it may do nothing, and proves that the port answers."""
OURS: Final = (INTERNAL, PROBE, "system user", "event_scheduler", "unauthenticated user", "mariadb.sys")

_ADMIN_MAY: Final = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, "
    "LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER, "
    "DELETE HISTORY, SHOW DATABASES, PROCESS, RELOAD, CREATE USER"
)
# Left out: FILE, SUPER; SHUTDOWN and CONNECTION ADMIN (the cell's business); SET USER (makes
# routines that run as our account); FEDERATED ADMIN (reaches other servers); READ_ONLY ADMIN,
# BINLOG *, REPLICATION * and SLAVE MONITOR (there is no replication).
_NOT_OURS: Final = f"NOT IN ({', '.join(repr(name) for name in OURS)})"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a living engine said.

    Attributes:
        variables: values in force, by name; None if we are locked out.
        locked_out: it answers, but somebody took away the rights of our account.
    """

    connections: int = 0
    queries: int = 0
    variables: dict[str, int] | None = None
    locked_out: bool = False


def admin_statements(password: str, *, first: bool) -> list[str]:
    """Return the statements that give ``admin`` its password; the first time, its database too."""
    known = f"admin@'%' {identified(password)}"
    statements = [
        f"CREATE USER IF NOT EXISTS {known}",
        f"ALTER USER {known} ACCOUNT UNLOCK",
        f"GRANT {_ADMIN_MAY} ON *.* TO admin@'%' WITH GRANT OPTION",
    ]
    return [*statements, "CREATE DATABASE IF NOT EXISTS cluster"] if first else statements


def identified(password: str) -> str:
    """Return how an account is told its password, without telling it."""
    return f"IDENTIFIED VIA mysql_native_password USING '{sql.native_hash(password)}'"


def usage(session: sql.Session, names: tuple[str, ...]) -> Answer:
    """Ask who uses the engine, and the values of its global variables ``names``.

    Queries are counted per account by the server itself (``userstat``), so that ours can be left out.

    Raises:
        Unreachable, NotAuthenticated, UsageError: it does not answer as it should.
    """
    values = ", ".join(f"@@GLOBAL.{name}" for name in names)
    (row,) = session.execute(
        f"SELECT (SELECT COUNT(*) FROM information_schema.processlist WHERE user {_NOT_OURS}), "  # noqa: S608
        "(SELECT COALESCE(SUM(select_commands + update_commands + other_commands), 0) "
        f"FROM information_schema.user_statistics WHERE user {_NOT_OURS}), {values}"
    ).rows
    connections, queries, *numbers = (int(value) for value in row)
    return Answer(connections, queries, dict(zip(names, numbers, strict=True)))


def give_admin_password(session: sql.Session, password: str, *, first: bool) -> None:
    """Give ``admin`` its password; whoever calls proves it by logging in.

    Raises:
        Unreachable, UsageError: it was not done.
    """
    for statement in admin_statements(password, first=first):
        session.execute(statement)


def change_variables(session: sql.Session, wanted: dict[str, int], *, seconds: float, poll: float) -> bool:
    """Change variables of the running engine; returns whether all are in force within ``seconds``.

    Raises:
        Unreachable: it does not answer.
    """
    for name, value in wanted.items():
        session.execute(f"SET GLOBAL {name} = {int(value)}")
    end = time.monotonic() + seconds
    while usage(session, tuple(wanted)).variables != wanted:
        if time.monotonic() > end:
            return False
        time.sleep(poll)
    return True
