"""A supervised process for real: small programs in the place of the product's."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from byoc.clock import SystemClock
from byoc.embedded import processes
from byoc.embedded.child import Child, Program
from byoc.embedded.processes import Identity
from byoc.errors import Failed

PREAMBLE = """
import json, os, select, signal, sys, time
given = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
lifeline, ready = given["--lifeline"], given["--ready-fd"]
def announce(**facts):
    os.write(ready, (json.dumps(facts) + "\\n").encode())
    os.close(ready)
def until_the_lifeline_ends():
    select.select([lifeline], [], [])
"""
SERVES = PREAMBLE + "announce(port=1234)\nuntil_the_lifeline_ends()\n"
DIES = PREAMBLE + "print('no such table')\nsys.exit(3)\n"
STUBBORN = PREAMBLE + "signal.signal(15, signal.SIG_IGN)\nannounce()\nuntil_the_lifeline_ends()\n"

Make = Callable[[str], Child]


@pytest.fixture
async def lifeline() -> AsyncIterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


@pytest.fixture
async def make(tmp_path: Path, lifeline: tuple[int, int]) -> AsyncIterator[Make]:
    made: list[Child] = []

    def build(code: str) -> Child:
        program = Program("agent", (sys.executable, "-c", code), dict(os.environ), tmp_path / "agent.log")
        child = Child(program, lifeline[0], SystemClock(), lambda: None)
        made.append(child)
        return child

    yield build
    for child in made:
        await child.stop(5)


async def gone(who: Identity) -> None:
    async with asyncio.timeout(5):
        while processes.is_alive(who):
            await asyncio.sleep(0.01)


async def test_a_child_says_when_it_is_ready(make: Make) -> None:
    child = make(SERVES)
    child.start()
    assert await asyncio.wait_for(child.ready(), 10) == {"port": 1234}
    assert child.identity is not None
    assert processes.is_alive(child.identity)


async def test_a_killed_child_is_back_within_a_second(make: Make) -> None:
    child = make(SERVES)
    child.start()
    await asyncio.wait_for(child.ready(), 10)
    first = child.identity
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    async with asyncio.timeout(1):
        while child.identity == first:
            await asyncio.sleep(0.01)
    assert child.starts == 2


async def test_a_child_that_never_gets_ready_is_given_up_with_its_last_words(make: Make) -> None:
    child = make(DIES)
    child.start()
    with pytest.raises(Failed, match=r"agent does not start \(exit 3\): no such table"):
        await asyncio.wait_for(child.gave_up(), 20)
    assert child.starts == 4


async def test_a_stopped_child_stays_stopped(make: Make) -> None:
    child = make(SERVES)
    child.start()
    await asyncio.wait_for(child.ready(), 10)
    await child.stop(5)
    assert child.identity is not None
    assert not processes.is_alive(child.identity)
    assert child.starts == 1


async def test_a_child_that_ignores_the_signal_is_killed(make: Make) -> None:
    child = make(STUBBORN)
    child.start()
    await asyncio.wait_for(child.ready(), 10)
    await child.stop(0.1)
    assert child.identity is not None
    assert not processes.is_alive(child.identity)


async def test_a_child_ends_with_the_lifeline(make: Make, lifeline: tuple[int, int]) -> None:
    child = make(SERVES)
    child.start()
    await asyncio.wait_for(child.ready(), 10)
    first = child.identity
    assert first is not None
    os.close(lifeline[1])
    await gone(first)


async def test_a_signal_to_the_group_of_the_supervisor_does_not_reach_a_child(make: Make) -> None:
    child = make(SERVES)
    child.start()
    await asyncio.wait_for(child.ready(), 10)
    assert child.identity is not None
    assert os.getpgid(child.identity.pid) != os.getpgid(os.getpid())
