"""What one report changes, inside one transaction. Called by the ingest once the order is checked.

The cell is right about what it holds: where it is ahead of us, or holds other content under
our generation, its spec is adopted and our next generation comes after it; where it holds less
than it had acknowledged, it was restored from a copy, and what it lacks is due again. The
invariants: a report of one cell touches that cell's objects only; taking the same report in
twice changes nothing the second time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from byoc import log
from byoc.controlplane.fleet import recording, topics
from byoc.controlplane.fleet.recording import state_of
from byoc.ids import GroupID, WorkspaceID
from byoc.model.records import CellRecord, GroupRecord, WorkspaceRecord
from byoc.model.report import (
    EXPLANATIONS,
    CellReport,
    GroupReport,
    Interval,
    Phase,
    Reason,
    Stored,
    Transition,
    WorkspaceReport,
)
from byoc.model.size import MULTIPLIERS, SIZES
from byoc.model.spec import Desired, GroupSpec, WorkspaceSpec
from byoc.model.workspace import Seen, State
from byoc.store.transaction import Transaction
from byoc.store.values import HeldGroup, HeldWorkspace, NewEvent
from byoc.wire.cell import spec_digest
from byoc.wire.tokens import MAX_CHANGES

_LOG: Final = log.get(__name__)
MOST_CHANGES: Final = MAX_CHANGES // 2
"""Generations that a request can bring a cell forward by: each may need two verbs, or a few more."""
_HOUR: Final = timedelta(hours=1)
_MOST_STORED: Final = 2**60
"""Byte-seconds: 290 TiB for an hour, more than a volume can hold, and a number that the database can."""
_REMOVED: Final = (Phase.TERMINATED.value, Reason.REMOVED.value, EXPLANATIONS[Reason.REMOVED])
_SETTLED: Final = {
    Phase.RUNNING: State.ACTIVE,
    Phase.SUSPENDED: State.SUSPENDED,
    Phase.FAILED: State.FAILED,
    Phase.TERMINATED: State.TERMINATED,
}


@dataclass(slots=True)
class Outcome:
    """What came of a report beside what is written.

    Attributes:
        full_wanted: specs are missing in it.
        older: objects of which the cell holds less than it had acknowledged.
        returned: objects that were terminated, and which a cell restored from a copy has again.
    """

    full_wanted: bool = False
    adopted: int = 0
    older: int = 0
    returned: int = 0
    last_states: dict[str, State] = field(default_factory=dict)


class Placing:
    """One report being taken in.

    Args:
        new_life: the report opens a new incarnation of the cell.
    """

    def __init__(
        self, tx: Transaction, cell: CellRecord, report: CellReport, now: datetime, *, new_life: bool
    ) -> None:
        self._tx = tx
        self._cell = cell
        self._report = report
        self._now = now
        self._new_life = new_life
        self.outcome = Outcome()

    def place(self) -> Outcome:
        """Write everything that the report says."""
        for group in self._report.groups:
            self._place_group(group)
        before = {}
        for workspace in self._report.workspaces:
            before[workspace.id] = self._place_workspace(workspace)
        self._place_transitions()
        self._tell_silent_changes(before)
        for record in self._report.stored:
            self._place_stored(record)
        for interval in self._report.intervals:
            self._place_interval(interval)
        self._place_tombstones()
        if self._new_life:
            self._look_for_lost()
        elif self._report.full:
            self._look_for_found()
        if self.outcome.older or self.outcome.returned:
            text = (
                f"the cell holds less than it had acknowledged: {self.outcome.older} objects are older,"
                f" {self.outcome.returned} that were terminated are back; what is missing is due again"
            )
            self._tx.cells.tell(self._cell.id, self._now, "behind", text)
            self._tx.topics.add(topics.cell(self._cell.id))
        return self.outcome

    # --- groups --------------------------------------------------------------------------

    def _place_group(self, said: GroupReport) -> None:
        held = self._tx.groups.get(said.id)
        if held is None:
            self._adopt_new_group(said)
            return
        if self._is_back(held.record, said.spec):
            self._tx.groups.revive(said.id)
            self.outcome.returned += 1
            held = self._tx.groups.get(said.id) or held
        record = held.record
        if record.cell_id != self._cell.id or record.terminated_at is not None:
            self._ignored("group", said.id)
            return
        if self._is_ahead(said, record.spec):
            self._adopt_group(said)
        elif said.generation == record.spec.generation:
            recording.acknowledge_group(self._tx, held, record.spec)
        elif said.spec is not None:
            self._place_older_group(held, said.spec)
        self._tx.groups.drop_sealed(said.id, said.password_version)
        if said.condition is not record.condition:
            self._tx.groups.set_condition(said.id, said.condition)

    def _place_older_group(self, held: HeldGroup, spec: GroupSpec) -> None:
        # Also where it had acknowledged more: should that be on its way to us still, then what is
        # delivered a second time is known there.
        self.outcome.older += spec.generation < held.record.acknowledged_generation
        self._tx.groups.acknowledge(spec)

    def _adopt_group(self, said: GroupReport) -> None:
        if said.spec is None or said.spec.id != said.id:
            self.outcome.full_wanted = self.outcome.full_wanted or not self._report.full
            return
        self._tx.groups.put_intent(said.spec)
        self._tx.groups.acknowledge(said.spec)
        self.outcome.adopted += 1
        self._tx.cells.tell(
            self._cell.id, self._now, "adopted", f"group {said.id} as the cell has it: {said.generation}"
        )

    def _adopt_new_group(self, said: GroupReport) -> None:
        if said.spec is None or said.spec.id != said.id:
            self.outcome.full_wanted = self.outcome.full_wanted or not self._report.full
            return
        project = self._tx.identities.projects(self._cell.organization_id)[0]
        record = GroupRecord(
            said.spec, self._cell.organization_id, project.id, self._cell.id, self._now,
            acknowledged_generation=said.spec.generation, condition=said.condition,
        )  # fmt: skip
        self._tx.groups.add(record, said.spec)
        self.outcome.adopted += 1
        self._tx.cells.tell(self._cell.id, self._now, "adopted", f"group {said.id}, unknown until now")

    def _is_ahead(self, said: GroupReport | WorkspaceReport, spec: GroupSpec | WorkspaceSpec) -> bool:
        """Whether the cell's spec takes the place of ours; so also where no request could bring it ours."""
        if said.generation != spec.generation:
            return not 0 < spec.generation - said.generation <= MOST_CHANGES
        return said.digest != spec_digest(spec)

    # --- workspaces ----------------------------------------------------------------------

    def _place_workspace(self, said: WorkspaceReport) -> State | None:
        """Write what is said of one workspace; return its public state before."""
        held = self._tx.workspaces.get(said.id)
        if held is None:
            self._adopt_new_workspace(said)
            return None
        if said.phase is not Phase.TERMINATED and self._is_back(held.record, said.spec):
            held = self._revive(held)
        record = held.record
        if record.cell_id != self._cell.id or record.terminated_at is not None:
            if record.cell_id != self._cell.id or said.phase is not Phase.TERMINATED:
                self._ignored("workspace", said.id)
            return None
        before = state_of(record)
        if self._is_ahead(said, record.spec):
            self._adopt_workspace(record, said)
        elif said.generation == record.spec.generation:
            recording.acknowledge_workspace(self._tx, held, record.spec, self._now)
        elif said.spec is not None:
            self._place_older_workspace(held, said.spec)
        self._tx.workspaces.put_report(said.id, said)
        if said.last_resumed_at is not None and said.last_resumed_at != record.last_resumed_at:
            self._tx.workspaces.put_beside(said.id, last_resumed_at=said.last_resumed_at)
        if said.phase is Phase.TERMINATED:
            self._tx.workspaces.terminate(said.id, said.since)
        return before

    def _place_older_workspace(self, held: HeldWorkspace, spec: WorkspaceSpec) -> None:
        acknowledged = held.record.seen.acknowledged_generation
        if spec.generation > acknowledged:
            recording.acknowledge_workspace(self._tx, held, spec, self._now)
        elif spec.generation < acknowledged:
            self.outcome.older += 1
            self._tx.workspaces.acknowledge(spec)

    def _is_back(self, record: GroupRecord | WorkspaceRecord, spec: GroupSpec | WorkspaceSpec | None) -> bool:
        """Whether a cell that begins a new life has what it said was gone."""
        wanted = spec is not None and spec.desired is not Desired.TERMINATED
        ours = record.cell_id == self._cell.id and record.terminated_at is not None
        return self._new_life and wanted and ours

    def _revive(self, held: HeldWorkspace) -> HeldWorkspace:
        """Count a workspace as live again: what it was to be, terminated for one, is due again."""
        record = held.record
        self._tx.workspaces.revive(record.spec.id)
        self.outcome.returned += 1
        text = "the cell was restored from a copy that still has it"
        recording.tell(
            self._tx, replace(record, terminated_at=None), "returned", "cell-restored", text, self._now
        )
        return self._tx.workspaces.get(record.spec.id) or held

    def _adopt_workspace(self, record: WorkspaceRecord, said: WorkspaceReport) -> None:
        if said.spec is None or (said.spec.id, said.spec.group_id) != (said.id, record.spec.group_id):
            self.outcome.full_wanted = self.outcome.full_wanted or not self._report.full
            return
        self._tx.workspaces.put_intent(said.spec)
        self._tx.workspaces.acknowledge(said.spec)
        adopted = replace(record, spec=said.spec, seen=Seen(said.generation, said))
        text = f"the cell holds generation {said.generation} where {record.spec.generation} was known;"
        text += " it is taken as it is"
        recording.tell(self._tx, adopted, "adopted", "cell-ahead", text, self._now)
        self.outcome.adopted += 1

    def _adopt_new_workspace(self, said: WorkspaceReport) -> None:
        if said.phase is Phase.TERMINATED:
            return
        spec = said.spec
        if spec is None or spec.id != said.id:
            self.outcome.full_wanted = self.outcome.full_wanted or not self._report.full
            return
        group = self._tx.groups.get(spec.group_id)
        if group is None or group.record.cell_id != self._cell.id:
            self._ignored("workspace", said.id)
            return
        record = WorkspaceRecord(
            spec, self._cell.organization_id, self._cell.id, self._now, Seen(spec.generation, said)
        )
        self._tx.workspaces.add(record, spec)
        text = "found in the cell, unknown until now"
        recording.tell(self._tx, record, "adopted", "cell-ahead", text, self._now)
        self.outcome.adopted += 1

    # --- the story -----------------------------------------------------------------------

    def _place_transitions(self) -> None:
        last = {transition.workspace_id: index for index, transition in enumerate(self._report.transitions)}
        # Once each: a cell that was long away brings thousands of transitions.
        own = {workspace: self._own(workspace) for workspace in last}
        events: list[NewEvent] = []
        for index, transition in enumerate(self._report.transitions):
            held = own[transition.workspace_id]
            if held is None:
                continue
            final = last[transition.workspace_id] == index
            state = state_of(held.record) if final else _state_at(transition, held.record)
            self.outcome.last_states[transition.workspace_id] = state
            events.append(_event(transition, state))
            self._tx.topics.add(topics.workspace(transition.workspace_id))
        self._tx.story.add_events(events)

    def _tell_silent_changes(self, before: dict[WorkspaceID, State | None]) -> None:
        """Tell a state that came without a transition: followers of events wait for it."""
        for said in self._report.workspaces:
            held, old = self._own(said.id), before.get(said.id)
            if held is None or old is None:
                continue
            state = state_of(held.record)
            if state is old or self.outcome.last_states.get(said.id) is state:
                continue
            reason, text = said.reason.value, EXPLANATIONS[said.reason]
            recording.tell(self._tx, held.record, said.phase.value, reason, text, self._now)

    # --- usage, ends, losses -------------------------------------------------------------

    def _place_interval(self, interval: Interval) -> None:
        until = interval.last_seen if interval.end is None else interval.end
        sane = interval.size in SIZES and interval.scale_factor in MULTIPLIERS and until >= interval.start
        if not sane or self._own(interval.workspace_id) is None:
            self._ignored("interval", interval.id)
            return
        self._tx.usage.put(interval)

    def _place_stored(self, record: Stored) -> None:
        sane = (
            0 <= record.byte_seconds <= _MOST_STORED and record.start <= record.until <= record.start + _HOUR
        )
        if not sane or self._own(record.workspace_id) is None:
            self._ignored("stored", record.id)
            return
        self._tx.usage.put_stored(record)

    def _place_tombstones(self) -> None:
        named = {group.id for group in self._report.groups}
        for tombstone in self._report.tombstones:
            workspace = self._own(WorkspaceID(tombstone.id))
            if workspace is not None and self._is_gone(workspace.record):
                recording.end_workspace(self._tx, workspace.record, *_REMOVED, self._now)
            group = self._tx.groups.get(tombstone.id)
            if group is None or group.record.cell_id != self._cell.id or tombstone.id in named:
                continue
            if group.record.terminated_at is None:
                recording.end_group(self._tx, GroupID(tombstone.id), *_REMOVED, self._now)

    def _is_gone(self, record: WorkspaceRecord) -> bool:
        """Whether a tombstone tells news: not of what is still seen in the same report."""
        seen = any(said.id == record.spec.id for said in self._report.workspaces)
        return record.terminated_at is None and not seen

    def _look_for_lost(self) -> None:
        """Find what the cell had acknowledged and does not have: only a new life loses anything."""
        lost = False
        for held in self._missing():
            lost = True
            if isinstance(held, HeldWorkspace):
                self._tx.workspaces.put_report(held.record.spec.id, None)
        if lost:
            self._tx.cells.want(self._cell.id, resync=True)
            text = "the cell came back without what it had; it is given back by a resync"
            self._tx.cells.tell(self._cell.id, self._now, "state-lost", text)
            self._tx.topics.add(topics.cell(self._cell.id))

    def _look_for_found(self) -> None:
        """Want no resync where nothing is missing: it was on its way to us then, or was terminated since."""
        held = self._tx.cells.get(self._cell.id)
        if held is not None and held.resync_wanted and next(self._missing(), None) is None:
            self._tx.cells.want(self._cell.id, resync=False)

    def _missing(self) -> Iterator[HeldGroup | HeldWorkspace]:
        """Yield what the cell had acknowledged and a full report does not name."""
        known = {tombstone.id for tombstone in self._report.tombstones}
        known.update(said.id for said in self._report.workspaces)
        known.update(said.id for said in self._report.groups)
        for group in self._tx.groups.of_cell(self._cell.id):
            if group.record.acknowledged_generation and group.record.spec.id not in known:
                yield group
        for workspace in self._tx.workspaces.of_cell(self._cell.id):
            record = workspace.record
            if record.seen.acknowledged_generation and record.spec.id not in known:
                yield workspace

    def _own(self, workspace: WorkspaceID) -> HeldWorkspace | None:
        held = self._tx.workspaces.get(workspace)
        return held if held is not None and held.record.cell_id == self._cell.id else None

    def _ignored(self, what: str, own: str) -> None:
        _LOG.warning("part of a report ignored", cell=self._cell.id, what=what, id=own[:64])


def _state_at(transition: Transition, record: WorkspaceRecord) -> State:
    """Return the public state in the middle of a story, from what is known of that moment."""
    if record.seen.report is None or not transition.phase.settled:
        return State.PENDING
    if transition.generation < record.spec.generation:
        return State.PENDING
    return _SETTLED[transition.phase]


def _event(transition: Transition, state: State) -> NewEvent:
    origin = "|".join(
        (
            transition.workspace_id,
            transition.at.isoformat(),
            str(transition.generation),
            transition.phase.value,
            transition.reason.value,
        )
    )
    return NewEvent(
        transition.workspace_id,
        transition.at,
        transition.phase.value,
        transition.generation,
        transition.reason.value,
        _text(transition),
        state.value,
        transition.progress,
        origin=origin,
    )


def _text(transition: Transition) -> str:
    said, scaled = EXPLANATIONS[transition.reason], transition.scaled
    if scaled is None:
        return said
    figures = f"load {scaled.load:.0%} over {scaled.seconds:.0f} s"
    return f"{said}: scale factor {scaled.before} to {scaled.after}, {figures}"
