"""Times in the week in which a verb may be done: pure.

Used by the policy. The invariants: a span that passes midnight belongs to the day on which it
begins; hours are those of the wall clock in the window's own zone, so that a change of the
clocks moves the window with it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from byoc.errors import UsageError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOURS: Final = r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)"
"""What hours look like: ``08:00-18:00``, or ``22:00-06:00`` through the night."""
_HOURS: Final = re.compile(rf"{HOURS}\Z")
_DAY: Final = 24 * 60
_LOOK_AHEAD: Final = timedelta(days=8)
_STEP: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Window:
    """Some hours of some days.

    Attributes:
        days: of :data:`DAYS`; none means every day.
        begin, end: minutes since midnight; ``end`` at or before ``begin`` is on the next day.
        zone: whose clock, such as ``Europe/Zurich``.
    """

    days: tuple[str, ...] = ()
    begin: int = 0
    end: int = _DAY
    zone: str = "UTC"

    def holds(self, now: datetime) -> bool:
        """Whether ``now`` lies in it."""
        here = now.astimezone(ZoneInfo(self.zone))
        minute, today = here.hour * 60 + here.minute, here.weekday()
        if self.begin < self.end:
            return self._on(today) and self.begin <= minute < self.end
        late, early = minute >= self.begin, minute < self.end
        return (late and self._on(today)) or (early and self._on((today - 1) % 7))

    def _on(self, weekday: int) -> bool:
        return not self.days or DAYS[weekday] in self.days

    def spell(self) -> str:
        """Return it as it is said to a person."""
        days = ",".join(day for day in DAYS if day in self.days) or "every day"
        return f"{days} {_clock(self.begin)}-{_clock(self.end)} {self.zone}"


def parse_window(days: Sequence[str], hours: str, zone: str) -> Window:
    """Make a window of what stands in a policy; empty ``hours`` are the whole day.

    Raises:
        UsageError: a day, the hours or the zone is none; the message begins with which.
    """
    for day in days:
        if day not in DAYS:
            raise UsageError(f"`{day}` is no day: {', '.join(DAYS)}")
    begin, end = _parse_hours(hours) if hours else (0, _DAY)
    _check_zone(zone)
    return Window(tuple(days), begin, end, zone)


def _parse_hours(hours: str) -> tuple[int, int]:
    match = _HOURS.match(hours)
    if match is None:
        raise UsageError(f'`{hours}` are no hours such as "22:00-06:00"')
    begin, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (1, 3))
    if begin == end or end > _DAY:
        raise UsageError(f"`{hours}` are no hours: they begin when they end, or end after 24:00")
    return begin, end


def _check_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (OSError, ValueError, LookupError) as error:
        raise UsageError(f"`{zone}` is no time zone that is known here") from error


def next_opening(windows: Sequence[Window], now: datetime) -> datetime | None:
    """Return when the first of ``windows`` opens after ``now``, to the quarter of an hour; None if never."""
    start = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    steps = int(_LOOK_AHEAD / _STEP)
    moments = (start + _STEP * number for number in range(1, steps))
    return next((moment for moment in moments if any(each.holds(moment) for each in windows)), None)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
