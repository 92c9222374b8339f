"""Time that tests move by hand: the twin of :class:`byoc.clock.SystemClock`.

Given to whatever takes a ``Clock``. Nothing happens on it until ``advance`` or ``elapse``
is called; both wake sleepers in the order of their deadlines.
"""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
_TURNS: Final = 25
"""Turns of the event loop given to woken tasks between two deadlines of ``elapse``."""


class ManualClock:
    """A clock that stands still until told otherwise.

    Args:
        start: wall-clock time at the beginning, aware.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start.astimezone(UTC)
        self._monotonic = 1000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Wall-clock time, aware, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return self._monotonic

    @property
    def sleepers(self) -> int:
        """How many tasks sleep now; a test waits on it to know that all is quiet."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was moved by ``seconds``; at once for zero or less."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move time forward in one jump and wake whoever is due; they run at the next await.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            message = f"time cannot be moved by {seconds} seconds"
            raise ValueError(message)
        self._move_to(self._monotonic + seconds)

    async def elapse(self, seconds: float) -> None:
        """Let ``seconds`` pass deadline by deadline, so that loops that sleep again get every turn."""
        target = self._monotonic + seconds
        await _settle()
        while (due := self._next_deadline()) is not None and due <= target:
            self._move_to(due)
            await _settle()
        self._move_to(target)
        await _settle()

    def set_wall_clock(self, moment: datetime) -> None:
        """Step the wall clock alone, as an administrator or NTP does."""
        self._now = moment.astimezone(UTC)

    def _next_deadline(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _move_to(self, monotonic: float) -> None:
        self._now += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic
        while (due := self._next_deadline()) is not None and due <= monotonic:
            heapq.heappop(self._sleepers)[2].set_result(None)


async def _settle() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
