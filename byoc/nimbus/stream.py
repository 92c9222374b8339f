"""One stream of a tunnel, as those who read and write it see it.

Made by ``connection``, which also feeds it. One task may read and one may write at a time.

Invariant: whatever happens to the tunnel, a waiting reader or writer is woken: with bytes,
with the end, or with ``Unreachable``.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from byoc.clock import Clock
from byoc.errors import CellAway, Unreachable

CELL_AWAY = "cell-away"
"""Code of a gateway that has no session of the wanted cell."""
DONE = "done"
"""Code of a reader that has answered and wants no more."""


class Port(Protocol):
    """What a stream asks of its connection."""

    clock: Clock

    def accept(self, stream: int) -> None:
        """Answer yes to the peer's stream."""
        ...

    def reject(self, stream: int, code: str, message: str) -> None:
        """Answer no to the peer's stream."""
        ...

    def write(self, stream: int, data: bytes) -> bool:
        """Queue ``data``; False if the stream is over."""
        ...

    def finish(self, stream: int) -> None:
        """Write no more."""
        ...

    def reset(self, stream: int, code: str) -> None:
        """End a stream in both directions."""
        ...

    def consumed(self, stream: int, size: int) -> None:
        """Return credit for bytes that were read."""
        ...


def refusal(service: str, code: str, message: str) -> Unreachable:
    """Return the error for a stream that was rejected or reset with ``code``."""
    if code == CELL_AWAY:
        return CellAway("the cell is not connected", hint="what was asked is done once it is back")
    return Unreachable(f"{service}: {message or code}")


class Stream:
    """A two-way line of bytes to one named service.

    Attributes:
        service: what was asked for.
        clock: the connection's clock, for limits on waiting.
        answered: whether a stream that the other end opened was accepted.
    """

    def __init__(self, port: Port, stream: int, service: str) -> None:
        self.service = service
        self.clock = port.clock
        self.answered = False
        self._port = port
        self._id = stream
        self._arrived: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._sent = asyncio.Event()
        self._answer: asyncio.Future[None] | None = None
        self._eof = False
        self._finished = False
        self._over: Unreachable | None = None
        self._discards = False

    # --- for those who use it ------------------------------------------------------------

    async def read(self, size: int = 65536) -> bytes:
        """Return at most ``size`` bytes; ``b""`` once the other end has finished.

        Raises:
            Unreachable: the stream was reset or the tunnel is gone.
        """
        while not self._arrived:
            if self._eof:
                return b""
            if self._over is not None:
                raise self._over
            self._changed.clear()
            await self._changed.wait()
        data = self._arrived.popleft()
        if len(data) > size:
            self._arrived.appendleft(data[size:])
            data = data[:size]
        self._port.consumed(self._id, len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send ``data``; returns when all of it was handed to the line.

        Raises:
            Unreachable: the stream is over, or was finished here.
        """
        if self._over is not None:
            raise self._over
        self._sent.clear()
        if not self._port.write(self._id, data):
            raise self._over or Unreachable(f"{self.service}: the stream is finished")
        if data:
            await self._sent.wait()
        if self._over is not None:
            raise self._over

    async def close_write(self) -> None:
        """Say that no more will be written; reading goes on."""
        self._finished = True
        self._port.finish(self._id)

    async def reset(self, code: str) -> None:
        """End the stream in both directions; harmless when it is over."""
        self._port.reset(self._id, code)
        self.end(refusal(self.service, code, ""))

    async def accept(self) -> None:
        """Answer yes to a stream that the other end opened."""
        self.answered = True
        self._port.accept(self._id)

    async def reject(self, code: str, message: str = "") -> None:
        """Answer no to a stream that the other end opened."""
        self._port.reject(self._id, code, message)
        self.end(refusal(self.service, code, message))

    async def discard(self) -> None:
        """Drop what arrives from now on; a peer that goes on writing is told ``done``."""
        self._discards = True
        for data in self._arrived:
            self._port.consumed(self._id, len(data))
        self._arrived.clear()

    @property
    def over(self) -> bool:
        """Whether the stream was reset, rejected or lost, or has ended in both directions."""
        return self._over is not None or (self._eof and self._finished)

    async def wait_lost(self) -> None:
        """Return once the stream was reset or the tunnel is gone."""
        while self._over is None:
            self._changed.clear()
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self.over:
            await self.reset("cancelled" if kind else DONE)

    # --- for the connection --------------------------------------------------------------

    def expect_answer(self) -> asyncio.Future[None]:
        """Return what becomes done when the other end has accepted."""
        self._answer = asyncio.get_running_loop().create_future()
        return self._answer

    def accepted(self) -> None:
        """The other end said yes."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def feed(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._discards:
            self._port.reset(self._id, DONE)
            return
        self._arrived.append(data)
        self._changed.set()

    def feed_eof(self) -> None:
        """The other end has finished."""
        self._eof = True
        self._changed.set()

    def drained(self) -> None:
        """All that was written is on the line."""
        self._sent.set()

    def end(self, error: Unreachable) -> None:
        """The stream is over; whoever waits is told ``error``."""
        if self._over is None:
            self._over = error
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
            self._answer.exception()  # marks it as seen: the opener may have given up waiting
        self._changed.set()
        self._sent.set()
