from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.ledger import Ledger
from byoc.dataplane.replay import KEEP_SECONDS, LOOK_BACK, InLedger, Replays
from byoc.errors import TooManyRequests, Unwritable
from byoc.testing import ManualClock


def ledger(folder: Path, clock: ManualClock) -> Ledger:
    return Ledger(folder, clock, lambda: "chain")


class Nowhere:
    """Keeps nothing."""

    def load(self) -> tuple[str, ...]:
        return ()

    def add(self, name: str, kept: object) -> None:
        pass


def restarted(folder: Path, clock: ManualClock) -> Replays:
    return Replays(InLedger(folder, clock), clock)


def test_a_request_is_remembered_for_two_minutes(tmp_path: Path, clock: ManualClock) -> None:
    replays = Replays(InLedger(tmp_path, clock), clock)
    replays.remember("one", clock.now())

    clock.advance(119)
    assert replays.seen("one", clock.now())
    assert not replays.seen("two", clock.now())


def test_a_wall_clock_that_is_set_back_by_hours_makes_no_old_request_young(
    tmp_path: Path, clock: ManualClock
) -> None:
    replays = Replays(InLedger(tmp_path, clock), clock)
    issued = clock.now()
    replays.remember("one", issued)
    for hour in range(5):
        clock.advance(3600)
        replays.remember(f"later {hour}", clock.now())
    clock.set_wall_clock(issued)

    assert replays.seen("one", issued)
    assert not replays.seen("signed now", issued)


def test_of_more_requests_than_stay_known_the_newest_forgotten_is_a_mark(
    tmp_path: Path, clock: ManualClock
) -> None:
    replays = Replays(InLedger(tmp_path, clock), clock, spare=2)
    began = clock.now()
    for minute in range(6):
        replays.remember(f"minute {minute}", clock.now())
        clock.advance(60)
    clock.set_wall_clock(began)

    assert all(replays.seen(f"minute {minute}", began + timedelta(minutes=minute)) for minute in range(6))
    assert replays.seen("signed at a forgotten time", began + timedelta(minutes=3))
    assert not replays.seen("signed later", began + timedelta(minutes=5))


@given(
    gaps=st.lists(st.integers(0, 400), min_size=1, max_size=30),
    spare=st.integers(0, 5),
    back=st.integers(0, 10_000),
)
def test_whatever_the_wall_clock_does_no_request_is_let_in_twice(
    gaps: list[int], spare: int, back: int
) -> None:
    clock = ManualClock()
    replays = Replays(Nowhere(), clock, spare=spare)
    let_in = []
    for number, gap in enumerate(gaps):
        clock.advance(gap)
        issued = clock.now().replace(microsecond=0)
        if not replays.seen(str(number), issued):
            replays.remember(str(number), issued)
            let_in.append((str(number), issued))
    clock.set_wall_clock(clock.now() - timedelta(seconds=back))
    assert all(replays.seen(jti, issued) for jti, issued in let_in)


def test_a_request_is_remembered_across_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    ledger(tmp_path, clock).record("received", jti="one")
    clock.advance(50)

    again = restarted(tmp_path, clock)

    assert again.seen("one", clock.now())
    assert not again.seen("two", clock.now())


def test_a_request_is_remembered_also_when_its_file_is_full(tmp_path: Path, clock: ManualClock) -> None:
    small = Ledger(tmp_path, clock, lambda: "chain", full=100)
    for number in range(5):
        small.record("received", jti=f"request-{number}")

    again = restarted(tmp_path, clock)

    assert [again.seen(f"request-{number}", clock.now()) for number in range(6)] == [*[True] * 5, False]


