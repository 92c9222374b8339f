"""The API on a real socket, over the fleet in memory with a cell that obeys every 20 ms."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from byoc.clock import SystemClock
from byoc.controlplane.api.service import Overview
from byoc.controlplane.app import build
from byoc.controlplane.listener import Listener, bind, url_of
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.testing.fleet import MemoryFleet


class ReadyInstance:
    async def overview(self) -> Overview:
        return Overview()

    async def unready(self) -> dict[str, str]:
        return {}


@dataclass
class Served:
    url: str
    key: str
    fleet: MemoryFleet
    stop: asyncio.Event
    running: asyncio.Task[None]


async def _obey(fleet: MemoryFleet) -> None:
    while True:
        await asyncio.sleep(0.02)
        fleet.settle()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    fleet = MemoryFleet(SystemClock())
    key = fleet.add_organization("acme")
    settings = ControlPlaneSettings(keep_alive=0.2)
    app = build(settings, fleet, ReadyInstance(), version="0.1.0")
    bound, stop = bind("127.0.0.1", 0), asyncio.Event()
    url = url_of(bound)
    running = asyncio.ensure_future(Listener(app, bound, drain=1).run(stop))
    cell = asyncio.ensure_future(_obey(fleet))
    yield Served(url, key, fleet, stop, running)
    cell.cancel()
    stop.set()
    async with asyncio.timeout(5):
        await running
