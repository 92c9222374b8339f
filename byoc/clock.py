"""Time as a parameter: everything that waits or stamps takes a :class:`Clock`.

``byoc.testing.ManualClock`` is the twin that tests move by hand.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """Wall-clock time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Wall-clock time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of the event loop's clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep for real."""
        await asyncio.sleep(seconds)


def stamp(moment: datetime) -> str:
    """Format ``moment`` as RFC 3339 in UTC with ``Z``, microseconds kept.

    The ``Z`` matters: a widely used client drops any other offset unread.
    """
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat()[: -len("+00:00")] + "Z"


def parse_stamp(text: str) -> datetime:
    """Read an RFC 3339 time into an aware UTC datetime.

    Raises:
        ValueError: the text is not a time, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        message = f"time without an offset: {text}"
        raise ValueError(message)
    return moment.astimezone(UTC)
