"""A cell whose folder, or a part of it, was put back to an older copy: nothing is ignored, nothing lost."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from byoc.controlplane.fleet.courier import Parcel
from byoc.ids import GroupID, WorkspaceID
from byoc.model.records import NewGroup, NewWorkspace, WorkspaceChanges
from byoc.model.spec import Desired
from byoc.model.verbs import Verb
from byoc.model.workspace import State
from byoc.nimbus.http import HttpRequest, HttpResponse
from tests.integration.fleet.realcell import RealCell
from tests.integration.fleet.world import World

NO_GROUP, NO_WORKSPACE = GroupID(""), WorkspaceID("")
EVERYTHING = ()
STATE = ("state",)
WITHOUT_LEDGER = ("state", "secrets")


@dataclass
class Site:
    fleet: World
    real: RealCell
    group: GroupID = NO_GROUP
    orders: WorkspaceID = NO_WORKSPACE

    async def create(self) -> None:
        new = NewGroup("sales", self.real.id, ())
        self.group = (await self.fleet.fleet.create_group(self.fleet.by, new)).id
        self.orders = await self.workspace("orders")

    async def workspace(self, name: str) -> WorkspaceID:
        own = await self.fleet.fleet.create_workspace(self.fleet.by, NewWorkspace(name, self.group))
        await self.settled(own, State.ACTIVE)
        return own

    async def settled(self, own: WorkspaceID, state: State) -> None:
        async def reached() -> bool:
            return await self.fleet.state(own) is state

        await self.fleet.until(reached, passing=0.2)

    async def resize(self, size: str) -> None:
        await self.fleet.fleet.update_workspace(self.fleet.by, self.orders, WorkspaceChanges(size=size))
        await self.fleet.delivered(self.orders, passing=0.2)
        await self.settled(self.orders, State.ACTIVE)

    def held(self, own: WorkspaceID) -> int:
        """The generation that the cell holds; 0 for none."""
        assert self.real.cell is not None
        spec = self.real.cell.state.desired.spec(own)
        return spec.generation if spec is not None else 0

    async def ends(self, own: WorkspaceID) -> None:
        await self.fleet.fleet.terminate_workspace(self.fleet.by, own)
        await self.settled(own, State.TERMINATED)

    async def resync_wanted(self) -> bool:
        held = await self.fleet.store.read(lambda tx: tx.cells.get(self.real.id))
        return held is not None and held.resync_wanted

    async def resynced(self) -> bool:
        return not await self.resync_wanted()

    async def knock(self) -> int:
        """Make one request of the cell, signed now; return the status of its answer."""
        cell = await self.fleet.fleet.cell(self.fleet.by, self.real.id)
        return await self.status(cell)

    async def status(self, cell: object) -> int:
        courier = self.fleet.plane.fleet._courier
        parcel = Parcel("GET", "/cell/v1/status", "ann", verbs=(Verb.CELL_READ,))
        return (await courier.send(cell, parcel)).status  # type: ignore[arg-type]


@pytest.fixture
async def site(fleet: World, tmp_path: Path) -> Site:
    real = RealCell(fleet, tmp_path / "real")
    await real.enrol()
    return Site(fleet, real)


@pytest.mark.parametrize(
    ("parts", "starts", "found"),
    [
        (STATE, 1, "ledger"),
        (STATE, 3, "ledger"),
        (WITHOUT_LEDGER, 1, "ledger"),
        (EVERYTHING, 1, "controlplane"),
        (EVERYTHING, 3, "controlplane"),
    ],
    ids=[
        "state",
        "state of long ago",
        "all but the ledger",
        "the whole folder",
        "the whole folder of long ago",
    ],
)
async def test_a_restored_cell_begins_a_new_incarnation_and_gets_what_it_lacks(
    site: Site, parts: tuple[str, ...], starts: int, found: str
) -> None:
    async with site.real.running():
        await site.create()
        kept = site.real.copy(*parts)
        await site.resize("S-0")
    for _ in range(starts - 1):
        async with site.real.running():
            pass
    site.real.restore(kept)
    async with site.real.running() as cell:
        began = cell.state.life.incarnation
        await site.fleet.delivered(site.orders, passing=0.2)
        await site.settled(site.orders, State.ACTIVE)
        assert site.held(site.orders) == 2
        assert cell.state.desired.workspaces[site.orders].spec.size == "S-0"
        (record,) = site.real.records("incarnation")
        assert (record["found"], record["began"]) == (found, began)
        assert "behind" in await site.real.told()
        before = site.fleet.plane.counters.reports
        await site.fleet.clock.elapse(95)
        await site.real.reported()
        assert site.fleet.plane.counters.reports > before, "its reports count again"
    async with site.real.running() as cell:
        assert cell.state.life.incarnation == began, "what was found once is not found again"


async def test_reports_of_a_state_that_knows_of_no_change_count_from_the_first(site: Site) -> None:
    """Nothing was applied since the copy, so only the numbers tell."""
    async with site.real.running():
        await site.create()
    kept = site.real.copy("state")
    for _ in range(3):
        async with site.real.running():
            pass
    site.real.restore(kept)
    async with site.real.running() as cell:
        (record,) = site.real.records("incarnation")
        assert (record["found"], record["began"]) == ("controlplane", cell.state.life.incarnation)
        assert record["taken"] > record["report"]
        assert await site.fleet.state(site.orders) is State.ACTIVE


async def test_a_copy_of_an_incarnation_that_is_over_is_not_ignored_for_ever(site: Site) -> None:
    async with site.real.running():
        await site.create()
        first = site.real.copy()
    for _ in range(2):
        for _ in range(2):
            async with site.real.running():
                pass
        site.real.restore(first)
    async with site.real.running() as cell:
        assert site.real.records("incarnation")[-1]["began"] == cell.state.life.incarnation
        await site.resize("S-1")


async def test_what_was_terminated_since_the_copy_is_terminated_again(site: Site) -> None:
    async with site.real.running():
        await site.create()
        kept = site.real.copy("state")
        await site.ends(site.orders)
    site.real.restore(kept)
    async with site.real.running() as cell:
        await site.fleet.told(site.orders, "returned", passing=0.2)
        await site.settled(site.orders, State.TERMINATED)
        assert site.orders not in cell.state.desired.workspaces


async def test_an_end_that_is_too_old_for_the_policy_shows_the_workspace_again(site: Site) -> None:
    """Rather than an engine that runs where nobody sees it."""
    async with site.real.running():
        await site.create()
        kept = site.real.copy("state")
        await site.ends(site.orders)
    site.real.restore(kept)
    site.fleet.clock.advance(timedelta(days=2).total_seconds())
    async with site.real.running():
        await site.fleet.told(site.orders, "expired", passing=0.2)
        await site.fleet.delivered(site.orders, passing=0.2)
        assert (await site.fleet.record(site.orders)).spec.desired is Desired.RUNNING
        await site.ends(site.orders)


async def test_a_workspace_made_since_the_copy_is_given_back_if_the_policy_says_so(site: Site) -> None:
    async with site.real.running():
        await site.create()
        kept = site.real.copy("state")
        later = await site.workspace("later")
        await site.resize("S-0")
    site.real.restore(kept)
    async with site.real.running() as cell:
        # The rest does not wait for it: here the policy lets no resync through, for the cell is not empty.
        await site.fleet.delivered(site.orders, passing=0.2)
        assert site.held(site.orders) == 2
        assert later not in cell.state.desired.workspaces
        assert "state-lost" in await site.real.told()
        (site.real.folder / "policy.toml").write_text('allow = ["*"]\n')
        await site.settled(later, State.ACTIVE)
        assert cell.state.desired.workspaces[later].adopted


async def test_a_request_captured_before_the_restore_does_not_run_again(site: Site) -> None:
    captured: list[HttpRequest] = []
    answer = site.real.request

    async def capture(asked: HttpRequest) -> HttpResponse:
        captured.append(asked)
        return await answer(asked)

    async with site.real.running():
        await site.create()
        kept = site.real.copy()
        site.real.request = capture  # type: ignore[method-assign]
        await site.fleet.fleet.suspend_workspace(site.fleet.by, site.orders)
        await site.settled(site.orders, State.SUSPENDED)
        await site.fleet.fleet.resume_workspace(site.fleet.by, site.orders, disable_auto_suspend=False)
        await site.settled(site.orders, State.ACTIVE)
    site.real.restore(kept)
    del site.real.request  # type: ignore[attr-defined]
    site.fleet.clock.advance(1)
    async with site.real.running() as cell:
        received = len(site.real.records("received"))
        for asked in captured:
            assert (await site.real.request(asked)).status == 401
        assert len(site.real.records("received")) == received
        assert await site.knock() == 200, "and whatever is signed from now on is let in"
        await site.fleet.delivered(site.orders, passing=0.2)
        assert cell.state.desired.workspaces[site.orders].spec.desired is Desired.RUNNING


async def test_a_lost_workspace_can_be_terminated_and_is_asked_for_no_more(site: Site) -> None:
    async with site.real.running():
        await site.create()
        kept = site.real.copy("state")
        later = await site.workspace("later")
    site.real.restore(kept)
    async with site.real.running() as cell:
        assert await site.resync_wanted()
        await site.ends(later)
        assert not (await cell.runtime.observe(later)).exists
        await site.fleet.until(site.resynced, passing=0.2)
        assert site.fleet.plane.counters.resyncs == 0


async def test_an_object_that_was_acknowledged_while_the_report_was_on_its_way_is_not_lost_for_long(
    site: Site,
) -> None:
    async with site.real.running() as cell:
        await site.create()
        await site.fleet.store.write(lambda tx: tx.cells.want(site.real.id, resync=True, full=True))
        cell.state.views.touch()
        await site.fleet.until(site.resynced, passing=0.2)
        assert site.fleet.plane.counters.resyncs == 0
        assert "no-resync" not in [event.reason for event in await site.fleet.events(site.orders)]
