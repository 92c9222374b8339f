"""Joins two streams of different tunnels, so that the gateway passes bytes it does not read.

Invariant: a slow reader at one end stops the writer at the other, because bytes are read
only when those before them were handed on; and when either end is gone, what it still said
is delivered before the other end is reset.
"""

import asyncio
import contextlib

from byoc.errors import Unreachable
from byoc.nimbus.stream import Stream

CUT = "cut"
"""Code for an end whose counterpart is gone."""


async def splice(one: Stream, other: Stream) -> None:
    """Copy both ways until both directions have ended; both streams are over afterwards."""
    try:
        await asyncio.gather(_one_way(one, other), _one_way(other, one))
    finally:
        for stream in (one, other):
            if not stream.over:
                await stream.reset(CUT)


async def _one_way(source: Stream, sink: Stream) -> None:
    copying = asyncio.create_task(_copy(source, sink))
    lost = asyncio.create_task(sink.wait_lost())
    try:
        await asyncio.wait((copying, lost), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (copying, lost):
            task.cancel()
        await asyncio.gather(copying, lost, return_exceptions=True)


async def _copy(source: Stream, sink: Stream) -> None:
    with contextlib.suppress(Unreachable):
        while data := await source.read():
            await sink.write(data)
        await sink.close_write()
