"""What should be, kept in the cell: specs, the cell's own decisions, tombstones.

The Cell API writes specs, the reconciler reads them and adds what it decided and reached.
The invariant: whatever a method has returned from is stored, so an
acknowledged change survives kill -9, and nothing that cannot be understood is dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from byoc.dataplane import storage
from byoc.dataplane.storage import Shelf, Storage
from byoc.ids import GroupID, WorkspaceID
from byoc.model.report import Phase, Reason, Tombstone
from byoc.model.spec import Desired, GroupSpec, Spec, WorkspaceSpec


@dataclass(frozen=True, slots=True)
class Decision:
    """An auto-suspend decided by the cell.

    Attributes:
        generation: the desired_generation that it overrides; a newer one ends it.
    """

    reason: Reason
    at: datetime
    generation: int


@dataclass(frozen=True, slots=True)
class Scaling:
    """A scale factor decided by the cell; ends with any newer word about size, scale or running."""

    factor: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """What a workspace last came to rest as, so that a new agent does not announce it again."""

    phase: Phase
    reason: Reason
    since: datetime


@dataclass(frozen=True, slots=True)
class HeldWorkspace:
    """One workspace as the cell keeps it.

    Attributes:
        observed_generation: the newest generation that was fully in effect.
        must_exist: its volume existed once, or was promised by a resync; never make an empty one.
        adopted: it came by a resync.
        running_since: when it first answered SQL after its last create or resume; None before.
        resumed_generation: the desired_generation that ``running_since`` belongs to.
        settled: what it last came to rest as; None before the first time.
    """

    spec: WorkspaceSpec
    decision: Decision | None = None
    observed_generation: int = 0
    must_exist: bool = False
    adopted: bool = False
    running_since: datetime | None = None
    resumed_generation: int = 0
    settled: Settled | None = None
    scaling: Scaling | None = None

    @property
    def in_effect(self) -> WorkspaceSpec:
        """The spec with the scale factor that the cell has decided on."""
        return self.spec if self.scaling is None else replace(self.spec, scale_factor=self.scaling.factor)

    @property
    def auto_suspended(self) -> Decision | None:
        """The decision in force; None where a newer word of the customer has ended it."""
        decision = self.decision
        if decision is None or self.spec.desired is not Desired.RUNNING:
            return None
        return decision if decision.generation >= self.spec.desired_generation else None


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """One group as the cell keeps it; its password lies elsewhere."""

    spec: GroupSpec
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Grave:
    """The last spec of something terminated; exactly one of the two is set."""

    workspace: WorkspaceSpec | None = None
    group: GroupSpec | None = None

    @property
    def spec(self) -> Spec | None:
        """Whichever there is."""
        return self.workspace or self.group


class DesiredState:
    """The records, with a copy in memory. One process at a time.

    Raises:
        StateBroken: a record is unknown or cannot be read; the message names it.
        Unwritable: they cannot be read now.
    """

    def __init__(self, kept: Storage) -> None:
        self._kept = kept
        self._groups: dict[GroupID, HeldGroup] = {}
        self._workspaces: dict[WorkspaceID, HeldWorkspace] = {}
        self._graves: dict[str, Grave] = {}
        for name, held in storage.load(kept, Shelf.GROUPS, HeldGroup):
            self._groups[GroupID(name)] = held
            self._check(Shelf.GROUPS, name, held.spec)
        for name, workspace in storage.load(kept, Shelf.WORKSPACES, HeldWorkspace):
            self._workspaces[WorkspaceID(name)] = workspace
            self._check(Shelf.WORKSPACES, name, workspace.spec)
        for name, grave in storage.load(kept, Shelf.TOMBSTONES, Grave):
            self._graves[name] = grave
            self._check(Shelf.TOMBSTONES, name, grave.spec)

    def _check(self, shelf: Shelf, name: str, spec: Spec | None) -> None:
        if spec is None or spec.id != name:
            raise storage.broken(self._kept.where(shelf, name), "does not hold what its name says")

    @property
    def groups(self) -> Mapping[GroupID, HeldGroup]:
        """Every group that is not gone."""
        return MappingProxyType(self._groups)

    @property
    def workspaces(self) -> Mapping[WorkspaceID, HeldWorkspace]:
        """Every workspace that is not gone."""
        return MappingProxyType(self._workspaces)

    @property
    def empty(self) -> bool:
        """Whether the cell has nothing to protect: no object and no tombstone."""
        return not (self._groups or self._workspaces or self._graves)

    def tombstones(self) -> tuple[Tombstone, ...]:
        """Everything of which nothing is left, with its last generation; not what is still being removed."""
        return tuple(
            Tombstone(name, grave.spec.generation)
            for name, grave in sorted(self._graves.items())
            if grave.spec and WorkspaceID(name) not in self._workspaces and GroupID(name) not in self._groups
        )

    def buried(self, name: str) -> bool:
        """Whether ``name`` has a tombstone."""
        return name in self._graves

    def spec(self, name: str) -> Spec | None:
        """The newest spec held of ``name``, terminated things included; None for an unknown one."""
        held = self._workspaces.get(WorkspaceID(name)) or self._groups.get(GroupID(name))
        if held is not None:
            return held.spec
        grave = self._graves.get(name)
        return grave.spec if grave is not None else None

    def effective(self, held: HeldWorkspace) -> WorkspaceSpec:
        """The stored spec with what overrides it: the end of its group, the cell's own decision."""
        spec = held.spec
        if self.group_terminated(spec.group_id):
            return replace(spec, desired=Desired.TERMINATED)
        return replace(spec, desired=Desired.SUSPENDED) if held.auto_suspended else spec

    def effective_before(self, new: Spec) -> Spec | None:
        """What verbs are derived from when ``new`` arrives.

        A decision of the cell stays in force under a spec that does not speak of running or not,
        so both sides are then compared without it: a resize does not turn into a resume.
        """
        held = self._workspaces.get(WorkspaceID(new.id))
        if held is None or not isinstance(new, WorkspaceSpec):
            return self.spec(new.id)
        decision = held.auto_suspended
        if decision is None or new.desired_generation <= decision.generation:
            return held.spec
        return replace(held.spec, desired=Desired.SUSPENDED)

    def group_terminated(self, group: GroupID) -> bool:
        """Whether the group is to go, or is gone."""
        spec = self.spec(group)
        return isinstance(spec, GroupSpec) and spec.desired is Desired.TERMINATED

    def members(self, group: GroupID) -> tuple[WorkspaceID, ...]:
        """The workspaces of a group that are not gone."""
        return tuple(name for name, held in self._workspaces.items() if held.spec.group_id == group)

    def put_group(self, spec: GroupSpec, *, adopted: bool = False) -> None:
        """Store a group's newest spec.

        Raises:
            Unwritable: nothing has changed.
        """
        if self._gone(spec.id, self._groups):
            storage.put(self._kept, Shelf.TOMBSTONES, spec.id, Grave(group=spec))
            self._graves[spec.id] = Grave(group=spec)
            return
        held = self._groups.get(spec.id)
        new = HeldGroup(spec, adopted=adopted) if held is None else replace(held, spec=spec)
        storage.put(self._kept, Shelf.GROUPS, spec.id, new)
        self._groups[spec.id] = new

    def put_workspace(self, spec: WorkspaceSpec, *, adopted: bool = False) -> None:
        """Store a workspace's newest spec; ends the cell's decision if the customer has spoken since.

        Raises:
            Unwritable: nothing has changed.
        """
        if self._gone(spec.id, self._workspaces):
            storage.put(self._kept, Shelf.TOMBSTONES, spec.id, Grave(workspace=spec))
            self._graves[spec.id] = Grave(workspace=spec)
            return
        held = self._workspaces.get(spec.id)
        if held is None:
            new = HeldWorkspace(spec, must_exist=adopted, adopted=adopted)
        else:
            new = replace(held, spec=spec)
            scaling = held.scaling if _silent_on_scale(held.spec, spec) else None
            new = replace(new, decision=new.auto_suspended, scaling=scaling)
        self._put(spec.id, new)

    def decide(self, name: WorkspaceID, decision: Decision) -> None:
        """Store an auto-suspend before it is acted on.

        Raises:
            Unwritable: nothing has changed.
        """
        self._put(name, replace(self._workspaces[name], decision=decision, scaling=None))

    def scale(self, name: WorkspaceID, scaling: Scaling) -> None:
        """Store a scale factor before it is acted on.

        Raises:
            Unwritable: nothing has changed.
        """
        held = self._workspaces[name]
        back = scaling.factor == held.spec.scale_factor
        self._put(name, replace(held, scaling=None if back else scaling))

    def settle(self, name: WorkspaceID, settled: Settled, *, generation: int, exists: bool) -> None:
        """Store that a workspace came to rest; writes only what is new.

        ``generation`` is the one in effect (0 if it failed), ``exists`` says whether its volume is there.

        Raises:
            Unwritable: nothing has changed.
        """
        held = self._workspaces[name]
        new = replace(
            held,
            observed_generation=max(held.observed_generation, generation),
            must_exist=held.must_exist or exists,
            settled=settled,
        )
        resumed = held.resumed_generation < held.spec.desired_generation and generation > 0
        if settled.phase is Phase.RUNNING and resumed:
            new = replace(new, running_since=settled.since, resumed_generation=held.spec.desired_generation)
        if new != held:
            self._put(name, new)

    def bury(self, name: str) -> None:
        """Write the tombstone of ``name``, before anything of it is removed.

        Raises:
            Unwritable: nothing has changed.
        """
        workspace = self._workspaces.get(WorkspaceID(name))
        group = self._groups.get(GroupID(name))
        grave = Grave(
            workspace=workspace.spec if workspace else None,
            group=group.spec if group and not workspace else None,
        )
        if grave.spec is None or self._graves.get(name) == grave:
            return
        storage.put(self._kept, Shelf.TOMBSTONES, name, grave)
        self._graves[name] = grave

    def forget(self, name: str) -> None:
        """Remove the state of something whose tombstone is written and whose data is gone.

        Raises:
            Unwritable: the state is still there.
        """
        self.bury(name)
        if WorkspaceID(name) in self._workspaces:
            storage.remove(self._kept, Shelf.WORKSPACES, name)
            del self._workspaces[WorkspaceID(name)]
        if GroupID(name) in self._groups:
            storage.remove(self._kept, Shelf.GROUPS, name)
            del self._groups[GroupID(name)]

    def _gone(
        self, name: str, held: Mapping[GroupID, HeldGroup] | Mapping[WorkspaceID, HeldWorkspace]
    ) -> bool:
        return name in self._graves and name not in held

    def _put(self, name: WorkspaceID, held: HeldWorkspace) -> None:
        storage.put(self._kept, Shelf.WORKSPACES, name, held)
        self._workspaces[name] = held


def _silent_on_scale(old: WorkspaceSpec, new: WorkspaceSpec) -> bool:
    """Whether nothing was said about how large a workspace is, may become, or whether it runs."""
    named = ("size", "scale_factor", "cache_config", "auto_scale", "desired", "desired_generation")
    return all(getattr(old, name) == getattr(new, name) for name in named)
