"""Forgets events and changes that are of no more use, a few at a time.

Runs beside the dispatcher. Level-triggered: what a crash or a full disk left is found at the
next look. The invariants: looking goes on beside everything else; each piece that is deleted
is one short transaction, so nobody waits for it; what a delivery may need is never deleted.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from byoc import log
from byoc.clock import Clock
from byoc.errors import ByocError
from byoc.store.seam import Store
from byoc.store.transaction import Transaction

T = TypeVar("T")

HISTORY: Final = timedelta(days=30)
"""How long a story is kept at least, unless the settings say otherwise."""
AUDIT: Final = timedelta(days=400)
"""How long it is kept who did what: a year and the time to look at it."""
KEEP: Final = 100
"""Events of a workspace that lives, and of a cell, that are kept however old they are."""
MOST: Final = 10_000
"""Events of one workspace at most, however young: one that fails again and again tells little new."""
FIRST: Final = 60.0
INTERVAL: Final = 3600.0
FOUND_AT_ONCE: Final = 5000
DROPPED_AT_ONCE: Final = 250
_LOG: Final = log.get(__name__)


class Retention:
    """One loop over what is old.

    Args:
        history: age from which something may be forgotten.
        audit: the same of who did what.
    """

    def __init__(
        self, store: Store, clock: Clock, history: timedelta = HISTORY, audit: timedelta = AUDIT
    ) -> None:
        self._store = store
        self._clock = clock
        self._history = history
        self._audit = audit

    async def run(self) -> None:
        """Look now and then until cancelled."""
        await self._clock.sleep(FIRST)
        while True:
            try:
                await self.look()
            except ByocError as error:
                _LOG.error("old events not deleted", error=error.message)
            await self._clock.sleep(INTERVAL)

    async def look(self) -> int:
        """Delete all that may go; return how many rows.

        Raises:
            Unwritable: the disk took no more; what was deleted before stays so.
        """
        horizon = self._clock.now() - self._history
        dropped = 0
        dropped += await self._drop(
            lambda tx: tx.retention.old_events(horizon, keep=KEEP, most=MOST, limit=FOUND_AT_ONCE),
            lambda tx, numbers: tx.retention.drop_events(numbers),
        )
        dropped += await self._drop(
            lambda tx: tx.retention.old_cell_events(horizon, keep=KEEP, limit=FOUND_AT_ONCE),
            lambda tx, numbers: tx.retention.drop_cell_events(numbers),
        )
        dropped += await self._drop_changes(horizon)
        dropped += await self._drop_deeds(self._clock.now() - self._audit)
        if dropped:
            _LOG.info("old events and changes deleted", rows=dropped, before=horizon.date().isoformat())
        return dropped

    async def _drop_changes(self, horizon: datetime) -> int:
        return await self._drop(
            lambda tx: tx.retention.old_changes(horizon, limit=FOUND_AT_ONCE),
            lambda tx, keys: tx.retention.drop_changes(horizon, keys),
        )

    async def _drop_deeds(self, horizon: datetime) -> int:
        return await self._drop(
            lambda tx: tx.audit.old(horizon, limit=FOUND_AT_ONCE),
            lambda tx, numbers: tx.audit.drop(list(numbers)),
        )

    async def _drop(
        self,
        find: Callable[[Transaction], list[T]],
        drop: Callable[[Transaction, Sequence[T]], int],
    ) -> int:
        dropped = 0
        while found := await self._store.scan(find):
            before = dropped
            for start in range(0, len(found), DROPPED_AT_ONCE):
                piece = found[start : start + DROPPED_AT_ONCE]
                dropped += await self._store.write(lambda tx, piece=piece: drop(tx, piece))  # type: ignore[misc]
            if dropped == before:
                break
        return dropped
