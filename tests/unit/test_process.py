import asyncio
import json
import os
import signal
from collections.abc import Iterator

import pytest

from byoc.errors import Failed, UsageError
from byoc.process import Announce, announcer, run_until_stopped, until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


async def _until_asked(announce: Announce, stop: asyncio.Event) -> None:
    announce({"port": 1})
    await stop.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_asks_for_the_end(number: signal.Signals) -> None:
    finished = []

    async def main(_: Announce, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        await stop.wait()
        finished.append("properly")

    await run_until_stopped(main)
    assert finished == ["properly"]


async def test_a_second_signal_does_not_ask() -> None:
    reached = []

    async def main(_: Announce, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
        reached.append("never")

    await run_until_stopped(main)
    assert reached == []


async def test_the_end_of_the_lifeline_asks_for_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    asyncio.get_running_loop().call_later(0.01, os.close, writing)
    await run_until_stopped(_until_asked, lifeline_fd=os.dup(reading))
    assert os.read(reading, 1) == b""


async def test_readiness_is_one_line_of_json_then_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe

    async def main(announce: Announce, _: asyncio.Event) -> None:
        announce({"port": 8787})
        announce({"port": 9})

    await run_until_stopped(main, ready_fd=writing)
    assert json.loads(os.read(reading, 1000)) == {"port": 8787}
    assert os.read(reading, 1) == b""


def test_a_reader_of_readiness_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    announce = announcer(writing)
    announce({"port": 1})
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(writing)


async def test_what_the_work_raises_is_raised() -> None:
    async def main(_: Announce, __: asyncio.Event) -> None:
        raise Failed("the port is taken")

    with pytest.raises(Failed, match="port"):
        await run_until_stopped(main)


async def test_a_descriptor_that_is_not_open_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--lifeline"):
        await run_until_stopped(_until_asked, lifeline_fd=987)
    with pytest.raises(UsageError, match="--ready-fd"):
        await run_until_stopped(_until_asked, ready_fd=987)


async def test_a_lifeline_that_is_a_file_is_a_usage_error(tmp_path: object) -> None:
    descriptor = os.open(f"{tmp_path}/file", os.O_RDWR | os.O_CREAT)
    with pytest.raises(UsageError, match="not a pipe"):
        await run_until_stopped(_until_asked, lifeline_fd=descriptor)


async def test_work_that_knows_no_event_is_cancelled_and_cleans_up() -> None:
    stop = asyncio.Event()
    story = []

    async def work() -> None:
        try:
            stop.set()
            await asyncio.Event().wait()
        finally:
            story.append("cleaned up")

    await until(stop, work())
    assert story == ["cleaned up"]


async def test_work_that_fails_before_the_stop_raises() -> None:
    async def work() -> None:
        raise Failed("broken")

    with pytest.raises(Failed, match="broken"):
        await until(asyncio.Event(), work())
