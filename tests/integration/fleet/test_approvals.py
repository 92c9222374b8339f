"""Changes that wait for somebody in the cell, from the Control Plane's intent to its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from byoc.controlplane.api.story import detail
from byoc.dataplane.desk import FolderPapers
from byoc.errors import IllegalState, NotFound
from byoc.ids import GroupID, WorkspaceID
from byoc.model.control import Access, Answer, Answers, Request, Stage
from byoc.model.papers import Paper
from byoc.model.records import GroupChanges, NewGroup, NewWorkspace, WorkspaceChanges
from byoc.model.workspace import State
from byoc.wire.control import answer, dump, requests, set_access
from tests.integration.fleet.realcell import RealCell
from tests.integration.fleet.world import World

POLICY = 'approval = ["workspace.resize", "workspace.terminate", "group.update"]\n'
DAY = timedelta(days=1)


@dataclass
class Site:
    fleet: World
    real: RealCell
    group: GroupID
    orders: WorkspaceID

    @property
    def papers(self) -> FolderPapers:
        return FolderPapers(self.real.folder)

    async def resize(self, size: str = "S-0") -> Request:
        """Ask for another size and return the request that the cell shows for it."""
        changes = WorkspaceChanges(size=size)
        await self.fleet.fleet.update_workspace(self.fleet.by, self.orders, changes)
        return await self.asked()

    async def asked(self) -> Request:
        newest = (await self.fleet.record(self.orders)).spec.generation

        async def shown() -> bool:
            return any(one.generation == newest for one in requests(self.papers))

        await self.fleet.until(shown, passing=0.2)
        return next(one for one in requests(self.papers) if one.generation == newest)

    def answer(self, request: Request, *, approved: bool) -> None:
        """Answer as the command does; what the bell does in an agent is done by hand."""
        answer(self.papers, request.id, approved=approved, by="eve@laptop", now=self.fleet.clock.now())
        assert self.real.control is not None
        self.real.control.look()

    async def settled(self, state: State) -> None:
        async def reached() -> bool:
            return await self.fleet.state(self.orders) is state

        await self.fleet.until(reached, passing=0.2)

    async def size(self) -> str:
        return (await self.fleet.record(self.orders)).spec.size

    def held_size(self) -> str:
        assert self.real.cell is not None
        return self.real.cell.state.desired.workspaces[self.orders].spec.size

    def deliveries(self) -> int:
        return sum(self.orders in one["target"] for one in self.real.records("received"))


@pytest.fixture
async def site(fleet: World, tmp_path: Path) -> AsyncIterator[Site]:
    async with made(fleet, tmp_path) as found:
        yield found


@asynccontextmanager
async def made(fleet: World, tmp_path: Path, name: str = "real") -> AsyncIterator[Site]:
    real = RealCell(fleet, tmp_path / name)
    await real.enrol(name)
    (real.folder / Paper.POLICY).write_text(POLICY)
    async with real.running():
        group = (await fleet.fleet.create_group(fleet.by, NewGroup(f"of {name}", real.id, ()))).id
        orders = await fleet.fleet.create_workspace(fleet.by, NewWorkspace("orders", group))
        found = Site(fleet, real, group, orders)
        await found.settled(State.ACTIVE)
        yield found


async def test_a_change_that_needs_approval_waits_and_its_reason_is_shown_everywhere(site: Site) -> None:
    request = await site.resize()
    event = await site.fleet.told(site.orders, "waiting", passing=0.2)

    assert event.reason == "waiting-for-approval"
    assert f"byoc policy approve {request.id}" in event.text
    assert await site.fleet.state(site.orders) is State.PENDING
    assert site.held_size() == "S-00"
    assert (request.verbs, request.sub, request.stage) == (
        ("workspace.resize",),
        "ann@example.com",
        Stage.WAITING,
    )
    assert site.real.records("approval-asked")[-1]["request"] == request.id
    assert site.real.records("outcome")[-1]["outcome"] == "waiting"
    record = await site.fleet.record(site.orders)
    cell = await site.fleet.fleet.cell(site.fleet.by, site.real.id)
    shown = detail(record, cell, event)
    assert (shown["reason"], shown["reasonText"]) == ("waiting-for-approval", event.text)


async def test_an_approved_change_happens_and_both_are_on_record(site: Site) -> None:
    request = await site.resize()
    site.answer(request, approved=True)
    await site.settled(State.ACTIVE)

    assert (await site.size(), site.held_size()) == ("S-0", "S-0")
    told = site.real.records("approval")[-1]
    assert (told["request"], told["approved"], told["by"]) == (request.id, True, "eve@laptop")
    assert not requests(site.papers)


async def test_a_refused_change_is_put_back_and_told_by_its_rule(site: Site) -> None:
    request = await site.resize()
    site.answer(request, approved=False)
    event = await site.fleet.told(site.orders, "refused", passing=0.2)
    await site.settled(State.ACTIVE)

    assert event.reason == "approval-refused"
    assert "eve@laptop" not in event.text  # who it was is the customer's to know
    assert (await site.size(), site.held_size()) == ("S-00", "S-00")


async def test_a_change_that_nobody_answers_expires_after_a_day(site: Site) -> None:
    await site.resize()
    site.fleet.clock.advance(DAY.total_seconds())
    event = await site.fleet.told(site.orders, "expired", passing=1)
    await site.settled(State.ACTIVE)

    assert event.reason == "approval-expired"
    assert site.held_size() == "S-00"
    assert [one["why"] for one in site.real.records("approval-died")] == ["expired"]


async def test_a_wait_is_asked_of_the_cell_rarely_until_it_is_over(site: Site) -> None:
    request = await site.resize()
    await site.fleet.told(site.orders, "waiting", passing=0.2)
    before = site.deliveries()
    for _ in range(200):
        site.fleet.clock.advance(1)
        await site.fleet.store.read(lambda tx: tx.cells.all())
    assert site.deliveries() == before
    site.answer(request, approved=True)
    await site.settled(State.ACTIVE)


async def test_an_approval_dies_with_a_newer_generation(site: Site) -> None:
    """A race: what was approved is the content that was shown, not what came after it."""
    request = await site.resize()
    await site.fleet.fleet.terminate_workspace(site.fleet.by, site.orders)
    newer = await site.asked()
    with pytest.raises(NotFound, match="no change"):
        site.answer(request, approved=True)
    # Also where the answer was under way already, past the command.
    late = Answer(request.id, request.own, request.generation, request.digest, True, "eve", newer.since)
    site.papers.write(Paper.ANSWERS, dump(Answers((late,))), site.papers.read(Paper.ANSWERS).version)
    assert site.real.control is not None
    site.real.control.look()

    assert requests(site.papers)[0].stage is Stage.WAITING
    assert newer.verbs == ("workspace.terminate",)
    assert await site.fleet.state(site.orders) is State.PENDING
    assert not site.real.records("approval")


async def test_an_approval_of_another_digest_counts_for_nothing(site: Site) -> None:
    request = await site.resize()
    forged = Answer(request.id, request.own, request.generation, "0" * 64, True, "eve", request.since)
    site.papers.write(Paper.ANSWERS, dump(Answers((forged,))), site.papers.read(Paper.ANSWERS).version)
    assert site.real.control is not None
    site.real.control.look()

    assert requests(site.papers)[0].stage is Stage.WAITING
    assert site.held_size() == "S-00"


async def test_an_approval_is_not_carried_to_another_cell(site: Site, fleet: World, tmp_path: Path) -> None:
    """A confused deputy: the same folder of answers laid before a cell that never showed the request."""
    request = await site.resize()
    site.answer(request, approved=True)
    await site.settled(State.ACTIVE)
    async with made(fleet, tmp_path, "other") as other:
        theirs = await other.resize()
        text = site.papers.read(Paper.ANSWERS).text
        other.papers.write(Paper.ANSWERS, text, other.papers.read(Paper.ANSWERS).version)
        assert other.real.control is not None
        other.real.control.look()
        assert requests(other.papers)[0].stage is Stage.WAITING
        with pytest.raises(NotFound):
            answer(other.papers, request.id, approved=True, by="eve", now=fleet.clock.now())
        other.answer(theirs, approved=False)
        await other.settled(State.ACTIVE)


async def test_a_policy_that_changes_between_asking_and_approval_counts(site: Site) -> None:
    """A race of policies: what is approved is judged anew when it is carried out."""
    request = await site.resize()
    (site.real.folder / Paper.POLICY).write_text('deny = ["workspace.resize"]\n' + POLICY)
    site.answer(request, approved=True)
    event = await site.fleet.told(site.orders, "refused", passing=0.2)

    assert event.reason == "policy-deny"
    assert site.held_size() == "S-00"


async def test_what_waits_survives_a_restart_of_the_cell(fleet: World, tmp_path: Path) -> None:
    real = RealCell(fleet, tmp_path / "real")
    await real.enrol()
    (real.folder / Paper.POLICY).write_text(POLICY)
    async with real.running():
        group = (await fleet.fleet.create_group(fleet.by, NewGroup("sales", real.id, ()))).id
        orders = await fleet.fleet.create_workspace(fleet.by, NewWorkspace("orders", group))
        site = Site(fleet, real, group, orders)
        await site.settled(State.ACTIVE)
        request = await site.resize()
    answer(site.papers, request.id, approved=True, by="eve@laptop", now=fleet.clock.now())
    async with real.running():
        assert real.control is not None
        real.control.look()
        await site.settled(State.ACTIVE)
        assert site.held_size() == "S-0"


async def test_a_group_that_waits_is_told_by_its_workspaces_and_its_cell(site: Site) -> None:
    await site.fleet.fleet.update_group(site.fleet.by, site.group, GroupChanges(name="sold"))
    event = await site.fleet.told(site.orders, "waiting", passing=0.2)

    assert event.text.startswith("workspace group: ")
    assert "waiting-for-approval" in await site.real.told()


async def test_while_access_is_revoked_nothing_is_refused_for_good(site: Site) -> None:
    """The kill switch keeps changes out; it does not end them: they are there when access is restored."""
    set_access(site.papers, Access(True, "ann", site.fleet.clock.now(), "audit"))
    changes = WorkspaceChanges(size="S-0")
    await site.fleet.fleet.update_workspace(site.fleet.by, site.orders, changes)

    async def tried() -> bool:
        return any(one.get("rule") == "access-revoked" for one in site.real.records("outcome"))

    await site.fleet.until(tried, passing=0.2)
    assert await site.fleet.state(site.orders) is State.PENDING
    assert "refused" not in await site.fleet.kinds(site.orders)
    set_access(site.papers, Access(False, "ann", site.fleet.clock.now()))
    request = await site.asked()
    site.answer(request, approved=True)
    await site.settled(State.ACTIVE)
    with pytest.raises((IllegalState, NotFound)):
        site.answer(request, approved=True)
