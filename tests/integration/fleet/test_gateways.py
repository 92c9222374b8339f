"""The Control Plane's tunnels, with a real gateway and a cell's real client, over lines in memory."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from byoc.controlplane.fleet.start import DATABASE, Owner, make
from byoc.controlplane.gateways import Dialling, Gateways
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.controlplane.plane import ControlPlane, assemble
from byoc.errors import CellAway, IllegalState, Unreachable
from byoc.ids import new_id
from byoc.model.records import CellState, NewGroup, Principal
from byoc.nimbus import http
from byoc.nimbus.client import TunnelClient, request_unenrolled
from byoc.nimbus.gateway import Gateway
from byoc.nimbus.handshake import Role
from byoc.nimbus.http import HttpRequest
from byoc.nimbus.serve import PinnedRoot
from byoc.nimbus.stream import Stream
from byoc.nimbus.transport import Transport
from byoc.store.sqlite import SqliteStore, open_store
from byoc.testing import ManualClock
from byoc.testing.transport import Line, memory_pair
from tests.integration.fleet.fakecell import FakeCell

URL = "wss://gateway.example/nimbus/v1"
JSON = (("content-type", "application/json"),)


@dataclass
class Net:
    """One gateway, one Control Plane, one cell."""

    clock: ManualClock
    store: SqliteStore
    plane: ControlPlane
    gateway: Gateway
    cell: FakeCell
    by: Principal
    lines: dict[str, list[Line]] = field(default_factory=dict)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    client: TunnelClient | None = None

    def dial_as(self, who: str) -> Callable[[], Awaitable[Transport]]:
        async def dial() -> Transport:
            one, other = memory_pair(clock=self.clock)
            self.lines.setdefault(who, []).append(one.line)
            self.tasks.append(asyncio.create_task(self.gateway.attach(one)))
            return other

        return dial

    async def enrol(self) -> None:
        record = await self.plane.fleet.register_cell(self.by, "local", "AWS", "US Local", "local")
        self.cell.id = record.id
        granted = await self.plane.fleet.enrolment_token(self.by, record.id, self.cell.signing.kid)
        body = json.dumps(self.cell.enrolment(granted["token"])).encode()
        asked = HttpRequest("POST", "/cell/v1/enrol", JSON, body)
        answer = await request_unenrolled(self.dial_as("cell"), asked, clock=self.clock, timeout=5)
        assert answer.status == 200, answer.body

    async def connect_cell(self) -> None:
        async def log_in(challenge: bytes, gateway: str) -> Mapping[str, Any]:
            return {"token": self.cell.login(challenge, gateway)}

        async def serve(stream: Stream) -> None:
            await http.serve(stream, self.answer, state={})

        async def hold(stream: Stream) -> None:
            await stream.wait_lost()

        self.client = TunnelClient(
            URL,
            role=Role.CELL,
            login=log_in,
            services={"cell": serve, "service/": hold},
            clock=self.clock,
            rng=Random(3),  # noqa: S311 - jitter
            dial=self.dial_as("cell"),
        )
        self.tasks.append(asyncio.create_task(self.client.run()))
        await self.until(self.linked)

    async def linked(self) -> bool:
        """Both ends know of the tunnel."""
        return self.client is not None and self.client.connected and await self.connected()

    async def answer(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        event = await receive()
        headers = tuple((name.decode(), value.decode()) for name, value in scope["headers"])
        asked = HttpRequest(scope["method"], scope["raw_path"].decode(), headers, event["body"])
        said = await self.cell.request(asked)
        names = [(name.encode(), value.encode()) for name, value in said.headers.items()]
        await send({"type": "http.response.start", "status": said.status, "headers": names})
        await send({"type": "http.response.body", "body": said.body})

    async def report(self, **fields: Any) -> http.HttpResponse:
        assert self.client is not None
        asked = HttpRequest("POST", "/cell/v1/report", (), self.cell.report(**fields).encode())
        return await self.client.request("controlplane", asked, timeout=5)

    async def connected(self) -> bool:
        return (await self.plane.fleet.cell(self.by, self.cell.id)).connected

    async def ready(self) -> bool:
        return not await self.plane.unready()

    async def until(self, condition: Callable[[], Awaitable[bool]], *, passing: float = 0.0) -> None:
        """Wait; ``passing`` seconds go by at each look, slowly enough for commits to keep up."""
        for _ in range(1500):
            if await condition():
                return
            self.clock.advance(passing)
            await asyncio.sleep(0.01)
        message = "it never came to that"
        raise AssertionError(message)


@pytest.fixture
async def net(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Net]:
    token = await make(tmp_path, Owner(), clock, new_id)
    keys = ControlPlaneKeys.load(tmp_path / "controlplane")
    folder = tmp_path / "gateway"
    folder.mkdir()
    (folder / "root.json").write_text(json.dumps(keys.root.jwk()))
    gateway = Gateway(
        name="gateway-1",
        verify_controlplane=PinnedRoot(folder, name="gateway-1", clock=clock).verify,
        clock=clock,
        new_id=new_id,
        random_bytes=os.urandom,
    )
    store = open_store(tmp_path / "controlplane" / DATABASE)
    jitter = Random(5)  # noqa: S311 - jitter
    made: list[Net] = []
    where = Dialling((URL,), dial=lambda _: made[0].dial_as("controlplane"))
    gateways = Gateways(where, store, keys, clock, new_id=new_id, rng=jitter)
    plane = assemble(store, keys, gateways, clock, rng=jitter)
    by = await plane.fleet.authenticate(token)
    made.append(Net(clock, store, plane, gateway, FakeCell(clock, dict(keys.trusted)), by))
    running = asyncio.create_task(plane.run())
    await made[0].until(made[0].ready)
    yield made[0]
    tasks = [running, *made[0].tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()


async def test_a_cell_enrols_logs_in_and_reports_through_the_gateway(net: Net) -> None:
    await net.enrol()
    await net.connect_cell()
    answer = await net.report(full=True)
    assert (answer.status, json.loads(answer.body)["fullWanted"]) == (200, False)
    (session,) = await net.plane.fleet.sessions(net.by, net.cell.id)
    assert (session.gateway, session.epoch) == ("gateway-1", 1)


async def test_intent_reaches_the_cell_through_the_gateway(net: Net) -> None:
    await net.enrol()
    await net.connect_cell()
    group = (await net.plane.fleet.create_group(net.by, NewGroup("sales", net.cell.id, ()))).id

    async def there() -> bool:
        return group in net.cell.held

    await net.until(there)
    assert net.cell.passwords[group][0] == 1


async def test_when_the_tunnel_to_a_gateway_breaks_its_cells_are_away_until_it_is_back(net: Net) -> None:
    await net.enrol()
    await net.connect_cell()
    await net.lines["controlplane"][-1].cut()

    async def away() -> bool:
        return not await net.connected()

    await net.until(away)
    with pytest.raises(CellAway):
        await net.plane.gateways.request(net.cell.id, HttpRequest("GET", "/cell/v1/status"), 5)
    # The cell's own tunnel still stands; it logs in again once there is somebody to ask.
    await net.until(net.linked, passing=0.02)
    assert len(net.lines["cell"]) == 2


async def test_when_the_cells_tunnel_breaks_it_is_away_and_comes_back_by_itself(net: Net) -> None:
    await net.enrol()
    await net.connect_cell()
    epochs = [session.epoch for session in await net.plane.fleet.sessions(net.by, net.cell.id)]
    await net.lines["cell"][-1].cut()

    async def back() -> bool:
        sessions = await net.plane.fleet.sessions(net.by, net.cell.id)
        return bool(sessions) and sessions[-1].epoch > epochs[-1]

    await net.until(back, passing=0.02)
    assert len(await net.plane.fleet.sessions(net.by, net.cell.id)) == 1


async def test_a_retired_cells_tunnel_is_closed_at_once_and_stays_closed(net: Net) -> None:
    await net.enrol()
    await net.connect_cell()
    assert net.client is not None
    await net.plane.fleet.retire_cell(net.by, net.cell.id)

    async def thrown_out() -> bool:
        return net.client is not None and not net.client.connected and not net.gateway.cells

    await net.until(thrown_out)
    assert (await net.plane.fleet.cell(net.by, net.cell.id)).state is CellState.RETIRED
    for _ in range(20):
        net.clock.advance(60)
        await asyncio.sleep(0.003)
    assert not net.gateway.cells
    assert not await net.connected()


async def test_a_retired_cells_streams_end_within_a_second(net: Net) -> None:
    await net.enrol()
    await net.connect_cell()
    name = new_id()
    forward = await net.plane.fleet.forward(net.by, net.cell.id, name, "hold")
    began = net.clock.monotonic()
    await net.plane.fleet.retire_cell(net.by, net.cell.id)
    with pytest.raises(Unreachable):
        await forward.read()

    async def closed() -> bool:
        return net.client is not None and not net.client.streams and not net.client.connected

    await net.until(closed, passing=0.001)
    assert net.clock.monotonic() - began < 1
    with pytest.raises(IllegalState, match="retired"):
        await net.plane.fleet.forward(net.by, net.cell.id, name, "line")


async def test_another_cells_service_cannot_be_reached_by_reporting_as_it(net: Net) -> None:
    await net.enrol()
    await net.connect_cell()
    thief = FakeCell(net.clock, {}, id=net.cell.id)
    assert net.client is not None
    asked = HttpRequest("POST", "/cell/v1/report", (), thief.report(full=True).encode())
    answer = await net.client.request("controlplane", asked, timeout=5)
    assert answer.status == 401


async def test_a_request_for_a_session_behind_an_unknown_gateway_is_unreachable(net: Net) -> None:
    await net.enrol()
    now = net.clock.now()
    await net.store.write(lambda tx: tx.cells.open_session("s", net.cell.id, "elsewhere", now))
    with pytest.raises(Unreachable, match="elsewhere"):
        await net.plane.gateways.request(net.cell.id, HttpRequest("GET", "/cell/v1/status"), 5)


async def test_sessions_of_an_earlier_process_do_not_count(net: Net, tmp_path: Path) -> None:
    await net.enrol()
    now = net.clock.now()
    await net.store.write(lambda tx: tx.cells.open_session("old", net.cell.id, "gateway-1", now))
    keys = ControlPlaneKeys.load(tmp_path / "controlplane")
    later = Gateways(Dialling(()), net.store, keys, net.clock, new_id=new_id, rng=Random(1))  # noqa: S311
    await later.run(net.plane.cells)
    assert not await net.connected()


async def test_a_gateway_that_is_not_there_is_named_as_unready(net: Net) -> None:
    assert await net.plane.unready() == {}
    await net.gateway.stop(0)

    async def unready() -> bool:
        return bool(await net.plane.unready())

    await net.until(unready)
    assert list(await net.plane.unready()) == [f"gateway {URL}"]
