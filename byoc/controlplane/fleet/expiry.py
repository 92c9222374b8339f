"""Terminates groups whose ``expiresAt`` has passed, with the same verb that a person would use.

Runs beside the dispatcher. Level-triggered: whatever was missed while nothing ran is done at
the next look.
"""

from typing import Final

from byoc import log
from byoc.clock import Clock
from byoc.controlplane.fleet.groups import terminate_all
from byoc.errors import ByocError
from byoc.model.spec import Desired
from byoc.store.seam import Store
from byoc.store.transaction import Transaction

INTERVAL: Final = 30.0
BY: Final = "control plane (expiresAt)"
_LOG: Final = log.get(__name__)


class Expiry:
    """One loop over all groups."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            try:
                await self.look()
            except ByocError as error:
                _LOG.error("expired groups not terminated", error=error.message)
            await self._clock.sleep(INTERVAL)

    async def look(self) -> int:
        """Terminate what has expired; return how many groups."""
        now = self._clock.now()
        if not await self._store.read(lambda tx: _expired(tx, self._clock)):
            return 0

        def terminate(tx: Transaction) -> int:
            groups = _expired(tx, self._clock)
            for group in groups:
                held = tx.groups.get(group)
                if held is not None:
                    terminate_all(tx, held.record, BY, now)
            return len(groups)

        return await self._store.write(terminate)


def _expired(tx: Transaction, clock: Clock) -> list[str]:
    expired = tx.groups.expired(clock.now())
    return [held.record.spec.id for held in expired if held.record.spec.desired is not Desired.TERMINATED]
