"""What is due for one object, and what the cell's answer to it means: the transactions of a delivery.

Called by the dispatcher. ``pack`` reads, the others write; each write first asks whether the
right to deliver is still held, so that a dispatcher that was overtaken changes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from byoc.controlplane.fleet import recording, topics
from byoc.controlplane.fleet.courier import Parcel
from byoc.ids import CellID, GroupID, WorkspaceID
from byoc.model.records import GroupRecord, WorkspaceRecord
from byoc.model.spec import Desired, GroupSpec, Spec, WorkspaceSpec
from byoc.model.verbs import Verb
from byoc.store.transaction import Transaction
from byoc.store.values import ChangeRecord, HeldGroup, HeldWorkspace
from byoc.wire.cell import APPROVAL_EXPIRED, Delivery, Refusal, Resync
from byoc.wire.tokens import Change

TOO_OLD: Final = "too-old"
_LONGEST_REASON: Final = 300


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to deliver to one cell, as it was given."""

    cell: CellID
    fence: int


@dataclass(frozen=True, slots=True)
class Due:
    """One spec with everything that its delivery needs; ``changes`` are those after the base."""

    spec: Spec
    acknowledged: int
    changes: tuple[ChangeRecord, ...]
    sealed: str | None = None

    @property
    def only_reverts(self) -> bool:
        """Whether this very generation puts back what was accepted: there is nothing more to put back."""
        return bool(self.changes) and self.changes[-1].verbs == (Verb.REVERT,)

    def parcel(self, base: int) -> Parcel:
        """Return the request that brings it to a cell which holds generation ``base``."""
        signed = [
            Change(change.generation, verb, change.sub, change.at)
            for change in self.changes
            for verb in change.verbs
        ]
        workspace = self.spec if isinstance(self.spec, WorkspaceSpec) else None
        group = self.spec if isinstance(self.spec, GroupSpec) else None
        kind = "workspaces" if group is None else "groups"
        return Parcel(
            "PUT",
            f"/cell/v1/{kind}/{self.spec.id}",
            signed[-1].sub if signed else recording.PROVIDER,
            Delivery(group, workspace, self.sealed),
            base=base,
            changes=signed,
        )


def pack(tx: Transaction, own: str, *, base: int | None = None) -> Due | None:
    """Return what is due for an object, changes from ``base`` on; None if nothing can be delivered."""
    held = tx.workspaces.get(own) or tx.groups.get(own)
    if held is None or held.record.terminated_at is not None:
        return None
    if isinstance(held, HeldWorkspace) and not _group_is_known(tx, held.record.spec.group_id):
        return None
    spec, acknowledged = held.record.spec, _acknowledged(held.record)
    if spec.generation <= acknowledged:
        return None
    above = acknowledged if base is None else base
    changes = _changes(tx, held.record, above)
    wants = isinstance(spec, GroupSpec) and spec.desired is not Desired.TERMINATED
    sealed = (
        tx.groups.sealed(spec.id, spec.password_version) if wants and isinstance(spec, GroupSpec) else None
    )
    return Due(spec, acknowledged, changes, sealed)


def _changes(tx: Transaction, record: GroupRecord | WorkspaceRecord, above: int) -> tuple[ChangeRecord, ...]:
    """Return a change of every generation after ``above``, as the cell wants one of each.

    One that is known no more stands there as having done nothing: whatever else the cell derives
    was signed by nobody, and is refused.
    """
    own, newest = record.spec.id, record.spec.generation
    known = {change.generation: change for change in tx.story.changes(own, above=above, up_to=newest)}
    return tuple(
        known.get(generation)
        or ChangeRecord(own, generation, (Verb.REVERT,), recording.PROVIDER, record.created_at)
        for generation in range(above + 1, newest + 1)
    )


def _group_is_known(tx: Transaction, group: GroupID) -> bool:
    held = tx.groups.get(group)
    return held is not None and held.record.acknowledged_generation > 0


def _acknowledged(record: GroupRecord | WorkspaceRecord) -> int:
    if isinstance(record, WorkspaceRecord):
        return record.seen.acknowledged_generation
    return record.acknowledged_generation


def acknowledge(tx: Transaction, claim: Claim, spec: Spec, now: datetime) -> bool:
    """Write that the cell has stored ``spec``; False if the claim was lost."""
    if not tx.cells.holds_claim(claim.cell, claim.fence):
        return False
    if isinstance(spec, WorkspaceSpec):
        workspace = tx.workspaces.get(spec.id)
        if workspace is not None:
            recording.acknowledge_workspace(tx, workspace, spec, now)
    else:
        group = tx.groups.get(spec.id)
        if group is not None:
            recording.acknowledge_group(tx, group, spec)
    return True


def refuse(tx: Transaction, claim: Claim, due: Due, refusal: Refusal, now: datetime) -> bool:
    """Write that the cell has refused ``due``, and put back what it accepted last; False as above.

    A newer generation than the refused one is left alone: it has yet to be delivered.
    """
    if not tx.cells.holds_claim(claim.cell, claim.fence):
        return False
    held = tx.workspaces.get(due.spec.id) or tx.groups.get(due.spec.id)
    if held is None or held.record.terminated_at is not None:
        return True
    if held.record.spec.generation != due.spec.generation:
        return True
    tx.topics.add(topics.cell(claim.cell))
    kind = "expired" if refusal.rule in {TOO_OLD, APPROVAL_EXPIRED} else "refused"
    told = _Told(kind, refusal.rule, _spell(refusal))
    if isinstance(held, HeldWorkspace):
        _refuse_workspace(tx, held, told, now)
    else:
        _refuse_group(tx, held, told, now)
    return True


