"""What the Control Plane counts about itself, as Prometheus text.

Called by the outermost layer of the app and by ``GET /metrics``. Labels are route
templates, codes and states: never an id, a name or a key of a customer's object, for no key is asked for.
Counting is plain numbers; the library that writes the text is loaded when it is first asked for.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from byoc.controlplane.api.service import Overview

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_METHODS: Final = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"})
_BOUNDS: Final = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

Numbers = Callable[[], Mapping[str, int]]
"""Figures of another part of the process: names in lower case with underscores, and counts."""


@dataclass(slots=True)
class _Times:
    """How long the requests of one route took."""

    total: float = 0.0
    within: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))

    def add(self, seconds: float) -> None:
        self.total += seconds
        self.within[bisect_left(_BOUNDS, seconds)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts that a histogram shows."""
        names = [*(str(bound) for bound in _BOUNDS), "+Inf"]
        return [(name, float(sum(self.within[: index + 1]))) for index, name in enumerate(names)]


class Metrics:
    """Counters of one process; made once per app, so that tests do not share them.

    Args:
        version: of this software, shown as a label.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._times: defaultdict[tuple[str, str], _Times] = defaultdict(_Times)
        self._refused: Counter[str] = Counter()
        self._streams = 0
        self._more: dict[str, Numbers] = {}

    def answered(self, method: str, route: str, status: int, seconds: float, code: str) -> None:
        """Count one answer; ``code`` is the error's, empty for a success."""
        method = method if method in _METHODS else "OTHER"
        self._requests[method, route, str(status)] += 1
        self._times[method, route].add(seconds)
        if code:
            self._refused[code] += 1

    def stream_opened(self) -> None:
        """Count an event stream in."""
        self._streams += 1

    def stream_closed(self) -> None:
        """Count an event stream out."""
        self._streams -= 1

    def add(self, prefix: str, numbers: Numbers) -> None:
        """Let another part of the process show counts, as ``byoc_<prefix>_<name>``."""
        self._more[prefix] = numbers

    def text(self, overview: Overview) -> bytes:
        """Return everything counted so far, and the state of the instance."""
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - 3 MB

        registry = CollectorRegistry()
        registry.register(_Snapshot([*self._own(), *_state(overview)]))
        return generate_latest(registry)

    def _own(self) -> Iterator["Metric"]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily  # noqa: PLC0415

        labels = ["method", "route", "status"]
        requests = CounterMetricFamily("byoc_http_requests", "Answered requests.", labels=labels)
        for key, count in self._requests.items():
            requests.add_metric(key, count)
        text = "Time from a request's head to its answer's end."
        times = HistogramMetricFamily("byoc_http_request_seconds", text, labels=labels[:2])
        for route, spent in self._times.items():
            times.add_metric(route, spent.buckets(), spent.total)
        refused = CounterMetricFamily("byoc_refused", "Requests answered with an error.", labels=["code"])
        for code, count in self._refused.items():
            refused.add_metric([code], count)
        yield from (requests, times, refused)
        yield _gauge("byoc_event_streams", "Event streams open now.", self._streams)
        yield _gauges("byoc_build", "Constant 1; the label is the version.", "version", {self._version: 1})
        for prefix, numbers in self._more.items():
            for name, count in numbers().items():
                said = f"{name.replace('_', ' ').capitalize()}, since the start."
                yield CounterMetricFamily(f"byoc_{prefix}_{name}", said, value=count)


def _state(overview: Overview) -> Iterator["Metric"]:
    yield _gauges("byoc_cells", "Cells by state.", "state", dict(sorted(overview.cells.items())))
    yield _gauge("byoc_cells_connected", "Cells with an open tunnel session.", overview.connected)
    yield _gauge("byoc_cells_lost", "Enrolled cells without a tunnel session.", overview.lost)
    yield _gauge("byoc_groups", "Live workspace groups.", overview.groups)
    states = dict(sorted(overview.workspaces.items()))
    yield _gauges("byoc_workspaces", "Live workspaces by state.", "state", states)


def _gauge(name: str, text: str, value: float) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, int]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


class _Snapshot:
    """A collector as the library wants it; not one of its classes, which would load it."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families
