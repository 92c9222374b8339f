"""What a workspace is doing and has done, under ``/byoc/v1``: detail, events, logs.

Events are one JSON object a line. A followed stream ends when the caller goes away or the
process stops, and says nothing more once the caller's key is revoked; on a quiet one a blank
line goes out every ``keep_alive`` seconds, so that neither end takes silence for death.
"""

# ruff: noqa: FAST003 - path parameters keep the spelling of the JSON names, by alias

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from byoc.clock import stamp
from byoc.controlplane.api.calls import Call, Caller, WorkspaceInPath, answer, documented
from byoc.controlplane.api.workspaces import state_of
from byoc.ids import WorkspaceID, parse_id
from byoc.model import records
from byoc.model.report import EXPLANATIONS, WorkspaceReport
from byoc.model.workspace import State, scale_factor
from byoc.wire.management import Event, WorkspaceDetail

router = APIRouter(prefix="/byoc/v1/workspaces", tags=["story of a workspace"])

NDJSON = "application/x-ndjson"


@router.get("/{workspaceID}", **documented("WorkspaceDetail"))
async def get_detail(call: Caller, workspace: WorkspaceInPath) -> Response:
    """A workspace with its phase, reason and generations, and whether its cell is connected."""
    record = await call.fleet.workspace(call.by, _id(workspace))
    cell = await call.fleet.cell(call.by, record.cell_id)
    newest = await call.fleet.events(call.by, record.spec.id, after=0, newest=1)
    return answer(detail(record, cell, newest[-1] if newest else None), generation=record.spec.generation)


@router.get("/{workspaceID}/events", **documented("Event"))
async def stream_events(
    call: Caller,
    workspace: WorkspaceInPath,
    after: Annotated[int, Query(ge=0, le=2**53, description="only events with a higher number")] = 0,
    generation: Annotated[int, Query(ge=0, le=2**53, description="only this generation and later ones")] = 0,
    newest: Annotated[
        int | None, Query(ge=1, le=2**53, description="begin with so many, the last ones")
    ] = None,
    follow: Annotated[bool, Query(description="go on with what happens next")] = False,
) -> Response:
    """The workspace's events, one JSON object a line."""
    workspace_id = _id(workspace)
    call.context.streams.check(call.by.key_id)
    first = await call.fleet.events(call.by, workspace_id, after=after, generation=generation, newest=newest)
    lines = _lines(call, workspace_id, first, after, generation, follow=follow)
    return StreamingResponse(lines, media_type=NDJSON, headers={"Cache-Control": "no-store"})


@router.get("/{workspaceID}/logs", **documented("text"))
async def get_logs(call: Caller, workspace: WorkspaceInPath) -> Response:
    """The engine's own log, relayed from the cell if its policy allows, and stored nowhere."""
    text = await call.fleet.logs(call.by, _id(workspace))
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return Response(text, headers=headers, media_type="text/plain")


def _id(text: str) -> WorkspaceID:
    return WorkspaceID(parse_id(text, "workspaceID"))


async def _lines(
    call: Call,
    workspace_id: WorkspaceID,
    events: list[records.Event],
    after: int,
    generation: int,
    *,
    follow: bool,
) -> AsyncIterator[bytes]:
    with _open_stream(call):
        for event in events:
            yield to_json(shape(event)) + b"\n"
            after = event.number
        while follow and not call.context.closing.is_set():
            await _wait(call, workspace_id, after)
            if not await call.is_admitted():
                return
            events = await call.fleet.events(call.by, workspace_id, after=after)
            for event in events:
                after = event.number
                if event.generation >= generation:
                    yield to_json(shape(event)) + b"\n"
            if not events:
                yield b"\n"


@contextlib.contextmanager
def _open_stream(call: Call) -> Iterator[None]:
    call.context.metrics.stream_opened()
    try:
        with call.context.streams.opened(call.by.key_id):
            yield
    finally:
        call.context.metrics.stream_closed()


async def _wait(call: Call, workspace_id: WorkspaceID, after: int) -> None:
    """Return when there may be a new event, when ``keep_alive`` is over, or when the process stops."""
    news = asyncio.ensure_future(call.fleet.wait_events(workspace_id, after, call.context.keep_alive))
    closing = asyncio.ensure_future(call.context.closing.wait())
    try:
        await asyncio.wait((news, closing), return_when=asyncio.FIRST_COMPLETED)
        if news.done():
            news.result()
    finally:
        for task in (news, closing):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def shape(event: records.Event) -> Event:
    """Return an event as it reads."""
    shaped: Event = {
        "number": event.number,
        "workspaceID": event.workspace_id,
        "at": stamp(event.at),
        "kind": event.kind,
        "generation": event.generation,
        "reason": event.reason,
        "text": event.text,
        "state": State(event.state).value,
    }
    if event.progress is not None:
        shaped["progress"] = event.progress
    if event.by:
        shaped["by"] = event.by
    return shaped


def detail(
    record: records.WorkspaceRecord, cell: records.CellRecord, newest: records.Event | None = None
) -> WorkspaceDetail:
    """Return everything that is known of a workspace, but secrets; ``newest``: its last event."""
    spec, report, state = record.spec, record.seen.report, state_of(record)
    shaped: WorkspaceDetail = {
        "workspaceID": spec.id,
        "workspaceGroupID": spec.group_id,
        "name": spec.name,
        "state": state.value,
        "size": spec.size,
        "scaleFactor": scale_factor(spec, record.seen),
        "cacheConfig": spec.cache_config,
        "generation": spec.generation,
        "acknowledged": record.seen.acknowledged_generation,
        "cellID": cell.id,
        "cellName": cell.name,
        "cellConnected": cell.connected,
        "createdAt": stamp(record.created_at),
    }
    if cell.last_seen_at is not None:
        shaped["cellLastSeenAt"] = stamp(cell.last_seen_at)
    if record.last_resumed_at is not None:
        shaped["lastResumedAt"] = stamp(record.last_resumed_at)
    if record.terminated_at is not None:
        shaped["terminatedAt"] = stamp(record.terminated_at)
    if report is not None:
        _add_report(shaped, report, state)
    if newest is not None and newest.kind == "waiting" and newest.generation == spec.generation:
        # It waits outside the cell's own work, so nothing in a report can say for what.
        shaped["reason"], shaped["reasonText"] = newest.reason, newest.text
        shaped["since"] = stamp(newest.at)
    return shaped


def _add_report(shaped: WorkspaceDetail, report: WorkspaceReport, state: State) -> None:
    shaped["observedGeneration"] = report.observed_generation
    shaped["phase"] = report.phase.value
    shaped["reason"] = report.reason.value
    shaped["reasonText"] = EXPLANATIONS[report.reason]
    shaped["since"] = stamp(report.since)
    shaped["passwordVersion"] = report.password_version
    if report.attachments is not None:
        shaped["databasesAttached"] = report.attachments.attached
        shaped["databasesMissing"] = report.attachments.missing
    if report.progress is not None:
        shaped["progress"] = report.progress
    if report.endpoint and state is State.ACTIVE:
        shaped["endpoint"] = report.endpoint
    if report.auto_suspended_at is not None:
        shaped["autoSuspendedAt"] = stamp(report.auto_suspended_at)
