"""Forwarded services of a cell under ``/byoc/v1``: asking for one, and carrying its connections.

A forward is asked for by an ordinary request. Its connections come over one websocket, which carries
streams as a tunnel does; each is passed on to the cell as it is, and is TLS between the caller's machine and
the cell. The invariants: whoever may not see the cell gets what a stranger gets; a key that has ended ends
what it opened within ``LOOK_SECONDS``; a caller that does not read holds up nobody else.
"""

# ruff: noqa: FAST003 - path parameters keep the spelling of the JSON names, by alias

import asyncio
import re
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.responses import Response
from starlette.websockets import WebSocket

from byoc.clock import stamp
from byoc.controlplane import problems
from byoc.controlplane.api.calls import Caller, CellInPath, Context, answer, documented
from byoc.controlplane.wires import SUBPROTOCOL, SocketTransport
from byoc.errors import ByocError, UsageError
from byoc.ids import CellID, parse_id
from byoc.model.records import Principal
from byoc.nimbus.connection import Connection
from byoc.nimbus.relay import splice
from byoc.nimbus.stream import Stream
from byoc.wire.cell import ServiceWish
from byoc.wire.management import OpenedService, ServiceOpen

router = APIRouter(prefix="/byoc/v1/cells", tags=["forwarded services"])

LOOK_SECONDS: Final = 10.0
MOST_LINES: Final = 256
_SERVICE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_WHAT: Final = frozenset({"hold", "line"})
ServiceInPath = Annotated[str, Path(alias="service", description="as the customer's policy names it")]


@router.post("/{cellID}/services/{service}/open", **documented("OpenedService", body="ServiceOpen"))
async def open_service(call: Caller, cell: CellInPath, service: ServiceInPath) -> Response:
    """Open a way to a service of the cell, if the customer's policy names it."""
    cell_id = CellID(parse_id(cell, "cellID"))
    if not _SERVICE.fullmatch(service):
        raise UsageError("service: must be in a valid format", hint="lower case, digits and hyphens")
    body = await call.body(ServiceOpen)
    life = None if body.life_seconds is None else int(body.life_seconds)
    opened = await call.fleet.open_service(call.by, cell_id, service, ServiceWish(body.certificate, life))
    shaped: OpenedService = {
        "forwardID": opened.forward,
        "until": stamp(opened.until),
        "certificate": opened.certificate,
    }
    return answer(shaped)


@router.websocket("/{cellID}/forwards/{forwardID}")
async def carry(websocket: WebSocket) -> None:
    """Carry the connections of one forward until either end has enough."""
    ours: Context = websocket.app.state.context
    try:
        by = await _caller(ours, websocket)
        cell_id = CellID(parse_id(websocket.path_params["cellID"], "cellID"))
        forward = parse_id(websocket.path_params["forwardID"], "forwardID")
        ours.streams.check(by.key_id)
        await ours.fleet.cell(by, cell_id)
    except ByocError as error:
        refusal = problems.render(problems.of_error(error), websocket.url.path, "")
        await websocket.send_denial_response(refusal)
        return
    await websocket.accept(subprotocol=SUBPROTOCOL)
    with ours.streams.opened(by.key_id):
        await _Carrying(ours, by, cell_id, forward).run(websocket)


async def _caller(ours: Context, websocket: WebSocket) -> Principal:
    address = websocket.client.host if websocket.client is not None else ""
    return await ours.guard.admit(websocket.headers.get("authorization"), address)


class _Carrying:
    """One forward's websocket."""

    def __init__(self, ours: Context, by: Principal, cell_id: CellID, forward: str) -> None:
        self._ours = ours
        self._by = by
        self._cell = cell_id
        self._forward = forward

    async def run(self, websocket: WebSocket) -> None:
        connection = Connection(
            SocketTransport(websocket), first_id=1, clock=self._ours.clock, max_streams=MOST_LINES
        )
        connection.allow_streams(MOST_LINES)
        watching = [
            asyncio.create_task(self._watch_key(websocket, connection)),
            asyncio.create_task(self._watch_process(connection)),
        ]
        try:
            await connection.run(self._serve)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _serve(self, stream: Stream) -> None:
        if stream.service not in _WHAT:
            await stream.reject("unknown-service", "a forward has lines, and what holds it")
            return
        try:
            onward = await self._ours.fleet.forward(self._by, self._cell, self._forward, stream.service)
        except ByocError as error:
            await stream.reject("unreachable", error.message)
            return
        await stream.accept()
        await splice(stream, onward)

    async def _watch_key(self, websocket: WebSocket, connection: Connection) -> None:
        while True:
            await self._ours.clock.sleep(LOOK_SECONDS)
            try:
                await _caller(self._ours, websocket)
            except ByocError as error:
                connection.end(error.message)
                return

    async def _watch_process(self, connection: Connection) -> None:
        await self._ours.closing.wait()
        connection.end("the control plane is stopping")
