"""How often something was done lately, for the policy's rates; kept across restarts.

Used by the guard alone. The invariant: what is counted is on disk before it is done, so that a crash in
between counts too much, never too little.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from byoc.clock import Clock
from byoc.dataplane import storage
from byoc.dataplane.policy import LONGEST_PERIOD, Policy, most_specific
from byoc.dataplane.storage import Shelf, Storage
from byoc.model.verbs import Verb

NAME: Final = "rates"
_MOST: Final = 100_000


@dataclass(frozen=True, slots=True)
class _Done:
    """By pattern of the policy: when something was done under it, in seconds since 1970."""

    moments: dict[str, list[float]] = field(default_factory=dict)


class Rates:
    """What was done lately under the patterns of the policy's rates."""

    def __init__(self, kept: Storage, clock: Clock) -> None:
        self._kept = kept
        self._clock = clock
        self._done = (storage.get(kept, Shelf.LIFE, NAME, _Done) or _Done()).moments

    def spent(self, pattern: str, period: timedelta) -> int:
        """Return how often something was done under ``pattern`` in the last ``period``."""
        since = (self._clock.now() - period).timestamp()
        return sum(1 for moment in self._done.get(pattern, ()) if moment > since)

    def spend(self, policy: Policy, verb: Verb) -> None:
        """Count that ``verb`` is done now, where a rate limits it.

        Raises:
            Unwritable: it could not be stored; the verb must not be done.
        """
        pattern = most_specific(policy.rate, verb)
        if pattern is None:
            return
        now = self._clock.now()
        kept = {name: recent for name, some in self._done.items() if (recent := _recent(some, now))}
        kept[pattern] = [*kept.get(pattern, ()), now.timestamp()][-_MOST:]
        storage.put(self._kept, Shelf.LIFE, NAME, _Done(kept))
        self._done = kept


def _recent(moments: list[float], now: datetime) -> list[float]:
    since = (now - LONGEST_PERIOD).timestamp()
    return [moment for moment in moments if moment > since]
