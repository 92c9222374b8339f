"""Workspaces: parse, call the fleet, shape."""

# ruff: noqa: FAST003 - path parameters keep the vendor's spelling, by alias

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from byoc.clock import stamp
from byoc.controlplane.api.calls import (
    Call,
    Caller,
    Fields,
    IncludeTerminated,
    WorkspaceInPath,
    answer,
    documented,
    only,
)
from byoc.errors import UsageError
from byoc.ids import GroupID, WorkspaceID, parse_id
from byoc.model.records import NewWorkspace, WorkspaceChanges, WorkspaceRecord
from byoc.model.report import Phase
from byoc.model.size import parse_multiplier, parse_size
from byoc.model.spec import AutoScale, AutoSuspend, Sensitivity, SuspendType
from byoc.model.workspace import State, public_state, scale_factor
from byoc.wire import management
from byoc.wire.management import (
    AutoScaleBody,
    AutoSuspendBody,
    WorkspaceCreate,
    WorkspaceResume,
    WorkspaceUpdate,
)

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LONGEST_NAME: Final = 32
MOST_SHAPED: Final = 1024
"""Records whose shapes are kept; each is about 1 KB."""
_GroupInQuery = Annotated[str, Query(alias="workspaceGroupID", json_schema_extra={"format": "uuid"})]


@router.get("", **documented("[Workspace]"))
async def list_workspaces(
    call: Caller, group: _GroupInQuery, include_terminated: IncludeTerminated = False, fields: Fields = ""
) -> Response:
    """The workspaces of a group."""
    group_id = GroupID(parse_id(group, "workspaceGroupID"))
    records = await call.fleet.workspaces(call.by, group_id, include_terminated=include_terminated)
    return answer(only(map(_shaped, records), fields))


@router.post("", **documented("WorkspaceID", body="WorkspaceCreate"))
async def create_workspace(call: Caller) -> Response:
    """Create a workspace; answered once the intent is stored, before the cell has it."""
    new = parse_create(await call.body(WorkspaceCreate))
    made = await call.fleet.create_workspace(call.by, new)
    call.made(made)
    return answer({"workspaceID": made}, generation=1)


@router.get("/{workspaceID}", **documented("Workspace"))
async def get_workspace(call: Caller, workspace: WorkspaceInPath, fields: Fields = "") -> Response:
    """One workspace, also a terminated one."""
    record = await call.fleet.workspace(call.by, _id(workspace))
    return answer(only([shape(record)], fields)[0], generation=record.spec.generation)


@router.patch("/{workspaceID}", **documented("WorkspaceID", body="WorkspaceUpdate"))
async def update_workspace(call: Caller, workspace: WorkspaceInPath) -> Response:
    """Change a workspace; all that one request asks for becomes one change."""
    workspace_id = _id(workspace)
    changes = parse_update(await call.body(WorkspaceUpdate))
    if changes != WorkspaceChanges():
        await call.fleet.update_workspace(call.by, workspace_id, changes)
    return await _changed(call, workspace_id)


@router.post("/{workspaceID}/suspend", **documented("WorkspaceID"))
async def suspend_workspace(call: Caller, workspace: WorkspaceInPath) -> Response:
    """Stop a workspace's engine and keep its data."""
    workspace_id = _id(workspace)
    await call.fleet.suspend_workspace(call.by, workspace_id)
    return await _changed(call, workspace_id)


@router.post("/{workspaceID}/resume", **documented("WorkspaceID", body="WorkspaceResume"))
async def resume_workspace(call: Caller, workspace: WorkspaceInPath) -> Response:
    """Start a suspended workspace; the body may be left out."""
    workspace_id = _id(workspace)
    body = await call.body(WorkspaceResume, optional=True)
    await call.fleet.resume_workspace(
        call.by, workspace_id, disable_auto_suspend=bool(body.disable_auto_suspend)
    )
    return await _changed(call, workspace_id)


@router.delete("/{workspaceID}", **documented("WorkspaceID"))
async def terminate_workspace(call: Caller, workspace: WorkspaceInPath) -> Response:
    """Terminate a workspace and remove its data."""
    workspace_id = _id(workspace)
    await call.fleet.terminate_workspace(call.by, workspace_id)
    return await _changed(call, workspace_id)


@router.get("/{workspaceID}/privateConnections", **documented("[PrivateConnection]"))
async def list_private_connections(call: Caller, workspace: WorkspaceInPath) -> Response:
    """None: endpoints are inside the customer's own network."""
    await call.fleet.workspace(call.by, _id(workspace))
    return answer([])


def _id(text: str) -> WorkspaceID:
    return WorkspaceID(parse_id(text, "workspaceID"))


async def _changed(call: Call, workspace_id: WorkspaceID) -> Response:
    record = await call.fleet.workspace(call.by, workspace_id)
    return answer({"workspaceID": workspace_id}, generation=record.spec.generation)


def state_of(record: WorkspaceRecord) -> State:
    """Return the public state; once terminated it stays so."""
    return State.TERMINATED if record.terminated_at is not None else public_state(record.spec, record.seen)


