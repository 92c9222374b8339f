"""What the cluster holds of all workspaces, kept current by one watch a kind.

Run by the runtime, which asks it instead of the API server: in the steady state nothing is requested.
The invariants: of two tellings of one object the newer stands, whichever comes last; what we have just
written is there at once; a watch that breaks is begun anew with a list, so nothing is missed for long.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from byoc import log
from byoc.cell.incluster import WORKSPACE_LABEL
from byoc.clock import Clock
from byoc.dataplane.kubernetes import kinds, manifests, names
from byoc.dataplane.kubernetes.client import Change, Cluster, Labels
from byoc.dataplane.kubernetes.drift import differs, sealed
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.inventory import Inventory
from byoc.dataplane.kubernetes.kinds import Json, Kind
from byoc.dataplane.kubernetes.views import Claim, Order, Pod, Set, Space, Volume, version
from byoc.errors import ByocError, NotFound
from byoc.ids import WorkspaceID

FOLLOWED: Final = (
    kinds.NAMESPACE,
    kinds.CLAIM,
    kinds.STATEFUL_SET,
    kinds.POD,
    kinds.SERVICE,
    kinds.BUDGET,
    kinds.NETWORK_POLICY,
    kinds.VOLUME,
    kinds.CONFIG_MAP,
    kinds.SECRET,
    kinds.QUOTA,
    kinds.LIMIT_RANGE,
    kinds.ROLE_BINDING,
)
"""Namespaces first: they say what the others were made from."""
_OURS: Final = frozenset(
    {
        kinds.NAMESPACE,
        kinds.CONFIG_MAP,
        kinds.SECRET,
        kinds.QUOTA,
        kinds.LIMIT_RANGE,
        kinds.ROLE_BINDING,
        kinds.ACCOUNT,
        kinds.DEPLOYMENT,
    }
)
"""Of these, nothing matters that an operator makes: all that is followed bears the workspace's label."""
_CHECKED: Final = _OURS | {
    kinds.STATEFUL_SET,
    kinds.SERVICE,
    kinds.BUDGET,
    kinds.NETWORK_POLICY,
    kinds.MEMSQL_CLUSTER,
}
_NAMED: Final = {
    kinds.CONFIG_MAP: names.FILES,
    kinds.SECRET: names.FILES,
    kinds.DEPLOYMENT: names.OPERATOR,
}
"""Of these, the agent may not see any others: they may hold somebody's secrets."""
_LONGEST_PAUSE: Final = 10.0
_REMEMBERED: Final = 64
_AT_ONCE: Final = 20
_LOG: Final = log.get(__name__)

Key = tuple[str, str]
"""Kind and name of an object of one workspace."""
T = TypeVar("T")


class Wanted(Protocol):
    """What a cache has to know of the engines: see ``engines``.

    Attributes:
        followed: kinds beyond those that every workspace has; their definition may be missing.
        labelled: whether all objects of a workspace bear its label.
    """

    followed: tuple[Kind, ...]
    labelled: bool

    def watched(self, intended: Intended) -> list[Json]:
        """Return the objects in which a change by somebody else is seen at once."""
        ...


