"""Blocking work in threads: what is done there is waited for, whoever asked."""

import asyncio
import threading

import pytest

from byoc.dataplane.threads import Threads


async def test_who_is_cancelled_waits_for_the_end_of_what_was_begun() -> None:
    threads, begun, may_end, ended = (
        Threads(1, "test"),
        threading.Event(),
        threading.Event(),
        threading.Event(),
    )

    def work() -> None:
        begun.set()
        may_end.wait()
        ended.set()

    asking = asyncio.ensure_future(threads.do(work))
    await asyncio.to_thread(begun.wait)
    asking.cancel()
    await asyncio.sleep(0)
    assert not asking.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ended.is_set()
    await threads.close()


async def test_what_the_work_returns_and_raises_reaches_who_asked() -> None:
    threads = Threads(1, "test")
    assert await threads.do(int, "11", base=2) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.do(int, "x")
    await threads.close()
