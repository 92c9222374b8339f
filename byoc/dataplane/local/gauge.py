"""Metrics of one local engine: what it counts itself, and what its process and its volume take.

Called by the local runtime from a thread.
"""

import shutil

from byoc.dataplane.local import process
from byoc.dataplane.local.limits import memory
from byoc.dataplane.local.probe import Door, count
from byoc.dataplane.local.volume import Run, Volume
from byoc.errors import ByocError
from byoc.model.metrics import Metric, Sample


def measure(volume: Volume, run: Run, door: Door) -> tuple[Sample, ...]:
    """Return every metric of a running engine; nothing where it does not answer, or ends meanwhile."""
    used = process.usage(run.pid, volume.data)
    if used is None:
        return ()
    try:
        counted = count(door)
        disk_used, disk = volume.used_bytes(), shutil.disk_usage(volume.folder)
    except (ByocError, OSError):
        return ()
    machine = {
        Metric.CPU_USAGE_SECONDS_TOTAL: used.cpu_seconds,
        Metric.CPU_RESOURCE_LIMITS: float(process.processors()),
        Metric.MEM_USED_B: float(used.memory_bytes),
        Metric.MEM_TOTAL_B: float(memory(run.limits).total),
        Metric.DISK_USED_B: float(disk_used),
        Metric.DISK_TOTAL_B: float(disk.total),
    }
    node = f"node-{volume.id}-0"
    return tuple(Sample(metric, value, node) for metric, value in (machine | counted).items())
