"""A change and its deed are one commit: neither is there without the other, whatever ends the process."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from byoc.controlplane.fleet.service import Fleet
from byoc.controlplane.fleet.start import DATABASE
from byoc.errors import Conflict, LimitReached, Unwritable
from byoc.ids import CellID, new_id
from byoc.model.records import Attempt, Deed, GroupChanges, NewGroup, NewWorkspace, WorkspaceChanges
from byoc.store.sqlite import open_store
from byoc.testing import ManualClock
from tests.integration.fleet.killed import write_until_killed
from tests.integration.fleet.world import World, world

Way = Callable[[World, Fleet, str, str], Awaitable[Any]]
WAYS: dict[str, Way] = {
    "register cell": lambda w, fleet, *_: fleet.register_cell(w.by, "new", "AWS", "US New", "new"),
    "grant enrolment": lambda w, fleet, *_: fleet.enrolment_token(w.by, w.cell.id, w.cell.signing.kid),
    "retire cell": lambda w, fleet, *_: fleet.retire_cell(w.by, CellID(w.cell.id)),
    "create group": lambda w, fleet, *_: fleet.create_group(w.by, NewGroup("new", w.cell.id, ())),
    "update group": lambda w, fleet, group, _: fleet.update_group(w.by, group, GroupChanges(name="other")),
    "reset password": lambda w, fleet, group, _: fleet.update_group(
        w.by, group, GroupChanges(admin_password="")
    ),
    "terminate group": lambda w, fleet, group, _: fleet.terminate_group(w.by, group, force=True),
    "create workspace": lambda w, fleet, group, _: fleet.create_workspace(w.by, NewWorkspace("new", group)),
    "update workspace": lambda w, fleet, _, orders: fleet.update_workspace(
        w.by, orders, WorkspaceChanges(size="S-0")
    ),
    "suspend workspace": lambda w, fleet, _, orders: fleet.suspend_workspace(w.by, orders),
    "resume workspace": lambda w, fleet, _, orders: fleet.resume_workspace(
        w.by, orders, disable_auto_suspend=True
    ),
    "terminate workspace": lambda w, fleet, _, orders: fleet.terminate_workspace(w.by, orders),
}


@pytest.fixture
async def still(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    """A Control Plane that writes nothing by itself."""
    async with world(tmp_path, clock, dispatching=False) as made:
        yield made


async def things(made: World) -> tuple[str, str]:
    """A group and a workspace in it that runs, as the cell says."""
    group = await made.group()
    orders = await made.workspace(group)
    record, of = await made.record(orders), await made.fleet.group(made.by, group)
    await made.store.write(lambda tx: tx.groups.acknowledge(of.spec))
    await made.store.write(lambda tx: tx.workspaces.acknowledge(record.spec))
    made.cell.held[orders] = record.spec
    await made.report()
    return group, orders


def attempt(made: World, action: str) -> Attempt:
    return Attempt(made.by, action, new_id())


async def deeds(made: World) -> list[Deed]:
    return await made.fleet.audit(made.by, after=0, newest=1000)


@contextmanager
def no_deed_can_be_written(made: World) -> Iterator[None]:
    file = made.folder / "controlplane" / DATABASE
    with closing(sqlite3.connect(file)) as database:
        database.execute("alter table deeds rename to away")
    yield
    with closing(sqlite3.connect(file)) as database:
        database.execute("alter table away rename to deeds")


def everything(made: World) -> list[str]:
    """All that the database holds but who did what."""
    with closing(sqlite3.connect(made.folder / "controlplane" / DATABASE)) as database:
        lines = list(database.iterdump())
    return [line for line in lines if "deeds" not in line]


@pytest.mark.parametrize("action", WAYS)
async def test_a_change_and_its_deed_are_one_commit(still: World, action: str) -> None:
    group, orders = await things(still)
    asked, commits, before = attempt(still, action), still.store.commits, everything(still)
    await WAYS[action](still, still.fleet.recording(asked), group, orders)
    assert still.store.commits == commits + 1
    assert asked.on_record
    assert [(each.action, each.request_id, each.status) for each in await deeds(still)] == [
        (action, asked.request_id, 200)
    ]
    # One that is so already writes its deed alone.
    assert (everything(still) != before) is (action != "resume workspace")


@pytest.mark.parametrize("action", WAYS)
async def test_what_cannot_be_recorded_is_not_done(still: World, action: str) -> None:
    group, orders = await things(still)
    asked = attempt(still, action)
    with no_deed_can_be_written(still):
        before = everything(still)
        with pytest.raises(Unwritable):
            await WAYS[action](still, still.fleet.recording(asked), group, orders)
        assert everything(still) == before
    assert not asked.on_record
    assert await deeds(still) == []


async def test_what_was_refused_is_not_on_record_as_done(still: World) -> None:
    group, _ = await things(still)
    asked = attempt(still, "create workspace")
    with pytest.raises(Conflict):
        await still.fleet.recording(asked).create_workspace(still.by, NewWorkspace("orders", group))
    assert not asked.on_record
    assert await deeds(still) == []


async def test_of_those_that_share_a_commit_only_what_was_done_has_a_deed(still: World) -> None:
    group = await still.group()
    asked = [attempt(still, "create workspace") for _ in range(16)]
    made = await asyncio.gather(
        *(
            still.fleet.recording(each).create_workspace(still.by, NewWorkspace(f"w{number}", group))
            for number, each in enumerate(asked)
        ),
        return_exceptions=True,
    )
    done = [own for own in made if not isinstance(own, LimitReached)]
    assert len(done) == 5
    assert [each.object_id for each in await deeds(still)] == done
    assert [each.on_record for each in asked].count(True) == 5


WRITER = """
import asyncio, sys
from pathlib import Path
from byoc.model.records import Attempt, NewGroup
from byoc.testing import ManualClock
from tests.integration.fleet.world import world

async def main(folder):
    async with world(folder, ManualClock(), dispatching=False) as made:
        async def write(line):
            for n in range(10**6):
                fleet = made.fleet.recording(Attempt(made.by, "create group", f"{line}-{n}"))
                new = NewGroup(f"g-{line}-{n}", made.cell.id, ())
                print((await fleet.create_group(made.by, new)).id, flush=True)
        await asyncio.gather(*(write(line) for line in range(4)))

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_kill_9_leaves_no_change_without_its_deed_and_no_deed_without_its_change(
    tmp_path: Path,
) -> None:
    told = await asyncio.to_thread(write_until_killed, WRITER, tmp_path, 60)
    store = open_store(tmp_path / "controlplane" / DATABASE)
    try:
        cell = (await store.read(lambda tx: tx.cells.all()))[0].record
        own = cell.organization_id
        groups = await store.read(lambda tx: tx.groups.of_organization(own, include_terminated=True))
        recorded = await store.read(lambda tx: tx.audit.of(own, above=0, newest=10**6))
    finally:
        await store.close()
    assert {each.object_id for each in recorded} == {group.spec.id for group in groups}
    assert len(recorded) == len(groups)
    assert told <= {each.object_id for each in recorded}
    assert len(told) >= 60
