"""How the objects of a workspace are brought into the cluster, in the order in which they need each other.

Called by the runtime. The invariants: what the objects are made from is written first, so that an agent
that dies in between is followed by one that sees what is missing; whatever is applied is applied whole,
and again it changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from byoc import log
from byoc.cell.incluster import AGENT
from byoc.clock import Clock
from byoc.dataplane.kubernetes import kinds, manifests, names
from byoc.dataplane.kubernetes.authority import Authority
from byoc.dataplane.kubernetes.cache import Cache, View
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.drift import differs
from byoc.dataplane.kubernetes.engines import EngineKind
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.inventory import Inventory
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.runtime import Doors, Limits
from byoc.errors import Forbidden
from byoc.ids import WorkspaceID
from byoc.model.spec import WorkspaceSpec

_RIGHTS_SECONDS: Final = 10.0
"""How long a right that was just given may take to be known to every part of the API server."""
_RIGHTS_PAUSE: Final = 0.05
_POLL_SECONDS: Final = 0.05
_NAMING: Final = frozenset({"apiVersion", "kind"})
_REPLACED: Final = frozenset(
    {kinds.STATEFUL_SET, kinds.DEPLOYMENT, kinds.SERVICE, kinds.NETWORK_POLICY, kinds.LIMIT_RANGE}
)
_LOG: Final = log.get(__name__)
T = TypeVar("T")


class Off(Protocol):
    """Does blocking work in a thread."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Do it."""
        ...


