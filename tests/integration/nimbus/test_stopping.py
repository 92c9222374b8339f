"""A gateway's process that is told to stop, as a supervisor or Kubernetes tells it."""

import asyncio
import signal
import sys
from typing import Any

import pytest

from byoc.errors import Unreachable
from byoc.nimbus.http import HttpRequest
from byoc.nimbus.stream import Stream
from byoc.testing.instance import free_port

Site = Any


async def test_a_gateway_told_to_stop_takes_nothing_new_lets_the_old_finish_and_exits_with_zero(
    site: Site,
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(stream: Stream) -> None:
        begun.set()
        await go_on.wait()
        await site.serve(stream)

    site.port = free_port()
    command = ["-m", "byoc", "gateway", "serve", "--data", str(site.data), "--port", str(site.port)]
    gateway = await asyncio.create_subprocess_exec(sys.executable, *command)
    try:
        controlplane, cell = site.controlplane(), site.cell("cell-a", handler=handler)
        await controlplane.wait_connected(timeout=30)
        await cell.wait_connected(timeout=30)
        asked = HttpRequest("POST", "/", (), b"begun before")
        old = asyncio.create_task(controlplane.request("cell/cell-a", asked, timeout=20))
        await asyncio.wait_for(begun.wait(), 20)
        gateway.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while cell.connected:
                await asyncio.sleep(0.02)
        with pytest.raises(Unreachable):
            await controlplane.request("cell/cell-a", asked, timeout=5)
        go_on.set()
        assert (await old).body == b"begun before"
        assert await asyncio.wait_for(gateway.wait(), 20) == 0
    finally:
        if gateway.returncode is None:
            gateway.kill()
        await gateway.wait()
