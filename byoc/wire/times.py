"""Times as callers of the Management API write them: timestamps, dates and durations.

Called by the API's parsers. Nothing here reads a clock: ``now`` is a parameter.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from byoc.errors import UsageError

# A client in use appends `Z` to times that already have an offset; the offset is what counts.
_MOMENT: Final = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})(?:[Tt ](?P<time>\d{2}:\d{2}:\d{2})(?:\.(?P<fraction>\d{1,9}))?"
    r"(?:(?P<offset>[+-]\d{2}:\d{2})Z?|[Zz])?)?",
    re.ASCII,
)
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|us|µs|ns|m|s))+", re.ASCII)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)", re.ASCII)
_SECONDS: Final = {
    "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"), "µs": Decimal("1e-6"), "ns": Decimal("1e-9"),
}  # fmt: skip
_HINT: Final = "write 2030-01-02T15:04:05Z or 2030-01-02"
_HINT_EXPIRY: Final = _HINT + ", or a duration such as 3h30m"


def parse_moment(text: str, what: str) -> datetime:
    """Read a timestamp or a date as an aware UTC datetime; without an offset it is UTC.

    Raises:
        UsageError: ``text`` is neither; the message begins with ``what``.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise UsageError(f"{what}: not a valid time", hint=_HINT)
    fraction = (match["fraction"] or "0")[:6].ljust(6, "0")
    offset = match["offset"] or "+00:00"
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['time'] or '00:00:00'}.{fraction}{offset}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{what}: not a valid time", hint=_HINT) from error


def parse_expiry(text: str, now: datetime) -> datetime:
    """Read ``expiresAt``: a timestamp, a date, or a duration from ``now``.

    Raises:
        UsageError: it is none of these, or not in the future.
    """
    if _DURATION.fullmatch(text):
        seconds = sum(
            (Decimal(number) * _SECONDS[unit] for number, unit in _PART.findall(text)), start=Decimal(0)
        )
        try:
            moment = now + timedelta(seconds=float(seconds))
        except OverflowError as error:
            raise UsageError("expiresAt: too far away") from error
    elif _MOMENT.fullmatch(text):
        moment = parse_moment(text, "expiresAt")
    else:
        raise UsageError("expiresAt: not a valid time or duration", hint=_HINT_EXPIRY)
    if moment <= now:
        raise UsageError("expiresAt: must be in the future")
    return moment
