"""Ten thousand requests through lines that misbehave: each is answered exactly once, or fails in words.

The kernel of a test machine may lack netem, so the faults are made by a relay of ours in userspace, which
does to TCP what they do: a delay is a delay, a lost or reordered packet holds back all that is behind it,
a cut is a reset, a black hole says nothing any more. Two gateways' hops are crossed by each request.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from byoc.errors import Unreachable
from byoc.nimbus import http
from byoc.nimbus.client import TunnelClient
from byoc.nimbus.http import HttpRequest
from byoc.nimbus.stream import Stream

Site = Any
WireTo = Any
REQUESTS = 2_000
"""Of each of the five faults."""
AT_ONCE = 40


class Counting:
    """A cell that counts how often it was asked what, and answers with the question."""

    def __init__(self) -> None:
        self.asked: Counter[bytes] = Counter()

    async def serve(self, stream: Stream) -> None:
        await http.serve(stream, self.app)

    async def app(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        body = (await receive())["body"]
        self.asked[body] += 1
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})


class Asking:
    """Asks ``REQUESTS`` questions, some at once, and keeps what became of each."""

    def __init__(self, controlplane: TunnelClient, cell: TunnelClient) -> None:
        self._controlplane = controlplane
        self.cell = cell
        self.answered: list[bytes] = []
        self.failed: list[str] = []

    async def one(self, number: int) -> None:
        body = b"%d " % number + bytes(number % 3000)
        asked = HttpRequest("POST", "/", (), body)
        try:
            answer = await self._controlplane.request("cell/cell-a", asked, timeout=5)
        except Unreachable as error:
            self.failed.append(error.message)
            # Or all questions would fall into one cut.
            await self.cell.wait_connected(timeout=30)
            return
        assert answer.body == body
        self.answered.append(body)

    async def all(self) -> None:
        numbers = iter(range(REQUESTS))

        async def some() -> None:
            for number in numbers:
                await self.one(number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(some())


@asynccontextmanager
async def standing(site: Site, wire_to: WireTo) -> AsyncIterator[tuple[Asking, Counting, Any]]:
    """Control plane, gateway and cell, the cell behind a wire that can be made to misbehave."""
    async with site.gateway(), wire_to(site.port) as wire:
        counting, controlplane = Counting(), site.controlplane()
        cell = site.cell("cell-a", handler=counting.serve, url=f"wss://127.0.0.1:{wire.port}")
        await cell.wait_connected(timeout=20)
        yield Asking(controlplane, cell), counting, wire
        await cell.wait_connected(timeout=30)
        answer = await controlplane.request("cell/cell-a", HttpRequest("POST", "/", (), b"after"), timeout=10)
        assert answer.body == b"after"


Trouble = Callable[[Any, Asking], Awaitable[None]]


async def slow(wire: Any, _: Asking) -> None:
    wire.delay = 0.08


async def lossy(wire: Any, _: Asking) -> None:
    rng = Random(7)  # noqa: S311 - chance, not a secret
    wire.lose = lambda: rng.random() < 0.02


async def cut_again_and_again(wire: Any, asking: Asking) -> None:
    for _ in range(4):
        await asking.cell.wait_connected(timeout=30)
        await asyncio.sleep(0.5)
        wire.cut()


async def a_black_hole(wire: Any, _: Asking) -> None:
    await asyncio.sleep(0.3)
    wire.stall()
    await asyncio.sleep(2)
    wire.flow()


async def half_open(wire: Any, _: Asking) -> None:
    await asyncio.sleep(0.3)
    wire.stall()
    await asyncio.sleep(1)
    wire.cut()
    wire.flow()


@pytest.mark.parametrize("trouble", [slow, lossy, cut_again_and_again, a_black_hole, half_open])
async def test_each_request_is_answered_exactly_once_or_fails_in_words(
    site: Site, wire_to: WireTo, trouble: Trouble
) -> None:
    async with standing(site, wire_to) as (asking, counting, wire):
        troubling = asyncio.create_task(trouble(wire, asking))
        await asyncio.wait_for(asking.all(), 120)
        await troubling
        wire.delay, wire.lose = 0.0, lambda: False
    assert len(asking.answered) + len(asking.failed) == REQUESTS
    assert all(asking.failed), "a failure has a reason"
    assert len(asking.answered) > REQUESTS // 10
    assert set(counting.asked.values()) == {1}, "nothing was asked twice"
    assert set(asking.answered) <= set(counting.asked), "nothing was answered that was not asked"
    if trouble in {slow, lossy}:
        assert asking.failed == []
