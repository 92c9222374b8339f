"""How the objects of a workspace are brought into the cluster, in the order in which they need each other.

Called by the runtime. The invariants: what the objects are made from is written first, so that an agent
that dies in between is followed by one that sees what is missing; whatever is applied is applied whole,
and again it changes nothing.
"""

import asyncio
from dataclasses import replace
from typing import Final

from byoc.clock import Clock
from byoc.dataplane.kubernetes import kinds, manifests, names, sizing
from byoc.dataplane.kubernetes.authority import Authority
from byoc.dataplane.kubernetes.cache import Cache
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.runtime import Doors, Limits
from byoc.errors import Forbidden
from byoc.model.spec import WorkspaceSpec

_RIGHTS_SECONDS: Final = 10.0
"""How long a right that was just given may take to be known to every part of the API server."""
_RIGHTS_PAUSE: Final = 0.05


class Making:
    """Applies the objects of workspaces."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        authority: Authority,
        settings: ClusterSettings,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._authority = authority
        self._settings = settings
        self._clock = clock

    def intended(self, spec: WorkspaceSpec, doors: Doors) -> Intended:
        """Return what ``spec`` asks for; what a volume has, it keeps."""
        limits = Limits.wanted(spec)
        disk = sizing.disk_gib(limits, self._settings.size_divisor)
        view = self._cache.view(spec.id)
        before = view.space.intended if view.space is not None else None
        held = view.claim.disk_gib if view.claim is not None else 0
        wanted = Intended(spec.id, spec.group_id, limits, doors, max(disk, held))
        if before is None:
            return wanted
        kept = before.kept or (view.claim is not None and view.claim.password_version > 0)
        return replace(wanted, running=before.running, kept=kept)

    async def volume(self, intended: Intended) -> None:
        """Make the namespace, what stands in it without an engine, and the claim of the volume."""
        await self._space(intended)
        await self._surround(intended)
        await self._apply(manifests.claim(intended, self._settings))

    async def engine(self, intended: Intended) -> None:
        """Make everything as ``intended`` says, the volume apart: that must be there."""
        await self._space(intended)
        held = await self._cluster.get(kinds.SECRET, names.ENGINE, names.namespace(intended.workspace))
        secrets = self._authority.secrets(intended.workspace, held)
        await asyncio.gather(
            self._surround(intended),
            self._apply(manifests.secret(intended, secrets)),
            self._grow(intended),
        )
        await self._apply(manifests.engine(intended, self._settings))

    async def stopped(self, intended: Intended) -> None:
        """Take the pod away, and the endpoint's names with it; all else stays."""
        await self._space(intended)
        await self._apply(manifests.engine(intended, self._settings))
        await asyncio.gather(*(self._apply(each) for each in manifests.services(intended, self._settings)))

    async def prove_kept(self, intended: Intended) -> None:
        """From now on the volume is never initialised again."""
        await self._space(intended)
        await self._apply(manifests.config(intended, self._settings))

    # --- one object ----------------------------------------------------------------------

    async def _space(self, intended: Intended) -> None:
        made = self._cache.view(intended.workspace).space
        self._cache.note(kinds.NAMESPACE, await self._cluster.apply(manifests.space(intended)))
        if made is None:
            await self._apply(manifests.binding(intended))

    async def _surround(self, intended: Intended) -> None:
        around = manifests.surroundings(intended, self._settings)
        await asyncio.gather(*(self._apply(each) for each in around))

    async def _grow(self, intended: Intended) -> None:
        claim = self._cache.view(intended.workspace).claim
        if claim is not None and claim.disk_gib < intended.disk_gib:
            await self._apply(manifests.claim(intended, self._settings))

    async def _apply(self, manifest: Json) -> None:
        """Apply one object; a right given a moment ago is waited for."""
        ends = self._clock.monotonic() + _RIGHTS_SECONDS
        while True:
            try:
                found = await self._cluster.apply(manifest)
            except Forbidden:
                if self._clock.monotonic() >= ends:
                    raise
                await self._clock.sleep(_RIGHTS_PAUSE)
            else:
                self._cache.note(kinds.kind_of(manifest), found)
                return
