"""Workspace sizes: names, compute, memory, credits, and what they become on a local cell.

The ladder is the vendor's public scale map: S-00 and S-0 are fractions of S-1, the rest
are multiples of it (S-1: 8 vCPU, 64 GB, 1 credit an hour).
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from byoc.errors import UsageError

LADDER: Final = (
    "S-00", "S-0", "S-1", "S-2", "S-4", "S-6", "S-8", "S-12", "S-16", "S-20", "S-24", "S-28",
    "S-32", "S-40", "S-48", "S-56", "S-64", "S-80", "S-96", "S-128", "S-160", "S-192", "S-256",
    "S-320", "S-384",
)  # fmt: skip
MULTIPLIERS: Final = (1, 2, 4)
LOCAL_DIVISOR: Final = 128
"""A local workspace gets 1/128 of the memory of the real one."""

_FRACTIONS: Final = {"S-00": Decimal("0.25"), "S-0": Decimal("0.5")}


@dataclass(frozen=True, slots=True)
class Size:
    """One rung of the ladder.

    Attributes:
        units: multiples of S-1; also the credits an hour at scale factor 1.
    """

    name: str
    units: Decimal

    @property
    def vcpus(self) -> Decimal:
        """Virtual CPUs at scale factor 1."""
        return self.units * 8

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes at scale factor 1."""
        return int(self.units * 64 * 2**30)

    @property
    def local_memory_bytes(self) -> int:
        """Memory in bytes of this size on a local cell: S-00 128 MiB, S-0 256 MiB, S-1 512 MiB."""
        return self.memory_bytes // LOCAL_DIVISOR


SIZES: Final = {name: Size(name, _FRACTIONS.get(name) or Decimal(name[2:])) for name in LADDER}


def parse_size(text: str) -> Size:
    """Return the size called ``text``, any letter case.

    Raises:
        UsageError: there is no such size.
    """
    size = SIZES.get(text.strip().upper())
    if size is None:
        shown = re.sub(r"[^\x20-\x7e]", "?", text)[:32]
        message = f"size: `{shown}` is not a size"
        raise UsageError(message, hint="sizes are " + ", ".join(LADDER[:6]) + " … S-384")
    return size


def parse_multiplier(value: float, what: str) -> int:
    """Return a scale factor or cache config.

    Raises:
        UsageError: it is none of 1, 2, 4.
    """
    if value not in MULTIPLIERS:
        message = f"{what}: must be 1, 2 or 4, not {value:g}"
        raise UsageError(message)
    return int(value)


def credits_per_hour(size: str, scale_factor: int) -> Decimal:
    """Credits that an hour of a running workspace costs."""
    return SIZES[size].units * scale_factor