class Making:
    """Applies the objects of workspaces; the ``Site`` through which a kind of engine acts."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        authority: Authority,
        engines: EngineKind,
        clock: Clock,
        off: Off,
    ) -> None:
        self.cluster = cluster
        self.cache = cache
        self._authority = authority
        self._engines = engines
        self._clock = clock
        self._off = off

    def password(self, workspace: WorkspaceID) -> str:
        """Return the password of our account in a workspace's engine."""
        return self._authority.password(workspace)

    def intended(self, spec: WorkspaceSpec, doors: Doors, *, upgraded: bool = False) -> Intended:
        """Return what ``spec`` asks for; what a volume has, it keeps.

        A running engine keeps its image too: only a start, or an upgrade, takes the cell's.
        """
        limits = Limits.wanted(spec)
        disk = self._engines.disk_gib(limits)
        view = self.cache.view(spec.id)
        before = view.intended
        held = self._engines.disk_held(view, limits) or (before.disk_gib if before is not None else 0)
        image = self._engines.image
        wanted = Intended(spec.id, spec.group_id, limits, doors, max(disk, held), image=image)
        kept = view.claim is not None and view.claim.password_version > 0
        if before is None:
            # Somebody took the word of it away: what is there says it too.
            return replace(wanted, running=view.set is not None and view.set.replicas > 0, kept=kept)
        image = image if upgraded else before.image or image
        return replace(wanted, running=before.running, kept=before.kept or kept, image=image)

    async def volume(self, intended: Intended) -> None:
        """Make the namespace, what stands in it without an engine, and the claims of the volumes."""
        await self._space(intended)
        await self._surround(intended)
        await asyncio.gather(*(self.apply(each) for each in self._engines.claims(intended)))

    # --- taking volumes that are there: what ``adoption`` asks for ------------------------

    async def lodge(self, intended: Intended) -> None:
        """Make the namespace."""
        await self._space(intended)

    def claims(self, intended: Intended) -> list[Json]:
        """Return the claims that a workspace has."""
        return self._engines.claims(intended)

    async def reserve(self, volume: str, change: Json) -> None:
        """Change a volume."""
        self.cache.note(kinds.VOLUME, await self.cluster.merge(kinds.VOLUME, volume, change))

    async def claim(self, claim: Json) -> None:
        """Make a claim; not applied: what is not said of it later is not taken away then."""
        self.cache.note(kinds.CLAIM, await self._allowed(lambda: self.cluster.create(claim)))

    # --- making ---------------------------------------------------------------------------

    async def engine(self, intended: Intended) -> None:
        """Make everything as ``intended`` says, the volume apart: that must be there."""
        await self._space(intended)
        place = names.namespace(intended.workspace)
        held = await self._allowed(lambda: self.cluster.get(kinds.SECRET, names.FILES, place))
        secrets = self._authority.secrets(intended.workspace, held)
        await asyncio.gather(self._surround(intended), self.apply(self._engines.secret(intended, secrets)))
        await self._engines.raise_(self, intended)

    async def mend(self, intended: Intended) -> None:
        """Make everything as it should be, while it serves."""
        view = self.cache.view(intended.workspace)
        missed = [" ".join(key) for key in self.cache.missed(view)]
        if missed:
            _LOG.warning("putting back", workspace=intended.workspace, objects=missed)
        # A stop that was cut short and taken back left a word of it, and the engine as it was.
        await self.engine(replace(intended, running=intended.running or view.wanted))

    async def stopped(self, intended: Intended) -> None:
        """Take the pod away, and the endpoint's names with it; all else stays."""
        await self._space(intended)
        await self._engines.lower(self, intended)
        await asyncio.gather(*(self.apply(each) for each in self._engines.services(intended)))

    async def shut(self, intended: Intended) -> None:
        """Let nobody in but ourselves; all else goes on."""
        alone = replace(intended, doors=Doors())
        await self._space(alone)
        await self._surround(alone)

    async def record(self, workspace: WorkspaceID, inventory: Inventory) -> None:
        """Write down how the databases of a workspace stand; returns once it is stored."""
        said = {"metadata": {"annotations": {names.DATABASES: inventory.to_text()}}}
        changed = await self.cluster.merge(kinds.NAMESPACE, names.namespace(workspace), said)
        self.cache.note(kinds.NAMESPACE, changed)

    async def prove_kept(self, intended: Intended) -> None:
        """From now on the volume is never initialised again."""
        await self._space(intended)
        found = self._engines.surroundings(intended)
        await asyncio.gather(*(self.apply(each) for each in found if each["kind"] == "ConfigMap"))

    # --- one object ----------------------------------------------------------------------

    async def _space(self, intended: Intended) -> None:
        self.cache.note(kinds.NAMESPACE, await self.cluster.apply(manifests.space(intended)))
        view, binding = self.cache.view(intended.workspace), manifests.binding(intended)
        if view.stands("RoleBinding", AGENT):
            return
        if ("RoleBinding", AGENT) in view.parts:
            # What one gives is never changed: another one has to come in its place.
            await self.cluster.delete(kinds.ROLE_BINDING, AGENT, names.namespace(intended.workspace))
        await self.apply(binding)

    async def _surround(self, intended: Intended) -> None:
        around = self._engines.surroundings(intended)
        await asyncio.gather(*(self.apply(each) for each in around))

    async def apply(self, manifest: Json) -> None:
        """Apply one object; a right given a moment ago is waited for."""
        found = await self._allowed(lambda: self.cluster.apply(manifest))
        body = {name: value for name, value in manifest.items() if name not in _NAMING}
        if kinds.kind_of(manifest) in _REPLACED and differs(body, found):
            # A member that somebody else has added to a list is theirs, and applying leaves it there.
            body["metadata"] = found["metadata"]
            found = await self.cluster.replace({**manifest, **body})
        self.cache.note(kinds.kind_of(manifest), found)

    async def _allowed(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask for what a right given a moment ago allows: it takes a while to be known."""
        ends = self._clock.monotonic() + _RIGHTS_SECONDS
        while True:
            try:
                return await ask()
            except Forbidden:
                if self._clock.monotonic() >= ends:
                    raise
                await self._clock.sleep(_RIGHTS_PAUSE)

    async def off(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread."""
        return await self._off(work)

    async def until(self, workspace: WorkspaceID, seconds: float, true: Callable[[View], bool]) -> bool:
        """Wait until something is true of a workspace; returns whether it is."""
        ends = self._clock.monotonic() + seconds
        while not (done := true(self.cache.view(workspace))) and self._clock.monotonic() < ends:
            await self.cache.news(workspace, _POLL_SECONDS)
        return done
