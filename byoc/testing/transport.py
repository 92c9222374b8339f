"""A tunnel's carriage in memory, with faults on demand: the twin of the websocket transport.

``memory_pair`` gives the two ends of one :class:`Line`. A test cuts the line, stalls it
without a word (what a half-open connection looks like), or delays it.
"""

import asyncio
from collections import deque
from datetime import datetime
from typing import Final

from byoc.clock import Clock, SystemClock
from byoc.errors import Unreachable

CAPACITY: Final = 64 * 1024
"""Bytes that one direction holds before ``send`` waits, as a socket's buffers do."""


class Line:
    """Both directions between two ends, and what can happen to them.

    Attributes:
        delay: seconds that each message takes, on the line's clock.
        sent: bytes handed to the line so far, both directions together.
    """

    def __init__(self, *, clock: Clock, capacity: int) -> None:
        self.clock = clock
        self.capacity = capacity
        self.delay = 0.0
        self.sent = 0
        self._cut_at: int | None = None
        self._cut = False
        self._closed: set[int] = set()
        self._stalled = False
        self._changed = asyncio.Condition()
        self._queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())

    async def cut(self) -> None:
        """Break the line: both ends find it closed, bytes under way are lost."""
        async with self._changed:
            self._cut = True
            for queue in self._queues:
                queue.clear()
            self._changed.notify_all()

    def cut_after(self, size: int) -> None:
        """Break the line once ``size`` more bytes were handed to it."""
        self._cut_at = self.sent + size

    async def stall(self) -> None:
        """Deliver nothing any more and say nothing about it: neither end is told."""
        self._stalled = True

    async def flow(self) -> None:
        """End a stall; what was held back arrives."""
        async with self._changed:
            self._stalled = False
            self._changed.notify_all()

    async def put(self, end: int, data: bytes) -> None:
        """Hand ``data`` on from ``end``, waiting while that direction is full."""
        if self.delay:
            await self.clock.sleep(self.delay)
        queue = self._queues[end]
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_over(end) or sum(map(len, queue)) < self.capacity)
            if self._is_over(end):
                raise Unreachable("the line is closed")
            self.sent += len(data)
            queue.append(data)
            self._changed.notify_all()
        if self._cut_at is not None and self.sent >= self._cut_at:
            await self.cut()

    async def take(self, end: int) -> bytes:
        """Return the next bytes for ``end``."""
        queue = self._queues[1 - end]
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_over(end) or (bool(queue) and not self._stalled))
            if not queue or end in self._closed:
                raise Unreachable("the line is closed")
            data = queue.popleft()
            self._changed.notify_all()
            return data

    async def hang_up(self, end: int) -> None:
        """Close in order: bytes under way still arrive, then the other end finds the line closed."""
        async with self._changed:
            self._closed.add(end)
            self._changed.notify_all()

    def _is_over(self, end: int) -> bool:
        # During a stall the other end's hanging up is not heard either.
        return self._cut or end in self._closed or (bool(self._closed) and not self._stalled)


class MemoryTransport:
    """One end of a line."""

    def __init__(self, line: Line, end: int) -> None:
        self.line = line
        self.their_clock: datetime | None = None
        self._end = end

    @property
    def peer(self) -> str:
        """A name for logs."""
        return "memory"

    async def send(self, data: bytes) -> None:
        """Hand ``data`` on; waits while the line is full."""
        await self.line.put(self._end, data)

    async def recv(self) -> bytes:
        """Return the next bytes."""
        return await self.line.take(self._end)

    async def close(self) -> None:
        """Close the line for both ends."""
        await self.line.hang_up(self._end)


def memory_pair(
    *, clock: Clock | None = None, capacity: int = CAPACITY
) -> tuple[MemoryTransport, MemoryTransport]:
    """Return the two ends of a new line; ``.line`` of either holds its faults."""
    line = Line(clock=clock or SystemClock(), capacity=capacity)
    return MemoryTransport(line, 0), MemoryTransport(line, 1)
