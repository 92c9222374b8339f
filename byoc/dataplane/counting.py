"""What a MariaDB or MySQL counts, as metrics: asked over one session, and the pure reading of its answers.

Called by runtimes from threads. The invariant: what our own accounts do is never counted as use, as far as
the server counts by account; a counter that this server does not keep is left out.

Reads and writes, their errors, rows and times come from the performance schema, the only place where a server
counts statements that failed. Without it, statements are known by their number alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from byoc import sql
from byoc.model.metrics import Metric

READS: Final = frozenset({"select"})
WRITES: Final = frozenset(
    {
        "insert", "insert_select", "replace", "replace_select", "update", "update_multi", "delete",
        "delete_multi", "load",
    }
)  # fmt: skip
OPTIONS: Final = {
    "loose-performance-schema": "ON",
    "loose-performance-schema-accounts-size": "16",
    **{
        f"loose-performance-schema-{name}": "0"
        for name in (
            "users-size", "hosts-size", "digests-size", "max-digest-length", "max-sql-text-length",
            "session-connect-attrs-size", "max-table-instances", "max-table-handles", "max-index-stat",
            "max-table-lock-stat", "max-program-instances", "max-prepared-statements-instances",
            "max-metadata-locks", "max-stage-classes", "max-memory-classes",
            *(f"max-{kind}-{what}" for kind in ("mutex", "rwlock", "cond", "file", "socket")
              for what in ("instances", "classes")),
            "max-file-handles",
            *(f"events-{kind}-history{length}-size" for kind in
              ("waits", "stages", "statements", "transactions") for length in ("", "-long")),
        )
    },
}  # fmt: skip
"""Of a server that counts statements that failed, and nothing else."""
_PICOSECONDS: Final = 1e9
"""In a millisecond."""
_STATUS: Final = (
    "Aborted_connects",
    "Connections",
    "Com_select",
    *(f"Com_{name}" for name in sorted(WRITES)),
)
_SUMS: Final = (
    "event_name, SUM(count_star), SUM(sum_errors), SUM(sum_timer_wait), SUM(sum_rows_affected), "
    "SUM(sum_rows_sent) FROM performance_schema.events_statements_summary"
)
_KIND: Final = "event_name LIKE 'statement/sql/%%' AND count_star > 0"


@dataclass(frozen=True, slots=True)
class Statements:
    """Statements of one kind: how many, with which outcome."""

    count: float = 0
    errors: float = 0
    picoseconds: float = 0
    affected: float = 0
    sent: float = 0

    def __add__(self, other: "Statements") -> "Statements":
        return Statements(
            self.count + other.count,
            self.errors + other.errors,
            self.picoseconds + other.picoseconds,
            self.affected + other.affected,
            self.sent + other.sent,
        )

    def less(self, ours: "Statements") -> "Statements":
        """Return what is left without ``ours``; never below zero, for the two are not read at one moment."""
        return Statements(
            max(self.count - ours.count, 0),
            max(self.errors - ours.errors, 0),
            max(self.picoseconds - ours.picoseconds, 0),
            max(self.affected - ours.affected, 0),
            max(self.sent - ours.sent, 0),
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """What a server said.

    Attributes:
        status: its counters by name.
        connected, running: connections of others than us, and those at work.
        most: connections and threads that it allows.
        by_kind: statements of everybody, by kind; None where the server does not count them so.
        by_us: those of our own accounts.
        our_connections: connections that our own accounts have made; None where that is not counted.
    """

    status: Mapping[str, float]
    connected: int
    running: int
    most: tuple[int, int]
    by_kind: Mapping[str, Statements] | None = None
    by_us: Mapping[str, Statements] | None = None
    our_connections: float | None = None


def ask(session: sql.Session, ours: Sequence[str]) -> Answers:
    """Ask everything; ``ours`` are the names of accounts that do not count.

    Raises:
        Unreachable, NotAuthenticated, UsageError: it does not answer as it should.
    """
    marks = ", ".join(["%s"] * len(ours))
    status = session.execute(
        f"SHOW GLOBAL STATUS WHERE Variable_name IN ({', '.join(['%s'] * len(_STATUS))})", _STATUS
    )
    ((connected, running),) = session.execute(
        "SELECT COUNT(*), COALESCE(SUM(command <> 'Sleep'), 0) FROM information_schema.processlist "  # noqa: S608
        f"WHERE user NOT IN ({marks})",
        ours,
    ).rows
    ((connections, counts),) = session.execute(
        "SELECT @@GLOBAL.max_connections, @@GLOBAL.performance_schema"
    ).rows
    answers = Answers(
        {str(name): float(value) for name, value in status.rows},
        int(connected),
        int(running),
        (int(connections), int(connections)),
    )
    return answers if not int(counts) else _with_statements(session, ours, marks, answers)


def _with_statements(session: sql.Session, ours: Sequence[str], marks: str, answers: Answers) -> Answers:
    # In one statement: one of two would count the other.
    rows = session.execute(
        f"SELECT 0, {_SUMS}_global_by_event_name WHERE {_KIND} GROUP BY event_name UNION ALL "
        f"SELECT 1, {_SUMS}_by_account_by_event_name WHERE {_KIND} AND user IN ({marks}) GROUP BY event_name",
        ours,
    ).rows
    ((connections,),) = session.execute(
        "SELECT COALESCE(SUM(total_connections), 0) FROM performance_schema.accounts "  # noqa: S608
        f"WHERE user IN ({marks})",
        ours,
    ).rows
    return Answers(
        answers.status,
        answers.connected,
        answers.running,
        answers.most,
        _by_kind(values for of_us, *values in rows if not of_us),
        _by_kind(values for of_us, *values in rows if of_us),
        float(connections),
    )


def _by_kind(rows: Iterable[Sequence[object]]) -> dict[str, Statements]:
    return {
        str(name).rpartition("/")[2]: Statements(*(float(str(value)) for value in values))
        for name, *values in rows
    }


def metrics(answers: Answers) -> dict[Metric, float]:
    """Read ``answers`` as metrics."""
    connections, threads = answers.most
    found = {
        Metric.THREADS_CONNECTED: float(answers.connected),
        Metric.THREADS_RUNNING: float(answers.running),
        Metric.MAX_CONNECTIONS: float(connections),
        Metric.MAX_CONNECTION_THREADS: float(threads),
        # One thread serves one connection: no query ever waits for one.
        Metric.READY_QUEUE: 0.0,
    }
    if "Aborted_connects" in answers.status:
        found[Metric.ABORTED_CONNECTS] = answers.status["Aborted_connects"]
    if "Connections" in answers.status:
        found[Metric.CONNECTIONS] = max(answers.status["Connections"] - (answers.our_connections or 0), 0)
    if answers.by_kind is None:
        return found | _by_number(answers.status)
    reads, writes = _of(answers, READS), _of(answers, WRITES)
    return found | {
        Metric.FAILED_READ_QUERIES: reads.errors,
        Metric.SUCCESSFUL_READ_QUERIES: reads.count - reads.errors,
        Metric.ROWS_RETURNED_BY_READS: reads.sent,
        Metric.EXECUTION_TIME_OF_READS: reads.picoseconds / _PICOSECONDS,
        Metric.FAILED_WRITE_QUERIES: writes.errors,
        Metric.SUCCESSFUL_WRITE_QUERIES: writes.count - writes.errors,
        Metric.ROWS_AFFECTED_BY_WRITES: writes.affected,
        Metric.EXECUTION_TIME_OF_WRITE: writes.picoseconds / _PICOSECONDS,
    }


def _of(answers: Answers, kinds: frozenset[str]) -> Statements:
    everybody, ours = answers.by_kind or {}, answers.by_us or {}
    nothing = Statements()
    return sum(
        (everybody[kind].less(ours.get(kind, nothing)) for kind in sorted(kinds & everybody.keys())), nothing
    )


def _by_number(status: Mapping[str, float]) -> dict[Metric, float]:
    if "Com_select" not in status:
        return {}
    writes = sum(status.get(f"Com_{name}", 0.0) for name in WRITES)
    return {Metric.SUCCESSFUL_READ_QUERIES: status["Com_select"], Metric.SUCCESSFUL_WRITE_QUERIES: writes}