@dataclass(slots=True)
class View:
    """What the cluster holds of one workspace.

    Attributes:
        order: what an operator was told to run; None where there is no operator, or nothing was said.
        volumes: PersistentVolumes made for its claims, bound or left over.
        parts: the objects around the engine: their versions, and whether they are as they were made.
    """

    workspace: WorkspaceID
    space: Space | None = None
    order: Order | None = None
    claims: dict[str, Claim] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    parts: dict[Key, tuple[int, bool]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return not (
            self.space or self.order or self.claims or self.sets or self.pods or self.volumes or self.parts
        )

    @property
    def intended(self) -> Intended | None:
        """What its objects were made from; None where nobody knows."""
        return self.space.intended if self.space is not None else None

    @property
    def databases(self) -> Inventory | None:
        """How its databases stand; None where none ever left its volumes."""
        return self.space.databases if self.space is not None else None

    def stands(self, kind: str, name: str) -> bool:
        """Whether an object is there as it was made."""
        return self.parts.get((kind, name), (0, False))[1]

    @property
    def claim(self) -> Claim | None:
        """The claim of the node that answers."""
        return _first(self.claims, names.MAIN_CLAIMS)

    @property
    def set(self) -> Set | None:
        """The StatefulSet of the node that answers."""
        return _first(self.sets, names.MAIN_SETS)

    @property
    def pod(self) -> Pod | None:
        """The pod that answers."""
        return _first(self.pods, names.MAIN_PODS)

    @property
    def runs(self) -> bool:
        """Whether any pod of the engine is there; an operator that is to start one is none."""
        intended = self.intended
        starting = intended is not None and intended.running
        return any(name.startswith(names.NODES if starting else names.OURS) for name in self.pods)

    @property
    def wanted(self) -> bool:
        """Whether there should be a pod: by the controller's word, or by what an operator was told."""
        if self.set is not None and self.set.replicas > 0:
            return True
        intended = self.intended
        return self.order is not None and intended is not None and intended.running


def _first(held: Mapping[str, T], wanted: tuple[str, ...]) -> T | None:
    return next((held[name] for name in wanted if name in held), None)


class Cache:
    """The views of all workspaces.

    Args:
        changed: called with a workspace whenever something of it changed.
    """

    def __init__(
        self,
        cluster: Cluster,
        engines: Wanted,
        clock: Clock,
        changed: Callable[[WorkspaceID], None],
    ) -> None:
        self._cluster = cluster
        self._engines = engines
        self._clock = clock
        self._changed = changed
        self.views: dict[WorkspaceID, View] = {}
        self._events: dict[WorkspaceID, asyncio.Event] = {}
        self._wanted: dict[Intended, dict[Key, Json]] = {}
        self._listed = {kind: asyncio.Event() for kind in (*FOLLOWED, *engines.followed)}
        self.undefined: set[Kind] = set()

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind in self._listed:
                tasks.create_task(self._follow(kind), name=f"watch of {kind.plural}")

    async def ready(self) -> None:
        """Wait until every kind was listed once."""
        for listed in self._listed.values():
            await listed.wait()

    def view(self, workspace: WorkspaceID) -> View:
        """Return what there is of ``workspace``."""
        return self.views.get(workspace) or View(workspace)

    async def news(self, workspace: WorkspaceID, seconds: float) -> None:
        """Return once something of ``workspace`` changed, or after ``seconds``."""
        event = self._events.setdefault(workspace, asyncio.Event())
        event.clear()
        waiting = asyncio.ensure_future(event.wait())
        timing = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({waiting, timing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            timing.cancel()

    # --- what is told --------------------------------------------------------------------

    def note(self, kind: Kind, found: Json) -> None:
        """Take in one object as it is; one that nobody understands ends no watch of all the others."""
        try:
            self._note(kind, found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            metadata = found.get("metadata") or {}
            where = f"{kind.name} {metadata.get('namespace', '')}/{metadata.get('name', '')}"
            _LOG.error("an object of the cluster is not understood", object=where, error=repr(error)[:200])

    def _note(self, kind: Kind, found: Json) -> None:
        workspace, number, name = _owner(kind, found), version(found), found["metadata"]["name"]
        if workspace is None:
            return
        view = self.views.get(workspace) or View(workspace)
        if dict(_held(view, kind)).get(name, 0) > number:
            return
        self.views[workspace] = view
        match kind.name, name:
            case "Namespace", _:
                view.space = Space.read(found)
            case "MemsqlCluster", names.CLUSTER:
                view.order = Order.read(found)
            case "PersistentVolumeClaim", _:
                view.claims[name] = Claim.read(found)
            case "Pod", _:
                view.pods[name] = Pod.read(found)
            case "PersistentVolume", _:
                view.volumes[name] = Volume.read(found)
            case "StatefulSet", _:
                view.sets[name] = Set.read(found)
        if kind in _CHECKED:
            view.parts[kind.name, name] = (number, self._is_whole(view, kind, found))
        self._tell(workspace)

    def note_gone(self, kind: Kind, workspace: WorkspaceID, name: str, number: int) -> None:
        """Take in that an object was no more at version ``number``; a newer one of its name stays."""
        view = self.views.get(workspace)
        if view is None or dict(_held(view, kind)).get(name, number + 1) > number:
            return
        match kind.name:
            case "Namespace":
                view.space = None
            case "MemsqlCluster":
                view.order = None
            case "PersistentVolumeClaim":
                view.claims.pop(name, None)
            case "Pod":
                view.pods.pop(name, None)
            case "PersistentVolume":
                view.volumes.pop(name, None)
            case "StatefulSet":
                view.sets.pop(name, None)
        view.parts.pop((kind.name, name), None)
        if view.empty:
            self.views.pop(workspace, None)
        self._tell(workspace)

    def _tell(self, workspace: WorkspaceID) -> None:
        event = self._events.pop(workspace, None)
        if event is not None:
            event.set()
        self._changed(workspace)

    # --- what is wanted ------------------------------------------------------------------

    def amiss(self, view: View) -> bool:
        """Whether an object is gone or is not as it was made."""
        return view.claim is not None if view.intended is None else bool(self.missed(view))

    def missed(self, view: View) -> list[Key]:
        """Return the objects that are gone or not as they were made."""
        if view.intended is None:
            return [("Namespace", names.namespace(view.workspace))]
        return [key for key in self._manifests(view.intended) if not view.stands(*key)]

    def _is_whole(self, view: View, kind: Kind, found: Json) -> bool:
        if view.intended is None:
            return True
        wanted = self._manifests(view.intended).get((kind.name, found["metadata"]["name"]))
        if wanted is None:
            return True
        return not differs(wanted, found) and (kind is not kinds.SECRET or sealed(found))

    def _manifests(self, intended: Intended) -> dict[Key, Json]:
        known = self._wanted.get(intended)
        if known is None:
            if len(self._wanted) >= _REMEMBERED:
                self._wanted.pop(next(iter(self._wanted)))
            known = self._wanted[intended] = {
                (each["kind"], each["metadata"]["name"]): _unnamed(each)
                for each in (
                    manifests.space(intended),
                    manifests.binding(intended),
                    *self._engines.watched(intended),
                )
            }
        return known

    # --- following -----------------------------------------------------------------------

    async def _follow(self, kind: Kind) -> None:
        if kind is not kinds.NAMESPACE:
            await self._listed[kinds.NAMESPACE].wait()
        labelled = kind in _OURS or (self._engines.labelled and kind is not kinds.VOLUME)
        labels: Labels | None = {WORKSPACE_LABEL: None} if labelled else None
        fields = {"metadata.name": _NAMED[kind]} if kind in _NAMED else None
        errors = 0
        while True:
            try:
                objects, number = await self._cluster.list(kind, labels=labels, fields=fields)
                await self._replace(kind, objects, int(number))
                self.undefined.discard(kind)
                self._listed[kind].set()
                while True:
                    async for change in self._cluster.watch(kind, number, labels=labels, fields=fields):
                        errors = 0
                        number = change.object["metadata"]["resourceVersion"]
                        self._take(kind, change)
            except ByocError as error:
                errors += 1
                if isinstance(error, NotFound) and kind in self._engines.followed:
                    # The cluster knows no such kind: then it has none of them.
                    self.undefined.add(kind)
                    self._listed[kind].set()
                _LOG.info("watch begins anew", kind=kind.name, error=error.message)
            await self._clock.sleep(min(_LONGEST_PAUSE, 0.2 * 2.0 ** min(errors - 1, 10)))

    def _take(self, kind: Kind, change: Change) -> None:
        if change.what != "DELETED":
            self.note(kind, change.object)
            return
        workspace = _owner(kind, change.object)
        if workspace is not None:
            name, number = change.object["metadata"]["name"], version(change.object)
            self.note_gone(kind, workspace, name, number)

    async def _replace(self, kind: Kind, objects: list[Json], number: int) -> None:
        """Take in a whole list: what is not in it is no more, unless it was made after the list."""
        listed = {(_owner(kind, each), each["metadata"]["name"]) for each in objects}
        for workspace, view in list(self.views.items()):
            for name, _ in _held(view, kind):
                if (workspace, name) not in listed:
                    self.note_gone(kind, workspace, name, number)
        for count, each in enumerate(objects):
            self.note(kind, each)
            if count % _AT_ONCE == 0:
                # A thousand of them would hold all else up for seconds, the Lease's renewal among it.
                await asyncio.sleep(0)


def _unnamed(manifest: Json) -> Json:
    """Leave out what an object does not say where it stands in a list: its kind."""
    return {name: value for name, value in manifest.items() if name not in {"apiVersion", "kind"}}


def _owner(kind: Kind, found: Json) -> WorkspaceID | None:
    metadata = found["metadata"]
    if kind is kinds.NAMESPACE:
        return names.workspace_of(metadata["name"])
    if kind is kinds.VOLUME:
        claimed = found["spec"].get("claimRef") or {}
        return names.workspace_of(claimed.get("namespace", ""))
    return names.workspace_of(metadata.get("namespace", ""))


def _held(view: View, kind: Kind) -> list[tuple[str, int]]:
    """Return name and version of each object of ``kind`` that the view knows."""
    match kind.name:
        case "Namespace":
            return [(names.namespace(view.workspace), view.space.version)] if view.space else []
        case "PersistentVolumeClaim":
            return [(name, held.version) for name, held in view.claims.items()]
        case "Pod":
            return [(name, held.version) for name, held in view.pods.items()]
        case "PersistentVolume":
            return [(name, held.version) for name, held in view.volumes.items()]
        case _:
            return [(name, held) for (what, name), (held, _) in view.parts.items() if what == kind.name]
