from datetime import timedelta
from pathlib import Path

import pytest

from byoc.dataplane.replay import FILE, KEEP_SECONDS, ReplayFile, Replays
from byoc.errors import TooManyRequests, Unwritable
from byoc.testing import ManualClock


def test_a_request_is_remembered_for_two_minutes(tmp_path: Path, clock: ManualClock) -> None:
    replays = Replays(ReplayFile(tmp_path), clock)
    replays.remember("one")

    clock.advance(119)
    assert replays.seen("one", clock.now())
    assert not replays.seen("two", clock.now())
    clock.advance(2)
    assert not replays.seen("one", clock.now())


def test_a_request_is_remembered_across_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    Replays(ReplayFile(tmp_path), clock).remember("one")
    clock.advance(50)

    assert Replays(ReplayFile(tmp_path), clock).seen("one", clock.now())


def test_a_wall_clock_set_forth_and_back_brings_no_request_back(tmp_path: Path, clock: ManualClock) -> None:
    replays = Replays(ReplayFile(tmp_path), clock)
    replays.remember("one")
    before = clock.now()

    clock.set_wall_clock(before.replace(year=2031))
    replays.remember("two")
    clock.set_wall_clock(before)

    assert replays.seen("one", clock.now())


def test_a_line_that_a_crash_cut_short_harms_no_other(tmp_path: Path, clock: ManualClock) -> None:
    replays = Replays(ReplayFile(tmp_path), clock)
    replays.remember("one")
    replays.remember("two")
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-20])

    again = Replays(ReplayFile(tmp_path), clock)
    again.remember("three")

    last = Replays(ReplayFile(tmp_path), clock)
    assert [last.seen(name, clock.now()) for name in ("one", "two", "three")] == [True, False, True]


def test_any_text_can_be_a_request_id(tmp_path: Path, clock: ManualClock) -> None:
    Replays(ReplayFile(tmp_path), clock).remember("ü\n" * 40)

    again = Replays(ReplayFile(tmp_path), clock)
    assert again.seen("ü\n" * 40, clock.now())
    assert len(again) == 1


def test_the_file_stays_small(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byoc.dataplane.replay._SLACK", 10)
    replays = Replays(ReplayFile(tmp_path), clock)
    for number in range(100):
        replays.remember(str(number))
        clock.advance(40)

    assert (tmp_path / FILE).stat().st_size < 20 * 65
    assert replays.seen("99", clock.now())


def test_more_requests_than_can_be_remembered_are_refused_not_forgotten(
    tmp_path: Path, clock: ManualClock
) -> None:
    replays = Replays(ReplayFile(tmp_path), clock, limit=2)
    replays.remember("one")
    replays.remember("two")
    with pytest.raises(TooManyRequests):
        replays.remember("three")
    assert replays.seen("one", clock.now())

    clock.advance(121)
    replays.remember("three")
    assert replays.seen("three", clock.now())


def test_what_cannot_be_stored_is_not_remembered(tmp_path: Path, clock: ManualClock) -> None:
    replays = Replays(ReplayFile(tmp_path / "away"), clock)
    with pytest.raises(Unwritable):
        replays.remember("one")
    assert not replays.seen("one", clock.now())


@pytest.mark.parametrize("copy", [None, b""], ids=["lost", "restored from an older copy"])
def test_what_was_issued_before_the_agent_began_is_refused_where_the_file_knows_nothing_of_it(
    tmp_path: Path, clock: ManualClock, copy: bytes | None
) -> None:
    issued = clock.now()
    Replays(ReplayFile(tmp_path), clock).remember("captured")
    (tmp_path / FILE).unlink()
    if copy is not None:
        (tmp_path / FILE).write_bytes(copy)
    clock.advance(1)
    again = Replays(ReplayFile(tmp_path), clock)

    assert again.seen("captured", issued)
    clock.advance(59)
    assert again.seen("captured", issued)
    assert not again.seen("signed anew", clock.now())


def test_what_is_issued_in_the_second_in_which_an_agent_begins_is_let_in(
    tmp_path: Path, clock: ManualClock
) -> None:
    clock.advance(0.75)
    replays = Replays(ReplayFile(tmp_path), clock)

    assert not replays.seen("new", clock.now().replace(microsecond=0))


def test_a_wall_clock_that_is_set_back_shuts_nobody_out_for_longer_than_the_memory_lasts(
    tmp_path: Path, clock: ManualClock
) -> None:
    replays = Replays(ReplayFile(tmp_path), clock)
    hour_back = clock.now() - timedelta(hours=1)
    clock.advance(KEEP_SECONDS - 1)
    assert replays.seen("new", hour_back)
    clock.advance(1)
    assert not replays.seen("new", hour_back)
