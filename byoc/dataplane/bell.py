"""Waiting for news or for time, whichever comes first, without ever polling.

Used by the agent's loops. The invariant: a ring between two waits is not lost.
"""

import asyncio

from byoc.clock import Clock


class Bell:
    """Something to wait for, with a limit on the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever waits, or the next one who does."""
        self._event.set()

    async def wait(self, seconds: float | None) -> bool:
        """Return True once rung, False once ``seconds`` have passed; None waits for the ring alone."""
        if not self._event.is_set():
            await self._either(seconds)
        rung = self._event.is_set()
        self._event.clear()
        return rung

    async def _either(self, seconds: float | None) -> None:
        if seconds is None:
            await self._event.wait()
            return
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        ring = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({timer, ring}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            ring.cancel()
