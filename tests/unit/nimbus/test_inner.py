import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from byoc.errors import Unreachable
from byoc.nimbus.connection import Connection
from byoc.nimbus.inner import Inner, agree, context
from byoc.nimbus.stream import Stream
from byoc.testing.clock import ManualClock
from byoc.testing.transport import memory_pair
from byoc.wire.certificates import Certificate, make_pinned

NOW = datetime(2001, 1, 1, tzinfo=UTC)
"""Long over by the machine's clock: how long a forward lasts is said by the cell alone."""


def certificate() -> Certificate:
    return make_pinned(name="test", now=NOW)


@asynccontextmanager
async def streams() -> AsyncIterator[tuple[Stream, Stream]]:
    """Both ends of one stream, over a line in memory."""
    clock = ManualClock()
    one, other = memory_pair(clock=clock)
    near, far = Connection(one, first_id=1, clock=clock), Connection(other, first_id=2, clock=clock)
    far.allow_streams()
    came: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()

    async def take(stream: Stream) -> None:
        await stream.accept()
        came.set_result(stream)
        await stream.wait_lost()

    runs = [asyncio.create_task(near.run(take)), asyncio.create_task(far.run(take))]
    await asyncio.sleep(0)
    try:
        yield await near.open("line", timeout=5), await came
    finally:
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)


@asynccontextmanager
async def agreed() -> AsyncIterator[tuple[Inner, Inner, Stream, Stream]]:
    mine, theirs = certificate(), certificate()
    async with streams() as (near, far):
        client = context(mine, theirs.certificate.decode(), server=False)
        server = context(theirs, mine.certificate.decode(), server=True)
        one, other = await asyncio.gather(agree(near, client, server=False), agree(far, server, server=True))
        yield one, other, near, far


async def read_all(line: Inner) -> bytes:
    found = b""
    while data := await line.read():
        found += data
    return found


async def test_each_way_ends_by_itself_and_what_was_under_way_arrives() -> None:
    async with agreed() as (one, other, _, _):
        await one.write(b"question" * 10_000)
        await other.write(b"early")
        await one.close_write()
        assert await read_all(other) == b"question" * 10_000
        await other.write(b" and late")
        await other.close_write()
        assert await read_all(one) == b"early and late"
        assert one.over
        assert other.over


async def test_nothing_that_passes_in_between_shows_what_is_said() -> None:
    seen: list[bytes] = []
    mine, theirs = certificate(), certificate()
    async with streams() as (near, far):
        send = near.write

        async def watched(data: bytes) -> None:
            seen.append(data)
            await send(data)

        near.write = watched  # type: ignore[method-assign]
        client = context(mine, theirs.certificate.decode(), server=False)
        server = context(theirs, mine.certificate.decode(), server=True)
        one, other = await asyncio.gather(agree(near, client, server=False), agree(far, server, server=True))
        await one.write(b"a row of a customer")
        assert await other.read() == b"a row of a customer"
    assert b"customer" not in b"".join(seen)
    assert len(b"".join(seen)) > 100


@pytest.mark.parametrize("forged", ["the opener", "the cell"])
async def test_whoever_was_not_named_gets_no_line(forged: str) -> None:
    mine, theirs, stranger = certificate(), certificate(), certificate()
    shown = (stranger, theirs) if forged == "the opener" else (mine, stranger)
    async with streams() as (near, far):
        client = context(shown[0], theirs.certificate.decode(), server=False)
        server = context(shown[1], mine.certificate.decode(), server=True)

        async def use(stream: Stream, settings: ssl.SSLContext, *, server: bool) -> bytes:
            line = await agree(stream, settings, server=server)
            return await line.read()

        ends = [
            asyncio.create_task(use(near, client, server=False)),
            asyncio.create_task(use(far, server, server=True)),
        ]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_EXCEPTION)
        assert any(isinstance(one.exception(), Unreachable) for one in done)
        await near.reset("cut")
        found = await asyncio.gather(*ends, return_exceptions=True)
        assert all(isinstance(one, Unreachable) for one in found)


async def test_an_end_that_is_cut_off_is_not_taken_for_one_that_has_finished() -> None:
    async with agreed() as (one, other, near, _):
        await one.write(b"half of")
        assert await other.read() == b"half of"
        # Not the line's own goodbye, but the stream's: that is what somebody in between can make.
        await near.close_write()
        with pytest.raises(Unreachable):
            await other.read()


async def test_a_byte_that_was_changed_on_the_way_ends_the_line() -> None:
    async with agreed() as (_, other, near, _):
        await near.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with pytest.raises(Unreachable):
            await other.read()


def test_a_line_inside_is_of_tls_1_3_only() -> None:
    made = context(certificate(), certificate().certificate.decode(), server=True)
    assert made.minimum_version is ssl.TLSVersion.TLSv1_3
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert made.num_tickets == 0
