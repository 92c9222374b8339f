"""Changes of workspace groups, each inside one transaction. Called by the service.

The invariant: a password leaves these functions sealed; in clear text it is only ever in the
caller's answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from byoc.controlplane.fleet import intent, recording, visible
from byoc.controlplane.keys import seal_password
from byoc.errors import Conflict, NotFound
from byoc.ids import GroupID, ProjectID
from byoc.model.password import check_password, generate_password
from byoc.model.records import (
    CellState,
    CreatedGroup,
    GroupChanges,
    GroupRecord,
    NewGroup,
    Principal,
)
from byoc.model.spec import Desired, GroupSpec, same_content
from byoc.store.transaction import Transaction
from byoc.store.values import HeldGroup

Choose = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Act:
    """Who does it, and when."""

    by: Principal
    now: datetime


def create(tx: Transaction, act: Act, new: NewGroup, own: GroupID, choose: Choose) -> CreatedGroup:
    """Write generation 1 and the sealed password."""
    cell = visible.cell(tx, act.by, new.cell_id, "region").record
    intent.check_cell(cell)
    _check_name(tx, act, new.name)
    generated = generate_password(choose) if new.admin_password is None else None
    password = new.admin_password or generated or ""
    check_password(password)
    spec = GroupSpec(
        own,
        1,
        new.name,
        password_version=1,
        firewall_ranges=new.firewall_ranges,
        allow_all_traffic=new.allow_all_traffic,
        update_window=new.update_window,
    )
    record = GroupRecord(
        spec,
        act.by.organization_id,
        _project(tx, act, new.project_id),
        new.cell_id,
        act.now,
        expires_at=new.expires_at,
        deployment_type=new.deployment_type,
        high_availability=new.high_availability,
        opt_in_preview=new.opt_in_preview,
    )
    tx.groups.add(record)
    tx.groups.put_sealed(own, 1, seal_password(cell, own, 1, password), act.now)
    recording.first_group(tx, record, act.by.email, act.now)
    return CreatedGroup(own, generated)


def update(tx: Transaction, act: Act, own: GroupID, changes: GroupChanges, choose: Choose) -> str | None:
    """Write what changes; return the new password if one was to be generated."""
    held = visible.group(tx, act.by, own)
    record = held.record
    intent.check_live(record)
    if changes.name is not None and changes.name != record.spec.name:
        _check_name(tx, act, changes.name)
    generated = _set_password(tx, act, held, changes.admin_password, choose)
    spec = intent.updated_group(record.spec, changes)
    if not same_content(spec, record.spec):
        intent.check_room(record.spec.generation, record.acknowledged_generation)
        recording.next_group(tx, record, spec, act.by.email, act.now)
    if changes.expires_at is not None:
        tx.groups.put_beside(own, expires_at=changes.expires_at)
    if changes.deployment_type is not None:
        tx.groups.put_beside(own, deployment_type=changes.deployment_type)
    return generated


def terminate(tx: Transaction, act: Act, own: GroupID, *, force: bool) -> None:
    """Write that it should go; with ``force``, its workspaces first."""
    held = visible.group(tx, act.by, own)
    if held.record.terminated_at is not None or held.record.spec.desired is Desired.TERMINATED:
        return
    live = tx.workspaces.of_group(own, include_terminated=False)
    if not force and any(record.spec.desired is not Desired.TERMINATED for record in live):
        message = f"workspace group `{held.record.spec.name}` has workspaces"
        raise Conflict(message, hint="terminate them first, or use force")
    terminate_all(tx, held.record, act.by.email, act.now)


def terminate_all(tx: Transaction, group: GroupRecord, by: str, now: datetime) -> None:
    """Write that a group should go, with everything in it."""
    cell = tx.cells.get(group.cell_id)
    retired = cell is not None and cell.record.state is CellState.RETIRED
    if retired:
        text = "its cell is retired; what it held stays in the cell"
        recording.end_group(tx, group.spec.id, "terminated", "cell-retired", text, now)
        return
    for record in tx.workspaces.of_group(group.spec.id, include_terminated=False):
        if record.spec.desired is not Desired.TERMINATED:
            recording.next_workspace(tx, record, intent.terminated_workspace(record.spec), by, now)
    recording.next_group(tx, group, intent.terminated_group(group.spec), by, now)


def _set_password(
    tx: Transaction, act: Act, held: HeldGroup, password: str | None, choose: Choose
) -> str | None:
    if password is None:
        return None
    generated = generate_password(choose) if not password else None
    check_password(generated or password)
    record = held.record
    found = tx.cells.get(record.cell_id)
    if found is None:
        raise NotFound("cell not found")
    intent.check_cell(found.record)
    own, version = record.spec.id, record.spec.password_version + 1
    tx.groups.put_sealed(
        own, version, seal_password(found.record, own, version, generated or password), act.now
    )
    return generated


def _check_name(tx: Transaction, act: Act, name: str) -> None:
    if tx.groups.named(act.by.organization_id, name) is not None:
        raise Conflict(f"a workspace group named `{name}` exists", hint="choose another name")


def _project(tx: Transaction, act: Act, wanted: ProjectID | None) -> ProjectID:
    projects = tx.identities.projects(act.by.organization_id)
    for project in projects:
        if wanted in {None, project.id}:
            return project.id
    raise NotFound("project not found", hint="GET /v1/projects lists them")
