"""Forwarded services at the API: who may ask, and the websocket that carries them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from byoc.errors import Unreachable
from byoc.nimbus.connection import Connection
from byoc.nimbus.stream import Stream
from byoc.testing.transport import memory_pair

BODY = {"certificate": "a certificate", "lifeSeconds": 60}
FORWARD = "55555555-5555-4555-8555-555555555555"


@dataclass
class Caller:
    """The caller's end of a websocket, past any server."""

    asks: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    hears: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    their_clock: datetime | None = None
    peer: str = "test"

    async def send(self, data: bytes) -> None:
        await self.asks.put({"type": "websocket.receive", "bytes": data})

    async def recv(self) -> bytes:
        event = await self.hears.get()
        if event["type"] != "websocket.send":
            raise Unreachable("closed")
        return event["bytes"]

    async def close(self) -> None:
        await self.asks.put({"type": "websocket.disconnect", "code": 1000})


@asynccontextmanager
async def websocket(world: Any, path: str, key: str) -> AsyncIterator[tuple[Caller, dict[str, Any]]]:
    caller = Caller()
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"api.example"), (b"authorization", f"Bearer {key}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "subprotocols": ["nimbus.v1"],
        "extensions": {"websocket.http.response": {}},
        "state": {},
    }
    await caller.asks.put({"type": "websocket.connect"})
    serving = asyncio.create_task(world.app.asgi(scope, caller.asks.get, caller.hears.put))
    try:
        yield caller, await caller.hears.get()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@asynccontextmanager
async def carried(world: Any) -> AsyncIterator[list[str]]:
    """A cell that echoes on every forward."""
    one, other = memory_pair(clock=world.clock)
    near = Connection(one, first_id=1, clock=world.clock)
    far = Connection(other, first_id=2, clock=world.clock)
    far.allow_streams()
    opened: list[str] = []

    async def echo(stream: Stream) -> None:
        opened.append(stream.service)
        await stream.accept()
        while data := await stream.read():
            await stream.write(data)

    runs = [asyncio.create_task(near.run(echo)), asyncio.create_task(far.run(echo))]
    world.fleet.carrier = near
    await asyncio.sleep(0)
    try:
        yield opened
    finally:
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)


async def cell_of(world: Any) -> str:
    return (await world.ok("GET", "/byoc/v1/cells"))[0]["cellID"]


async def test_a_service_is_opened_by_the_cells_own_organization_only(world: Any) -> None:
    world.fleet.services = {"grafana"}
    path = f"/byoc/v1/cells/{await cell_of(world)}/services/grafana/open"
    opened = await world.ok("POST", path, json=BODY)
    assert opened["until"] == "2030-01-01T00:01:00Z"
    assert set(opened) == {"forwardID", "until", "certificate"}
    assert (await world.stranger.post(path, json=BODY)).status_code == 404
    assert (await world.client.post(path, json=BODY, headers={"authorization": ""})).status_code == 401


async def test_what_the_cell_refuses_is_told_with_its_rule(world: Any) -> None:
    answer = await world.client.post(
        f"/byoc/v1/cells/{await cell_of(world)}/services/grafana/open", json=BODY
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "refused_by_cell")
    assert "service-unnamed" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["Grafana", "a_b", "-a", "a" * 64, "%2e%2e"])
async def test_a_name_that_no_policy_could_hold_is_refused_at_once(world: Any, name: str) -> None:
    answer = await world.client.post(f"/byoc/v1/cells/{await cell_of(world)}/services/{name}/open", json=BODY)
    assert answer.status_code == 400


@pytest.mark.parametrize("change", [{"lifeSeconds": 0}, {"lifeSeconds": 86_401}, {"certificate": "x" * 9000}])
async def test_a_wish_beyond_all_limits_is_refused_at_once(world: Any, change: dict[str, Any]) -> None:
    world.fleet.services = {"grafana"}
    path = f"/byoc/v1/cells/{await cell_of(world)}/services/grafana/open"
    assert (await world.client.post(path, json=BODY | change)).status_code == 400


async def test_streams_of_the_websocket_are_passed_on_to_the_cell(world: Any) -> None:
    path = f"/byoc/v1/cells/{await cell_of(world)}/forwards/{FORWARD}"
    async with carried(world) as opened, websocket(world, path, world.key) as (caller, answer):
        assert answer == {"type": "websocket.accept", "subprotocol": "nimbus.v1", "headers": []}
        connection = Connection(caller, first_id=2, clock=world.clock)
        running = asyncio.create_task(connection.run(lambda stream: stream.reject("no")))
        stream = await connection.open("line", timeout=5)
        await stream.write(b"hello")
        assert await stream.read() == b"hello"
        with pytest.raises(Unreachable):
            await connection.open("cell", timeout=5)
        assert opened == [f"service/{FORWARD}/line"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("whose", ["nobody", "stranger"])
async def test_no_websocket_is_opened_for_whoever_may_not_see_the_cell(world: Any, whose: str) -> None:
    key = "nobody" if whose == "nobody" else world.stranger.headers["authorization"].split()[1]
    path = f"/byoc/v1/cells/{await cell_of(world)}/forwards/{FORWARD}"
    async with websocket(world, path, key) as (_, answer):
        assert answer["type"] == "websocket.http.response.start"
        assert answer["status"] == (401 if whose == "nobody" else 404)


async def test_a_key_that_has_ended_ends_its_forwards(world: Any) -> None:
    path = f"/byoc/v1/cells/{await cell_of(world)}/forwards/{FORWARD}"
    async with carried(world), websocket(world, path, world.key) as (caller, _):
        connection = Connection(caller, first_id=2, clock=world.clock)
        running = asyncio.create_task(connection.run(lambda stream: stream.reject("no")))
        stream = await connection.open("line", timeout=5)
        world.fleet._keys.clear()
        await world.clock.elapse(11)
        with pytest.raises(Unreachable):
            await stream.read()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
