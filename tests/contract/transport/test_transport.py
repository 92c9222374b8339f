import asyncio

import pytest

from byoc.clock import SystemClock
from byoc.errors import Unreachable
from byoc.nimbus.connection import Connection
from byoc.nimbus.stream import Stream
from byoc.nimbus.transport import Transport

Ends = tuple[Transport, Transport]


async def receive(transport: Transport, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += await transport.recv()
    return got


async def test_bytes_arrive_in_order_both_ways(ends: Ends) -> None:
    one, other = ends
    for sender, receiver in ((one, other), (other, one)):
        for part in (b"a", b"bc", b"def"):
            await sender.send(part)
        assert await receive(receiver, 6) == b"abcdef"


async def test_every_byte_value_and_a_large_write_pass(ends: Ends) -> None:
    one, other = ends
    data = bytes(range(256)) * 1024
    sending = asyncio.create_task(one.send(data))
    assert await receive(other, len(data)) == data
    await sending


async def test_a_writer_waits_for_a_reader_that_does_not_read(ends: Ends) -> None:
    one, other = ends
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await one.send(bytes(64 * 1024))
            sent += 64 * 1024

    flooding = asyncio.create_task(flood())
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.05)
    assert not flooding.done()
    await receive(other, sent)
    while sent == before:
        await asyncio.sleep(0)
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_closing_one_end_closes_the_other_after_what_was_sent(ends: Ends) -> None:
    one, other = ends
    await one.send(b"last words")
    await one.close()
    assert await receive(other, 10) == b"last words"
    with pytest.raises(Unreachable):
        await other.recv()
    with pytest.raises(Unreachable):
        await other.send(b"too late")


async def test_a_closed_end_neither_sends_nor_receives(ends: Ends) -> None:
    one, _ = ends
    await one.close()
    await one.close()
    with pytest.raises(Unreachable):
        await one.send(b"x")
    with pytest.raises(Unreachable):
        await one.recv()


async def test_closing_wakes_whoever_waits(ends: Ends) -> None:
    one, other = ends
    waiting = [asyncio.create_task(end.recv()) for end in (one, other)]
    await asyncio.sleep(0)
    await one.close()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert [type(result) for result in results] == [Unreachable, Unreachable]


async def test_the_peer_has_a_name_for_logs(ends: Ends) -> None:
    assert all(end.peer for end in ends)


async def test_a_tunnel_runs_over_it(ends: Ends) -> None:
    async def echo(stream: Stream) -> None:
        await stream.accept()
        while data := await stream.read():
            await stream.write(data)
        await stream.close_write()

    clock = SystemClock()
    gateway = Connection(ends[1], first_id=1, clock=clock)
    peer = Connection(ends[0], first_id=2, clock=clock)
    runs = [asyncio.create_task(end.run(echo)) for end in (gateway, peer)]
    gateway.allow_streams()
    sent = bytes(range(256)) * 16 * 1024
    stream = await peer.open("echo", timeout=5)
    writing = asyncio.create_task(stream.write(sent))
    assert len(await read_exactly(stream, len(sent))) == len(sent)
    await writing
    await peer.close("over")
    await asyncio.wait_for(asyncio.gather(*runs), 5)
    assert gateway.reason == "over"


async def read_exactly(stream: Stream, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        got += await stream.read()
    return bytes(got)
