"""How fast callers of the Management API may go: a bucket of tokens for each of them.

Asked by ``byoc.controlplane.guard`` and by the event streams. Buckets are in memory, a bounded number of
them; each replica counts by itself. The invariant: who holds a valid key is never slowed by
anybody else's calls.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from byoc.clock import Clock
from byoc.errors import TooManyRequests
from byoc.nimbus.admission import TokenBucket

BURST_SECONDS: Final = 5
"""What a quiet caller may save up."""
MOST_CALLERS: Final = 10_000
"""Buckets at once; the one that was not asked for longest is forgotten first, and is then full."""
MOST_STREAMS: Final = 128
"""Event streams of one key at once."""


class Pace:
    """One limit, for each caller alone.

    Args:
        rate: calls a second in the long run.
        what: of which there are too many, for the message.
    """

    def __init__(self, rate: float, what: str, clock: Clock) -> None:
        self._rate = rate
        self._what = what
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, caller: str) -> None:
        """Let one more through.

        Raises:
            TooManyRequests: not now; ``retry_after`` says when.
        """
        bucket = self._buckets.pop(caller, None) or self._new()
        self._buckets[caller] = bucket
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        if not bucket.take():
            message = f"too many {self._what}: {self._rate:g} a second are let through"
            raise TooManyRequests(message, retry_after=math.ceil(bucket.wait()))

    def _new(self) -> TokenBucket:
        burst = max(1, math.ceil(self._rate * BURST_SECONDS))
        return TokenBucket(rate=self._rate, burst=burst, clock=self._clock)


class Streams:
    """How many endless answers each key has open."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def check(self, key: str) -> None:
        """Say whether ``key`` may open one more.

        Raises:
            TooManyRequests: it has as many as it may have.
        """
        if self._open[key] >= MOST_STREAMS:
            raise TooManyRequests(f"at most {MOST_STREAMS} event streams at once with one key")

    @contextmanager
    def opened(self, key: str) -> Iterator[None]:
        """Count one in while the block runs."""
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
