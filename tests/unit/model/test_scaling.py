"""Auto-scaling on load curves, and the laws that hold for every one of them."""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.ids import GroupID, WorkspaceID
from byoc.model.scaling import LONGEST_GAP, RULES, Change, Load, Trend, advance, decide, may_scale
from byoc.model.size import MULTIPLIERS
from byoc.model.spec import AutoScale, Sensitivity, WorkspaceSpec

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=15)
CORES = 2.0
SPEC = WorkspaceSpec(
    WorkspaceID("w"), GroupID("g"), 1, "orders", "S-00", auto_scale=AutoScale(4, Sensitivity.NORMAL)
)
MINUTE = 4
"""Steps."""


@dataclass
class Played:
    """What happened to a workspace under a curve of demand."""

    changes: list[tuple[int, Change]]
    loads: list[float]
    factors: list[int]


def play(spec: WorkspaceSpec, demand: list[float]) -> Played:
    """Run a demand in processors, one value a step; more than there is cannot be used."""
    factor, trend, played = spec.scale_factor, None, Played([], [], [])
    for index, wanted in enumerate(demand):
        at = START + index * STEP
        busy = min(wanted, CORES * factor) / (CORES * factor)
        trend = advance(spec, factor, trend, Load(at, at + STEP, busy))
        played.loads.append(busy)
        played.factors.append(factor)
        change = decide(spec, factor, trend)
        if change is not None:
            played.changes.append((index, change))
            factor, trend = change.after, None
    return played


def sensitive(sensitivity: Sensitivity, most: int = 4, base: int = 1) -> WorkspaceSpec:
    return replace(SPEC, scale_factor=base, auto_scale=AutoScale(most, sensitivity))


@pytest.mark.parametrize(("sensitivity", "steps"), [("HIGH", 4), ("NORMAL", 12), ("LOW", 40)])
def test_a_step_in_demand_is_followed_after_the_patience_of_the_sensitivity(
    sensitivity: str, steps: int
) -> None:
    spec = sensitive(Sensitivity(sensitivity))
    played = play(spec, [0.1] * 20 + [1.95] * 200)
    assert [(index, change.before, change.after) for index, change in played.changes] == [
        (20 + steps - 1, 1, 2)
    ]
    (_, change) = played.changes[0]
    assert change.load == pytest.approx(0.975)
    assert change.seconds == steps * 15


def test_a_demand_beyond_everything_goes_up_step_by_step_and_stays() -> None:
    played = play(SPEC, [100.0] * 400)
    assert [change.after for _, change in played.changes] == [2, 4]


def test_a_spike_shorter_than_the_patience_changes_nothing() -> None:
    assert play(SPEC, ([0.1] * 8 + [2.0] * (3 * MINUTE - 1)) * 40).changes == []


def test_a_day_goes_up_in_the_morning_and_down_in_the_night() -> None:
    day = [3.0 - 2.9 * math.cos(2 * math.pi * step / (24 * 60 * MINUTE)) for step in range(24 * 60 * MINUTE)]
    factors = [change.after for _, change in play(SPEC, day).changes]
    assert factors == [2, 4, 2, 1]


def test_noise_around_a_threshold_makes_no_change() -> None:
    assert play(SPEC, [1.65, 1.5] * 500).changes == []


def test_nothing_is_scaled_that_its_owner_did_not_let_scale() -> None:
    for most, base in ((1, 1), (2, 2), (2, 4)):
        spec = sensitive(Sensitivity.HIGH, most, base)
        assert not may_scale(spec)
        assert play(spec, [100.0] * 100 + [0.0] * 100).changes == []


def test_a_gap_in_what_was_measured_ends_a_trend() -> None:
    trend: Trend | None = None
    for index in range(11):
        at = START + index * STEP
        trend = advance(SPEC, 1, trend, Load(at, at + STEP, 1.0))
    assert decide(SPEC, 1, trend) is None
    late = START + 11 * STEP + LONGEST_GAP + STEP
    assert decide(SPEC, 1, advance(SPEC, 1, trend, Load(late, late + STEP, 1.0))) is None


specs: st.SearchStrategy[WorkspaceSpec] = st.builds(
    sensitive, st.sampled_from(Sensitivity), st.sampled_from(MULTIPLIERS), st.sampled_from(MULTIPLIERS)
)
stretches = st.lists(st.tuples(st.floats(0, 12), st.integers(1, 150)), min_size=1, max_size=8)
curves: st.SearchStrategy[list[float]] = stretches.map(
    lambda parts: [demand for demand, steps in parts for _ in range(steps)]
)


@given(spec=specs, demand=curves)
def test_the_bounds_of_the_customer_hold_for_every_curve(spec: WorkspaceSpec, demand: list[float]) -> None:
    played = play(spec, demand)
    most = max(spec.auto_scale.max_scale_factor, spec.scale_factor)
    assert all(spec.scale_factor <= factor <= most for factor in played.factors)
    assert all(change.after in MULTIPLIERS for _, change in played.changes)


@given(spec=specs, demand=curves)
def test_no_change_without_a_load_that_asked_for_it_all_the_time(
    spec: WorkspaceSpec, demand: list[float]
) -> None:
    played, rules = play(spec, demand), RULES[spec.auto_scale.sensitivity]
    for index, change in played.changes:
        up = change.after > change.before
        steps = int((rules.up_after if up else rules.down_after) / STEP)
        window = range(index - steps + 1, index + 1)
        assert window.start >= 0
        assert {played.factors[step] for step in window} == {change.before}
        loads = [played.loads[step] for step in window]
        if up:
            assert min(loads) >= rules.up
        else:
            assert max(loads) * change.before / change.after <= rules.down


@given(spec=specs, demand=st.floats(0, 12))
def test_a_constant_demand_never_flaps(spec: WorkspaceSpec, demand: float) -> None:
    changes = [change for _, change in play(spec, [demand] * 600).changes]
    assert len({change.after > change.before for change in changes}) <= 1


@given(spec=specs, demand=curves)
def test_a_change_is_undone_by_its_own_patience_at_the_earliest(
    spec: WorkspaceSpec, demand: list[float]
) -> None:
    played, rules = play(spec, demand), RULES[spec.auto_scale.sensitivity]
    for (before, _), (after, change) in zip(played.changes, played.changes[1:], strict=False):
        patience = rules.up_after if change.after > change.before else rules.down_after
        assert (after - before) * STEP >= patience
