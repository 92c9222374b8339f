import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from byoc.errors import CellAway, Unreachable
from byoc.nimbus.connection import Connection, Handler
from byoc.nimbus.session import CREDIT, DEADLINE, IDLE
from byoc.nimbus.stream import Stream
from byoc.testing.clock import ManualClock
from byoc.testing.transport import Line, memory_pair
from byoc.wire.frames import FrameType


async def echo(stream: Stream) -> None:
    await stream.accept()
    while data := await stream.read():
        await stream.write(data)
    await stream.close_write()


async def never(stream: Stream) -> None:
    await stream.accept()
    await stream.wait_lost()


@dataclass
class Tunnel:
    gateway: Connection
    peer: Connection
    line: Line
    clock: ManualClock
    runs: tuple[asyncio.Task[None], asyncio.Task[None]]


@asynccontextmanager
async def tunnel(handler: Handler = echo, *, max_streams: int = 1024) -> AsyncIterator[Tunnel]:
    clock = ManualClock()
    one, other = memory_pair(clock=clock)
    gateway = Connection(one, first_id=1, clock=clock)
    peer = Connection(other, first_id=2, clock=clock)
    gateway.allow_streams()
    peer.allow_streams(max_streams)
    runs = asyncio.create_task(gateway.run(echo)), asyncio.create_task(peer.run(handler))
    await asyncio.sleep(0)
    try:
        yield Tunnel(gateway, peer, one.line, clock, runs)
    finally:
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)


async def read_all(stream: Stream) -> bytes:
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


async def test_streams_go_both_ways() -> None:
    async with tunnel() as joined:
        for end in (joined.gateway, joined.peer):
            stream = await end.open("echo", timeout=5)
            await stream.write(b"hello")
            await stream.close_write()
            assert await read_all(stream) == b"hello"


async def test_more_than_the_credit_passes_while_both_ends_read() -> None:
    sent = bytes(range(256)) * 4096 * 5
    async with tunnel() as joined:
        stream = await joined.gateway.open("echo", timeout=5)

        async def write() -> None:
            await stream.write(sent)
            await stream.close_write()

        writing = asyncio.create_task(write())
        assert await read_all(stream) == sent
        await writing
        assert joined.gateway.streams == joined.peer.streams == 0


async def test_a_stalled_reader_holds_up_nobody_else() -> None:
    async def stalls_on_bulk(stream: Stream) -> None:
        await (never if stream.service == "bulk" else echo)(stream)

    async with tunnel(stalls_on_bulk) as joined:
        bulk = await joined.gateway.open("bulk", timeout=5)
        writing = asyncio.create_task(bulk.write(b"x" * (CREDIT * 3)))
        for _ in range(20):
            quick = await joined.gateway.open("echo", timeout=5)
            await quick.write(b"quick")
            await quick.close_write()
            assert await read_all(quick) == b"quick"
        assert not writing.done()
        writing.cancel()


async def test_a_failing_stream_is_reset_and_the_tunnel_lives() -> None:
    async def fails(stream: Stream) -> None:
        if stream.service == "broken":
            await stream.accept()
            raise OSError(107, "Transport endpoint is not connected")
        await echo(stream)

    async with tunnel(fails) as joined:
        broken = await joined.gateway.open("broken", timeout=5)
        with pytest.raises(Unreachable, match="reset: failed"):
            await broken.read()
        healthy = await joined.gateway.open("echo", timeout=5)
        await healthy.write(b"still here")
        assert await healthy.read() == b"still here"


async def test_a_handler_that_never_answers_runs_into_the_openers_limit() -> None:
    async def silent(stream: Stream) -> None:
        await stream.wait_lost()

    async with tunnel(silent) as joined:
        opening = asyncio.create_task(joined.gateway.open("silent", timeout=5))
        await joined.clock.elapse(5)
        with pytest.raises(Unreachable, match="opening silent took longer than 5 seconds"):
            await opening
        await joined.clock.elapse(0)
        assert joined.gateway.streams == joined.peer.streams == 0