@dataclass(frozen=True, slots=True)
class _Told:
    kind: str
    rule: str
    text: str


def _spell(refusal: Refusal) -> str:
    return f"the cell refused it: rule `{refusal.rule[:64]}`: {_printable(refusal.reason)}"


def _printable(reason: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in reason[:_LONGEST_REASON])


def _refuse_workspace(tx: Transaction, held: HeldWorkspace, told: _Told, now: datetime) -> None:
    record = held.record
    if held.accepted is None:
        recording.end_workspace(tx, record, told.kind, told.rule, told.text, now)
        return
    spec = replace(held.accepted, generation=record.spec.generation + 1)
    tx.workspaces.put_intent(spec)
    recording.revert(tx, spec, now)
    recording.tell(tx, replace(record, spec=spec), told.kind, told.rule, told.text, now)


def _refuse_group(tx: Transaction, held: HeldGroup, told: _Told, now: datetime) -> None:
    record = held.record
    if held.accepted is None:
        recording.end_group(tx, record.spec.id, told.kind, told.rule, told.text, now)
        return
    spec = replace(held.accepted, generation=record.spec.generation + 1)
    tx.groups.put_intent(spec)
    if spec.password_version != record.spec.password_version:
        tx.groups.drop_sealed(spec.id)
    recording.revert(tx, spec, now)
    # A group has no story of its own: those of its workspaces tell it.
    for workspace in tx.workspaces.of_group(record.spec.id, include_terminated=False):
        recording.tell(tx, workspace, told.kind, told.rule, f"workspace group: {told.text}", now)


def wait(tx: Transaction, claim: Claim, due: Due, refusal: Refusal, now: datetime) -> bool:
    """Write, once for each generation, that ``due`` waits for approval in the cell; False as above."""
    if not tx.cells.holds_claim(claim.cell, claim.fence):
        return False
    held = tx.workspaces.get(due.spec.id) or tx.groups.get(due.spec.id)
    if held is None or held.record.terminated_at is not None:
        return True
    if held.record.spec.generation != due.spec.generation:
        return True
    text = _printable(refusal.reason)
    if isinstance(held, HeldWorkspace):
        _tell_wait(tx, held.record, refusal.rule, text, now)
        return True
    # A group has no story of its own: those of its workspaces tell it, and the cell's.
    tx.cells.tell(claim.cell, now, refusal.rule, f"group `{due.spec.name}`: {text}")
    for workspace in tx.workspaces.of_group(held.record.spec.id, include_terminated=False):
        _tell_wait(tx, workspace, refusal.rule, f"workspace group: {text}", now)
    return True


def _tell_wait(tx: Transaction, record: WorkspaceRecord, rule: str, text: str, now: datetime) -> None:
    last = tx.story.events(record.spec.id, above=0, newest=1)
    if last and (last[0].kind, last[0].text, last[0].generation) == ("waiting", text, record.spec.generation):
        return
    recording.tell(tx, record, "waiting", rule, text, now)


def bury(tx: Transaction, claim: Claim, own: str, now: datetime) -> bool:
    """Write that the cell had terminated an object before; what is terminated stays so. False as above."""
    if not tx.cells.holds_claim(claim.cell, claim.fence):
        return False
    text = "the cell had terminated it before"
    workspace = tx.workspaces.get(own)
    if workspace is not None and workspace.record.terminated_at is None:
        recording.end_workspace(tx, workspace.record, "adopted", "terminated", text, now)
    group = tx.groups.get(own)
    if group is not None and group.record.terminated_at is None:
        recording.end_group(tx, GroupID(own), "adopted", "terminated", text, now)
    return True


def tell_waiting(tx: Transaction, cell: CellID, text: str, reason: str, now: datetime) -> None:
    """Write, once for each generation that waits, what it waits for."""
    untold = [held.record for held in tx.workspaces.untold(cell)]
    tx.workspaces.tell(cell)
    recording.tell_all(tx, untold, "waiting", reason, text, now)


def pack_resync(tx: Transaction, cell: CellID) -> Resync:
    """Return everything that the cell had acknowledged."""
    groups = [held.accepted for held in tx.groups.of_cell(cell) if held.accepted is not None]
    workspaces = [held.accepted for held in tx.workspaces.of_cell(cell) if held.accepted is not None]
    return Resync(tuple(groups), tuple(workspaces))


def resynced(tx: Transaction, claim: Claim, sent: Resync, now: datetime) -> bool:
    """Write that the cell has taken back what it had lost; False as above.

    Ends are not part of a resync: they are due again, from the start.
    """
    if not tx.cells.holds_claim(claim.cell, claim.fence):
        return False
    tx.topics.add(topics.cell(claim.cell))
    tx.cells.want(claim.cell, resync=False)
    tx.cells.tell(claim.cell, now, "resynced", f"{len(sent.workspaces)} workspaces were given back")
    for workspace in sent.workspaces:
        if workspace.desired is Desired.TERMINATED:
            tx.workspaces.forget_acknowledgement(WorkspaceID(workspace.id))
    for group in sent.groups:
        if group.desired is Desired.TERMINATED:
            tx.groups.forget_acknowledgement(GroupID(group.id))
    return True
