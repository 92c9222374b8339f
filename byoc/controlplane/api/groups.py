"""Workspace groups: parse, call the fleet, shape."""

# ruff: noqa: FAST003 - path parameters keep the vendor's spelling, by alias

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from byoc.clock import Clock, stamp
from byoc.controlplane.api.calls import (
    Call,
    Caller,
    Fields,
    GroupInPath,
    IncludeTerminated,
    answer,
    check_name,
    documented,
    only,
)
from byoc.controlplane.api.regions import choose_cell
from byoc.errors import NotFound, UsageError
from byoc.ids import GroupID, ProjectID, parse_id
from byoc.model.firewall import parse_ranges
from byoc.model.group import group_state
from byoc.model.password import check_password
from byoc.model.records import CellRecord, GroupChanges, GroupRecord, NewGroup, Project
from byoc.model.spec import UpdateWindow
from byoc.wire.management import (
    CreatedWorkspaceGroup,
    GroupCreate,
    GroupUpdate,
    UpdateWindowBody,
    WorkspaceGroup,
)
from byoc.wire.times import parse_expiry

router = APIRouter(prefix="/v1/workspaceGroups", tags=["workspace groups"])


@router.get("", **documented("[WorkspaceGroup]"))
async def list_groups(
    call: Caller, include_terminated: IncludeTerminated = False, fields: Fields = ""
) -> Response:
    """The organization's groups."""
    groups = await call.fleet.groups(call.by, include_terminated=include_terminated)
    names = await _names(call)
    return answer(only((shape(group, *names) for group in groups), fields))


@router.post("", **documented("CreatedWorkspaceGroup", body="GroupCreate"))
async def create_group(call: Caller) -> Response:
    """Create a group; without `adminPassword` one is generated and shown here, once."""
    body = await call.body(GroupCreate)
    new = await _new_group(call, body)
    created = await call.fleet.create_group(call.by, new)
    call.made(created.id)
    shaped: CreatedWorkspaceGroup = {"workspaceGroupID": created.id}
    if created.admin_password is not None:
        shaped["adminPassword"] = created.admin_password
    return answer(shaped, generation=1)


@router.get("/{workspaceGroupID}", **documented("WorkspaceGroup"))
async def get_group(call: Caller, group: GroupInPath, fields: Fields = "") -> Response:
    """One group, also a terminated one."""
    record = await call.fleet.group(call.by, _id(group))
    shaped = shape(record, *await _names(call))
    return answer(only([shaped], fields)[0], generation=record.spec.generation)


@router.patch("/{workspaceGroupID}", **documented("CreatedWorkspaceGroup", body="GroupUpdate"))
async def update_group(call: Caller, group: GroupInPath) -> Response:
    """Change a group; what is absent stays as it is."""
    group_id = _id(group)
    changes = parse_update(await call.body(GroupUpdate), call.context.clock)
    if changes != GroupChanges():
        await call.fleet.update_group(call.by, group_id, changes)
    return await _changed(call, group_id)


@router.delete("/{workspaceGroupID}", **documented("WorkspaceGroupID"))
async def terminate_group(
    call: Caller,
    group: GroupInPath,
    force: Annotated[bool, Query(description="also if it has live workspaces, which go with it")] = False,
) -> Response:
    """Terminate a group."""
    group_id = _id(group)
    await call.fleet.terminate_group(call.by, group_id, force=force)
    return await _changed(call, group_id)


@router.get("/{workspaceGroupID}/privateConnections", **documented("[PrivateConnection]"))
async def list_private_connections(call: Caller, group: GroupInPath) -> Response:
    """None: endpoints are inside the customer's own network."""
    await call.fleet.group(call.by, _id(group))
    return answer([])


async def _changed(call: Call, group_id: GroupID) -> Response:
    record = await call.fleet.group(call.by, group_id)
    return answer({"workspaceGroupID": group_id}, generation=record.spec.generation)


def _id(text: str) -> GroupID:
    return GroupID(parse_id(text, "workspaceGroupID"))


