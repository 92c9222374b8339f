"""Usage of storage: what volumes held, in the customer's favour."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.files import FileStorage
from byoc.dataplane.meter import Compute, Engine, Meter
from byoc.dataplane.storage import Shelf, StateBroken
from byoc.dataplane.volumes import LOOK_SECONDS, LOOKED, VolumeMeter, Weighed, weigh
from byoc.errors import Unwritable
from byoc.ids import WorkspaceID, new_id
from byoc.model.report import Stored
from byoc.testing.storage import Killed, MemoryStorage

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ORDERS = WorkspaceID("22222222-2222-4222-8222-222222222222")
OTHER = WorkspaceID("33333333-3333-4333-8333-333333333333")
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


def in_memory(kept: MemoryStorage, names: Iterator[str] | None = None) -> VolumeMeter:
    numbered = ids() if names is None else names
    return VolumeMeter(kept, lambda: next(numbered))


class TestWhatIsWritten:
    def test_an_hour_of_many_that_stay_as_they_are_writes_one_word_a_look(self) -> None:
        kept = MemoryStorage()
        meter, held = in_memory(kept), {WorkspaceID(new_id()): number * MIB for number in range(1, 101)}
        meter.weighed(held, at(1))
        for minute in range(6, 60, 5):
            before = kept.writes
            meter.weighed(held, at(minute))
            assert kept.writes == before + 1
        assert len(kept.kept[Shelf.LIFE][LOOKED]) < 50
        assert {(begin, end, closed) for begin, end, _, closed in told(meter)} == {(1, 56, False)}

    def test_only_what_weighs_something_else_is_written(self) -> None:
        kept, other = MemoryStorage(), OTHER
        meter = in_memory(kept)
        for minute, weight in ((0, 10), (5, 10), (10, 20), (15, 20)):
            before = kept.writes
            meter.weighed({ORDERS: weight * MIB, other: MIB}, at(minute))
            assert kept.writes == before + {0: 3, 10: 2}.get(minute, 1)
        assert sorted(told(meter)) == [(0, 15, 1, False), (0, 15, 40 / 3, False)]

    def test_a_crash_leaves_a_record_where_all_were_looked_at_last(self, tmp_path: Path) -> None:
        meter = opened(tmp_path)
        for minute in (0, 5, 10, 15):
            meter.weighed({ORDERS: 40 * MIB}, at(minute))
        after = opened(tmp_path, "9")
        assert told(after) == [(0, 15, 40, True)]
        after.weighed({ORDERS: 40 * MIB}, at(20))
        after.weighed({ORDERS: 40 * MIB}, at(25))
        assert told(opened(tmp_path, "8")) == [(0, 15, 40, True), (20, 25, 40, True)]

    def test_a_clock_that_was_set_far_ahead_does_not_stop_the_meter_for_good(self) -> None:
        kept = MemoryStorage()
        meter = in_memory(kept)
        meter.weighed({ORDERS: MIB}, at(0))
        meter.weighed({ORDERS: MIB}, at(10**6))
        meter.weighed({ORDERS: MIB}, at(10))
        names = (f"9{name[1:]}" for name in ids())
        for _ in range(2):
            meter = in_memory(kept, names)
            meter.acknowledge(record.id for record in meter.records())
        for minute in (20, 25):
            meter.weighed({ORDERS: MIB}, at(minute))
        assert told(meter) == [(20, 25, 1, False)]

    def test_a_version_that_stored_no_weight_is_read_and_goes_no_further_than_it_said(self) -> None:
        """Texts as that version wrote them: one that has ended, and one that went on."""
        ended, went_on = (next(names) for names in (ids(), (f"9{name[1:]}" for name in ids())))
        text = (
            '{{"id":"{}","workspaceID":"{}","start":"2030-01-01T{}Z","until":"2030-01-01T{}Z",'
            '"byteSeconds":{},"closed":{}}}\n'
        )
        kept = MemoryStorage()
        kept.change(
            Shelf.INTERVALS,
            {
                ended: text.format(ended, ORDERS, "11:55:00", "12:00:00", 300 * MIB, "true").encode(),
                went_on: text.format(went_on, ORDERS, "12:00:00", "12:05:00", 300 * MIB, "false").encode(),
            },
        )
        # Somebody's word, before this version had put the records right.
        kept.change(Shelf.LIFE, {LOOKED: b'{"at":"2030-01-01T12:30:00Z"}'})
        fresh = (f"8{name[1:]}" for name in ids())
        meter = in_memory(kept, fresh)
        before = [(-5, 0, 1, True), (0, 5, 1, True)]
        assert told(meter) == before
        meter.weighed({ORDERS: MIB}, at(40))
        meter.weighed({ORDERS: MIB}, at(45))
        assert told(meter) == [*before, (40, 45, 1, False)]
        assert told(in_memory(kept)) == [*before, (40, 45, 1, True)]


WEIGHTS = st.dictionaries(st.sampled_from([ORDERS, OTHER]), st.sampled_from([1, MIB, 7 * MIB]))
TROUBLE = st.sampled_from(["none"] * 4 + ["unwritable", "killed", "restart"])
LOOKS = st.lists(
    st.tuples(st.integers(0, 900), WEIGHTS, TROUBLE, st.integers(0, 4), st.booleans()), max_size=12
)


@dataclass
class Late(MemoryStorage):
    """What a storage is where the word on the last look rides along: it arrives later, or never."""

    under_way: dict[str, bytes | None] = field(default_factory=dict)

    def change(self, shelf: Shelf, changes: Mapping[str, bytes | None]) -> None:
        if shelf is Shelf.LIFE and self.fails_with is None:
            self.under_way = dict(changes)
        else:
            super().change(shelf, changes)

    def arrive(self) -> None:
        super().change(Shelf.LIFE, self.under_way)


@dataclass
class Site:
    """A cell's meter, a Control Plane that keeps what it is told, and what volumes really held."""

    kept: Late = field(default_factory=Late)
    names: Iterator[str] = field(default_factory=ids)
    now: datetime = NOON
    billed: dict[str, Stored] = field(default_factory=dict)
    looks: list[tuple[datetime, Mapping[WorkspaceID, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.meter = in_memory(self.kept, self.names)

    def restart(self) -> None:
        self.kept.under_way = {}
        self.meter = in_memory(self.kept, self.names)

    def look(self, held: Mapping[WorkspaceID, int], trouble: str, after: int) -> None:
        self.looks.append((self.now, held))
        self.kept.fails_after = after
        self.kept.fails_with = {"unwritable": Unwritable("full"), "killed": Killed()}.get(trouble)
        try:
            self.meter.weighed(held, self.now)
        except Unwritable:
            pass
        except Killed:
            self.restart()
        self.kept.fails_with = None
        if trouble == "restart":
            self.restart()

    def report(self) -> None:
        """A crash at this moment leaves what is told, and the Control Plane never forgets any of it."""
        told = self.meter.records()
        left = {record.id: record for record in in_memory(self.kept).records()}
        for each in told:
            assert left[each.id].until >= each.until
            assert left[each.id].byte_seconds >= each.byte_seconds
        for each in told:
            before = self.billed.get(each.id, each)
            assert each.until >= before.until
            assert each.byte_seconds >= before.byte_seconds
            self.billed[each.id] = each
        self.meter.acknowledge(each.id for each in told if each.closed)

    def was_there(self, record: Stored) -> float:
        """The least that the volume can have held in the time of a record."""
        whole = 0.0
        for (begin, before), (end, after) in pairwise(self.looks):
            weight = min(before.get(record.workspace_id, 0), after.get(record.workspace_id, 0))
            shared = (min(end, record.until) - max(begin, record.start)).total_seconds()
            whole += weight * max(shared, 0)
        return whole

    def check(self) -> None:
        for name in (ORDERS, OTHER):
            mine = sorted((r for r in self.billed.values() if r.workspace_id == name), key=lambda r: r.start)
            for record in mine:
                hour = record.start.replace(minute=0, second=0) + timedelta(hours=1)
                assert record.start <= record.until <= hour
            for one, following in pairwise(mine):
                assert one.until <= following.start


@given(LOOKS)
def test_whatever_fails_nothing_is_billed_twice_nor_more_than_was_there(
    looks: list[tuple[int, dict[WorkspaceID, int], str, int, bool]],
) -> None:
    site = Site()
    for seconds, held, trouble, after, arrives in looks:
        site.now += timedelta(seconds=seconds)
        site.look(held, trouble, after)
        if arrives:
            site.kept.arrive()
            site.report()
    site.report()
    site.check()
    assert all(record.byte_seconds <= site.was_there(record) for record in site.billed.values())


@given(LOOKS, st.lists(st.integers(-4000, 900), min_size=12, max_size=12))
def test_a_clock_that_jumps_makes_no_record_overlap_another(
    looks: list[tuple[int, dict[WorkspaceID, int], str, int, bool]], jumps: list[int]
) -> None:
    site = Site()
    for (_, held, trouble, after, arrives), seconds in zip(looks, jumps, strict=False):
        site.now += timedelta(seconds=seconds)
        # A crash and a clock that goes back are too much at once: what was acknowledged is forgotten.
        site.look(held, "none" if trouble in {"killed", "restart"} else trouble, after)
        if arrives:
            site.kept.arrive()
            site.report()
    site.report()
    site.check()


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
