"""One HTTP connection of the Management API: uvicorn's own, with an end to its patience.

Made by ``byoc.controlplane.listener``. uvicorn waits for a request for ever and takes whoever comes.
Here a request has to come whole within ``REQUEST_SECONDS``, and beyond ``MOST`` connections the one
that has kept us waiting longest has to go: silence keeps nobody out, and files never run out. A
request that has come whole is never cut off.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST: Final = 512
"""Connections at once. Half of what a process may usually open: files and tunnels need theirs."""
REQUEST_SECONDS: Final = 20.0


class Line(H11Protocol):
    """A connection."""

    waiting_since = 0.0
    upgraded = False
    """Whether it is a websocket's by now, and none of ours."""
    _too_slow: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Whether there is no request, or not the whole of one."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and make room for this one where there is none."""
        super().connection_made(transport)
        self.waiting_since = self.loop.time()
        self._expect_request()
        if len(self.connections) > MOST:
            lines: Any = self.connections
            waiting = [line for line in lines if isinstance(line, Line) and line.waiting]
            min(waiting, key=lambda line: line.waiting_since).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the clock runs while they are not yet a request."""
        super().data_received(data)
        if self.upgraded or not self.waiting:
            self._forget_clock()
        elif self._too_slow is None:
            self._expect_request()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hand the connection over; it is bounded by the streams of its key from now on."""
        self.upgraded = True
        self._forget_clock()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """An answer is out; from now on the connection is idle."""
        self._forget_clock()
        self.waiting_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._forget_clock()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        self._too_slow = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _forget_clock(self) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None
