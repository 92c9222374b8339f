"""Forgetting on a real database, with time by hand: what goes, what stays, and that nobody waits for it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from byoc.controlplane.fleet import retention
from byoc.controlplane.fleet.retention import AUDIT, HISTORY, Retention
from byoc.errors import Unwritable
from byoc.ids import WorkspaceID
from byoc.model.records import Deed, WorkspaceChanges
from byoc.model.spec import Desired
from byoc.model.workspace import State
from byoc.store.transaction import Transaction
from byoc.store.values import NewEvent
from tests.integration.fleet.world import World

MONTH = (HISTORY + timedelta(days=1)).total_seconds()


async def resize(fleet: World, orders: WorkspaceID, *sizes: str) -> None:
    for size in sizes:
        await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size=size))
        await fleet.delivered(orders)
        await fleet.report()


async def changes(fleet: World, own: str) -> list[int]:
    found = await fleet.store.read(lambda tx: tx.story.changes(own, above=0, up_to=10**6))
    return [change.generation for change in found]


async def terminated(fleet: World, orders: WorkspaceID) -> None:
    await fleet.fleet.terminate_workspace(fleet.by, orders)
    await fleet.delivered(orders)
    fleet.cell.bury_what_ended()
    await fleet.report()
    assert await fleet.state(orders) is State.TERMINATED


async def test_the_story_of_a_terminated_workspace_is_told_for_a_month_and_it_reads_on(fleet: World) -> None:
    _, orders = await fleet.running()
    await terminated(fleet, orders)
    fleet.clock.advance(MONTH - timedelta(days=2).total_seconds())
    assert await fleet.plane.retention.look() == 0
    assert (await fleet.kinds(orders))[-1] == "terminated"
    fleet.clock.advance(timedelta(days=2).total_seconds())
    assert await fleet.plane.retention.look() > 0
    assert await fleet.events(orders) == []
    assert await changes(fleet, orders) == []
    assert await fleet.state(orders) is State.TERMINATED


async def test_it_happens_by_itself(fleet: World) -> None:
    _, orders = await fleet.running()
    await terminated(fleet, orders)
    fleet.clock.advance(MONTH)

    async def forgotten() -> bool:
        return not await fleet.events(orders)

    await fleet.until(forgotten, passing=60)


async def test_what_waits_for_its_cell_is_delivered_after_however_long(fleet: World) -> None:
    _, orders = await fleet.running()
    await resize(fleet, orders, "S-0", "S-1")
    await fleet.cut()
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    fleet.clock.advance(timedelta(days=6).total_seconds())
    fleet.plane.retention._history = timedelta(days=1)
    await fleet.plane.retention.look()
    assert await changes(fleet, orders) == [3, 4]
    await fleet.log_in()
    await fleet.delivered(orders, passing=0.2)
    assert fleet.cell.held[orders].desired is Desired.SUSPENDED


async def test_a_cell_that_lacks_what_is_forgotten_keeps_what_it_has_and_nothing_is_stuck(
    fleet: World,
) -> None:
    """Restored from a copy that is older than any signature we still could give."""
    _, orders = await fleet.running()
    old = dict(fleet.cell.held)
    await resize(fleet, orders, "S-0", "S-1", "S-2")
    fleet.clock.advance(MONTH)
    await fleet.plane.retention.look()
    assert await changes(fleet, orders) == [4]
    fleet.cell.lose_state()
    fleet.cell.held |= old
    await fleet.report(full=True)
    assert (await fleet.told(orders, "expired", passing=0.2)).reason == "too-old"
    await fleet.delivered(orders, passing=0.2)
    record = await fleet.record(orders)
    assert (record.spec.size, record.spec.generation) == ("S-00", 5)
    await fleet.report()
    await resize(fleet, orders, "S-1")
    assert (await fleet.record(orders)).spec.size == "S-1"


async def test_a_cell_too_many_generations_behind_for_one_request_is_taken_as_it_is(
    fleet: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byoc.controlplane.fleet.placing.MOST_CHANGES", 2)
    _, orders = await fleet.running()
    old = dict(fleet.cell.held)
    await resize(fleet, orders, "S-0", "S-1", "S-2")
    fleet.cell.lose_state()
    fleet.cell.held |= old
    await fleet.report(full=True)
    record = await fleet.record(orders)
    assert (record.spec.size, record.spec.generation) == ("S-00", 1)
    assert (await fleet.kinds(orders))[-1] == "adopted"
    await resize(fleet, orders, "S-1")
    assert (await fleet.record(orders)).spec.generation == 2


async def many(fleet: World, orders: WorkspaceID, count: int) -> None:
    now = fleet.clock.now()

    def write(tx: Transaction) -> None:
        tx.story.add_events(
            NewEvent(orders, now, "healing", 1, "engine-exited", "", "PENDING") for _ in range(count)
        )

    await fleet.store.write(write)


async def test_a_great_deal_goes_in_small_pieces_between_which_others_write(fleet: World) -> None:
    _, orders = await fleet.running()
    await terminated(fleet, orders)
    await many(fleet, orders, 4 * retention.DROPPED_AT_ONCE)
    fleet.clock.advance(1)
    before, commits = fleet.store.commits, []

    async def write() -> None:
        while not looking.done():
            await fleet.store.write(lambda _: None)
            commits.append(fleet.store.commits)

    looking = asyncio.create_task(Retention(fleet.store, fleet.clock, timedelta(0)).look())
    await write()
    assert await looking >= 4 * retention.DROPPED_AT_ONCE
    assert fleet.store.commits - before >= 4
    assert len(commits) >= 4


async def test_a_full_disk_ends_one_look_and_not_the_next(
    fleet: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, orders = await fleet.running()
    await terminated(fleet, orders)
    fleet.clock.advance(MONTH)
    failed = asyncio.Event()
    write = fleet.store.write

    async def full(change: Any) -> Any:
        if "Retention" in change.__qualname__:
            failed.set()
            raise Unwritable("no space")
        return await write(change)

    monkeypatch.setattr(fleet.store, "write", full)

    async def tried() -> bool:
        return failed.is_set()

    await fleet.until(tried, passing=60)
    assert await fleet.events(orders)
    monkeypatch.undo()

    async def forgotten() -> bool:
        return not await fleet.events(orders)

    await fleet.until(forgotten, passing=600)


async def test_the_audit_is_kept_longer_than_a_story_and_not_for_ever(fleet: World) -> None:
    by = fleet.by
    deed = Deed(fleet.clock.now(), by.organization_id, by.email, by.key_id, "did it", "", 200, "", "r-1")
    await fleet.fleet.note(deed)
    await fleet.plane.retention.look()
    assert [each.action for each in await fleet.fleet.audit(by, after=0, newest=10)] == ["did it"]
    fleet.clock.advance((AUDIT - timedelta(hours=1)).total_seconds())
    await fleet.plane.retention.look()
    assert len(await fleet.fleet.audit(by, after=0, newest=10)) == 1
    fleet.clock.advance(2 * 3600)
    await fleet.plane.retention.look()
    assert await fleet.fleet.audit(by, after=0, newest=10) == []