async def _names(call: Call) -> tuple[dict[str, CellRecord], dict[str, Project]]:
    cells = {str(cell.id): cell for cell in await call.fleet.cells(call.by)}
    return cells, {str(project.id): project for project in await call.fleet.projects(call.by)}


def shape(group: GroupRecord, cells: dict[str, CellRecord], projects: dict[str, Project]) -> WorkspaceGroup:
    """Return a group as it reads: no nulls, stamps in UTC."""
    cell = cells[group.cell_id]
    shaped: WorkspaceGroup = {
        "workspaceGroupID": group.spec.id,
        "name": group.spec.name,
        "state": group_state(group).value,
        "createdAt": stamp(group.created_at),
        "provider": cell.provider,  # type: ignore[typeddict-item]  # checked when the cell was registered
        "regionID": cell.id,
        "regionName": cell.region_name,
        "projectID": group.project_id,
        "firewallRanges": list(group.spec.firewall_ranges),
        "allowAllTraffic": group.spec.allow_all_traffic,
        "deploymentType": group.deployment_type,  # type: ignore[typeddict-item]  # checked on its way in
        "highAvailabilityTwoZones": group.high_availability,
        "optInPreviewFeature": group.opt_in_preview,
    }
    if group.project_id in projects:
        shaped["projectName"] = projects[group.project_id].name
    if group.expires_at is not None:
        shaped["expiresAt"] = stamp(group.expires_at)
    if group.terminated_at is not None:
        shaped["terminatedAt"] = stamp(group.terminated_at)
    if group.spec.update_window is not None:
        shaped["updateWindow"] = {
            "day": group.spec.update_window.day,
            "hour": group.spec.update_window.hour,
        }
    return shaped


async def _new_group(call: Call, body: GroupCreate) -> NewGroup:
    form = _form(body, call.context.clock)
    if body.opt_in_preview_feature and body.deployment_type != "NON-PRODUCTION":
        raise UsageError("optInPreviewFeature: only for deploymentType NON-PRODUCTION")
    cell = choose_cell(await call.fleet.cells(call.by), body)
    return NewGroup(
        cell_id=cell.id,
        project_id=await _project(call, body.project_id),
        high_availability=body.high_availability_two_zones or False,
        opt_in_preview=body.opt_in_preview_feature or False,
        **form,
    )


async def _project(call: Call, text: str | None) -> ProjectID | None:
    if text is None:
        return None
    wanted = ProjectID(parse_id(text, "projectID"))
    if all(project.id != wanted for project in await call.fleet.projects(call.by)):
        raise NotFound("project not found", hint="GET /v1/projects lists them")
    return wanted


def parse_update(body: GroupUpdate, clock: Clock) -> GroupChanges:
    """Return the changes that ``body`` asks for.

    Raises:
        UsageError: a value breaks a rule.
    """
    return GroupChanges(**_form(body, clock))


def _form(body: GroupCreate | GroupUpdate, clock: Clock) -> dict[str, Any]:
    """Check what creating and changing have in common; only what was sent is in the result."""
    form: dict[str, Any] = {}
    if body.name is not None:
        form["name"] = check_name(body.name, "name", spaces=True)
    if body.admin_password is not None:
        check_password(body.admin_password)
        form["admin_password"] = body.admin_password
    if body.allow_all_traffic is not None:
        form["allow_all_traffic"] = body.allow_all_traffic
    if body.firewall_ranges is not None:
        form["firewall_ranges"], everywhere = parse_ranges(body.firewall_ranges)
        # Ranges replace what was allowed before, unless the same request says otherwise.
        form["allow_all_traffic"] = everywhere or bool(body.allow_all_traffic)
    if body.expires_at is not None:
        form["expires_at"] = parse_expiry(body.expires_at, clock.now())
    if body.update_window is not None:
        form["update_window"] = _window(body.update_window)
    if body.deployment_type is not None:
        form["deployment_type"] = body.deployment_type
    return form


def _window(body: UpdateWindowBody) -> UpdateWindow:
    return UpdateWindow(day=int(body.day), hour=int(body.hour))
