"""Times as callers write them."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.clock import stamp
from byoc.errors import UsageError
from byoc.wire.times import parse_expiry, parse_moment

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2030-01-02", "2030-01-02T00:00:00Z"),
        ("2030-01-02T03:04:05Z", "2030-01-02T03:04:05Z"),
        ("2030-01-02t03:04:05z", "2030-01-02T03:04:05Z"),
        ("2030-01-02 03:04:05", "2030-01-02T03:04:05Z"),
        ("2030-01-02T03:04:05.3003Z", "2030-01-02T03:04:05.300300Z"),
        ("2030-01-02T03:04:05.123456789Z", "2030-01-02T03:04:05.123456Z"),
        ("2030-01-02T03:04:05-01:30", "2030-01-02T04:34:05Z"),
        ("2030-01-02T03:04:05+02:00Z", "2030-01-02T01:04:05Z"),
    ],
)
def test_timestamps_and_dates_are_read_as_utc(text: str, read: str) -> None:
    assert stamp(parse_moment(text, "x")) == read


@pytest.mark.parametrize(
    "text", ["", "now", "2030", "2030-1-2", "20300102", "2030-W01", "2030-02-30", "2030-01-02T25:00:00Z",
             "2030-01-02T03:04Z", "2030-01-02T03:04:05ZZ", "0001-01-01T00:00:00+14:00",
             "٢٠٣٠-01-01", "2030-01-02T03:04:05+99:00"]
)  # fmt: skip
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"^startTime: not a valid time$"):
        parse_moment(text, "startTime")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("3h30m", "2030-01-01T03:30:00Z"),
        ("90s", "2030-01-01T00:01:30Z"),
        ("1.5h", "2030-01-01T01:30:00Z"),
        ("1500ms", "2030-01-01T00:00:01.500000Z"),
        ("1h1h", "2030-01-01T02:00:00Z"),
    ],
)
def test_durations_count_from_now(text: str, read: str) -> None:
    assert stamp(parse_expiry(text, NOW)) == read


@pytest.mark.parametrize("text", ["2029-12-31", "2030-01-01T00:00:00Z", "0h"])
def test_an_expiry_must_be_in_the_future(text: str) -> None:
    with pytest.raises(UsageError, match="must be in the future"):
        parse_expiry(text, NOW)


@given(text=st.text(alphabet="0123456789.hmsnuµ-:TZ+ ", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_expiry(text, NOW) > NOW
