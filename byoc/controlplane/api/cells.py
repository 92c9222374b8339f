"""Cells under ``/byoc/v1``: listing, registering, enrolment, retirement, tunnel sessions."""

# ruff: noqa: FAST003 - path parameters keep the spelling of the JSON names, by alias

import re
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from byoc.clock import stamp
from byoc.controlplane.api.calls import Caller, CellInPath, answer, check_name, documented
from byoc.errors import UsageError
from byoc.ids import CellID, parse_id
from byoc.model.records import CellEvent, CellRecord, SessionRecord
from byoc.model.report import Zone
from byoc.wire.facts import Zone as ZoneShape
from byoc.wire.management import Cell, CellCreate, CellEnrolment, Session
from byoc.wire.management import CellEvent as CellEventShape

router = APIRouter(prefix="/byoc/v1/cells", tags=["cells"])

_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_:-]{16,128}")


@router.get("", **documented("[Cell]"))
async def list_cells(call: Caller) -> Response:
    """The organization's cells, retired ones too."""
    return answer([shape(cell) for cell in await call.fleet.cells(call.by)])


@router.post("", **documented("Cell", body="CellCreate"))
async def register_cell(call: Caller) -> Response:
    """Register a cell; it may enrol afterwards."""
    body = await call.body(CellCreate)
    cell = await call.fleet.register_cell(
        call.by,
        check_name(body.name, "name", spaces=False),
        body.provider,
        check_name(body.region, "region", spaces=True),
        check_name(body.region_name, "regionName", spaces=False),
    )
    call.made(cell.id)
    return answer(shape(cell))


@router.get("/{cellID}", **documented("Cell"))
async def get_cell(call: Caller, cell: CellInPath) -> Response:
    """One cell."""
    return answer(shape(await call.fleet.cell(call.by, _id(cell))))


@router.post("/{cellID}/enrolment", **documented("EnrolmentGrant", body="CellEnrolment"))
async def grant_enrolment(call: Caller, cell: CellInPath) -> Response:
    """A token, good for 15 minutes and for the keys with this thumbprint only."""
    cell_id = _id(cell)
    body = await call.body(CellEnrolment)
    if not _THUMBPRINT.fullmatch(body.thumbprint):
        raise UsageError("thumbprint: must be in a valid format", hint="as the cell shows it")
    return answer(await call.fleet.enrolment_token(call.by, cell_id, body.thumbprint))


@router.post("/{cellID}/rotateKeys", **documented("CellKeys"))
async def rotate_keys(call: Caller, cell: CellInPath) -> Response:
    """Have the cell make new keys of its own, and use them; those before are believed for an hour more."""
    cell_id = _id(cell)
    thumbprint = await call.fleet.rotate_keys(call.by, cell_id)
    return answer({"cellID": cell_id, "thumbprint": thumbprint})


@router.post("/{cellID}/retire", **documented("CellID"))
async def retire_cell(call: Caller, cell: CellInPath) -> Response:
    """Close the cell's tunnels and let it in no more."""
    cell_id = _id(cell)
    await call.fleet.retire_cell(call.by, cell_id)
    return answer({"cellID": cell_id})


@router.get("/{cellID}/sessions", **documented("[Session]"))
async def list_sessions(call: Caller, cell: CellInPath) -> Response:
    """The cell's open tunnel sessions."""
    return answer([_session(session) for session in await call.fleet.sessions(call.by, _id(cell))])


@router.get("/{cellID}/events", **documented("[CellEvent]"))
async def list_events(call: Caller, cell: CellInPath) -> Response:
    """What happened to the cell: enrolment, contests, a cut ledger, lost state, retirement."""
    return answer([_event(event) for event in await call.fleet.cell_events(call.by, _id(cell))])


def _id(text: str) -> CellID:
    return CellID(parse_id(text, "cellID"))


def shape(cell: CellRecord) -> Cell:
    """Return a cell as it reads."""
    shaped: Cell = {
        "cellID": cell.id,
        "name": cell.name,
        "provider": cell.provider,
        "region": cell.region,
        "regionName": cell.region_name,
        "state": cell.state.value,
        "connected": cell.connected,
        "createdAt": stamp(cell.created_at),
    }
    if cell.last_seen_at is not None:
        shaped["lastSeenAt"] = stamp(cell.last_seen_at)
    if cell.copies_late_since is not None:
        shaped["copiesLateSince"] = stamp(cell.copies_late_since)
    if cell.facts is not None:
        shaped["facts"] = {
            "engine": cell.facts.engine,
            "engineVersion": cell.facts.engine_version,
            "agentVersion": cell.facts.agent_version,
            "specVersion": cell.facts.spec_version,
            "memoryBytes": cell.facts.memory_bytes,
            "authorities": [
                {"certificate": each.certificate, "voucher": each.voucher} for each in cell.facts.authorities
            ],
            "zones": [_zone(each) for each in cell.facts.zones],
        }
    return shaped


def _zone(zone: Zone) -> ZoneShape:
    return {
        "name": zone.name,
        "machines": zone.machines,
        "ready": zone.ready,
        "millicores": zone.millicores,
        "memoryBytes": zone.memory_bytes,
        "version": zone.version,
    }


def _event(event: CellEvent) -> CellEventShape:
    shaped: CellEventShape = {
        "number": event.number,
        "at": stamp(event.at),
        "kind": event.kind,
        "text": event.text,
    }
    return shaped | {"by": event.by} if event.by else shaped


def _session(session: SessionRecord) -> Session:
    return {
        "sessionID": session.id,
        "cellID": session.cell_id,
        "gateway": session.gateway,
        "epoch": session.epoch,
        "openedAt": stamp(session.opened_at),
    }
