"""Usage of storage: what volumes held, in the customer's favour."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.files import FileStorage
from byoc.dataplane.meter import Compute, Engine, Meter
from byoc.dataplane.storage import StateBroken
from byoc.dataplane.volumes import LOOK_SECONDS, VolumeMeter, Weighed, weigh
from byoc.ids import WorkspaceID
from byoc.model.report import Stored

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ORDERS = WorkspaceID("22222222-2222-4222-8222-222222222222")
MIB = 2**20


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def ids() -> Iterator[str]:
    return (f"{number:08d}-0000-4000-8000-000000000000" for number in count())


def opened(folder: Path, first: str = "0") -> VolumeMeter:
    names = (f"{first}{name[1:]}" for name in ids())
    return VolumeMeter(FileStorage(folder), lambda: next(names))


@pytest.fixture
def meter(tmp_path: Path) -> VolumeMeter:
    return opened(tmp_path)


def told(meter: VolumeMeter) -> list[tuple[float, float, float, bool]]:
    """Return begin and end in minutes, MiB on average, and whether nothing follows."""
    return [
        (
            (record.start - NOON) / timedelta(minutes=1),
            (record.until - NOON) / timedelta(minutes=1),
            record.byte_seconds / MIB / max((record.until - record.start).total_seconds(), 1),
            record.closed,
        )
        for record in meter.records()
    ]


def test_a_volume_counts_from_one_look_to_the_next(meter: VolumeMeter) -> None:
    meter.weighed({ORDERS: 40 * MIB}, at(1))
    assert told(meter) == []
    meter.weighed({ORDERS: 40 * MIB}, at(6))
    assert told(meter) == [(1, 6, 40, False)]


def test_between_two_looks_the_lesser_weight_counts(meter: VolumeMeter) -> None:
    for minute, weight in ((0, 10), (5, 30), (10, 20)):
        meter.weighed({ORDERS: weight * MIB}, at(minute))
    assert told(meter) == [(0, 10, 15, False)]


def test_no_record_spans_two_hours(meter: VolumeMeter) -> None:
    for minute in (55, 58, 63):
        meter.weighed({ORDERS: 40 * MIB}, at(minute))
    assert told(meter) == [(55, 60, 40, True), (60, 63, 40, False)]


def test_a_volume_that_is_gone_counts_to_the_last_look_that_found_it(meter: VolumeMeter) -> None:
    for minute, held in ((0, {ORDERS: MIB}), (5, {ORDERS: MIB}), (9, {}), (14, {})):
        meter.weighed(held, at(minute))
    ((begin, _, _, closed),) = told(meter)
    assert (begin, closed) == (0, True)
    assert meter.records()[0].byte_seconds == 5 * 60 * MIB


def test_a_time_in_which_nobody_looked_is_not_billed(tmp_path: Path) -> None:
    before = opened(tmp_path)
    before.weighed({ORDERS: MIB}, at(0))
    before.weighed({ORDERS: MIB}, at(5))
    after = opened(tmp_path, "9")
    after.weighed({ORDERS: MIB}, at(20))
    after.weighed({ORDERS: MIB}, at(25))
    assert told(after) == [(0, 5, 1, True), (20, 25, 1, False)]
    after.weighed({ORDERS: MIB}, at(50))
    after.weighed({ORDERS: MIB}, at(55))
    assert told(after) == [(0, 5, 1, True), (20, 25, 1, True), (50, 55, 1, False)]


def test_a_clock_that_was_set_back_bills_nothing_twice(tmp_path: Path) -> None:
    meter = opened(tmp_path)
    for minute in (0, 10, 5, 9, 12):
        meter.weighed({ORDERS: MIB}, at(minute))
    assert told(meter) == [(0, 12, 1, False)]
    again = opened(tmp_path, "9")
    for minute in (3, 8, 14):
        again.weighed({ORDERS: MIB}, at(minute))
    assert told(again) == [(0, 12, 1, True), (12, 14, 1, False)]


def test_acknowledged_records_are_forgotten_on_disk_too_and_open_ones_stay(tmp_path: Path) -> None:
    meter = opened(tmp_path)
    for minute in (55, 58, 63):
        meter.weighed({ORDERS: MIB}, at(minute))
    meter.acknowledge(record.id for record in meter.records())
    assert told(meter) == [(60, 63, 1, False)]
    assert told(opened(tmp_path)) == [(60, 63, 1, True)]


def test_both_meters_find_their_own_records_on_one_shelf(tmp_path: Path) -> None:
    names = (f"7{name[1:]}" for name in ids())
    compute = Meter(FileStorage(tmp_path), lambda: next(names))
    compute.follow(ORDERS, Engine(alive=True, ready=True, compute=Compute("S-00", 1, 1)), at(0))
    meter = opened(tmp_path)
    meter.weighed({ORDERS: MIB}, at(0))
    meter.weighed({ORDERS: MIB}, at(5))
    assert len(Meter(FileStorage(tmp_path), lambda: next(names)).intervals()) == 1
    assert told(opened(tmp_path)) == [(0, 5, 1, True)]


def test_a_record_under_another_name_is_refused(tmp_path: Path) -> None:
    meter = opened(tmp_path)
    meter.weighed({ORDERS: MIB}, at(0))
    (file,) = (tmp_path / "state" / "intervals").iterdir()
    file.rename(file.with_name(f"{ORDERS}.json"))
    with pytest.raises(StateBroken):
        opened(tmp_path)


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 2**40)), max_size=30))
def test_records_never_overlap_nor_bill_more_than_was_ever_held(looks: list[tuple[int, int]]) -> None:
    names, now, current = ids(), NOON, None
    ended: list[Stored] = []
    for seconds, held in looks:
        now += timedelta(seconds=seconds)
        more, current = weigh(current, ORDERS, held, now, lambda: next(names))
        ended += more
    whole = [*ended, *([current.record] if isinstance(current, Weighed) else [])]
    most = max((held for _, held in looks), default=0)
    for record in whole:
        assert record.start <= record.until <= record.start.replace(minute=0, second=0) + timedelta(hours=1)
        assert 0 <= record.byte_seconds <= most * (record.until - record.start).total_seconds()
    for one, following in pairwise(whole):
        assert one.closed
        assert one.until <= following.start
    assert sum(record.byte_seconds for record in whole) <= most * (now - NOON).total_seconds()


def test_looks_are_closer_than_what_counts_as_not_looked_at() -> None:
    first = weigh(None, ORDERS, MIB, at(0), lambda: "a")[1]
    _, goes_on = weigh(first, ORDERS, MIB, at(LOOK_SECONDS / 60 * 1.5), lambda: "b")
    assert goes_on is not None
    assert goes_on.record.id == "a"
