"""What may be forgotten, and that nothing else is."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from byoc.ids import GroupID, WorkspaceID
from byoc.model.spec import GroupSpec, WorkspaceSpec
from byoc.model.verbs import Verb
from byoc.store.seam import Store
from byoc.store.transaction import Transaction
from byoc.store.values import ChangeRecord, NewEvent
from tests.contract.store.seeds import CELL, GROUP, NOW, base, group, workspace

HORIZON = NOW
OLD = NOW - timedelta(seconds=1)
YOUNG = NOW + timedelta(seconds=1)


@pytest.fixture(autouse=True)
async def seeded(store: Store) -> None:
    await store.write(base)


def event(own: str, at: datetime, text: str) -> NewEvent:
    return NewEvent(WorkspaceID(own), at, "healing", 1, "engine-exited", text, "PENDING")


async def kept(store: Store, own: str) -> list[str]:
    found = await store.read(lambda tx: tx.story.events(WorkspaceID(own), above=0))
    return [each.text for each in found]


async def drop_events(store: Store, *, keep: int = 100, most: int = 100, limit: int = 1000) -> int:
    """Find and drop until nothing is found; return how many rounds it took."""
    rounds = 0
    while numbers := await store.scan(
        lambda tx: tx.retention.old_events(HORIZON, keep=keep, most=most, limit=limit)
    ):
        assert len(numbers) <= limit
        dropped = await store.write(lambda tx, numbers=numbers: tx.retention.drop_events(numbers))  # type: ignore[misc]
        assert dropped == len(numbers)
        rounds += 1
    return rounds


async def test_the_story_of_what_was_terminated_long_ago_is_forgotten_whole(store: Store) -> None:
    def write(tx: Transaction) -> None:
        for own, ended in (("long", OLD), ("lately", YOUNG), ("live", None)):
            tx.workspaces.add(workspace(own, terminated_at=ended))
            tx.story.add_events([event(own, OLD, "1"), event(own, YOUNG, "2")])

    await store.write(write)
    assert await drop_events(store) == 1
    assert await kept(store, "long") == []
    assert await kept(store, "lately") == await kept(store, "live") == ["1", "2"]


async def test_of_what_lives_the_newest_stay_however_old_and_the_young_up_to_a_number(store: Store) -> None:
    def write(tx: Transaction) -> None:
        for own, at in (("quiet", OLD), ("busy", YOUNG)):
            tx.workspaces.add(workspace(own))
            tx.story.add_events(event(own, at, str(number)) for number in range(9))

    await store.write(write)
    await drop_events(store, keep=3, most=6)
    assert await kept(store, "quiet") == ["6", "7", "8"]
    assert await kept(store, "busy") == ["3", "4", "5", "6", "7", "8"]


async def test_it_is_found_in_pieces_and_numbers_never_come_again(store: Store) -> None:
    def write(tx: Transaction) -> None:
        tx.workspaces.add(workspace("w", terminated_at=OLD))
        tx.story.add_events(event("w", OLD, str(number)) for number in range(25))

    await store.write(write)
    last = (await store.read(lambda tx: tx.story.events(WorkspaceID("w"), above=0)))[-1].number
    assert await drop_events(store, limit=10) == 3
    await store.write(lambda tx: tx.story.add_events([event("w", YOUNG, "next")]))
    (after,) = await store.read(lambda tx: tx.story.events(WorkspaceID("w"), above=last))
    assert after.number == last + 1


def change(own: str, generation: int, at: datetime = OLD) -> ChangeRecord:
    return ChangeRecord(own, generation, (Verb.WORKSPACE_RESIZE,), "ann", at)


def write_changes(tx: Transaction, own: str, *generations: int, at: datetime = OLD) -> None:
    for generation in generations:
        tx.story.add_change(change(own, generation, at))


async def generations(store: Store, own: str) -> list[int]:
    found = await store.read(lambda tx: tx.story.changes(own, above=0, up_to=100))
    return [each.generation for each in found]


async def drop_changes(store: Store) -> int:
    keys = await store.scan(lambda tx: tx.retention.old_changes(HORIZON, limit=1000))
    return await store.write(lambda tx: tx.retention.drop_changes(HORIZON, keys)) if keys else 0


async def test_changes_that_a_delivery_may_need_stay(store: Store) -> None:
    def write(tx: Transaction) -> None:
        spec = WorkspaceSpec(WorkspaceID("w"), GROUP, 4, "w", "S-00")
        tx.workspaces.add(workspace("w", spec=spec))
        tx.workspaces.acknowledge(WorkspaceSpec(WorkspaceID("w"), GROUP, 3, "w", "S-00"))
        write_changes(tx, "w", 1, 2, 3, 4)
        write_changes(tx, "another", 1)
        tx.groups.acknowledge(GroupSpec(GROUP, 2, "g"))
        write_changes(tx, GROUP, 1, 2)

    await store.write(write)
    assert await drop_changes(store) == 3
    assert await generations(store, "w") == [3, 4]
    assert await generations(store, GROUP) == [2]
    assert await generations(store, "another") == [1], "what is of no object we know stays"


async def test_young_changes_stay_and_those_of_what_is_gone_for_long_go(store: Store) -> None:
    def write(tx: Transaction) -> None:
        for own, ended in (("long", OLD), ("lately", YOUNG)):
            tx.workspaces.add(workspace(own, terminated_at=ended))
            write_changes(tx, own, 1)
        tx.groups.add(group("g2", terminated_at=OLD))
        write_changes(tx, "g2", 1)
        tx.workspaces.add(workspace("young", terminated_at=OLD))
        write_changes(tx, "young", 1, at=YOUNG)

    await store.write(write)
    assert await drop_changes(store) == 2
    left = {own: await generations(store, own) for own in ("long", "lately", "g2", "young")}
    assert left == {"long": [], "lately": [1], "g2": [], "young": [1]}


async def test_a_change_that_came_to_be_needed_since_it_was_found_stays(store: Store) -> None:
    def write(tx: Transaction) -> None:
        tx.workspaces.add(workspace("w", terminated_at=OLD))
        write_changes(tx, "w", 1, 2)
        tx.groups.acknowledge(GroupSpec(GroupID(GROUP), 3, "g"))
        write_changes(tx, GROUP, 1, 2)

    await store.write(write)
    keys = await store.scan(lambda tx: tx.retention.old_changes(HORIZON, limit=1000))
    assert len(keys) == 4

    def restore_and_drop(tx: Any) -> int:
        tx.workspaces.revive("w")
        tx.groups.acknowledge(GroupSpec(GroupID(GROUP), 1, "g"))
        return tx.retention.drop_changes(HORIZON, keys)

    assert await store.write(restore_and_drop) == 0
    assert await generations(store, "w") == await generations(store, GROUP) == [1, 2]


async def test_events_about_cells_go_by_age_but_for_the_newest(store: Store) -> None:
    def write(tx: Transaction) -> None:
        for number in range(8):
            tx.cells.tell(CELL, OLD if number < 6 else YOUNG, "contested", str(number))

    await store.write(write)
    numbers = await store.scan(lambda tx: tx.retention.old_cell_events(HORIZON, keep=4, limit=1000))
    assert await store.write(lambda tx: tx.retention.drop_cell_events(numbers)) == 4
    left = await store.read(lambda tx: tx.cells.events(CELL))
    assert [each.text for each in left] == ["4", "5", "6", "7"]
