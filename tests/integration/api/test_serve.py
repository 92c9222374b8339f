"""The whole Control Plane in one process: it starts, says that it is ready, and stops in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from byoc.clock import SystemClock
from byoc.controlplane import serve as serving
from byoc.controlplane.fleet.start import Owner, make
from byoc.controlplane.listener import bind
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.errors import DataInUse, PreconditionFailed
from byoc.ids import new_id

NOBODY = "wss://127.0.0.1:9/nimbus/v1"


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    await make(tmp_path, Owner(), SystemClock(), new_id)
    return tmp_path


@asynccontextmanager
async def running(data: Path, **changes: Any) -> AsyncIterator[tuple[httpx2.AsyncClient, asyncio.Event]]:
    settings = ControlPlaneSettings(**({"data": data, "port": 0, "drain": 1.0} | changes))
    stop: asyncio.Event = asyncio.Event()
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serving.serve(settings, stop, on_ready=ready.set_result))
    await asyncio.wait((ready, task), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    token = (data / "controlplane" / "owner.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with httpx2.AsyncClient(base_url=ready.result()["url"], headers=headers) as client:
            yield client, stop
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def test_it_serves_the_owner_and_finds_everything_again(data: Path) -> None:
    async with running(data) as (client, _):
        assert (await client.get("/readyz")).json() == {"status": "ready", "reasons": {}}
        organization = (await client.get("/v1/organizations/current")).json()
        cell = {"name": "c", "region": "US Local", "regionName": "local"}
        assert (await client.post("/byoc/v1/cells", json=cell)).status_code == 200
        assert "byoc_fleet_delivered_total 0.0" in (await client.get("/metrics")).text
        assert "pending" in (await client.get("/")).text
    async with running(data) as (client, _):
        assert (await client.get("/v1/organizations/current")).json() == organization
        assert [each["name"] for each in (await client.get("/byoc/v1/cells")).json()] == ["c"]


async def test_it_is_not_ready_without_its_gateway_and_says_why(data: Path) -> None:
    async with running(data, gateways=(NOBODY,)) as (client, _):
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert list(answer.json()["reasons"]) == [f"gateway {NOBODY}"]
        assert (await client.get("/v1/regions")).json() == []


async def test_it_is_not_ready_when_the_disk_is_full(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LEAST_DISK", 2**62)
    async with running(data) as (client, _):
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert "the disk is full" in answer.json()["reasons"]["store"]


async def test_a_stop_lets_an_open_stream_end_and_the_database_go(data: Path) -> None:
    async with running(data) as (client, stop):
        stop.set()
        async with asyncio.timeout(5):
            while True:
                try:
                    await client.get("/healthz")
                except httpx2.HTTPError:
                    break
    assert not (data / "controlplane" / "byoc.sqlite-wal").exists()


async def test_a_taken_port_is_said_before_the_database_is_opened(tmp_path: Path) -> None:
    bound = bind("127.0.0.1", 0)
    settings = ControlPlaneSettings(data=tmp_path / "nothing", port=bound.getsockname()[1])
    try:
        with pytest.raises(PreconditionFailed, match="cannot listen"):
            await serving.serve(settings, asyncio.Event())
    finally:
        bound.close()


async def test_a_folder_without_a_control_plane_is_said_and_the_port_is_free_again(tmp_path: Path) -> None:
    probe = bind("127.0.0.1", 0)
    port = probe.getsockname()[1]
    probe.close()
    with pytest.raises(PreconditionFailed, match="no control plane"):
        await serving.serve(ControlPlaneSettings(data=tmp_path, port=port), asyncio.Event())
    bind("127.0.0.1", port).close()


async def test_a_fault_in_the_background_ends_the_process_instead_of_hiding(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        async def run(self) -> None:
            raise DataInUse("somebody else writes here")

    opened = serving.open_control_plane

    def broken(*arguments: Any, **named: Any) -> Any:
        plane = opened(*arguments, **named)
        object.__setattr__(plane, "expiry", Broken())
        return plane

    monkeypatch.setattr(serving, "open_control_plane", broken)
    with pytest.raises(DataInUse, match="somebody else"):
        async with asyncio.timeout(10):
            await serving.serve(ControlPlaneSettings(data=data, port=0), asyncio.Event())