async def test_a_handler_that_returns_without_an_answer_rejects() -> None:
    async def forgets(stream: Stream) -> None:
        await asyncio.sleep(0)

    async with tunnel(forgets) as joined:
        with pytest.raises(Unreachable, match="did not answer"):
            await joined.gateway.open("forgotten", timeout=5)
        assert joined.gateway.streams == joined.peer.streams == 0


async def test_a_rejection_carries_its_words_and_cell_away_has_its_own_error() -> None:
    async def rejects(stream: Stream) -> None:
        await stream.reject("cell-away" if stream.service == "cell/7" else "unknown-service", "no such thing")

    async with tunnel(rejects) as joined:
        with pytest.raises(CellAway):
            await joined.gateway.open("cell/7", timeout=5)
        with pytest.raises(Unreachable, match="attic: no such thing"):
            await joined.gateway.open("attic", timeout=5)


async def test_a_cut_wakes_every_reader_writer_and_opener() -> None:
    async with tunnel(never) as joined:
        reading = await joined.gateway.open("a", timeout=50)
        writing = await joined.gateway.open("b", timeout=50)
        waits = [
            asyncio.create_task(reading.read()),
            asyncio.create_task(writing.write(b"x" * CREDIT * 2)),
            asyncio.create_task(joined.gateway.message()),
        ]
        await joined.clock.elapse(0)
        await joined.line.cut()
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(result) for result in results] == [Unreachable] * 3
        assert joined.gateway.closed
        with pytest.raises(Unreachable, match="closed"):
            await joined.gateway.open("c", timeout=5)


async def test_a_half_open_line_is_found_by_both_ends_at_the_deadline() -> None:
    async with tunnel() as joined:
        stream = await joined.gateway.open("echo", timeout=5)
        await joined.line.stall()
        reading = asyncio.create_task(stream.read())
        await joined.clock.elapse(IDLE + DEADLINE - 1)
        assert not joined.gateway.closed
        await joined.clock.elapse(2)
        assert joined.gateway.closed
        assert joined.peer.closed
        with pytest.raises(Unreachable, match="silent for 30 seconds"):
            await reading


async def test_an_idle_tunnel_stays_up_for_an_hour() -> None:
    async with tunnel() as joined:
        await joined.clock.elapse(3600)
        assert not joined.gateway.closed
        stream = await joined.gateway.open("echo", timeout=5)
        await stream.write(b"hello")
        assert await stream.read() == b"hello"


async def test_a_slow_line_is_not_taken_for_a_dead_one() -> None:
    async with tunnel() as joined:
        joined.line.delay = 4
        opening = asyncio.create_task(joined.gateway.open("echo", timeout=60))
        await joined.clock.elapse(120)
        assert (await opening).service == "echo"
        assert not joined.gateway.closed


async def test_the_reason_of_an_end_reaches_the_other_side() -> None:
    async with tunnel() as joined:
        await joined.gateway.close("replaced")
        await joined.runs[1]
        assert joined.peer.reason == "replaced"


async def test_draining_lets_streams_finish_and_then_closes() -> None:
    async with tunnel() as joined:
        stream = await joined.gateway.open("echo", timeout=5)
        draining = asyncio.create_task(joined.peer.drain("restarting", 60))
        await joined.clock.elapse(1)
        assert joined.gateway.going_away.is_set()
        with pytest.raises(Unreachable, match="drained"):
            await joined.gateway.open("echo", timeout=5)
        await stream.write(b"last words")
        await stream.close_write()
        assert await read_all(stream) == b"last words"
        await asyncio.wait_for(draining, 5)
        await asyncio.wait_for(asyncio.gather(*joined.runs), 5)


