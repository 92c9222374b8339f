"""Gives back memory that only the start of a process needed.

``process.run_until_stopped`` calls it once a server has said that it is ready. Nothing of what the process
does changes by it: the pages are the code of shared libraries as it lies on disk, and whoever runs it again
gets it back from the page cache.
"""

import ctypes
import re
from pathlib import Path
from typing import Final

_MAPS: Final = Path("/proc/self/maps")
_CODE: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-xp [0-9a-f]+ \S+ [1-9]\d* +/")
"""A mapping of a file that is run and never written; others may hold what is nowhere else."""
_DONTNEED: Final = 4


def give_back_code() -> int:
    """Unmap the pages of libraries' code that are in memory; return how many mappings there were.

    Importing libraries runs half of their code once. It stays resident until the machine is short of memory,
    13 MB in a control plane. Where there are no such maps (other systems than Linux), nothing is done.
    """
    try:
        found = _CODE.findall(_MAPS.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return 0
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for begin, end in found:
        start = int(begin, 16)
        # What it answers is of no interest: a page that stays is a page that stays.
        advise(start, int(end, 16) - start, _DONTNEED)
    return len(found)
