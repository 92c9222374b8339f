"""What the fleet has counted, as figures for Prometheus."""

from dataclasses import fields
from typing import Final

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from byoc.controlplane.fleet.courier import Counters

_SAID: Final = {
    "delivered": "Generations that cells have acknowledged.",
    "refused": "Generations that cells have refused.",
    "signed_anew": "Deliveries signed again because the cell held another generation.",
    "unanswered": "Deliveries without an answer that counts.",
    "forged_answers": "Answers that the cell had not signed.",
    "reports": "Reports taken in.",
    "old_reports": "Reports out of order, ignored.",
    "forged_reports": "Reports that the cell had not signed.",
    "resyncs": "Cells given back what they had lost.",
    "adopted": "Specs taken over from cells that were ahead.",
    "logins": "Tunnel logins of cells.",
    "refused_logins": "Tunnel logins refused.",
    "contested": "Enrolment tokens presented with another key.",
}


class Counted(Collector):
    """The counters of one process."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> list[CounterMetricFamily]:
        """Return every counter as it is now."""
        return [
            CounterMetricFamily(
                f"byoc_fleet_{field.name}", _SAID[field.name], value=getattr(self._counters, field.name)
            )
            for field in fields(self._counters)
        ]
