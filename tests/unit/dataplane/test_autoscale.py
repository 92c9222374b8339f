"""Auto-scaling as the cell does it: stored before it acts, within the policy, told with its figures."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from byoc.dataplane.runtime import Action, Limits
from byoc.ids import new_id
from byoc.model.report import Phase, Reason
from byoc.model.spec import AutoScale, AutoSuspend, Desired, Sensitivity, SuspendType, WorkspaceSpec
from byoc.testing import cell as cells
from byoc.testing.cell import GROUP, ORDERS, MemoryCell, following
from byoc.testing.clock import ManualClock
from byoc.testing.runtime import MemoryRuntime

SCALED = replace(ORDERS, auto_scale=AutoScale(2, Sensitivity.HIGH))
BUSY = 1.9
"""Of the two processors that the memory twin gives to S-00."""


async def pass_time(cell: MemoryCell, seconds: int) -> None:
    for _ in range(seconds):
        await cell.clock.elapse(1)


@pytest.fixture
async def cell(tmp_path: Path, clock: ManualClock) -> AsyncIterator[MemoryCell]:
    async with cells.started(tmp_path, clock, MemoryRuntime(clock), new_id) as started:
        await started.put(GROUP, "first")
        await started.put(SCALED)
        yield started


async def limits(cell: MemoryCell) -> Limits | None:
    return (await cell.runtime.observe(ORDERS.id)).limits


async def test_a_busy_workspace_is_scaled_up_and_a_quiet_one_down_again(cell: MemoryCell) -> None:
    cell.runtime.work(ORDERS.id, BUSY)
    await pass_time(cell, 40)
    assert await limits(cell) == Limits("S-00")
    await pass_time(cell, 60)
    assert await limits(cell) == Limits("S-00", 2)
    assert cell.phase() is Phase.RUNNING
    cell.runtime.work(ORDERS.id, 0.1)
    await pass_time(cell, 200)
    assert await limits(cell) == Limits("S-00", 2)
    await pass_time(cell, 160)
    assert await limits(cell) == Limits("S-00")
    assert cell.state.desired.workspaces[ORDERS.id].scaling is None


async def test_each_decision_is_told_with_its_figures_and_is_in_the_ledger(cell: MemoryCell) -> None:
    cell.runtime.work(ORDERS.id, BUSY)
    await pass_time(cell, 100)
    (told,) = [each for each in cell.state.views.transitions()[1] if each.scaled is not None]
    assert told.reason is Reason.AUTO_SCALED_UP
    assert told.scaled is not None
    assert (told.scaled.before, told.scaled.after) == (1, 2)
    assert told.scaled.load == pytest.approx(0.95, abs=0.01)
    assert told.scaled.seconds >= 60
    (record,) = [line for line in cell.ledger_text().splitlines() if "auto-scaled-up" in line]
    assert '"kind":"decision"' in record
    assert f'"load":"{told.scaled.load:.3f}"' in record


async def test_metered_usage_follows_the_scale_factor_in_effect(cell: MemoryCell) -> None:
    cell.runtime.work(ORDERS.id, BUSY)
    await pass_time(cell, 100)
    assert [(each.scale_factor, each.end is None) for each in cell.intervals()] == [(1, False), (2, True)]


async def test_a_decision_outlives_the_agent_that_made_it(tmp_path: Path, clock: ManualClock) -> None:
    runtime = MemoryRuntime(clock)
    async with cells.started(tmp_path, clock, runtime, new_id) as first:
        await first.put(GROUP, "first")
        await first.put(SCALED)
        runtime.work(ORDERS.id, BUSY)
        await pass_time(first, 100)
    acts = len(runtime.acts)
    async with cells.started(tmp_path, clock, runtime, new_id) as again:
        await pass_time(again, 20)
        assert await limits(again) == Limits("S-00", 2)
        assert len(runtime.acts) == acts


async def test_a_policy_that_denies_a_resize_denies_it_to_the_cell_too(cell: MemoryCell) -> None:
    (cell.folder / "policy.toml").write_text('deny = ["workspace.resize"]\n')
    cell.runtime.work(ORDERS.id, BUSY)
    await pass_time(cell, 300)
    assert await limits(cell) == Limits("S-00")
    refused = [line for line in cell.ledger_text().splitlines() if '"refused":"policy-deny"' in line]
    assert len(refused) == 1
    (cell.folder / "policy.toml").write_text("")
    await pass_time(cell, 40)
    assert await limits(cell) == Limits("S-00", 2)


async def test_subjects_named_by_a_policy_include_the_cell_only_by_name(cell: MemoryCell) -> None:
    policy = cell.folder / "policy.toml"
    policy.write_text('[only_for]\n"workspace.resize" = ["ann@example.com"]\n')
    cell.runtime.work(ORDERS.id, BUSY)
    await pass_time(cell, 100)
    assert await limits(cell) == Limits("S-00")
    policy.write_text('[only_for]\n"workspace.resize" = ["ann@example.com", "auto-scale"]\n')
    await pass_time(cell, 40)
    assert await limits(cell) == Limits("S-00", 2)


async def test_what_the_cell_has_no_memory_for_is_not_tried(tmp_path: Path, clock: ManualClock) -> None:
    runtime = MemoryRuntime(clock, memory_bytes=200 * 2**20)
    async with cells.started(tmp_path, clock, runtime, new_id) as small:
        await small.put(GROUP, "first")
        await small.put(SCALED)
        runtime.work(ORDERS.id, BUSY)
        await pass_time(small, 200)
        assert small.phase() is Phase.RUNNING
        assert await limits(small) == Limits("S-00")
        assert small.ledger_text().count('"refused":"memory-short"') == 1


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"name": "other"}, True),
        ({"auto_suspend": AutoSuspend(SuspendType.IDLE, 900)}, True),
        ({"size": "S-0"}, False),
        ({"scale_factor": 1, "cache_config": 2}, False),
        ({"auto_scale": AutoScale(1)}, False),
        ({"desired": Desired.SUSPENDED}, False),
    ],
)
async def test_a_decision_ends_with_a_newer_word_about_size_scale_or_running(
    cell: MemoryCell, change: dict[str, object], kept: bool
) -> None:
    cell.runtime.work(ORDERS.id, BUSY)
    await pass_time(cell, 100)
    new: WorkspaceSpec = following(SCALED, **change)
    await cell.put(new)
    held = cell.state.desired.workspaces[ORDERS.id]
    assert (held.scaling is not None) is kept
    assert held.in_effect.scale_factor == (2 if kept else new.scale_factor)


async def test_a_workspace_that_its_owner_does_not_let_scale_is_not_even_measured(
    cell: MemoryCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cell.put(following(SCALED, auto_scale=AutoScale(1)))

    async def measured(_: object) -> tuple[()]:
        pytest.fail("it was measured")

    monkeypatch.setattr(cell.runtime, "metrics", measured)
    cell.runtime.work(ORDERS.id, BUSY)
    await pass_time(cell, 60)
    assert await limits(cell) == Limits("S-00")


async def test_an_engine_that_began_anew_or_is_not_measured_gives_no_reason_to_scale(
    cell: MemoryCell,
) -> None:
    cell.runtime.work(ORDERS.id, BUSY)
    for _ in range(6):
        await pass_time(cell, 40)
        cell.runtime.crash(ORDERS.id)
    assert Action.RESIZE_ONLINE not in cell.acts()


async def test_an_auto_suspended_workspace_comes_back_at_the_scale_it_was_asked_for(cell: MemoryCell) -> None:
    await cell.put(following(SCALED, auto_suspend=AutoSuspend(SuspendType.IDLE, 120)))
    cell.runtime.work(ORDERS.id, BUSY)
    await pass_time(cell, 100)
    assert await limits(cell) == Limits("S-00", 2)
    await pass_time(cell, 60)
    assert cell.phase() is Phase.SUSPENDED
    assert cell.state.desired.workspaces[ORDERS.id].scaling is None


async def test_the_cells_own_changes_count_for_the_rates_of_the_policy(cell: MemoryCell) -> None:
    (cell.folder / "policy.toml").write_text('[rate]\n"workspace.resize" = "1/1d"\n')
    cell.runtime.work(ORDERS.id, BUSY)
    await pass_time(cell, 100)
    assert await limits(cell) == Limits("S-00", 2)
    cell.runtime.work(ORDERS.id, 0.1)
    await pass_time(cell, 400)
    assert await limits(cell) == Limits("S-00", 2)
    assert '"refused":"policy-rate"' in cell.ledger_text()
