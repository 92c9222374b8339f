"""Metrics of a workspace, under the names that users of the vendor's service know.

Runtimes measure, the cell hands on, the Control Plane shows; nobody stores. The invariant: values are raw, as
the engine or its machine counts them, so that whoever draws them decides about rates; what an engine does not
count has no sample, and no invented zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PREFIX: Final = "singlestoredb_cloud_"
EXTRACTOR: Final = "byoc"
"""Value of the label that says who measured."""


class Metric(StrEnum):
    """Everything there is to measure. Counters begin anew with the engine's process."""

    CPU_USAGE_SECONDS_TOTAL = "cpu_usage_seconds_total"
    CPU_RESOURCE_LIMITS = "cpu_resource_limits"
    """In cores."""
    MEM_USED_B = "mem_used_b"
    MEM_TOTAL_B = "mem_total_b"
    DISK_USED_B = "disk_used_b"
    DISK_TOTAL_B = "disk_total_b"
    FAILED_WRITE_QUERIES = "failed_write_queries"
    SUCCESSFUL_WRITE_QUERIES = "successful_write_queries"
    FAILED_READ_QUERIES = "failed_read_queries"
    SUCCESSFUL_READ_QUERIES = "successful_read_queries"
    ROWS_AFFECTED_BY_WRITES = "rows_affected_by_writes"
    ROWS_RETURNED_BY_READS = "rows_returned_by_reads"
    EXECUTION_TIME_OF_WRITE = "execution_time_of_write"
    """In milliseconds, as the next."""
    EXECUTION_TIME_OF_READS = "execution_time_of_reads"
    THREADS_CONNECTED = "threads_connected"
    MAX_CONNECTIONS = "max_connections"
    THREADS_RUNNING = "threads_running"
    MAX_CONNECTION_THREADS = "max_connection_threads"
    READY_QUEUE = "ready_queue"
    ABORTED_CONNECTS = "aborted_connects"
    CONNECTIONS = "connections"

    @property
    def public_name(self) -> str:
        """The name as dashboards know it."""
        return PREFIX + self.value


EXPLANATIONS: Final[dict[Metric, str]] = {
    Metric.CPU_USAGE_SECONDS_TOTAL: "Processor time used, in seconds.",
    Metric.CPU_RESOURCE_LIMITS: "Processors that may be used.",
    Metric.MEM_USED_B: "Memory used, in bytes.",
    Metric.MEM_TOTAL_B: "Memory that may be used, in bytes.",
    Metric.DISK_USED_B: "Disk space used, in bytes.",
    Metric.DISK_TOTAL_B: "Size of the disk, in bytes.",
    Metric.FAILED_WRITE_QUERIES: "Writes that ended with an error.",
    Metric.SUCCESSFUL_WRITE_QUERIES: "Writes that were carried out.",
    Metric.FAILED_READ_QUERIES: "Reads that ended with an error.",
    Metric.SUCCESSFUL_READ_QUERIES: "Reads that were answered.",
    Metric.ROWS_AFFECTED_BY_WRITES: "Rows changed by writes.",
    Metric.ROWS_RETURNED_BY_READS: "Rows answered to reads.",
    Metric.EXECUTION_TIME_OF_WRITE: "Time spent on writes, in milliseconds.",
    Metric.EXECUTION_TIME_OF_READS: "Time spent on reads, in milliseconds.",
    Metric.THREADS_CONNECTED: "Connections open now.",
    Metric.MAX_CONNECTIONS: "Connections that may be open.",
    Metric.THREADS_RUNNING: "Connections at work now.",
    Metric.MAX_CONNECTION_THREADS: "Threads that may serve connections.",
    Metric.READY_QUEUE: "Queries that wait for a thread.",
    Metric.ABORTED_CONNECTS: "Logins that failed.",
    Metric.CONNECTIONS: "Connections made.",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One value. ``node`` names the engine's process or pod; a workspace may have several."""

    metric: Metric
    value: float
    node: str


def total(samples: Iterable[Sample], metric: Metric) -> float | None:
    """Return the sum of ``metric`` over all nodes; None where none of them counts it."""
    values = [sample.value for sample in samples if sample.metric is metric]
    return sum(values) if values else None


def text_of(samples: Iterable[Sample]) -> str:
    """Return samples as OpenMetrics text, which the older Prometheus format reads too.

    Every metric is a gauge: names of counters would have to end in ``_total`` there, and these do not.
    """
    grouped: dict[Metric, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.metric, []).append(sample)
    lines: list[str] = []
    for metric in Metric:
        if metric not in grouped:
            continue
        name = metric.public_name
        lines += [f"# HELP {name} {EXPLANATIONS[metric]}", f"# TYPE {name} gauge"]
        lines += [_line(name, sample) for sample in sorted(grouped[metric], key=lambda each: each.node)]
    return "\n".join([*lines, "# EOF", ""])


def _line(name: str, sample: Sample) -> str:
    node = sample.node.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}{{extractor="{EXTRACTOR}",node="{node}"}} {_number(sample.value)}'


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
