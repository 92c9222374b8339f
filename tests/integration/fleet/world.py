"""A Control Plane on a real database, time by hand, and one fake cell behind an in-memory link."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from byoc.controlplane.fleet.recording import state_of
from byoc.controlplane.fleet.service import Fleet
from byoc.controlplane.fleet.start import DATABASE, Owner, make
from byoc.controlplane.gateways import Dialling, Gateways
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.controlplane.plane import ControlPlane, assemble
from byoc.errors import CellAway
from byoc.ids import CellID, GroupID, WorkspaceID, new_id
from byoc.model.records import Event, NewGroup, NewWorkspace, Principal, WorkspaceRecord
from byoc.model.workspace import State
from byoc.nimbus.http import HttpRequest, HttpResponse
from byoc.store.sqlite import SqliteStore, open_store
from byoc.testing import ManualClock
from byoc.wire.keys import encode_bytes
from tests.integration.fleet.fakecell import FakeCell

GATEWAY = "gateway"
CHALLENGE = b"c" * 32


class MemoryLink:
    """Brings requests to fake cells."""

    def __init__(self) -> None:
        self.cells: dict[str, FakeCell] = {}
        self.closed: list[CellID] = []

    async def request(self, cell_id: CellID, asked: HttpRequest, timeout: float) -> HttpResponse:  # noqa: ASYNC109 - the seam's
        await asyncio.sleep(0)
        if cell_id not in self.cells:
            raise CellAway("the cell is not connected")
        return await self.cells[cell_id].request(asked)

    async def close(self, cell_id: CellID) -> None:
        self.closed.append(cell_id)


@dataclass
class World:
    folder: Path
    clock: ManualClock
    store: SqliteStore
    keys: ControlPlaneKeys
    plane: ControlPlane
    link: MemoryLink
    by: Principal
    cell: FakeCell

    @property
    def fleet(self) -> Fleet:
        return self.plane.fleet

    # --- the cell's side -----------------------------------------------------------------

    async def ask(
        self, service: str, method: str, path: str, body: object = None, gateway: str = GATEWAY
    ) -> tuple[int, Any]:
        """Ask the app for cells as the tunnel would; return status and body."""
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(event: Any) -> None:
            sent.append(event)

        scope = {"method": method, "path": path, "state": {"service": service, "gateway": gateway}}
        await self.plane.cells(scope, receive, send)
        text = sent[1]["body"].decode()
        return sent[0]["status"], json.loads(text) if text.startswith("{") else text

    async def enrol(self, cell: FakeCell, name: str) -> None:
        record = await self.fleet.register_cell(self.by, name, "AWS", f"US {name}", name)
        cell.id = record.id
        self.link.cells[record.id] = cell
        granted = await self.fleet.enrolment_token(self.by, record.id, cell.signing.kid)
        status, _ = await self.ask("enrol", "POST", "/cell/v1/enrol", cell.enrolment(granted["token"]))
        assert status == 200
        await self.log_in(cell)
        status, _ = await self.report(cell, full=True)
        assert status == 200

    async def log_in(self, cell: FakeCell | None = None, session: str = "") -> tuple[int, Any]:
        cell = cell or self.cell
        cell.away = False
        wish = {
            "gateway": GATEWAY,
            "challenge": encode_bytes(CHALLENGE),
            "token": cell.login(CHALLENGE, GATEWAY),
            "session": session or f"session-{cell.id}",
        }
        return await self.ask("login", "POST", "/cell/v1/login", wish)

    async def cut(self, cell: FakeCell | None = None) -> None:
        """End the cell's tunnel."""
        cell = cell or self.cell
        cell.away = True
        await self.ask("login", "POST", "/cell/v1/logout", {"session": f"session-{cell.id}"})

    async def report(self, cell: FakeCell | None = None, **changes: Any) -> tuple[int, Any]:
        cell = cell or self.cell
        return await self.take(cell.report(**changes), cell)

    async def take(self, token: str, cell: FakeCell | None = None) -> tuple[int, Any]:
        return await self.ask(f"cell:{(cell or self.cell).id}", "POST", "/cell/v1/report", token)

    # --- the customer's side -------------------------------------------------------------

    async def group(self, name: str = "sales", **fields: Any) -> GroupID:
        new = NewGroup(name, self.cell.id, (), **fields)
        return (await self.fleet.create_group(self.by, new)).id

    async def workspace(self, group: GroupID, name: str = "orders", **fields: Any) -> WorkspaceID:
        return await self.fleet.create_workspace(self.by, NewWorkspace(name, group, **fields))

    async def running(self, name: str = "orders") -> tuple[GroupID, WorkspaceID]:
        """A group and a workspace that the cell has and reports as running."""
        group = await self.group(f"group of {name}")
        workspace = await self.workspace(group, name)
        await self.delivered(workspace)
        await self.report()
        assert await self.state(workspace) is State.ACTIVE
        return group, workspace

    async def record(self, workspace: WorkspaceID) -> WorkspaceRecord:
        return await self.fleet.workspace(self.by, workspace)

    async def state(self, workspace: WorkspaceID) -> State:
        return state_of(await self.record(workspace))

    async def events(self, workspace: WorkspaceID, after: int = 0) -> list[Event]:
        return await self.fleet.events(self.by, workspace, after=after)

    async def kinds(self, workspace: WorkspaceID) -> list[str]:
        return [event.kind for event in await self.events(workspace)]

    # --- waiting -------------------------------------------------------------------------

    async def until(self, condition: Callable[[], Awaitable[object]], *, passing: float = 0.0) -> None:
        """Wait until ``condition`` holds, letting ``passing`` seconds of the clock go by at each look."""
        for _ in range(3000):
            if await condition():
                return
            if passing:
                self.clock.advance(passing)
            await asyncio.sleep(0.003)
        message = "it never came to that"
        raise AssertionError(message)

    async def delivered(self, workspace: WorkspaceID, *, passing: float = 0.0) -> None:
        """Wait until the cell has acknowledged the newest generation."""

        async def acknowledged() -> bool:
            record = await self.record(workspace)
            return record.seen.acknowledged_generation >= record.spec.generation

        await self.until(acknowledged, passing=passing)

    async def group_delivered(self, group: GroupID, *, passing: float = 0.0) -> None:
        async def acknowledged() -> bool:
            record = await self.fleet.group(self.by, group)
            return record.acknowledged_generation >= record.spec.generation

        await self.until(acknowledged, passing=passing)

    async def told(self, workspace: WorkspaceID, kind: str, *, passing: float = 0.0) -> Event:
        """Wait for an event of this kind and return the last one."""

        async def came() -> bool:
            return kind in await self.kinds(workspace)

        await self.until(came, passing=passing)
        return [event for event in await self.events(workspace) if event.kind == kind][-1]


@asynccontextmanager
async def world(folder: Path, clock: ManualClock, *, dispatching: bool = True) -> AsyncIterator[World]:
    """Make a Control Plane in ``folder`` with one enrolled cell, and run it."""
    token = await make(folder, Owner("ann@example.com", "Acme"), clock, new_id)
    keys = ControlPlaneKeys.load(folder / "controlplane")
    store = open_store(folder / "controlplane" / DATABASE)
    link = MemoryLink()
    jitter = Random(1)  # noqa: S311 - no secret
    gateways = Gateways(Dialling(()), store, keys, clock, new_id=new_id, rng=jitter)
    plane = assemble(store, keys, gateways, clock, rng=jitter, link=link)
    by = await plane.fleet.authenticate(token)
    cell = FakeCell(clock, dict(keys.trusted))
    made = World(folder, clock, store, keys, plane, link, by, cell)
    running = asyncio.create_task(plane.run()) if dispatching else None
    try:
        await asyncio.sleep(0)
        await made.enrol(cell, "local")
        yield made
    finally:
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await store.close()
