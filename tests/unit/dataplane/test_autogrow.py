"""Volumes that are nearly full: grown within the customer's policy, told with a reason, on record first."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from byoc.dataplane.autogrow import SUBJECT
from byoc.dataplane.runtime import Action, Room
from byoc.ids import new_id
from byoc.model.report import Phase, Reason
from byoc.testing import cell as cells
from byoc.testing.cell import GROUP, ORDERS, MemoryCell
from byoc.testing.clock import ManualClock
from byoc.testing.runtime import MemoryRuntime

SHORT = Room(Reason.EXPANDING_VOLUME, 3, 2)


@pytest.fixture
async def cell(tmp_path: Path, clock: ManualClock) -> AsyncIterator[MemoryCell]:
    async with cells.started(tmp_path, clock, MemoryRuntime(clock), new_id) as started:
        await started.put(GROUP, "first")
        await started.put(ORDERS)
        yield started


def decisions(cell: MemoryCell) -> list[str]:
    return [line for line in cell.ledger_text().splitlines() if "expanding-volume" in line]


async def test_a_volume_that_is_nearly_full_is_grown_once_and_told(cell: MemoryCell) -> None:
    cell.runtime.fill(ORDERS.id, SHORT)
    await cell.settle(30)
    assert cell.runtime.acts.count((ORDERS.id, Action.GROW)) == 1
    (record,) = decisions(cell)
    for figure in ('"kind":"decision"', '"before":2', '"after":3', '"verb":"workspace.resize"'):
        assert figure in record
    told = [each.reason for each in cell.state.views.transitions()[1]]
    assert told[-2:] == [Reason.EXPANDING_VOLUME, Reason.ANSWERED_SQL]
    assert cell.phase() is Phase.RUNNING


@pytest.mark.parametrize("why", [Reason.VOLUME_AT_LIMIT, Reason.VOLUME_CANNOT_GROW])
async def test_what_cannot_be_grown_runs_on_and_says_why(cell: MemoryCell, why: Reason) -> None:
    cell.runtime.fill(ORDERS.id, Room(why, held_gib=2))
    await cell.settle(30)
    assert (cell.phase(), cell.state.views.now[ORDERS.id].reason) == (Phase.RUNNING, why)
    assert decisions(cell) == []


async def test_a_growth_that_the_policy_refuses_is_not_made_and_on_record_once(
    cell: MemoryCell,
) -> None:
    policy = cell.folder / "policy.toml"
    policy.write_text('[only_for]\n"workspace.resize" = ["ann@example.com"]\n')
    cell.runtime.fill(ORDERS.id, SHORT)
    await cell.settle(60)
    assert (ORDERS.id, Action.GROW) not in cell.runtime.acts
    assert cell.state.views.now[ORDERS.id].reason is Reason.VOLUME_AT_LIMIT
    (record,) = decisions(cell)
    assert '"refused":"policy-only-for"' in record
    policy.write_text(f'[only_for]\n"workspace.resize" = ["ann@example.com", "{SUBJECT}"]\n')
    await cell.settle(60)
    assert (ORDERS.id, Action.GROW) in cell.runtime.acts


async def test_a_growth_counts_once_for_the_rates_of_the_policy(cell: MemoryCell) -> None:
    (cell.folder / "policy.toml").write_text('[rate]\n"workspace.resize" = "1/1d"\n')
    cell.runtime.fill(ORDERS.id, SHORT)
    await cell.settle(30)
    cell.runtime.fill(ORDERS.id, Room(Reason.EXPANDING_VOLUME, 5, 3))
    await cell.settle(30)
    assert cell.runtime.acts.count((ORDERS.id, Action.GROW)) == 1
    assert '"refused":"policy-rate"' in decisions(cell)[-1]


async def test_an_engine_that_ended_with_a_full_volume_gets_more_of_it_before_its_next_start(
    cell: MemoryCell,
) -> None:
    cell.runtime.crash(ORDERS.id)
    cell.runtime.fill(ORDERS.id, replace(SHORT, grow_to_gib=4))
    await cell.settle(5)
    acts = [action for name, action in cell.runtime.acts if name == ORDERS.id]
    assert acts[-3:-1] == [Action.GROW, Action.START]
    assert cell.phase() is Phase.RUNNING
