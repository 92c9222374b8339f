"""What is said to a SingleStore engine in SQL, over TLS: its accounts, its use, its counters.

Called from threads by ``engine``. The statements are the vendor's own dialect and follow its reference; the
invariants are those of ``door``: an answer counts only from the engine that is meant, and no password stands
in a statement.
"""

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from byoc import sql
from byoc.dataplane.engine_sql import INTERNAL, Answer
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.door import Door, Heard, connected, shown
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.inventory import Listed
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.errors import NotAuthenticated, TooManyRequests, Unreachable, UsageError
from byoc.model.metrics import Metric

ROOT: Final = "root"
"""The operator's own account; its password is the operator's, and is never changed by us."""
USE: Final = (
    "SELECT (SELECT COUNT(*) FROM information_schema.processlist WHERE user NOT IN "
    "('root', 'byoc_internal', 'distributed', 'system user', 'event_scheduler', 'unauthenticated user')), "
    "(SELECT COALESCE(SUM(success_count + failure_count), 0) "
    "FROM information_schema.mv_activities_cumulative "
    "WHERE activity_type = 'Query' AND database_name NOT IN ('', 'information_schema', 'memsql'))"
)
"""Connections, and queries in anybody's database: ours are in none."""
PROCESSOR: Final = (
    "SELECT COALESCE(SUM(cpu_time_ms), 0) / 1000 FROM information_schema.mv_activities_cumulative"
)
STATUS: Final = "SHOW STATUS EXTENDED"
LIMITS: Final = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('max_connections', 'max_connection_threads')"
SCHEMATA: Final = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA"
UNLIMITED: Final = (
    "SELECT DISTINCT d.DATABASE_NAME, d.STORAGE_ID, s.BUCKET, s.STORAGE_DIRECTORY "
    "FROM information_schema.MV_BOTTOMLESS_DATABASES d "
    "JOIN information_schema.MV_BOTTOMLESS_STATUS s ON s.STORAGE_ID = d.STORAGE_ID"
)
"""Some releases list detached ones too; those are in no schema."""
CLUSTER: Final = "cluster"
SYSTEM: Final = frozenset({"information_schema", "memsql"})
TABLES_OF_CLUSTER: Final = (
    "SELECT COUNT(*) FROM information_schema.TABLES "
    "WHERE TABLE_SCHEMA = 'cluster' AND TABLE_TYPE = 'BASE TABLE'"
)
SESSIONS: Final = (
    "SELECT ID FROM information_schema.PROCESSLIST WHERE USER NOT IN ('root', 'byoc_internal', "
    "'distributed', 'system user', 'event_scheduler', 'unauthenticated user') AND ID <> CONNECTION_ID()"
)
_MOVING_SECONDS: Final = 300.0
"""An engine answers once all of a database is in the bucket, or is read from there."""
_COUNTED: Final = {
    "Successful_read_queries": Metric.SUCCESSFUL_READ_QUERIES,
    "Successful_write_queries": Metric.SUCCESSFUL_WRITE_QUERIES,
    "Failed_read_queries": Metric.FAILED_READ_QUERIES,
    "Failed_write_queries": Metric.FAILED_WRITE_QUERIES,
    "Rows_returned_by_reads": Metric.ROWS_RETURNED_BY_READS,
    "Rows_affected_by_writes": Metric.ROWS_AFFECTED_BY_WRITES,
    "Execution_time_of_reads": Metric.EXECUTION_TIME_OF_READS,
    "Execution_time_of_write": Metric.EXECUTION_TIME_OF_WRITE,
    "Threads_connected": Metric.THREADS_CONNECTED,
    "Threads_running": Metric.THREADS_RUNNING,
    "Connections": Metric.CONNECTIONS,
    "Aborted_connects": Metric.ABORTED_CONNECTS,
    "Ready_queue": Metric.READY_QUEUE,
    "Total_server_memory": Metric.MEM_USED_B,
    "max_connections": Metric.MAX_CONNECTIONS,
    "max_connection_threads": Metric.MAX_CONNECTION_THREADS,
}
_UNITS: Final = {"KB": 2**10, "MB": 2**20, "GB": 2**30}


def ask(door: Door) -> Heard:
    """Ask ``SELECT 1``, and who uses the engine.

    Raises:
        Unreachable, UsageError: it does not answer as it should.
    """
    try:
        with connected(door, INTERNAL) as session:
            session.ping()
            ((connections, queries),) = session.execute(USE).rows
            return Heard(Answer(int(connections), int(queries)), shown(session))
    except (NotAuthenticated, TooManyRequests) as error:
        # A refusal is an answer: it is there, busy, or does not know us.
        return Heard(Answer(locked_out=isinstance(error, NotAuthenticated)), b"")


def make_account(door: Door, root: str) -> None:
    """Make our account, as the operator's; ``root`` is its password.

    Raises:
        Unreachable, NotAuthenticated, UsageError: it was not done.
    """
    known = sql.native_hash(door.password)
    with connected(replace(door, password=root), ROOT) as session:
        session.execute(
            f"GRANT ALL PRIVILEGES ON *.* TO '{INTERNAL}'@'%' IDENTIFIED BY PASSWORD '{known}' "
            "REQUIRE SSL WITH GRANT OPTION"
        )


def prepare_customer(door: Door, storage: str) -> None:
    """Make the first database, without limits where there is ``storage``, and have ``admin`` use TLS.

    Raises:
        Unreachable, NotAuthenticated, UsageError: it was not done.
    """
    require_tls(door)
    with connected(door, INTERNAL) as session:
        session.execute(f"CREATE DATABASE IF NOT EXISTS cluster{storage}")


