"""Changes of workspaces, each inside one transaction. Called by the service.

The invariant: what is lawful is read from the one table in ``byoc.model.workspace``, in the
same transaction that writes, so of two writers one wins and the other is told 409.
"""

from collections.abc import Callable
from typing import Any

from byoc.controlplane.fleet import intent, recording, visible
from byoc.controlplane.fleet.groups import Act
from byoc.errors import Conflict, IllegalState, LimitReached, NotFound
from byoc.ids import WorkspaceID
from byoc.model.records import CellRecord, CellState, NewWorkspace, WorkspaceChanges, WorkspaceRecord
from byoc.model.spec import Desired, WorkspaceSpec, same_content
from byoc.model.workspace import Change, Seen, check_change
from byoc.store.transaction import Transaction


def create(tx: Transaction, act: Act, new: NewWorkspace, own: WorkspaceID) -> None:
    """Write generation 1."""
    group = visible.group(tx, act.by, new.group_id).record
    intent.check_live(group)
    cell = _cell(tx, group.cell_id)
    intent.check_cell(cell)
    intent.check_size(cell, new.size, new.scale_factor)
    others = [record.spec for record in tx.workspaces.of_group(new.group_id, include_terminated=False)]
    if any(new.name == other.name for other in others):
        message = f"a workspace named `{new.name}` exists in group `{group.spec.name}`"
        raise Conflict(message, hint="choose another name")
    # One that is going keeps its name until it is gone, but no place.
    if sum(other.desired is not Desired.TERMINATED for other in others) >= intent.MOST_WORKSPACES:
        message = f"group `{group.spec.name}` has {intent.MOST_WORKSPACES} workspaces, the most it may have"
        raise LimitReached(message, hint="terminate one, or use another group")
    spec = WorkspaceSpec(
        own,
        new.group_id,
        1,
        new.name,
        new.size,
        new.scale_factor,
        new.cache_config,
        auto_suspend=new.auto_suspend,
        auto_scale=new.auto_scale,
        enable_kai=new.enable_kai,
    )
    record = WorkspaceRecord(
        spec, act.by.organization_id, group.cell_id, act.now, deployment_type=group.deployment_type
    )
    recording.new_workspace(tx, record, act.by.email, act.now)


def update(tx: Transaction, act: Act, own: WorkspaceID, changes: WorkspaceChanges) -> None:
    """Write everything that changes as one generation; nothing, if all is so already."""
    record = visible.workspace(tx, act.by, own).record
    check_change(Change.UPDATE, record.spec, _seen_as(record))
    spec = intent.updated_workspace(record.spec, changes)
    if not same_content(spec, record.spec):
        cell = _cell(tx, record.cell_id)
        intent.check_cell(cell)
        if (spec.size, spec.scale_factor) != (record.spec.size, record.spec.scale_factor):
            intent.check_size(cell, spec.size, spec.scale_factor)
        _next(tx, act, record, spec)
    beside: dict[str, Any] = {}
    if changes.deployment_type is not None:
        beside["deployment_type"] = changes.deployment_type
    if spec.auto_suspend != record.spec.auto_suspend:
        beside["auto_suspend_changed_at"] = act.now
    if spec.auto_scale != record.spec.auto_scale:
        beside["auto_scale_changed_at"] = act.now
    if beside:
        tx.workspaces.put_beside(own, **beside)


def suspend(tx: Transaction, act: Act, own: WorkspaceID) -> None:
    """Write that it should not run."""
    _change(tx, act, own, Change.SUSPEND, intent.suspended)


def resume(tx: Transaction, act: Act, own: WorkspaceID, *, disable_auto_suspend: bool) -> None:
    """Write that it should run; one that runs can still lose its auto-suspend this way."""
    record = visible.workspace(tx, act.by, own).record
    spec: WorkspaceSpec | None
    if check_change(Change.RESUME, record.spec, _seen_as(record)):
        spec = intent.resumed(record.spec, disable_auto_suspend=disable_auto_suspend)
    else:
        spec = intent.without_auto_suspend(record.spec) if disable_auto_suspend else None
    if spec is None:
        return
    intent.check_cell(_cell(tx, record.cell_id))
    _next(tx, act, record, spec)
    if spec.auto_suspend != record.spec.auto_suspend:
        tx.workspaces.put_beside(own, auto_suspend_changed_at=act.now)


def terminate(tx: Transaction, act: Act, own: WorkspaceID) -> None:
    """Write that nothing of it should be left. Lawful in every state."""
    record = visible.workspace(tx, act.by, own).record
    if record.terminated_at is not None:
        return
    if not check_change(Change.TERMINATE, record.spec, record.seen):
        return
    if _cell(tx, record.cell_id).state is CellState.RETIRED:
        text = "its cell is retired; what it held stays in the cell"
        recording.end_workspace(tx, record, "terminated", "cell-retired", text, act.now)
        return
    recording.next_workspace(tx, record, intent.terminated_workspace(record.spec), act.by.email, act.now)


def _change(
    tx: Transaction,
    act: Act,
    own: WorkspaceID,
    change: Change,
    apply: Callable[[WorkspaceSpec], WorkspaceSpec],
) -> None:
    record = visible.workspace(tx, act.by, own).record
    if check_change(change, record.spec, _seen_as(record)):
        intent.check_cell(_cell(tx, record.cell_id))
        _next(tx, act, record, apply(record.spec))


def _next(tx: Transaction, act: Act, record: WorkspaceRecord, spec: WorkspaceSpec) -> None:
    intent.check_room(record.spec.generation, record.seen.acknowledged_generation)
    recording.next_workspace(tx, record, spec, act.by.email, act.now)


def _seen_as(record: WorkspaceRecord) -> Seen:
    if record.terminated_at is not None:
        message = f"workspace `{record.spec.name}` is terminated"
        raise IllegalState(message)
    return record.seen


def _cell(tx: Transaction, own: str) -> CellRecord:
    found = tx.cells.get(own)
    if found is None:
        raise NotFound("cell not found")
    return found.record
