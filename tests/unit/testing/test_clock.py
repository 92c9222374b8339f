import asyncio
from datetime import timedelta

import pytest

from byoc.testing import ManualClock


async def test_time_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    before, began = clock.now(), clock.monotonic()
    clock.advance(90)
    assert clock.now() - before == timedelta(seconds=90)
    assert clock.monotonic() - began == 90


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    clock, woken = ManualClock(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
    await asyncio.sleep(0)
    clock.advance(2)
    await asyncio.sleep(0)
    assert woken == [1, 2]
    assert clock.sleepers == 1
    clock.advance(1)
    await asyncio.gather(*tasks)
    assert woken == [1, 2, 3]


async def test_elapse_gives_a_loop_every_one_of_its_turns() -> None:
    clock, turns = ManualClock(), []

    async def loop() -> None:
        while True:
            await clock.sleep(10)
            turns.append(clock.monotonic())

    task = asyncio.create_task(loop())
    began = clock.monotonic()
    await clock.elapse(35)
    assert [turn - began for turn in turns] == [10, 20, 30]
    assert clock.monotonic() - began == 35
    task.cancel()


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    clock.advance(10)
    assert clock.sleepers == 0


async def test_no_sleep_returns_at_once() -> None:
    clock = ManualClock()
    await asyncio.wait_for(clock.sleep(0), 1)
    assert clock.sleepers == 0


async def test_time_cannot_run_backwards() -> None:
    with pytest.raises(ValueError, match="cannot be moved"):
        ManualClock().advance(-1)


async def test_the_wall_clock_can_be_stepped_alone() -> None:
    clock = ManualClock()
    began = clock.monotonic()
    clock.set_wall_clock(clock.now() - timedelta(hours=1))
    assert clock.monotonic() == began