def shape(record: WorkspaceRecord) -> management.Workspace:
    """Return a workspace as it reads: no nulls, stamps in UTC, ``endpoint`` only while ACTIVE."""
    spec, report = record.spec, record.seen.report
    state = state_of(record)
    shaped: management.Workspace = {
        "workspaceID": spec.id,
        "workspaceGroupID": spec.group_id,
        "name": spec.name,
        "state": state.value,
        "size": spec.size,
        "createdAt": stamp(record.created_at),
        "scaleFactor": scale_factor(spec, record.seen),
        "cacheConfig": spec.cache_config,
        "deploymentType": record.deployment_type,  # type: ignore[typeddict-item]  # checked on its way in
        "kaiEnabled": spec.enable_kai,
    }
    if state is State.ACTIVE and report is not None and report.endpoint:
        shaped["endpoint"] = report.endpoint
    if state is State.PENDING and report is not None and report.phase is Phase.UPDATING:
        shaped["scalingProgress"] = report.progress or 0
    if spec.auto_suspend.type is not SuspendType.DISABLED:
        shaped["autoSuspend"] = _auto_suspend(record, state)
    if spec.auto_scale.max_scale_factor > 1:
        shaped["autoScale"] = _auto_scale(record)
    if record.last_resumed_at is not None:
        shaped["lastResumedAt"] = stamp(record.last_resumed_at)
        shaped["resumeAttachments"] = []
    if record.terminated_at is not None:
        shaped["terminatedAt"] = stamp(record.terminated_at)
    return shaped


_shaped: Final = lru_cache(MOST_SHAPED)(shape)
"""The same, kept: lists are read at every poll, and a record that did not change reads as before.
Nobody may change what it returns."""


def _auto_suspend(record: WorkspaceRecord, state: State) -> management.AutoSuspend:
    setting = record.spec.auto_suspend
    changed = stamp(record.auto_suspend_changed_at or record.created_at)
    if setting.type is SuspendType.IDLE:
        return {
            "suspendType": "IDLE",
            "suspendTypeChangedAt": changed,
            "idleAfterSeconds": setting.after_seconds,
            "idleChangedAt": changed,
        }
    shaped: management.AutoSuspend = {
        "suspendType": "SCHEDULED",
        "suspendTypeChangedAt": changed,
        "scheduledAfterSeconds": setting.after_seconds,
        "scheduledChangedAt": changed,
    }
    if state is State.ACTIVE:
        shaped["scheduledSuspendAt"] = stamp(_counted_from(record) + timedelta(seconds=setting.after_seconds))
    return shaped


def _counted_from(record: WorkspaceRecord) -> datetime:
    known = (record.created_at, record.last_resumed_at, record.auto_suspend_changed_at)
    return max(moment for moment in known if moment is not None)


def _auto_scale(record: WorkspaceRecord) -> management.AutoScale:
    setting = record.spec.auto_scale
    return {
        "maxScaleFactor": setting.max_scale_factor,
        "sensitivity": setting.sensitivity.value,
        "changedAt": stamp(record.auto_scale_changed_at or record.created_at),
    }


def parse_create(body: WorkspaceCreate) -> NewWorkspace:
    """Return the new workspace that ``body`` asks for.

    Raises:
        UsageError: a value breaks a rule.
    """
    return NewWorkspace(
        name=_check_name(body.name),
        group_id=GroupID(parse_id(body.workspace_group_id, "workspaceGroupID")),
        size=parse_size(body.size).name if body.size is not None else _DEFAULTS.size,
        scale_factor=_multiplier(body.scale_factor, "scaleFactor") or _DEFAULTS.scale_factor,
        cache_config=_multiplier(body.cache_config, "cacheConfig") or _DEFAULTS.cache_config,
        auto_suspend=_parse_auto_suspend(body.auto_suspend) or AutoSuspend(),
        auto_scale=_parse_auto_scale(body.auto_scale) or AutoScale(),
        enable_kai=body.enable_kai or False,
    )


_DEFAULTS: Final = NewWorkspace(name="", group_id=GroupID(""))


def parse_update(body: WorkspaceUpdate) -> WorkspaceChanges:
    """Return the changes that ``body`` asks for.

    Raises:
        UsageError: a value breaks a rule.
    """
    return WorkspaceChanges(
        size=parse_size(body.size).name if body.size is not None else None,
        scale_factor=_multiplier(body.scale_factor, "scaleFactor"),
        cache_config=_multiplier(body.cache_config, "cacheConfig"),
        auto_suspend=_parse_auto_suspend(body.auto_suspend),
        auto_scale=_parse_auto_scale(body.auto_scale),
        deployment_type=body.deployment_type,
        enable_kai=body.enable_kai,
    )


def _check_name(name: str) -> str:
    # The real service's rule, as its own client's tests have found it out.
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        hint = f"1 to {_LONGEST_NAME} lower-case letters, digits and hyphens, no hyphen at either end"
        raise UsageError("name: must be in a valid format", hint=hint)
    return name


def _multiplier(value: float | None, what: str) -> int | None:
    return None if value is None else parse_multiplier(value, what)


def _parse_auto_suspend(body: AutoSuspendBody | None) -> AutoSuspend | None:
    if body is None:
        return None
    kind = SuspendType(body.suspend_type)
    if kind is SuspendType.DISABLED:
        return AutoSuspend()
    if not body.suspend_after_seconds:
        raise UsageError(f"autoSuspend.suspendAfterSeconds is required for suspendType {kind}")
    return AutoSuspend(kind, int(body.suspend_after_seconds))


def _parse_auto_scale(body: AutoScaleBody | None) -> AutoScale | None:
    if body is None:
        return None
    if body.max_scale_factor is None:
        if body.sensitivity is not None:
            raise UsageError("autoScale.maxScaleFactor is required")
        return AutoScale()
    most = parse_multiplier(body.max_scale_factor, "autoScale.maxScaleFactor")
    sensitivity = Sensitivity(body.sensitivity) if body.sensitivity is not None else Sensitivity.NORMAL
    return AutoScale(most, sensitivity) if most > 1 else AutoScale()
