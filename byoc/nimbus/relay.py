"""Joins two lines, so that whoever stands between passes bytes it does not read.

The gateway joins streams of different tunnels; the ends of a forwarded service join a stream and a
TCP connection. Invariant: a slow reader at one end stops the writer at the other, because bytes are read
only when those before them were handed on; and when either end is gone, what it still said
is delivered before the other end is reset.
"""

import asyncio
import contextlib
from typing import Protocol

from byoc.errors import Unreachable

CUT = "cut"
"""Code for an end whose counterpart is gone."""


class Line(Protocol):
    """What can be joined: a two-way line of bytes of which each way ends by itself."""

    @property
    def over(self) -> bool:
        """Whether it is lost, or has ended in both directions."""
        ...

    async def read(self) -> bytes:
        """Return the next bytes; ``b""`` once the other end has finished.

        Raises:
            Unreachable: the line is lost.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Send ``data``; returns when the line has room again.

        Raises:
            Unreachable: the line is lost, or was finished here.
        """
        ...

    async def close_write(self) -> None:
        """Say that no more will be written; reading goes on."""
        ...

    async def reset(self, code: str) -> None:
        """End it in both directions; harmless when it is over."""
        ...

    async def wait_lost(self) -> None:
        """Return once it is lost."""
        ...


async def splice(one: Line, other: Line) -> None:
    """Copy both ways until both directions have ended; both lines are over afterwards."""
    try:
        await asyncio.gather(_one_way(one, other), _one_way(other, one))
    finally:
        for line in (one, other):
            if not line.over:
                await line.reset(CUT)


async def _one_way(source: Line, sink: Line) -> None:
    copying = asyncio.create_task(_copy(source, sink))
    lost = asyncio.create_task(sink.wait_lost())
    try:
        await asyncio.wait((copying, lost), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (copying, lost):
            task.cancel()
        await asyncio.gather(copying, lost, return_exceptions=True)


async def _copy(source: Line, sink: Line) -> None:
    with contextlib.suppress(Unreachable):
        while data := await source.read():
            await sink.write(data)
        await sink.close_write()
