"""Regions: every bootstrapped cell is one. Organizations, projects and the empty lists beside them."""

from fastapi import APIRouter
from starlette.responses import Response

from byoc.clock import stamp
from byoc.controlplane.api.calls import Caller, Fields, answer, documented, only
from byoc.errors import NotFound, UsageError
from byoc.ids import parse_id
from byoc.model.records import CellRecord, CellState
from byoc.wire.management import GroupCreate, Organization, Project, Region

router = APIRouter(prefix="/v1", tags=["regions and organization"])


def shape(cell: CellRecord) -> Region:
    """Return the region that ``cell`` is."""
    return {
        "regionID": cell.id,
        "region": cell.region,
        "regionName": cell.region_name,
        "provider": cell.provider,  # type: ignore[typeddict-item]  # checked when the cell was registered
    }


@router.get("/regions", **documented("[Region]"))
async def list_regions(call: Caller, fields: Fields = "") -> Response:
    """Every cell of the organization that is not retired."""
    cells = await call.fleet.cells(call.by)
    return answer(only((shape(cell) for cell in cells if cell.state is not CellState.RETIRED), fields))


@router.get("/regions/sharedtier", **documented("[Region]"))
async def list_shared_tier_regions(call: Caller) -> Response:
    """No region has a shared tier: data never leaves the customer's account."""
    del call
    return answer([])


@router.get("/organizations/current", **documented("Organization"))
async def current_organization(call: Caller) -> Response:
    """The organization of the key."""
    organization = await call.fleet.organization(call.by)
    shaped: Organization = {"orgID": organization.id, "name": organization.name, "firewallRanges": []}
    return answer(shaped)


@router.get("/projects", **documented("[Project]"))
async def list_projects(call: Caller) -> Response:
    """The projects of the organization."""
    shaped: list[Project] = [
        {
            "projectID": project.id,
            "name": project.name,
            "edition": project.edition,
            "createdAt": stamp(project.created_at),
        }
        for project in await call.fleet.projects(call.by)
    ]
    return answer(shaped)


def choose_cell(cells: list[CellRecord], body: GroupCreate) -> CellRecord:
    """Return the cell that a new group names, by ``regionID`` or by ``provider`` and ``regionName``.

    Raises:
        UsageError: it names none.
        NotFound: there is no such region.
    """
    live = [cell for cell in cells if cell.state is not CellState.RETIRED]
    if body.region_id is not None:
        wanted = parse_id(body.region_id, "regionID")
        found = [cell for cell in live if cell.id == wanted]
    elif body.provider is not None and body.region_name is not None:
        found = [
            cell for cell in live if (cell.provider, cell.region_name) == (body.provider, body.region_name)
        ]
    else:
        raise UsageError("regionID is required", hint="or provider and regionName, see GET /v1/regions")
    if not found:
        raise NotFound("region not found", hint="GET /v1/regions lists them")
    return found[0]
