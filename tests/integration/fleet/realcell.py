"""A cell as it runs, but for engines and tunnel: state, ledger, keys, guard, Cell API, reporter.

The other end for tests of what the two planes do together. It can be stopped as by kill -9,
have its folder put back to an older copy, and start again; the fleet's clock is its own.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from byoc.dataplane import continuity
from byoc.dataplane.app import CellApp, Door
from byoc.dataplane.control import Control
from byoc.dataplane.desk import FolderDesk
from byoc.dataplane.files import FileStorage
from byoc.dataplane.guard import Guard
from byoc.dataplane.keys import CellKeys, Identity, PinnedKeys, accept_enrolment
from byoc.dataplane.ledger_verify import read_records
from byoc.dataplane.outward import Outward, Way
from byoc.dataplane.policy import PolicyFile
from byoc.dataplane.rates import Rates
from byoc.dataplane.replay import InLedger, Replays
from byoc.dataplane.reporter import Reporter, Reporting
from byoc.dataplane.services import Services
from byoc.errors import CellAway, Unreachable
from byoc.ids import CellID, new_id
from byoc.nimbus.http import HttpRequest, HttpResponse
from byoc.testing import cell as cells
from byoc.testing.cell import MemoryCell
from byoc.testing.runtime import MemoryRuntime
from byoc.wire.cell import Enrolled, decode, encode
from byoc.wire.keys import PublicKey
from tests.integration.fleet.world import World


class RealCell:
    """One cell of a world, in a folder of its own."""

    def __init__(self, fleet: World, folder: Path) -> None:
        self.fleet = fleet
        self.folder = folder
        self.runtime = MemoryRuntime(fleet.clock)
        self.id = CellID("")
        self.away = True
        self.cell: MemoryCell | None = None
        self.app: CellApp | None = None
        self.reporter: Reporter | None = None
        self.pinned: PinnedKeys | None = None
        self.control: Control | None = None
        self.posted: list[str] = []

    # --- joining -------------------------------------------------------------------------

    async def enrol(self, name: str = "real") -> None:
        keys = CellKeys.load_or_create(FileStorage(self.folder))
        record = await self.fleet.fleet.register_cell(self.fleet.by, name, "AWS", f"US {name}", name)
        granted = await self.fleet.fleet.enrolment_token(self.fleet.by, record.id, keys.thumbprint)
        wish = encode(keys.enrolment(granted["token"]))
        status, answer = await self.fleet.ask("enrol", "POST", "/cell/v1/enrol", wish)
        assert status == 200
        root = PublicKey.from_jwk(granted["rootKey"])
        accept_enrolment(FileStorage(self.folder), decode(Enrolled, answer), root, self.fleet.clock)
        self.id = record.id
        self.fleet.link.cells[self.id] = self  # type: ignore[assignment]

    def login(self, challenge: bytes, gateway: str) -> str:
        keys = CellKeys.load_or_create(FileStorage(self.folder))
        return keys.login(
            cell=self.id, challenge=challenge, audience=gateway, now=self.fleet.clock.now(), jti=new_id()
        )

    async def connect(self) -> None:
        status, _ = await self.fleet.log_in(self)  # type: ignore[arg-type]
        assert status == 200
        assert self.reporter is not None
        self.reporter.connected(yes=True)

    async def disconnect(self) -> None:
        assert self.reporter is not None
        self.reporter.connected(yes=False)
        await self.fleet.cut(self)  # type: ignore[arg-type]

    # --- its process ---------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[MemoryCell]:
        """Run it, connected, until the block ends; that is like kill -9."""
        async with cells.started(self.folder, self.fleet.clock, self.runtime, new_id) as cell:
            reporting = asyncio.create_task(self._assemble(cell).run())
            try:
                await self.connect()
                await self.reported()
                yield cell
            finally:
                await self.disconnect()
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)
                self.cell = None

    def _assemble(self, cell: MemoryCell) -> Reporter:
        kept = FileStorage(self.folder)
        keys, clock = CellKeys.load_or_create(kept), self.fleet.clock
        identity, pinned = Identity.load(kept), PinnedKeys.load(kept, clock)
        assert identity is not None
        assert pinned is not None
        continuity.check(self.folder / "ledger", cell.state)
        control = self.control = Control(
            FolderDesk(self.folder), cell.ledger, clock, lambda: [heard() for heard in cell.heard]
        )
        policy = PolicyFile(self.folder)
        guard = Guard(
            identity.cell_id,
            pinned=pinned,
            policy=policy,
            ledger=cell.ledger,
            replays=Replays(InLedger(self.folder / "ledger", clock), clock),
            rates=Rates(FileStorage(self.folder), clock),
            control=control,
            clock=clock,
        )
        door = Door(identity.cell_id, keys, guard)
        self.cell, self.pinned = cell, pinned
        way = Way(Outward(), cell.runtime, clock)
        services = Services(policy, control.gate, cell.ledger, kept, way, new_id)
        self.app = CellApp(door, cell.state, cell.reconciler, cell.runtime, services, clock)
        who = Reporting(identity.cell_id, keys, cell.runtime.facts, lambda: control.approvals.decided)
        self.reporter = Reporter(who, cell.state, pinned, self._post, clock)
        cell.heard.append(self.reporter.changed)
        return self.reporter

    async def reported(self) -> None:
        """Wait until the Control Plane has taken in a report that came from now on."""
        taken = self.fleet.plane.counters.reports

        async def came() -> bool:
            return self.fleet.plane.counters.reports > taken

        await self.fleet.until(came, passing=0.2)

    def copy(self, *parts: str) -> Path:
        """Copy the folder, or the ``parts`` of it that are named, as a backup does."""
        kept = self.folder.with_name(f"copy-{new_id()}")
        left_out = [part.name for part in self.folder.iterdir() if parts and part.name not in parts]
        shutil.copytree(self.folder, kept, ignore=lambda at, _: left_out if Path(at) == self.folder else ())
        return kept

    def restore(self, kept: Path) -> None:
        """Put back what a copy holds, in place of what is there."""
        for part in kept.iterdir():
            there = self.folder / part.name
            if part.is_dir():
                shutil.rmtree(there)
                shutil.copytree(part, there)
            else:
                shutil.copy2(part, there)

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in read_records(self.folder / "ledger") if record["kind"] == kind]

    async def told(self) -> list[str]:
        """Kinds of the events about this cell."""
        return [event.kind for event in await self.fleet.fleet.cell_events(self.fleet.by, self.id)]

    # --- the wire ------------------------------------------------------------------------

    async def request(self, asked: HttpRequest) -> HttpResponse:
        """Answer a request as the tunnel brings it."""
        if self.away or self.app is None or self.cell is None:
            raise CellAway("the cell is not connected")
        path, _, query = asked.target.partition("?")
        scope = {
            "type": "http",
            "method": asked.method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in asked.headers],
        }
        start, end = await _call(self.app, scope, asked.body)
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return HttpResponse(start["status"], headers, end["body"])

    async def _post(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self.away:
            raise Unreachable("the tunnel is not connected")
        self.posted.append(f"{method} {path}")
        scope = {"method": method, "path": path, "state": {"service": f"cell:{self.id}", "gateway": ""}}
        start, end = await _call(self.fleet.plane.cells, scope, body)
        return start["status"], end["body"]


async def _call(app: Any, scope: dict[str, Any], body: bytes) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event)

    await app(scope, receive, send)
    return sent
