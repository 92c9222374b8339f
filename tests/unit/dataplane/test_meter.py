"""Usage: no overlap, nothing billed that was not seen."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.files import FileStorage
from byoc.dataplane.meter import HEARTBEAT_SECONDS, Compute, Engine, Meter, _Heartbeat, follow
from byoc.dataplane.storage import StateBroken
from byoc.ids import IntervalID, WorkspaceID
from byoc.model.report import Interval

START = datetime(2030, 1, 1, tzinfo=UTC)
ORDERS = WorkspaceID("22222222-2222-4222-8222-222222222222")
SMALL = Compute("S-00", 1, 1)
BIG = Compute("S-0", 2, 1)
GONE = Engine()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def running(compute: Compute = SMALL, since: float = 0) -> Engine:
    return Engine(alive=True, ready=True, compute=compute, started_at=at(since))


def ids() -> Iterator[str]:
    return (f"{number:08d}-0000-4000-8000-000000000000" for number in count())


@pytest.fixture
def meter(tmp_path: Path) -> Meter:
    names = ids()
    return Meter(FileStorage(tmp_path), lambda: next(names))


def restarted(tmp_path: Path) -> Meter:
    names = (f"9{number:07d}-0000-4000-8000-000000000000" for number in count())
    return Meter(FileStorage(tmp_path), lambda: next(names))


def spans(meter: Meter) -> list[tuple[float, float | None]]:
    return [
        ((i.start - START).total_seconds(), (i.end - START).total_seconds() if i.end else None)
        for i in meter.intervals()
    ]


def test_it_begins_with_the_first_answer_and_ends_with_the_engine(meter: Meter) -> None:
    assert not meter.follow(ORDERS, Engine(alive=True, compute=SMALL, started_at=at(0)), at(1))
    assert meter.follow(ORDERS, running(), at(2))
    assert not meter.follow(ORDERS, running(), at(7))
    assert meter.follow(ORDERS, GONE, at(9))
    assert spans(meter) == [(2, 9)]


def test_an_engine_that_stops_answering_goes_on_counting_until_it_is_gone(meter: Meter) -> None:
    meter.follow(ORDERS, running(), at(0))
    meter.follow(ORDERS, Engine(alive=True, ready=False, compute=SMALL, started_at=at(0)), at(5))
    meter.follow(ORDERS, GONE, at(8))
    assert spans(meter) == [(0, 8)]


def test_a_change_of_size_ends_one_and_begins_another(meter: Meter) -> None:
    meter.follow(ORDERS, running(), at(0))
    meter.follow(ORDERS, running(BIG), at(10))
    meter.follow(ORDERS, GONE, at(15))
    assert spans(meter) == [(0, 10), (10, 15)]
    assert [(i.size, i.scale_factor) for i in meter.intervals()] == [("S-00", 1), ("S-0", 2)]


def test_an_engine_that_outlives_the_agent_goes_on_in_the_same_interval(meter: Meter, tmp_path: Path) -> None:
    meter.follow(ORDERS, running(), at(0))
    meter.heartbeat()
    again = restarted(tmp_path)
    again.follow(ORDERS, running(), at(3600))
    again.follow(ORDERS, GONE, at(3610))
    assert spans(again) == [(0, 3610)]


def test_a_crash_of_everything_bills_to_the_last_heartbeat(meter: Meter, tmp_path: Path) -> None:
    meter.follow(ORDERS, running(), at(0))
    meter.follow(ORDERS, running(), at(28))
    meter.heartbeat()
    meter.follow(ORDERS, running(), at(50))
    again = restarted(tmp_path)
    again.follow(ORDERS, GONE, at(55))
    assert spans(again) == [(0, 28)]


def test_an_engine_started_behind_our_back_is_another_interval(meter: Meter, tmp_path: Path) -> None:
    meter.follow(ORDERS, running(), at(0))
    meter.follow(ORDERS, running(), at(28))
    meter.heartbeat()
    again = restarted(tmp_path)
    again.follow(ORDERS, running(since=500), at(510))
    assert spans(again) == [(0, 28), (510, None)]


def test_a_machine_that_slept_is_not_billed_for_its_sleep(meter: Meter) -> None:
    meter.follow(ORDERS, running(), at(0))
    meter.follow(ORDERS, running(), at(20))
    meter.follow(ORDERS, GONE, at(9000))
    assert spans(meter) == [(0, 20)]


def test_a_clock_that_steps_back_makes_no_overlap(meter: Meter) -> None:
    meter.follow(ORDERS, running(), at(100))
    meter.follow(ORDERS, GONE, at(110))
    meter.follow(ORDERS, running(), at(50))
    assert spans(meter) == [(100, 110), (110, None)]


def test_a_report_names_open_intervals_as_far_as_they_are_on_disk(meter: Meter, tmp_path: Path) -> None:
    meter.follow(ORDERS, running(), at(0))
    meter.follow(ORDERS, running(), at(20))
    assert [i.last_seen for i in meter.intervals()] == [at(0)]
    meter.heartbeat()
    assert [i.last_seen for i in meter.intervals()] == [at(20)]
    assert [i.last_seen for i in restarted(tmp_path).intervals()] == [at(20)]


def test_a_closed_interval_stays_until_it_is_acknowledged(meter: Meter, tmp_path: Path) -> None:
    meter.follow(ORDERS, running(), at(0))
    meter.follow(ORDERS, GONE, at(9))
    again = restarted(tmp_path)
    assert spans(again) == [(0, 9)]
    again.acknowledge(i.id for i in again.intervals())
    assert spans(again) == []
    assert spans(restarted(tmp_path)) == []


def test_an_open_interval_cannot_be_acknowledged_away(meter: Meter) -> None:
    meter.follow(ORDERS, running(), at(0))
    meter.acknowledge(i.id for i in meter.intervals())
    assert spans(meter) == [(0, None)]


@pytest.mark.parametrize("content", ["", "{}", '{"id": "22222222-2222-4222-8222-222222222222"}'])
def test_a_bad_file_stops_the_start(content: str, meter: Meter, tmp_path: Path) -> None:
    (tmp_path / "state" / "intervals" / f"{ORDERS}.json").write_text(content)
    with pytest.raises(StateBroken, match=ORDERS):
        restarted(tmp_path)


ENGINES = st.sampled_from(
    [
        GONE,
        Engine(alive=True, ready=False, compute=SMALL, started_at=START),
        running(),
        running(BIG),
        running(since=40),
        running(BIG, since=200),
    ]
)
STEPS = st.lists(st.tuples(ENGINES, st.floats(-20, 120), st.booleans(), st.booleans()), max_size=30)


@given(STEPS)
def test_intervals_never_overlap_and_never_bill_beyond_what_was_seen(
    steps: list[tuple[Engine, float, bool, bool]],
) -> None:
    """The pure rule under any order of observations, jumps of the clock, and crashes of the agent."""
    names, done, current = ids(), list[Interval](), None
    now, last_end, seen_alive = START, START, START
    witnessed, stored = False, None
    for engine, seconds, heartbeat, crash in steps:
        now += timedelta(seconds=seconds)
        if crash:
            current, witnessed = stored, False
        moment = max(now, last_end)
        turn = follow(current, engine, ORDERS, moment, witnessed=witnessed, new_id=lambda: next(names))
        if engine.alive:
            seen_alive = max(seen_alive, moment)
        if turn.closed is not None:
            assert turn.closed.end is not None
            done.append(turn.closed)
            last_end = max(last_end, turn.closed.end)
            bound = seen_alive + timedelta(seconds=HEARTBEAT_SECONDS)
            assert turn.closed.start <= turn.closed.end <= bound
        if turn.open is None or heartbeat or current is None or turn.open.id != current.id:
            stored = turn.open
        current = turn.open
        witnessed = turn.open is not None
    for before, after in zip(done, [*done[1:], *([current] if current else [])], strict=False):
        assert before.end is not None
        assert before.end <= after.start


@given(st.floats(0, 10_000), st.floats(0, 10_000))
def test_after_a_crash_nothing_beyond_the_last_heartbeat_is_billed(ran: float, away: float) -> None:
    opened = follow(None, running(), ORDERS, at(0), witnessed=False, new_id=lambda: "x").open
    assert opened is not None
    stored = follow(opened, running(), ORDERS, at(ran), witnessed=True, new_id=lambda: "x").open
    assert stored is not None
    closed = follow(stored, GONE, ORDERS, at(ran + away), witnessed=False, new_id=lambda: "x").closed
    assert closed is not None
    assert closed.end == at(ran)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12))
def test_a_heartbeat_of_many_is_short_and_never_says_more_than_was_seen(ages: list[int]) -> None:
    names = ids()
    intervals = [
        Interval(IntervalID(next(names)), ORDERS, "S-00", 1, 1, START, at(1000 - age)) for age in ages
    ]
    beat = _Heartbeat.of(intervals)
    newest = max(each.last_seen for each in intervals)
    for each in intervals:
        said = beat.until(replace(each, last_seen=START))
        assert said <= each.last_seen
        assert each.last_seen - said <= timedelta(seconds=15)
    assert len(beat.seen) == sum(newest - each.last_seen > timedelta(seconds=15) for each in intervals)