async def test_draining_ends_at_its_limit_with_a_stream_that_does_not() -> None:
    async with tunnel(never) as joined:
        await joined.gateway.open("endless", timeout=5)
        draining = asyncio.create_task(joined.peer.drain("restarting", 60))
        await joined.clock.elapse(59)
        assert not draining.done()
        await joined.clock.elapse(2)
        await asyncio.wait_for(draining, 5)


async def test_what_a_handler_has_begun_it_may_end_after_a_cut() -> None:
    release, ended = asyncio.Event(), asyncio.Event()

    async def works(stream: Stream) -> None:
        await stream.accept()
        await release.wait()
        ended.set()

    async with tunnel(works) as joined:
        await joined.gateway.open("work", timeout=5)
        await joined.line.cut()
        await joined.clock.elapse(1)
        assert joined.peer.closed
        assert not joined.runs[1].done()
        release.set()
        await asyncio.wait_for(joined.runs[1], 5)
        assert ended.is_set()


async def test_leaving_a_stream_early_resets_it() -> None:
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def waits(stream: Stream) -> None:
        await stream.accept()
        try:
            await stream.read()
        except Unreachable as error:
            seen.set_result(error.message)

    async with tunnel(waits) as joined:
        async with await joined.gateway.open("work", timeout=5):
            pass
        assert "done" in await asyncio.wait_for(seen, 5)


async def test_an_answer_sent_before_the_question_was_read_still_arrives() -> None:
    async def hasty(stream: Stream) -> None:
        await stream.accept()
        await stream.write(b"too large")
        await stream.close_write()

    async with tunnel(hasty) as joined:
        stream = await joined.gateway.open("upload", timeout=5)
        with pytest.raises(Unreachable):
            await stream.write(b"x" * CREDIT * 4)
        assert await read_all(stream) == b"too large"
        await joined.clock.elapse(0)
        assert joined.peer.streams == 0


async def test_the_streams_of_a_peer_are_limited() -> None:
    async with tunnel(never, max_streams=2) as joined:
        await joined.gateway.open("one", timeout=5)
        await joined.gateway.open("two", timeout=5)
        with pytest.raises(Unreachable, match="at most 2"):
            await joined.gateway.open("three", timeout=5)


async def test_too_many_messages_of_the_handshake_end_the_tunnel() -> None:
    async with tunnel() as joined:
        for _ in range(20):
            joined.peer.send_message(FrameType.LOGIN, {"token": "x"})
        await asyncio.wait_for(joined.runs[0], 5)
        assert "too many messages" in joined.gateway.reason


async def test_a_message_that_does_not_come_runs_into_its_limit() -> None:
    async with tunnel() as joined:
        waiting = asyncio.create_task(joined.gateway.message(timeout=10))
        await joined.clock.elapse(10)
        with pytest.raises(Unreachable, match="the handshake took longer than 10 seconds"):
            await waiting


async def test_noise_on_the_line_ends_the_tunnel() -> None:
    clock = ManualClock()
    one, other = memory_pair(clock=clock)
    gateway = Connection(one, first_id=1, clock=clock)
    running = asyncio.create_task(gateway.run(echo))
    await other.send(b"GET / HTTP/1.1\r\n\r\n")
    await asyncio.wait_for(running, 5)
    assert "broke the tunnel protocol" in gateway.reason


async def test_ten_thousand_streams_leave_nothing_behind() -> None:
    async with tunnel() as joined:
        before = len(asyncio.all_tasks())
        for number in range(10_000):
            stream = await joined.gateway.open("echo", timeout=5)
            if number % 3 == 0:
                await stream.reset("cancelled")
                continue
            await stream.write(b"x")
            await stream.close_write()
            await read_all(stream)
        await joined.clock.elapse(1)
        assert joined.gateway.streams == joined.peer.streams == 0
        assert not joined.gateway._streams
        assert not joined.peer._streams
        assert len(asyncio.all_tasks()) == before