def require_tls(door: Door) -> None:
    """Have ``admin`` use TLS.

    Raises:
        Unreachable, NotAuthenticated, UsageError: it was not done.
    """
    with connected(door, INTERNAL) as session:
        session.execute("GRANT USAGE ON *.* TO 'admin'@'%' REQUIRE SSL")


def storage_clause(settings: ClusterSettings, intended: Intended) -> str:
    """Return where a database without limits is kept: in the workspace's part; nothing without a bucket."""
    if not settings.bucket:
        return ""
    return _stored(place_of(settings, intended), settings.region, credentials(settings))


def place_of(settings: ClusterSettings, intended: Intended) -> str:
    """Return ``bucket/path`` of a workspace's databases: what a role lets its nodes use, else by its IDs.

    A policy in AWS can name who asks as the cluster calls them, whole, and no part of that.
    """
    workspace = intended.workspace
    path = names.subject(workspace) if settings.role else names.folder(intended.group, workspace)
    return f"{settings.bucket}/{path}"


def credentials(settings: ClusterSettings) -> str:
    """Return how an engine is told that its rights come by the pods' own account: there is no secret."""
    return '{"creds_mode":"eks_irsa"}' if settings.role else "{}"


def _stored(place: str, region: str, by: str) -> str:
    return f" ON S3 '{place}' CONFIG '{{\"region\":\"{region}\"}}' CREDENTIALS '{by}'"


# --- databases in the bucket ----------------------------------------------------------------------


def shut(door: Door) -> None:
    """End the sessions of customers at the master; ours and the engine's own go on.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests, UsageError: it was not done.
    """
    with connected(door, INTERNAL) as session:
        for (number,) in session.execute(SESSIONS).rows:
            # One that has ended by itself is no more.
            with contextlib.suppress(UsageError):
                session.execute(f"KILL CONNECTION {int(number)}")


def listed(door: Door, place: str) -> Listed:
    """Return which databases are attached, the engine's own apart.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests, UsageError: it does not answer as it should.
    """
    with connected(door, INTERNAL) as session:
        attached = {str(name) for (name,) in session.execute(SCHEMATA).rows}
        kept = [tuple(map(str, row)) for row in session.execute(UNLIMITED).rows]
        ((tables,),) = session.execute(TABLES_OF_CLUSTER).rows
    return sorted_out(attached, kept, place, tables_of_cluster=int(tables))


def sorted_out(
    attached: Collection[str], kept: Iterable[tuple[str, ...]], place: str, *, tables_of_cluster: int
) -> Listed:
    """Sort attached databases by where they lie; ``kept`` are name, storage id, bucket and folder. Pure."""
    bucket, _, path = place.partition("/")
    rows = [each for each in kept if each[0] in attached]
    below = {
        name: storage
        for name, storage, held_in, folder in rows
        if held_in == bucket and f"{folder.strip('/')}/".startswith(f"{path}/")
    }
    named = {each[0] for each in rows}
    # One is the engine's own under a name that, where there is no bucket, was made for customers.
    own = SYSTEM if tables_of_cluster else SYSTEM | {CLUSTER}
    return Listed(below, tuple(sorted(set(attached) - named - own)), tuple(sorted(named - set(below))))


def detach(door: Door, database: str) -> None:
    """Detach a database: the engine uploads what is not in the bucket yet.

    Raises:
        UsageError: the engine said no.
        Unreachable, NotAuthenticated, TooManyRequests: it is not known whether it was done.
    """
    with connected(door, INTERNAL, answer_timeout=_MOVING_SECONDS) as session:
        # Never with FORCE, which leaves behind what was not uploaded.
        session.execute(f"DETACH DATABASE {_quoted(database)}")


def attach(door: Door, database: str, place: str, region: str, by: str) -> None:
    """Attach a database at its newest state; ``by`` is what ``credentials`` says.

    Raises:
        UsageError: the engine said no.
        Unreachable, NotAuthenticated, TooManyRequests: it is not known whether it was done.
    """
    with connected(door, INTERNAL, answer_timeout=_MOVING_SECONDS) as session:
        session.execute(f"ATTACH DATABASE {_quoted(database)}{_stored(place, region, by)}")


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def logs_in(door: Door, password: str) -> bool:
    """Whether ``admin`` logs in with ``password``."""
    try:
        with connected(replace(door, password=password), "admin") as session:
            session.ping()
    except TooManyRequests:
        # All connections are taken by others; a wrong password would have been refused before that.
        return True
    except (NotAuthenticated, Unreachable):
        return False
    return True


def count(door: Door) -> dict[Metric, float]:
    """Ask for what the engine counts; our own statements are among it.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests, UsageError: it does not answer as it should.
    """
    with connected(door, INTERNAL) as session:
        ((processor,),) = session.execute(PROCESSOR).rows
        rows = [*session.execute(STATUS).rows, *session.execute(LIMITS).rows]
    return read(rows) | {Metric.CPU_USAGE_SECONDS_TOTAL: float(processor)}


def read(rows: Iterable[Sequence[object]]) -> dict[Metric, float]:
    """Read what the engine says of itself: names and values, which may bear a unit and a remark."""
    found: dict[Metric, float] = {}
    for name, value in rows:
        metric = _COUNTED.get(str(name))
        number, _, rest = str(value).strip().partition(" ")
        try:
            read_as = float(number)
        except ValueError:
            continue
        if metric is not None:
            unit = rest.rpartition(" ")[2].strip()
            found[metric] = read_as * _UNITS.get(unit, 1)
    return found
