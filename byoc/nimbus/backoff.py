"""How long to wait before dialling again: full jitter, forgotten only after a stable period. Pure."""

from random import Random
from typing import Final

BASE: Final = 0.5
CAP: Final = 60.0
STABLE: Final = (20.0, 40.0)
"""A connection must have lasted a time drawn from this range, in seconds, to be called stable."""
_QUICK: Final = 4
"""Doublings up to here: waits of 8 seconds at most, so that after a short outage everybody is back in ten."""
_PATIENCE: Final = 10
"""Tries, about half a minute, before waits grow on: an outage that is not short."""
_MAX_EXPONENT: Final = 10


class Backoff:
    """Counts failed tries. After a mass restart no two clients come back at the same time.

    Args:
        rng: where the jitter comes from.
        cap: longest wait in seconds; low where there is no crowd that could come back at once.
    """

    def __init__(self, rng: Random, cap: float = CAP) -> None:
        self._rng = rng
        self._cap = cap
        self._tries = 0

    @property
    def tries(self) -> int:
        """How many tries have failed since the last stable connection."""
        return self._tries

    def delay(self, cap: float = CAP) -> float:
        """Return how many seconds to wait now: ``uniform(0, min(cap, BASE * 2**n))``, n rising by tries."""
        rising = min(self._tries, _QUICK) + max(0, self._tries - _PATIENCE)
        limit = min(cap, self._cap, BASE * 2 ** min(rising, _MAX_EXPONENT))
        self._tries += 1
        return self._rng.uniform(0, limit)

    def between(self, low: float, high: float) -> float:
        """Return a wait for a peer that was told no, in seconds."""
        return self._rng.uniform(low, high)

    def lasted(self, seconds: float) -> None:
        """Note how long a connection stood before it ended."""
        if seconds >= self._rng.uniform(*STABLE):
            self._tries = 0
