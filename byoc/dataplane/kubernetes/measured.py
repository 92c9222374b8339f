"""What follows from views of workspaces: samples, memory that is given away, who is behind. Pure.

Used by the runtime, over the views of the cache.
"""

from collections.abc import Mapping

from byoc.dataplane.kubernetes import sizing
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.engines import EngineKind
from byoc.dataplane.runtime import Limits
from byoc.ids import WorkspaceID
from byoc.model.metrics import Metric, Sample


def committed(views: Mapping[WorkspaceID, View], workspace: WorkspaceID, divisor: int) -> int:
    """Return the memory that all workspaces but one have, as their sizes say."""
    others = (
        view.intended.limits
        for name, view in views.items()
        if name != workspace and view.wanted and view.intended is not None
    )
    return sum(sizing.nominal_memory(limits, divisor) for limits in others)


def outdated(view: View, engines: EngineKind) -> bool:
    """Whether the engine runs another image than the cell's settings name now."""
    intended = view.intended
    told = intended is not None and intended.image not in {"", engines.image}
    other = not engines.rolls and view.pod is not None and view.pod.image != engines.image
    return told or other


def samples(view: View, limits: Limits, counted: Mapping[Metric, float], divisor: int) -> tuple[Sample, ...]:
    """Return what was ``counted`` beside what ``limits`` and the volumes are."""
    machine = {
        Metric.CPU_RESOURCE_LIMITS: sizing.compute(limits, divisor).millicores / 1000,
        Metric.MEM_TOTAL_B: float(sizing.nominal_memory(limits, divisor)),
        Metric.DISK_TOTAL_B: float(sum(each.disk_gib for each in view.claims.values()) * 2**30),
    }
    node = f"node-{view.workspace}-0"
    return tuple(Sample(metric, value, node) for metric, value in {**counted, **machine}.items())
