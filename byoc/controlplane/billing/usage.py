"""Credits and bytes per workspace and period, from what cells have metered. Pure; called by the service.

The invariants: the sum over periods is what the intervals cost, however they are cut, and so it is with
what volumes held; what still goes on counts up to when the cell was last heard of, never further, and is
marked as provisional.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final, Literal

from byoc.ids import OrganizationID, WorkspaceID
from byoc.model.records import UsageRow
from byoc.model.size import credits_per_hour
from byoc.store.values import NamedInterval, NamedStored

Aggregate = Literal["hour", "day", "month"]

_Key = tuple[datetime, datetime, str, WorkspaceID]

_HOUR_IN_MICROSECONDS: Final = Decimal(3_600_000_000)
_MICROSECOND: Final = timedelta(microseconds=1)
PLACES: Final = Decimal("0.00000001")
"""Credits are printed to this place: an S-00 for a tenth of a second is not lost."""


def usage_rows(
    metered: Iterable[NamedInterval],
    owner: OrganizationID,
    *,
    start: datetime,
    end: datetime,
    aggregate: Aggregate,
) -> list[UsageRow]:
    """Return credits per workspace and period within [start, end), in order of time, then of name.

    Periods begin at full hours, days or months in UTC; the first and last are cut to what was asked.
    """
    sums: dict[_Key, Decimal] = defaultdict(Decimal)
    provisional: set[_Key] = set()
    for one in metered:
        interval = one.interval
        rate = credits_per_hour(interval.size, interval.scale_factor)
        until = interval.last_seen if interval.end is None else interval.end
        for since, to in _cut(max(interval.start, start), min(until, end), aggregate):
            key = (*_period(since, start, end, aggregate), one.workspace_name, interval.workspace_id)
            sums[key] += rate * ((to - since) // _MICROSECOND)
            if interval.end is None:
                provisional.add(key)
    return [
        UsageRow(workspace, name, owner, since, to, _print(sums[key]), key in provisional)
        for key in sorted(sums)
        for since, to, name, workspace in [key]
    ]


def stored_rows(
    weighed: Iterable[NamedStored],
    owner: OrganizationID,
    *,
    start: datetime,
    end: datetime,
    aggregate: Aggregate,
) -> list[UsageRow]:
    """Return the average of bytes held per workspace and period within [start, end), as above.

    The average is over the whole of the row's period: a volume that was there for half of it counts half.
    """
    sums: dict[_Key, Fraction] = defaultdict(Fraction)
    provisional: set[_Key] = set()
    for one in weighed:
        record = one.stored
        whole = (record.until - record.start) // _MICROSECOND
        for since, to in _cut(max(record.start, start), min(record.until, end), aggregate):
            key = (*_period(since, start, end, aggregate), one.workspace_name, record.workspace_id)
            sums[key] += Fraction(record.byte_seconds * ((to - since) // _MICROSECOND), whole)
            if not record.closed:
                provisional.add(key)
    return [
        UsageRow(workspace, name, owner, since, to, str(_average(sums[key], to - since)), key in provisional)
        for key in sorted(sums)
        for since, to, name, workspace in [key]
    ]


def _average(byte_seconds: Fraction, period: timedelta) -> int:
    return round(byte_seconds * 1_000_000 / (period // _MICROSECOND))


def _period(
    moment: datetime, start: datetime, end: datetime, aggregate: Aggregate
) -> tuple[datetime, datetime]:
    period = _begin(moment, aggregate)
    return max(period, start), min(_next(period, aggregate), end)


def _print(credit_microseconds: Decimal) -> str:
    value = (credit_microseconds / _HOUR_IN_MICROSECONDS).quantize(PLACES, ROUND_HALF_EVEN)
    return f"{value.normalize():f}"


def _cut(since: datetime, until: datetime, aggregate: Aggregate) -> Iterator[tuple[datetime, datetime]]:
    while since < until:
        to = min(until, _next(_begin(since, aggregate), aggregate))
        yield since, to
        since = to


def _begin(moment: datetime, aggregate: Aggregate) -> datetime:
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if aggregate == "hour":
        return hour
    day = hour.replace(hour=0)
    return day if aggregate == "day" else day.replace(day=1)


def _next(period: datetime, aggregate: Aggregate) -> datetime:
    if aggregate == "month":
        return (period + timedelta(days=32)).replace(day=1)
    return period + (timedelta(hours=1) if aggregate == "hour" else timedelta(days=1))
