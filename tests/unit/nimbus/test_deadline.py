import asyncio

import pytest

from byoc.errors import Unreachable
from byoc.nimbus.deadline import within
from byoc.testing.clock import ManualClock


async def test_what_takes_too_long_is_cancelled_and_named() -> None:
    clock = ManualClock()

    async def slow() -> None:
        async with within(clock, 3, "waiting"):
            await clock.sleep(100)

    task = asyncio.create_task(slow())
    await clock.elapse(2.9)
    assert not task.done()
    await clock.elapse(0.1)
    with pytest.raises(Unreachable, match="waiting took longer than 3 seconds"):
        await task


async def test_what_ends_in_time_leaves_no_timer() -> None:
    clock = ManualClock()
    async with within(clock, 3, "waiting"):
        await asyncio.sleep(0)
    await clock.elapse(0)
    assert clock.sleepers == 0


async def test_a_timeout_from_within_is_not_taken_for_ours() -> None:
    with pytest.raises(TimeoutError):
        async with within(ManualClock(), 3, "waiting"):
            raise TimeoutError


async def test_cancelling_from_outside_stays_a_cancellation() -> None:
    clock = ManualClock()

    async def slow() -> None:
        async with within(clock, 3, "waiting"):
            await clock.sleep(100)

    task = asyncio.create_task(slow())
    await clock.elapse(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
