"""What the Control Plane counts about itself, as Prometheus text.

Called by the outermost layer of the app and by ``GET /metrics``. Labels are route
templates, codes and names of cells: never an id, a name or a key of a customer's object.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from byoc.controlplane.api.service import Overview

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_METHODS: Final = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"})
_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counters of one process; made once per app, so that tests do not share them."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "byoc_http_requests", "Answered requests.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "byoc_http_request_seconds",
            "Time from a request's head to its answer's end.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._refused = Counter(
            "byoc_refused",
            "Requests answered with an error, by its code.",
            ("code",),
            registry=self._registry,
        )
        build = Gauge(
            "byoc_build", "Constant 1; the label is the version.", ("version",), registry=self._registry
        )
        build.labels(version).set(1)
        self._streams = Gauge("byoc_event_streams", "Event streams open now.", registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float, code: str) -> None:
        """Count one answer; ``code`` is the error's, empty for a success."""
        method = method if method in _METHODS else "OTHER"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
        if code:
            self._refused.labels(code).inc()

    def stream_opened(self) -> None:
        """Count an event stream in."""
        self._streams.inc()

    def stream_closed(self) -> None:
        """Count an event stream out."""
        self._streams.dec()

    def add(self, collector: Collector) -> None:
        """Let another part of the process show its own figures here."""
        self._registry.register(collector)

    def text(self, overview: Overview) -> bytes:
        """Return everything counted so far, and the state of the instance."""
        snapshot = CollectorRegistry()
        snapshot.register(_Snapshot(overview))
        return generate_latest(self._registry) + generate_latest(snapshot)


class _Snapshot(Collector):
    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        connected = GaugeMetricFamily(
            "byoc_cell_connected", "Whether a cell has a tunnel session open.", labels=["cell"]
        )
        for cell in self._overview.cells:
            connected.add_metric([cell.name], float(cell.connected))
        cells = GaugeMetricFamily(
            "byoc_cells_connected",
            "Cells with an open tunnel session.",
            value=sum(cell.connected for cell in self._overview.cells),
        )
        groups = GaugeMetricFamily("byoc_groups", "Live workspace groups.", value=self._overview.groups)
        workspaces = GaugeMetricFamily("byoc_workspaces", "Live workspaces by state.", labels=["state"])
        for state, count in sorted(self._overview.workspaces.items()):
            workspaces.add_metric([state], count)
        return [connected, cells, groups, workspaces]
