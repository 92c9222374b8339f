"""How a workspace is suspended without its volumes, its databases being in the bucket, and comes back.

Used by the runtime, for engines that can (``engines.Detaching``). The invariants: what the engine is about to
be told is written down first, and what it did afterwards; no volume is told to go before the record, read
anew from the cluster, says that every database is detached; a database that was detached stays on record
until it is seen attached, and its name leaves the cell in no report.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from byoc import log
from byoc.clock import Clock
from byoc.dataplane.kubernetes import kinds, names
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.door import Door
from byoc.dataplane.kubernetes.engines import Detaching
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.inventory import Database, Inventory, Listed, Stage
from byoc.dataplane.kubernetes.making import Making
from byoc.dataplane.kubernetes.removal import clear
from byoc.dataplane.kubernetes.views import Space
from byoc.dataplane.runtime import Databases
from byoc.errors import NotAuthenticated, TooManyRequests, Unreachable, UsageError
from byoc.ids import WorkspaceID
from byoc.model.report import Reason

AGAIN_SECONDS: Final = 60.0
"""Between two tries to attach what could not be attached."""
_TRIES: Final = 3
"""How often an engine is told to detach a database before its volumes are kept."""
_ROUNDS: Final = 3
_PAUSE_SECONDS: Final = 1.0
_GONE_SECONDS: Final = 20.0
_LOG: Final = log.get(__name__)


T = TypeVar("T")


class _Silent(Exception):
    """The engine did not answer: whether it did what it was told is found out at the next try."""


@dataclass(slots=True)
class Trying:
    """What is remembered of one workspace between looks; all of it can be lost.

    Attributes:
        tried: monotonic time of the last try to attach; None before the first.
    """

    tried: float | None = None

    def due(self, now: float) -> bool:
        """Whether what could not be attached is to be tried again."""
        return self.tried is None or now - self.tried >= AGAIN_SECONDS


def away(view: View) -> bool:
    """Whether all databases are on record as detached, so that no volume is needed. Pure."""
    inventory = view.databases
    return inventory is not None and inventory.away


def standing(view: View, trying: Trying, now: float, *, chosen: bool) -> Databases | None:
    """Say how databases stand; ``chosen`` says whether the cell suspends without volumes. Pure."""
    inventory = view.databases
    if inventory is None:
        return Databases(detachable=True) if chosen else None
    missing = len(inventory.detached) if inventory.settled else 0
    return Databases(
        detachable=chosen and not inventory.away and inventory.kept is None,
        away=inventory.away,
        volumes=bool(view.claims or view.volumes or view.order or view.sets),
        kept=inventory.kept,
        returning=True,
        attach=not inventory.settled or bool(missing and trying.due(now)),
        attached=len(inventory.databases) - missing if inventory.settled else 0,
        missing=missing,
    )


class Away:
    """Suspensions without volumes.

    Args:
        making: through which objects are made and records are written.
    """

    def __init__(self, making: Making, detaching: Detaching, clock: Clock) -> None:
        self._making = making
        self._detaching = detaching
        self._clock = clock

    async def move(self, intended: Intended, door: Door, trying: Trying, *, attaching: bool) -> None:
        """Attach, or detach, what there is to attach or to detach.

        Raises:
            Unreachable, Forbidden, …: the cluster.
        """
        if attaching:
            await self.attach(intended, door, trying)
        else:
            await self.detach(intended, door)

    async def detach(self, intended: Intended, door: Door) -> None:
        """Have every database detached, or write down why volumes are kept; one try.

        Raises:
            Unreachable, Forbidden, …: the cluster.
        """
        await self._making.shut(intended)
        try:
            await self._ask(partial(self._detaching.shut, door))
            await self._detach(intended, door)
        except UsageError as error:
            # It does not say what it has: then nothing may be taken for detached.
            await self._keep(intended, self._before(intended), error)
        except _Silent:
            await self._making.cache.news(intended.workspace, _PAUSE_SECONDS)

    async def _detach(self, intended: Intended, door: Door) -> None:
        place, region = self._detaching.place(intended)
        for _ in range(_ROUNDS):
            listed = await self._ask(partial(self._detaching.listed, door, place))
            before = replace(self._before(intended), place=place, region=region)
            inventory = before.begun(listed)
            await self._making.record(intended.workspace, inventory)
            if inventory.away or inventory.kept is not None:
                return
            for each in inventory.pending:
                error = await self._detach_one(intended, door, each)
                if error is not None:
                    await self._keep(intended, inventory, error, each)
                    return
                inventory = inventory.without(each)
                await self._making.record(intended.workspace, inventory)

    async def _detach_one(self, intended: Intended, door: Door, database: Database) -> UsageError | None:
        said: UsageError | None = None
        for number in range(_TRIES):
            if number:
                await self._making.cache.news(intended.workspace, _PAUSE_SECONDS)
            try:
                await self._ask(partial(self._detaching.detach, door, database.name))
            except UsageError as error:
                said = error
            else:
                return None
        return said

    async def _keep(
        self, intended: Intended, inventory: Inventory, error: UsageError, *because: Database
    ) -> None:
        # Its own words may quote what is the customer's: they stay in the cell.
        _LOG.warning("volumes are kept", workspace=intended.workspace, error=error.message[:200])
        named = [each.name for each in because]
        await self._making.record(intended.workspace, inventory.keeping(Reason.DETACH_REFUSED, named))

    async def release(self, workspace: WorkspaceID) -> bool:
        """Take the engine's objects and its volumes away; returns whether all of them are gone.

        Raises:
            Unreachable, Forbidden, …: the cluster.
        """
        inventory = await self._away_now(workspace)
        if inventory is None:
            return False
        if inventory.stage is not Stage.DETACHED:
            # New volumes go too: one of them beside a newer one would be half an engine.
            await self._making.record(workspace, replace(inventory, stage=Stage.DETACHED))
        making, ends = self._making, self._clock.monotonic() + _GONE_SECONDS
        cleared = await clear(making.cluster, making.cache, workspace, self._clock)
        # Also where whatever made it is gone already: the next operator must not find it and lose it later.
        await making.cluster.delete(kinds.SECRET, names.CLUSTER, names.namespace(workspace))
        while self._clock.monotonic() < ends and making.cache.view(workspace).volumes:
            await making.cache.news(workspace, _PAUSE_SECONDS)
        return cleared and not making.cache.view(workspace).volumes

    async def _away_now(self, workspace: WorkspaceID) -> Inventory | None:
        """Return the record if the cluster itself says now that volumes hold nothing, and nothing runs."""
        found = await self._making.cluster.get(kinds.NAMESPACE, names.namespace(workspace))
        inventory = Space.read(found).databases if found is not None else None
        if inventory is None or not inventory.away or self._making.cache.view(workspace).runs:
            return None
        return inventory

    async def house(self, intended: Intended) -> bool:
        """Make new volumes where every database is in the bucket; returns whether a start may go on.

        Raises:
            Unreachable, Forbidden, …: the cluster.
        """
        inventory = self._making.cache.view(intended.workspace).databases
        if inventory is None or not inventory.away:
            return True
        if inventory.stage is Stage.DETACHED:
            # What is left of the old ones is nobody's, and stands where the new ones belong.
            if not await self.release(intended.workspace):
                return False
            await self._making.record(intended.workspace, replace(inventory, stage=Stage.RETURNING))
        await self._making.volume(intended)
        return True

    async def attach(self, intended: Intended, door: Door, trying: Trying) -> None:
        """Have every database attached that is on record as detached; one try for each.

        Raises:
            Unreachable, Forbidden, …: the cluster.
        """
        inventory = self._making.cache.view(intended.workspace).databases
        if inventory is None:
            return
        trying.tried = self._clock.monotonic()
        listed: Listed | None = None
        try:
            listed = await self._ask(partial(self._detaching.listed, door, inventory.place))
        except UsageError as error:
            _LOG.warning("databases are not told", workspace=intended.workspace, error=error.message[:200])
        except _Silent:
            await self._making.cache.news(intended.workspace, _PAUSE_SECONDS)
            return
        inventory = inventory.back(listed)
        await self._making.record(intended.workspace, inventory)
        for each in inventory.detached:
            inventory = await self._attach_one(intended, door, inventory, each)
        await self._making.record(intended.workspace, inventory)

    async def _attach_one(
        self, intended: Intended, door: Door, inventory: Inventory, database: Database
    ) -> Inventory:
        place, region = inventory.place, inventory.region
        try:
            await self._ask(partial(self._detaching.attach, door, database.name, place, region))
        except (UsageError, _Silent) as error:
            said = error.message[:200] if isinstance(error, UsageError) else "no answer"
            _LOG.warning("a database is not attached", workspace=intended.workspace, error=said)
            return inventory.unattached(database)
        return inventory.attached(database)

    async def _ask(self, work: Callable[[], T]) -> T:
        try:
            return await self._making.off(work)
        except (Unreachable, NotAuthenticated, TooManyRequests) as error:
            raise _Silent from error

    def _before(self, intended: Intended) -> Inventory:
        found = self._making.cache.view(intended.workspace).databases
        return found or Inventory(Stage.BACK, *self._detaching.place(intended))
