"""How much memory a local workspace may use, and the server's options that follow: pure.

A local workspace has 1/128 of the memory of the real size, times its scale factor (S-00: 128 MiB,
S-0: 256 MiB, S-1: 512 MiB at scale factor 1). The cache config says how much of that is cache, as it
says on the real service how much cache stands beside the memory:

============  ===================================  =====================================
cache config  buffer pool                          rest: sessions, temporary tables, sorts
============  ===================================  =====================================
1             1/4 of the memory                    3/4
2             3/8                                  5/8
4             1/2                                  1/2
============  ===================================  =====================================

One session may use a quarter of the rest (``max_session_mem_used``: the statement fails, the engine
stays), one temporary table in memory a sixteenth. These are limits inside the engine; nothing is
reserved, and every one can be changed while it runs.
"""

from dataclasses import dataclass
from typing import Final

from byoc.dataplane.runtime import Limits
from byoc.model.size import SIZES

_MIB: Final = 2**20
CHUNK: Final = 8 * _MIB
"""The buffer pool grows and shrinks by this; every pool is a multiple of it."""
_CACHE_EIGHTHS: Final = {1: 2, 2: 3, 4: 4}
_FEWEST_CONNECTIONS: Final = 64
_MOST_CONNECTIONS: Final = 1000


@dataclass(frozen=True, slots=True)
class Memory:
    """Sizes in bytes."""

    total: int
    buffer_pool: int

    @property
    def rest(self) -> int:
        """What is left for sessions."""
        return self.total - self.buffer_pool


def memory(limits: Limits) -> Memory:
    """Return what ``limits`` allow on this machine."""
    total = SIZES[limits.size].local_memory_bytes * limits.scale_factor
    pool = total * _CACHE_EIGHTHS[limits.cache_config] // 8
    return Memory(total, max(pool // CHUNK * CHUNK, CHUNK))


def variables(limits: Limits) -> dict[str, int]:
    """Return the server's global variables that ``limits`` stand for, all of them settable online."""
    allowed = memory(limits)
    return {
        "innodb_buffer_pool_size": allowed.buffer_pool,
        "max_session_mem_used": allowed.rest // 4,
        "tmp_table_size": allowed.rest // 16,
        "max_heap_table_size": allowed.rest // 16,
        "max_connections": min(_MOST_CONNECTIONS, max(_FEWEST_CONNECTIONS, allowed.total // (2 * _MIB))),
    }
