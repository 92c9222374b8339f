"""Whether an engine's volume is nearly full, and how it is expanded. Used by the runtime.

What a volume holds, the engine itself says, now and then; a start that ended because nothing could be
written says it too. The invariants: a volume is asked to grow once at a time, by half of what it has, and
never beyond the cell's limit; storage that cannot expand volumes is found out before anything is changed.
"""

import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from byoc import log
from byoc.clock import Clock
from byoc.dataplane.kubernetes import kinds, sizing
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.making import Making
from byoc.dataplane.kubernetes.settings import MYSQL, ClusterSettings
from byoc.dataplane.kubernetes.views import Claim
from byoc.dataplane.runtime import Failures, Limits, Room
from byoc.errors import ByocError, Forbidden
from byoc.model.report import Reason

FULL: Final = 0.8
"""The part of a volume that may be used before it is expanded."""
MEASURE_SECONDS: Final = 60.0
"""How often an engine is asked what it holds."""
_STEP: Final = 1.5
_LOG: Final = log.get(__name__)
_GIB: Final = 2**30


@dataclass(slots=True)
class Growth:
    """What is remembered of one workspace's volume between looks; all of it can be lost.

    Attributes:
        used: bytes that the engine said last; None where it has not said.
        measured: monotonic time of that, or of its start.
        fixed: its storage cannot expand it.
        grown_for: the failed start for which it was expanded already.
    """

    used: float | None = None
    measured: float = 0.0
    fixed: bool = False
    grown_for: datetime | None = None

    def due(self, now: float) -> bool:
        """Whether the engine is to be asked again."""
        return now - self.measured >= MEASURE_SECONDS


def room(
    claim: Claim | None, growth: Growth, failures: Failures, most_gib: int, *, ready: bool
) -> Room | None:
    """Say how a volume stands; None where there is nothing to say. Pure."""
    if claim is None or not claim.bound or claim.deleting:
        return None
    growing, has = ready and claim.capacity_gib < claim.disk_gib, claim.disk_gib
    if not growing and not _short(claim, growth, failures, ready=ready):
        return None
    if growth.fixed or claim.infeasible:
        return Room(Reason.VOLUME_CANNOT_GROW, held_gib=has)
    wanted = min(math.ceil(has * _STEP), most_gib)
    if not growing and wanted <= has:
        return Room(Reason.VOLUME_AT_LIMIT, held_gib=has)
    return Room(Reason.EXPANDING_VOLUME, 0 if growing else wanted, has)


def _short(claim: Claim, growth: Growth, failures: Failures, *, ready: bool) -> bool:
    if ready:
        return growth.used is not None and growth.used >= FULL * claim.capacity_gib * _GIB
    return failures.last is Reason.DISK_FULL and failures.at != growth.grown_for


def most_gib(limits: Limits, settings: ClusterSettings) -> int:
    """Return to how much a volume may grow by itself."""
    own = sizing.disk_gib(limits, settings.size_divisor)
    return min(own * settings.volume_growth, sizing.LARGEST_DISK_GIB)


class Volumes:
    """The volumes of a cluster's engines."""

    def __init__(self, cluster: Cluster, settings: ClusterSettings, clock: Clock) -> None:
        self._cluster = cluster
        self._settings = settings
        self._clock = clock

    @property
    def _one(self) -> bool:
        """Whether a workspace has one volume; several belong to an operator, who expands all or none."""
        return self._settings.engine == MYSQL

    def room(self, view: View, growth: Growth, failures: Failures, *, ready: bool) -> Room | None:
        """Say how a workspace's volume stands; None where there is nothing to say."""
        intended = view.intended
        if intended is None or not self._one:
            return None
        most = most_gib(intended.limits, self._settings)
        return room(view.claim, growth, failures, most, ready=ready)

    async def measure(self, claim: Claim, growth: Growth, held: Callable[[], Awaitable[float]]) -> None:
        """Take in what the engine holds, and look again at storage that could not expand it."""
        growth.measured = self._clock.monotonic()
        if not self._one:
            return
        with contextlib.suppress(ByocError):
            growth.used = await held()
            if growth.fixed:
                growth.fixed = not await self._expandable(claim)

    async def grow(
        self,
        making: Making,
        intended: Intended,
        view: View,
        growth: Growth,
        failures: Failures,
        *,
        ready: bool,
    ) -> None:
        """Have a volume expanded, if it is to be and its storage can.

        Raises:
            Unreachable, Forbidden, …: the cluster; nothing is lost by another try.
        """
        wanted = self.room(view, growth, failures, ready=ready)
        if view.claim is None or wanted is None or not wanted.grow_to_gib:
            return
        growth.fixed = not await self._expandable(view.claim)
        if growth.fixed:
            return
        try:
            await making.volume(replace(intended, disk_gib=wanted.grow_to_gib))
        except Forbidden as error:
            growth.fixed = True
            _LOG.warning("volume cannot be expanded", workspace=intended.workspace, error=error.message)
            return
        growth.grown_for = failures.at

    async def _expandable(self, claim: Claim) -> bool:
        try:
            kind = await self._cluster.get(kinds.STORAGE_CLASS, claim.storage_class)
        except Forbidden:
            # Of another class than the cell's own only the API server knows: it refuses the claim then.
            return True
        return kind is not None and bool(kind.get("allowVolumeExpansion"))
