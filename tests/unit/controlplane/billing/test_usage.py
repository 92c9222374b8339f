"""Credits from intervals and bytes from volumes, by hand and as properties."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.controlplane.billing.usage import PLACES, Aggregate, stored_rows, usage_rows
from byoc.ids import IntervalID, OrganizationID, WorkspaceID
from byoc.model.records import UsageRow
from byoc.model.report import Interval, Stored
from byoc.model.size import credits_per_hour
from byoc.store.values import NamedInterval, NamedStored

OWNER = OrganizationID("o")
NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)
WIDE = (NOON - timedelta(days=400), NOON + timedelta(days=400))
MICROSECOND = timedelta(microseconds=1)
HOUR = Decimal(3_600_000_000)


def metered(
    since: datetime,
    until: datetime,
    *,
    size: str = "S-1",
    scale: int = 1,
    workspace: str = "w",
    still_open: bool = False,
) -> NamedInterval:
    interval = Interval(
        IntervalID("i"), WorkspaceID(workspace), size, scale, 1, since, until, None if still_open else until
    )
    return NamedInterval(interval, f"name of {workspace}")


def rows(
    *intervals: NamedInterval,
    start: datetime = WIDE[0],
    end: datetime = WIDE[1],
    aggregate: Aggregate = "hour",
) -> list[UsageRow]:
    return usage_rows(intervals, OWNER, start=start, end=end, aggregate=aggregate)


def test_an_hour_of_s_1_is_one_credit() -> None:
    (row,) = rows(metered(NOON, NOON + timedelta(hours=1)))
    assert (row.value, row.start, row.end) == ("1", NOON, NOON + timedelta(hours=1))
    assert (row.workspace_id, row.workspace_name, row.owner_id) == ("w", "name of w", OWNER)
    assert not row.provisional


def test_size_and_scale_factor_multiply() -> None:
    (row,) = rows(metered(NOON, NOON + timedelta(minutes=30), size="S-00", scale=4))
    assert row.value == "0.5"


def test_an_interval_is_cut_at_full_hours() -> None:
    found = rows(metered(NOON + timedelta(minutes=45), NOON + timedelta(minutes=75)))
    assert [(row.start.hour, row.value) for row in found] == [(12, "0.25"), (13, "0.25")]


def test_months_are_those_of_the_calendar() -> None:
    found = rows(metered(NOON, NOON + timedelta(days=1)), aggregate="month")
    assert [(row.start.month, row.end.month, row.value) for row in found] == [(1, 2, "12"), (2, 3, "12")]


def test_what_was_asked_for_cuts_the_first_and_last_period() -> None:
    start, end = NOON + timedelta(minutes=15), NOON + timedelta(minutes=45)
    (row,) = rows(metered(NOON, NOON + timedelta(hours=1)), start=start, end=end, aggregate="day")
    assert (row.start, row.end, row.value) == (start, end, "0.5")


def test_an_open_interval_counts_to_when_it_was_last_seen_and_is_provisional() -> None:
    (row,) = rows(metered(NOON, NOON + timedelta(minutes=6), still_open=True))
    assert (row.value, row.provisional) == ("0.1", True)


def test_outside_of_what_was_asked_for_nothing_is_counted() -> None:
    before = metered(NOON - timedelta(hours=2), NOON - timedelta(hours=1))
    after = metered(NOON + timedelta(hours=2), NOON + timedelta(hours=3))
    assert rows(before, after, start=NOON, end=NOON + timedelta(hours=1)) == []


def test_an_interval_without_length_costs_nothing() -> None:
    assert rows(metered(NOON, NOON)) == []


def test_values_are_written_without_an_exponent() -> None:
    (row,) = rows(metered(NOON, NOON + timedelta(hours=100), size="S-384", scale=4), aggregate="month")[:1]
    assert set(row.value) <= set("0123456789.")


@pytest.mark.parametrize("aggregate", ["hour", "day", "month"])
def test_workspaces_are_counted_apart(aggregate: Aggregate) -> None:
    hour = timedelta(hours=1)
    found = rows(
        metered(NOON, NOON + hour, workspace="b"),
        metered(NOON, NOON + hour, workspace="a", size="S-2"),
        aggregate=aggregate,
    )
    assert [(row.workspace_id, row.value) for row in found] == [("a", "2"), ("b", "1")]


OFFSETS = st.integers(0, 90 * 86_400_000_000)
INTERVALS = st.lists(
    st.builds(
        lambda since, length, size, scale, workspace: metered(
            NOON + since * MICROSECOND,
            NOON + (since + length) * MICROSECOND,
            size=size,
            scale=scale,
            workspace=workspace,
        ),
        OFFSETS,
        st.integers(0, 3 * 86_400_000_000),
        st.sampled_from(["S-00", "S-0", "S-1", "S-12"]),
        st.sampled_from([1, 2, 4]),
        st.sampled_from(["a", "b"]),
    ),
    max_size=6,
)


def total(found: Sequence[UsageRow]) -> Decimal:
    return sum((Decimal(row.value) for row in found), Decimal(0))


def cost(intervals: Sequence[NamedInterval]) -> Decimal:
    return sum(
        (
            credits_per_hour(one.interval.size, one.interval.scale_factor)
            * ((one.interval.last_seen - one.interval.start) // MICROSECOND)
            / HOUR
            for one in intervals
        ),
        Decimal(0),
    )


@given(INTERVALS, st.sampled_from(["hour", "day", "month"]))
def test_however_it_is_cut_the_sum_is_what_the_intervals_cost(
    intervals: list[NamedInterval], aggregate: Aggregate
) -> None:
    found = rows(*intervals, aggregate=aggregate)
    assert abs(total(found) - cost(intervals)) <= PLACES * max(1, len(found))


@given(INTERVALS, OFFSETS)
def test_asking_in_two_parts_gives_the_same_sum_as_asking_once(
    intervals: list[NamedInterval], cut: int
) -> None:
    middle = NOON + cut * MICROSECOND
    once = rows(*intervals, aggregate="day")
    parts = rows(*intervals, end=middle, aggregate="day") + rows(*intervals, start=middle, aggregate="day")
    assert abs(total(parts) - total(once)) <= PLACES * max(1, len(parts) + len(once))


@given(INTERVALS, st.sampled_from(["hour", "day", "month"]))
def test_periods_of_one_workspace_never_overlap(intervals: list[NamedInterval], aggregate: Aggregate) -> None:
    found = rows(*intervals, aggregate=aggregate)
    for workspace in ("a", "b"):
        mine = [row for row in found if row.workspace_id == workspace]
        assert all(one.end <= after.start for one, after in pairwise(mine))
        assert all(row.start < row.end for row in mine)


def held(
    since: datetime, until: datetime, mib: int, *, workspace: str = "w", closed: bool = True
) -> NamedStored:
    byte_seconds = mib * 2**20 * int((until - since).total_seconds())
    record = Stored(IntervalID("i"), WorkspaceID(workspace), since, until, byte_seconds, closed)
    return NamedStored(record, f"name of {workspace}")


def averages(
    *records: NamedStored, start: datetime = WIDE[0], end: datetime = WIDE[1], aggregate: Aggregate = "hour"
) -> list[tuple[str, int, bool]]:
    found = stored_rows(records, OWNER, start=start, end=end, aggregate=aggregate)
    assert all(row.start < row.end for row in found)
    return [(row.workspace_name, int(row.value), row.provisional) for row in found]


def test_a_volume_counts_with_what_it_held_over_the_whole_period() -> None:
    hour = held(NOON, NOON + timedelta(hours=1), 48)
    half = held(NOON, NOON + timedelta(minutes=30), 48, workspace="x", closed=False)
    assert averages(hour, half) == [("name of w", 48 * 2**20, False), ("name of x", 24 * 2**20, True)]
    assert averages(hour, aggregate="day") == [("name of w", 2 * 2**20, False)]


def test_what_was_asked_for_cuts_what_a_volume_held() -> None:
    hour = held(NOON, NOON + timedelta(hours=1), 48)
    middle = NOON + timedelta(minutes=20)
    assert averages(hour, start=middle) == [("name of w", 48 * 2**20, False)]
    assert averages(hour, end=middle) == [("name of w", 48 * 2**20, False)]


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2**40)), min_size=1, max_size=12),
    st.integers(1, 700),
)
def test_cut_in_two_the_average_is_the_same(pieces: list[tuple[int, int]], cut: int) -> None:
    now, records = NOON, []
    for minutes, mib in pieces:
        records.append(held(now, now + timedelta(minutes=minutes), mib))
        now += timedelta(minutes=minutes)
    end, middle = now, min(NOON + timedelta(minutes=cut), now)

    def total(start: datetime, until: datetime) -> int:
        if start == until:
            return 0
        rows = stored_rows(records, OWNER, start=start, end=until, aggregate="month")
        return sum(int(row.value) * int((row.end - row.start).total_seconds()) for row in rows)

    seconds = (end - NOON).total_seconds()
    assert abs(total(NOON, end) - total(NOON, middle) - total(middle, end)) <= 2 * seconds
