"""When a cell suspends by its own decision."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.ids import GroupID, WorkspaceID
from byoc.model.report import Reason
from byoc.model.spec import AutoSuspend, SuspendType, WorkspaceSpec
from byoc.model.suspension import Activity, advance, decide, due_at
from byoc.testing.clock import START

MINUTE = timedelta(minutes=1)


def spec(kind: SuspendType, after: int = 600) -> WorkspaceSpec:
    return WorkspaceSpec(
        WorkspaceID("w"), GroupID("g"), 1, "orders", "S-00", auto_suspend=AutoSuspend(kind, after)
    )


IDLE = spec(SuspendType.IDLE)
SCHEDULED = spec(SuspendType.SCHEDULED)
FRESH = Activity(START, START)


def test_nothing_is_suspended_that_was_not_told_to() -> None:
    assert due_at(spec(SuspendType.DISABLED), FRESH) is None
    assert decide(spec(SuspendType.DISABLED), FRESH, START + timedelta(days=365)) is None


@pytest.mark.parametrize(
    ("told", "reason"),
    [(IDLE, Reason.AUTO_SUSPENDED_IDLE), (SCHEDULED, Reason.AUTO_SUSPENDED_SCHEDULED)],
)
def test_it_happens_at_the_time_and_not_before(told: WorkspaceSpec, reason: Reason) -> None:
    assert decide(told, FRESH, START + 10 * MINUTE - timedelta(microseconds=1)) is None
    assert decide(told, FRESH, START + 10 * MINUTE) is reason


def test_use_puts_off_the_idle_suspend_but_not_the_scheduled_one() -> None:
    used = advance(FRESH, connections=0, queries=5, now=START + 9 * MINUTE)
    assert decide(IDLE, used, START + 12 * MINUTE) is None
    assert decide(IDLE, used, START + 19 * MINUTE) is Reason.AUTO_SUSPENDED_IDLE
    assert decide(SCHEDULED, used, START + 10 * MINUTE) is Reason.AUTO_SUSPENDED_SCHEDULED


def test_an_open_connection_is_use_for_as_long_as_it_is_open() -> None:
    held = advance(FRESH, connections=1, queries=0, now=START + MINUTE)
    assert due_at(IDLE, held) is None
    still = advance(held, connections=1, queries=0, now=START + 60 * MINUTE)
    assert decide(IDLE, still, START + 60 * MINUTE) is None
    left = advance(still, connections=0, queries=0, now=START + 61 * MINUTE)
    assert decide(IDLE, left, START + 70 * MINUTE) is None
    assert decide(IDLE, left, START + 71 * MINUTE) is Reason.AUTO_SUSPENDED_IDLE


def test_a_counter_that_began_anew_is_use_too() -> None:
    busy = Activity(START, START, queries=100)
    restarted = advance(busy, connections=0, queries=3, now=START + MINUTE)
    assert restarted.active_at == START + MINUTE


def test_quiet_looks_change_nothing_but_the_first_one_begins_the_time() -> None:
    first = advance(None, connections=0, queries=7, now=START)
    later = advance(first, connections=0, queries=7, now=START + 5 * MINUTE)
    assert later.active_at == START
    assert later.resumed_at == START


@given(
    st.lists(st.tuples(st.integers(1, 900), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=20)
)
def test_idle_never_suspends_within_the_time_after_use(looks: list[tuple[int, int, int]]) -> None:
    activity, now, queries, last_use = FRESH, START, 0, START
    for seconds, connections, asked in looks:
        now += timedelta(seconds=seconds)
        queries += asked
        activity = advance(activity, connections=connections, queries=queries, now=now)
        last_use = now if connections or asked else last_use
        if decide(IDLE, activity, now):
            assert now - last_use >= 10 * MINUTE


def test_a_resume_counts_as_use() -> None:
    resumed = replace(FRESH, resumed_at=START + 5 * MINUTE)
    assert due_at(IDLE, resumed) == START + 15 * MINUTE
