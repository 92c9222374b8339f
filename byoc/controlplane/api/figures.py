"""Metrics of workspaces, read from their cells while the caller waits: as the vendor's text, and as JSON."""

# ruff: noqa: FAST003 - path parameters keep the spelling of the JSON names, by alias

from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from byoc.clock import stamp
from byoc.controlplane.api.calls import Caller, GroupInPath, WorkspaceInPath, answer, documented
from byoc.errors import NotFound
from byoc.ids import GroupID, WorkspaceID, parse_id
from byoc.model.metrics import Sample, text_of
from byoc.wire.cell import Measured, Reading
from byoc.wire.management import WorkspaceMetrics

router = APIRouter(tags=["metrics"])

_OPENMETRICS: Final = "application/openmetrics-text"
_PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
_UUID: Final = {"format": "uuid"}
OrganizationInPath = Annotated[str, Path(alias="organizationID", json_schema_extra=_UUID)]


@router.get(
    "/v2/organizations/{organizationID}/workspaceGroups/{workspaceGroupID}/metrics", **documented("text")
)
async def get_group_text(
    call: Caller, organization: OrganizationInPath, group: GroupInPath, request: Request
) -> Response:
    """Metrics of a group's running workspaces, as Prometheus scrapes them."""
    if parse_id(organization, "organizationID") != call.by.organization_id:
        raise NotFound("organization not found")
    reading = await call.fleet.group_metrics(call.by, GroupID(parse_id(group, "workspaceGroupID")))
    samples = [sample for measured in reading.workspaces for sample in measured.samples]
    # The text is the same: it is well formed in both formats.
    wanted = _OPENMETRICS in request.headers.get("accept", "")
    kind = f"{_OPENMETRICS}; version=1.0.0; charset=utf-8" if wanted else _PLAIN
    return Response(text_of(samples), headers={"Content-Type": kind, "Cache-Control": "no-store"})


@router.get("/byoc/v1/workspaceGroups/{workspaceGroupID}/metrics", **documented("[WorkspaceMetrics]"))
async def get_group(call: Caller, group: GroupInPath) -> Response:
    """Metrics of each workspace of a group."""
    reading = await call.fleet.group_metrics(call.by, GroupID(parse_id(group, "workspaceGroupID")))
    return answer([shape(reading, measured) for measured in reading.workspaces])


@router.get("/byoc/v1/workspaces/{workspaceID}/metrics", **documented("WorkspaceMetrics"))
async def get_workspace(call: Caller, workspace: WorkspaceInPath) -> Response:
    """Metrics of one workspace; of no node while it does not run."""
    workspace_id = WorkspaceID(parse_id(workspace, "workspaceID"))
    reading = await call.fleet.workspace_metrics(call.by, workspace_id)
    measured = next((each for each in reading.workspaces if each.workspace_id == workspace_id), None)
    return answer(shape(reading, measured or Measured(workspace_id)))


def shape(reading: Reading, measured: Measured) -> WorkspaceMetrics:
    """Return what was measured of one workspace, as it reads."""
    nodes: dict[str, dict[str, float]] = {}
    for sample in measured.samples:
        nodes.setdefault(sample.node, {})[sample.metric.public_name] = _plain(sample)
    return {"workspaceID": measured.workspace_id, "at": stamp(reading.at), "nodes": nodes}


def _plain(sample: Sample) -> float:
    return int(sample.value) if sample.value == int(sample.value) else sample.value