def test_a_busy_ledger_is_read_back_for_two_minutes(tmp_path: Path, clock: ManualClock) -> None:
    busy = ledger(tmp_path, clock)
    busy.record("received", jti="long ago")
    clock.advance(200)
    busy.record("received", jti="first")
    clock.advance(60)
    for _ in range(30):
        busy.write("note", {"text": "x" * (LOOK_BACK // 10)})
    busy.record("received", jti="last")

    again = restarted(tmp_path, clock)

    assert again.seen("first", clock.now())
    assert again.seen("last", clock.now())


def test_a_wall_clock_set_forth_before_a_restart_hides_no_request(tmp_path: Path, clock: ManualClock) -> None:
    ledger(tmp_path, clock).record("received", jti="one")
    before = clock.now()
    clock.set_wall_clock(before + timedelta(days=300))
    again = restarted(tmp_path, clock)
    clock.set_wall_clock(before)

    assert again.seen("one", clock.now())


def test_a_wall_clock_set_forth_and_back_brings_no_request_back(tmp_path: Path, clock: ManualClock) -> None:
    replays = Replays(InLedger(tmp_path, clock), clock)
    replays.remember("one", clock.now())
    before = clock.now()

    clock.set_wall_clock(before.replace(year=2031))
    replays.remember("two", clock.now())
    clock.set_wall_clock(before)

    assert replays.seen("one", clock.now())


@pytest.mark.parametrize("line", [b"garbage\n", b"[]\n", b'{"jti":"two","at":"never"}\n', b'{"jti":'])
def test_a_line_that_is_no_record_hides_no_other(tmp_path: Path, clock: ManualClock, line: bytes) -> None:
    ledger(tmp_path, clock).record("received", jti="one")
    with (tmp_path / "ledger.jsonl").open("ab") as stream:
        stream.write(line)

    assert restarted(tmp_path, clock).seen("one", clock.now())


def test_a_ledger_that_cannot_be_read_lets_nobody_in(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "ledger.jsonl").mkdir()

    with pytest.raises(Unwritable):
        restarted(tmp_path, clock)


def test_more_requests_than_can_be_remembered_are_refused_not_forgotten(
    tmp_path: Path, clock: ManualClock
) -> None:
    replays = Replays(InLedger(tmp_path, clock), clock, limit=2)
    replays.remember("one", clock.now())
    replays.remember("two", clock.now())
    with pytest.raises(TooManyRequests):
        replays.remember("three", clock.now())
    assert replays.seen("one", clock.now())

    clock.advance(121)
    replays.remember("three", clock.now())
    assert replays.seen("three", clock.now())
    assert len(replays) == 2


def test_a_request_that_did_not_act_may_be_sent_again(tmp_path: Path, clock: ManualClock) -> None:
    replays = Replays(InLedger(tmp_path, clock), clock)
    replays.remember("one", clock.now())
    replays.forget("one")

    assert not replays.seen("one", clock.now())


def test_what_was_issued_before_the_agent_began_is_refused_where_the_file_knows_nothing_of_it(
    tmp_path: Path, clock: ManualClock
) -> None:
    issued = clock.now()
    clock.advance(1)
    again = restarted(tmp_path, clock)

    assert again.seen("captured", issued)
    clock.advance(59)
    assert again.seen("captured", issued)
    assert not again.seen("signed anew", clock.now())


def test_what_is_issued_in_the_second_in_which_an_agent_begins_is_let_in(
    tmp_path: Path, clock: ManualClock
) -> None:
    clock.advance(0.75)
    replays = Replays(InLedger(tmp_path, clock), clock)

    assert not replays.seen("new", clock.now().replace(microsecond=0))


def test_a_wall_clock_that_is_set_back_shuts_nobody_out_for_longer_than_the_memory_lasts(
    tmp_path: Path, clock: ManualClock
) -> None:
    replays = Replays(InLedger(tmp_path, clock), clock)
    hour_back = clock.now() - timedelta(hours=1)
    clock.advance(KEEP_SECONDS - 1)
    assert replays.seen("new", hour_back)
    clock.advance(1)
    assert not replays.seen("new", hour_back)
