"""What is said to a SingleStore engine in SQL, over TLS: its accounts, its use, its counters.

Called from threads by ``engine``. The statements are the vendor's own dialect and follow its reference; the
invariants are those of ``door``: an answer counts only from the engine that is meant, and no password stands
in a statement.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from byoc import sql
from byoc.dataplane.engine_sql import INTERNAL, Answer
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.door import Door, Heard, connected, shown
from byoc.dataplane.kubernetes.intended import Intended
from byoc.errors import NotAuthenticated, TooManyRequests, Unreachable
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
    with connected(door, INTERNAL) as session:
        session.execute("GRANT USAGE ON *.* TO 'admin'@'%' REQUIRE SSL")
        session.execute(f"CREATE DATABASE IF NOT EXISTS cluster{storage}")


def storage_clause(bucket: str, region: str, intended: Intended) -> str:
    """Return where a database without limits is kept: in the group's part; nothing without a bucket."""
    if not bucket:
        return ""
    # Rights come by the pods' own account: there is no credential to say.
    place = f"{bucket}/{names.account(intended.group)}/{intended.workspace}"
    return f" ON S3 '{place}' CONFIG '{{\"region\":\"{region}\"}}' CREDENTIALS '{{}}'"


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
