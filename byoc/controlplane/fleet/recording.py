"""What every change writes, in one transaction: the spec, who asked for it, the event, the topics.

Called by the service, the dispatcher and the ingest, each inside a transaction of the store.
The invariant: a spec, its change record and its event are written together or not at all.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from byoc.controlplane.fleet import topics
from byoc.ids import GroupID
from byoc.model import verbs
from byoc.model.records import GroupRecord, WorkspaceRecord
from byoc.model.spec import GroupSpec, Spec, WorkspaceSpec
from byoc.model.verbs import Verb
from byoc.model.workspace import Seen, State, public_state
from byoc.store.transaction import Transaction
from byoc.store.values import ChangeRecord, HeldGroup, HeldWorkspace, NewEvent

PROVIDER: Final = "control plane"
"""Stands for the Control Plane itself where nobody asked."""


def state_of(record: WorkspaceRecord) -> State:
    """Return the public state; once terminated it stays so."""
    return State.TERMINATED if record.terminated_at is not None else public_state(record.spec, record.seen)


def new_workspace(tx: Transaction, record: WorkspaceRecord, by: str, now: datetime) -> None:
    """Write a workspace that a person has asked for."""
    tx.workspaces.add(record)
    _change(tx, None, record.spec, by, now)
    tell(tx, record, "accepted", "accepted", "recorded, on its way to the cell", now, by=by)
    tx.topics.add(topics.cell(record.cell_id))


def next_workspace(
    tx: Transaction, record: WorkspaceRecord, spec: WorkspaceSpec, by: str, now: datetime
) -> WorkspaceRecord:
    """Write the next generation that a person has asked for."""
    tx.workspaces.put_intent(spec)
    named = _change(tx, record.spec, spec, by, now)
    changed = replace(record, spec=spec)
    said = ", ".join(verb.partition(".")[2] for verb in sorted(named)) or "change"
    tell(tx, changed, "accepted", "accepted", f"{said} recorded, on its way to the cell", now, by=by)
    tx.topics.add(topics.cell(record.cell_id))
    return changed


def first_group(tx: Transaction, record: GroupRecord, by: str, now: datetime) -> None:
    """Write who asked for a new group."""
    _change(tx, None, record.spec, by, now)
    tx.topics.add(topics.cell(record.cell_id))


def next_group(tx: Transaction, record: GroupRecord, spec: GroupSpec, by: str, now: datetime) -> None:
    """Write a group's next generation."""
    tx.groups.put_intent(spec)
    _change(tx, record.spec, spec, by, now)
    tx.topics.add(topics.cell(record.cell_id))


def _change(tx: Transaction, before: Spec | None, spec: Spec, by: str, now: datetime) -> frozenset[Verb]:
    named = verbs.between(before, spec)
    # A generation without a verb would have no signed change, and the cell wants one of each.
    signed = tuple(sorted(named)) or (Verb.REVERT,)
    tx.story.add_change(ChangeRecord(spec.id, spec.generation, signed, by, now))
    return named


def revert(tx: Transaction, spec: Spec, now: datetime) -> None:
    """Write that a generation puts back what the cell accepted last."""
    tx.story.add_change(ChangeRecord(spec.id, spec.generation, (Verb.REVERT,), PROVIDER, now))


def tell(
    tx: Transaction,
    record: WorkspaceRecord,
    kind: str,
    reason: str,
    text: str,
    now: datetime,
    *,
    by: str = "",
) -> None:
    """Write an event of a workspace, with its public state as ``record`` has it."""
    tell_all(tx, [record], kind, reason, text, now, by=by)


def tell_all(
    tx: Transaction,
    records: Sequence[WorkspaceRecord],
    kind: str,
    reason: str,
    text: str,
    now: datetime,
    *,
    by: str = "",
) -> None:
    """Write the same event of several workspaces."""
    tx.story.add_events(
        NewEvent(
            workspace_id=record.spec.id,
            at=now,
            kind=kind,
            generation=record.spec.generation,
            reason=reason,
            text=text,
            state=state_of(record).value,
            by=by,
        )
        for record in records
    )
    tx.topics.update(topics.workspace(record.spec.id) for record in records)


def acknowledge_workspace(tx: Transaction, held: HeldWorkspace, spec: WorkspaceSpec, now: datetime) -> None:
    """Note that the cell has stored ``spec``; older news than what is known changes nothing."""
    record = held.record
    if spec.generation <= record.seen.acknowledged_generation or record.terminated_at is not None:
        return
    tx.workspaces.acknowledge(spec)
    seen = Seen(spec.generation, record.seen.report)
    tell(
        tx, replace(record, seen=seen), "delivered", "delivered",
        f"the cell has stored generation {spec.generation}", now,
    )  # fmt: skip


def acknowledge_group(tx: Transaction, held: HeldGroup, spec: GroupSpec) -> None:
    """Note that the cell has stored ``spec``."""
    record = held.record
    if spec.generation > record.acknowledged_generation and record.terminated_at is None:
        tx.groups.acknowledge(spec)


def end_workspace(
    tx: Transaction, record: WorkspaceRecord, kind: str, reason: str, text: str, now: datetime
) -> None:
    """Note that nothing is left of a workspace, or that there never was anything."""
    tx.workspaces.terminate(record.spec.id, now)
    tell(tx, replace(record, terminated_at=now), kind, reason, text, now)


def end_group(tx: Transaction, group: GroupID, kind: str, reason: str, text: str, now: datetime) -> None:
    """Note that nothing is left of a group, nor then of its workspaces."""
    tx.groups.terminate(group, now)
    for record in tx.workspaces.of_group(group, include_terminated=False):
        end_workspace(tx, record, kind, reason, text, now)
