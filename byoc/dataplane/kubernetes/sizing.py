"""What a size means in a cluster: memory and processor of the pod, disk, and the engine's variables. Pure.

Used by the manifests and the runtime. A pod gets seven eighths of its size's compute: the last eighth of
a machine belongs to its system, and a size is meant to fill a machine of that size. Of the pod's memory
the engine's cache has

============  ===========  =====================================
cache config  buffer pool  rest: sessions, temporary tables, sorts
============  ===========  =====================================
1             1/2          1/2
2             5/8          3/8
4             3/4          1/4
============  ===========  =====================================

The scale factor multiplies processor and memory, never the disk. Every variable can be changed while the
engine runs.
"""

from dataclasses import dataclass
from typing import Final

from byoc.dataplane.runtime import Limits
from byoc.model.size import SIZES

_MIB: Final = 2**20
_GIB: Final = 2**30
_CACHE_EIGHTHS: Final = {1: 4, 2: 5, 4: 6}
_DISK_TO_MEMORY: Final = 5
_SMALLEST_DISK_GIB: Final = 1
LARGEST_DISK_GIB: Final = 16 * 1024
"""Of an EBS volume."""
_FEWEST_CONNECTIONS: Final = 64
_MOST_CONNECTIONS: Final = 10_000
_PREPARING_BYTES: Final = _GIB


@dataclass(frozen=True, slots=True)
class Compute:
    """What a pod asks for.

    Attributes:
        memory: bytes, asked for and limit alike.
        millicores: asked for; what is free beyond may be used.
    """

    memory: int
    millicores: int

    @property
    def preparing(self) -> "Compute":
        """What the step before the engine needs: never more than the engine."""
        return Compute(min(self.memory, _PREPARING_BYTES), self.millicores)


def nominal_memory(limits: Limits, divisor: int) -> int:
    """Return the bytes that a size stands for."""
    return SIZES[limits.size].memory_bytes * limits.scale_factor // divisor


def compute(limits: Limits, divisor: int) -> Compute:
    """Return what the pod of an engine asks for."""
    memory = nominal_memory(limits, divisor) * 7 // 8
    cores = SIZES[limits.size].vcpus * limits.scale_factor
    return Compute(memory // _MIB * _MIB, max(int(cores * 1000) * 7 // 8 // divisor, 1))


def bytes_text(number: int) -> str:
    """Return whole MiB as the API server itself writes them, so that what comes back is what was sent."""
    mib = number // _MIB
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"


def cores_text(millicores: int) -> str:
    """Return processors as the API server itself writes them."""
    return f"{millicores}m" if millicores % 1000 else str(millicores // 1000)


def disk_gib(limits: Limits, divisor: int, volumes: int = 1) -> int:
    """Return the size of new volumes together, in GiB; what is there never shrinks."""
    wanted = SIZES[limits.size].memory_bytes * _DISK_TO_MEMORY // divisor // _GIB
    return min(max(wanted, _SMALLEST_DISK_GIB * volumes), LARGEST_DISK_GIB * volumes)


def chunk(divisor: int) -> int:
    """Return the bytes by which a buffer pool grows and shrinks; fixed while an engine runs."""
    return max(8 * _MIB, 128 * _MIB // divisor)


def pool_while_preparing(limits: Limits, divisor: int) -> int:
    """Return the buffer pool of an engine that only brings data up to date, in what the step before has."""
    memory, step = compute(limits, divisor).preparing.memory, chunk(divisor)
    return max(memory // 2 // step * step, step)


def variables(limits: Limits, divisor: int) -> dict[str, int]:
    """Return the engine's global variables that ``limits`` stand for."""
    total, step = compute(limits, divisor).memory, chunk(divisor)
    pool = max(total * _CACHE_EIGHTHS[limits.cache_config] // 8 // step * step, step)
    rest = total - pool
    return {
        "innodb_buffer_pool_size": pool,
        "max_session_mem_used": max(rest // 4, 8 * _MIB),
        "tmp_table_size": max(rest // 16, _MIB),
        "max_heap_table_size": max(rest // 16, _MIB),
        "max_connections": min(_MOST_CONNECTIONS, max(_FEWEST_CONNECTIONS, total // (8 * _MIB))),
    }
