"""A gateway in a process of its own, and tunnels with streams on it that are ended in every way there is."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import psutil

from byoc.errors import Unreachable
from byoc.nimbus.client import TunnelClient
from byoc.nimbus.http import HttpRequest
from tests.integration.nimbus.conftest import Site

PROGRAM = """
import asyncio, gc, signal, sys
from pathlib import Path
from byoc import log
from byoc.nimbus.serve import GatewaySettings, serve

def tell():
    gc.collect()
    print(sys.getallocatedblocks(), len(asyncio.all_tasks()), flush=True)

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    settings = GatewaySettings(Path(sys.argv[1]), 0)
    await serve(settings, asyncio.Event(), on_ready=lambda port: print(port, flush=True))

log.configure("error", component="gateway")
asyncio.run(main())
"""
_STILL = 20
"""Looks in a row at which nothing may have moved."""


@dataclass(frozen=True)
class Held:
    """What the gateway's process holds: open files, tasks, blocks of Python's memory, memory in all."""

    files: int
    tasks: int
    blocks: int
    memory: int


class Gateway:
    """The process."""

    def __init__(self, started: asyncio.subprocess.Process) -> None:
        self._started = started
        self._process = psutil.Process(started.pid)

    async def line(self) -> str:
        assert self._started.stdout is not None
        return (await asyncio.wait_for(self._started.stdout.readline(), 120)).decode()

    async def look(self) -> Held:
        self._started.send_signal(signal.SIGUSR1)
        blocks, tasks = map(int, (await self.line()).split())
        return Held(self._process.num_fds(), tasks, blocks, self._process.memory_info().rss)

    async def at_rest(self) -> Held:
        """Return what it holds once no file is opened or closed any more: ends of lines take their time."""
        seen = await self.look()
        still = 0
        while still < _STILL:
            await asyncio.sleep(0.05)
            now = await self.look()
            still = still + 1 if (now.files, now.tasks) == (seen.files, seen.tasks) else 0
            seen = now
        return seen

    async def back_to(self, before: Held) -> Held:
        """Return what it holds once that is no more than before; what lingers has a minute."""
        now = await self.look()
        for _ in range(600):
            if now.files <= before.files and now.tasks <= before.tasks:
                break
            await asyncio.sleep(0.1)
            now = await self.look()
        return now


@asynccontextmanager
async def gateway_of(site: Site) -> AsyncIterator[Gateway]:
    command = (sys.executable, "-c", PROGRAM, str(site.data))
    started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        gateway = Gateway(started)
        site.port = int(await gateway.line())
        yield gateway
    finally:
        started.kill()
        await started.communicate()


async def _ask(controlplane: TunnelClient, name: str) -> None:
    try:
        await controlplane.request(f"cell/{name}", HttpRequest("POST", "/", (), bytes(2000)), timeout=60)
    except Unreachable:
        # The tunnel was ended under it, which is what this is about.
        return


async def open_and_end(site: Site, controlplane: Any, rng: Random, *, tunnels: int, streams: int) -> None:
    """Open so many tunnels at once with so many streams each, and end each at some moment in some way."""
    names = [f"cell-{number}" for number in range(tunnels)]
    before = len(site.tasks)
    cells = [site.cell(name) for name in names]
    for cell in cells:
        await cell.wait_connected(timeout=120)
    asking = [asyncio.create_task(_ask(controlplane, name)) for name in names for _ in range(streams)]
    for cell, task in zip(cells, site.tasks[before:], strict=True):
        for _ in range(rng.randrange(20)):
            await asyncio.sleep(0)
        if rng.random() < 0.5:
            task.cancel()
        else:
            await cell.close()
    await asyncio.gather(*asking, *site.tasks[before:], return_exceptions=True)
    del site.tasks[before:]
