"""The reconciler: from whatever is to what should be, on disk before in effect."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from byoc.dataplane.desired import DesiredState
from byoc.dataplane.files import FileStorage
from byoc.dataplane.meter import HEARTBEAT_SECONDS
from byoc.dataplane.passwords import Password
from byoc.dataplane.runtime import Action, Doors, Observation, Secrets
from byoc.ids import WorkspaceID, new_id
from byoc.model.report import Attachments, Phase, Reason
from byoc.model.spec import AutoSuspend, Desired, SuspendType, UpdateWindow, WorkspaceSpec
from byoc.testing import cell as cells
from byoc.testing.cell import GROUP, ORDERS, OTHER, MemoryCell, following
from byoc.testing.clock import ManualClock
from byoc.testing.runtime import MemoryRuntime

IDLE = AutoSuspend(SuspendType.IDLE, 600)
SCHEDULED = AutoSuspend(SuspendType.SCHEDULED, 600)
UP = [Action.CREATE_VOLUME, Action.START, Action.WAIT_FOR_SQL, Action.SET_PASSWORD]


@pytest.fixture
def runtime(clock: ManualClock) -> MemoryRuntime:
    return MemoryRuntime(clock)


@pytest.fixture
async def cell(tmp_path: Path, clock: ManualClock, runtime: MemoryRuntime) -> AsyncIterator[MemoryCell]:
    async with cells.started(tmp_path, clock, runtime, new_id) as running:
        yield running


class TestLifecycle:
    async def test_a_workspace_comes_up_and_each_step_has_a_reason(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        assert cell.acts() == UP
        assert cell.story() == [
            (Phase.PROVISIONING, Reason.ACCEPTED),
            (Phase.PROVISIONING, Reason.COPYING_TEMPLATE),
            (Phase.PROVISIONING, Reason.STARTING_ENGINE),
            (Phase.PROVISIONING, Reason.WAITING_FOR_SQL),
            (Phase.PROVISIONING, Reason.SETTING_PASSWORD),
            (Phase.RUNNING, Reason.ANSWERED_SQL),
        ]
        assert cell.view().endpoint == "127.0.0.1:23306"
        assert cell.observed() == 1

    async def test_suspend_and_resume_keep_volume_and_endpoint(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        endpoint = cell.view().endpoint
        suspended = following(ORDERS, desired=Desired.SUSPENDED)
        await cell.put(suspended)
        assert (cell.phase(), cell.reason()) == (Phase.SUSPENDED, Reason.STOPPED_AS_ASKED)
        assert cell.view().endpoint is None
        await cell.put(following(suspended, desired=Desired.RUNNING))
        assert cell.phase() is Phase.RUNNING
        assert cell.view().endpoint == endpoint
        assert cell.acts().count(Action.CREATE_VOLUME) == 1
        assert cell.observed() == 3

    async def test_suspended_without_volumes_it_comes_back_with_its_endpoint_and_its_password(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        runtime = MemoryRuntime(clock, detaching=True)
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            await cell.bring_up()
            endpoint, told = cell.view().endpoint, len(cell.story())
            suspended = following(ORDERS, desired=Desired.SUSPENDED)
            await cell.put(suspended)
            assert cell.story()[told:] == [
                (Phase.STOPPING, Reason.DETACHING_DATABASES),
                (Phase.STOPPING, Reason.STOPPING_ENGINE),
                (Phase.STOPPING, Reason.RELEASING_VOLUMES),
                (Phase.SUSPENDED, Reason.DATABASES_DETACHED),
            ]
            assert await runtime.stored_bytes(ORDERS.id) == 0
            await cell.put(following(suspended, desired=Desired.RUNNING))
            assert cell.story()[-3:] == [
                (Phase.STARTING, Reason.ATTACHING_DATABASES),
                (Phase.STARTING, Reason.SETTING_PASSWORD),
                (Phase.RUNNING, Reason.ANSWERED_SQL),
            ]
            assert cell.view().endpoint == endpoint
            assert cell.view().attachments == Attachments(2, 0)
            assert cell.observed() == 3
            runtime.miss(ORDERS.id, 1)
            cell.reconciler.wake(ORDERS.id)
            await cell.settle()
            assert (cell.phase(), cell.reason()) == (Phase.RUNNING, Reason.DATABASES_NOT_ATTACHED)
            assert cell.view().attachments == Attachments(2, 1)

    async def test_a_resize_is_made_online(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.put(following(ORDERS, size="S-0", scale_factor=2))
        assert cell.acts()[len(UP) :] == [Action.RESIZE_ONLINE]
        assert cell.observed() == 2

    async def test_a_workspace_waits_for_its_group_and_its_password(self, cell: MemoryCell) -> None:
        await cell.put(ORDERS)
        assert cell.reason() is Reason.WAITING_FOR_GROUP
        await cell.put(GROUP)
        assert cell.reason() is Reason.WAITING_FOR_PASSWORD
        await cell.put(GROUP, "first")
        assert cell.phase() is Phase.RUNNING

    async def test_terminating_leaves_a_tombstone_and_nothing_else(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.put(following(ORDERS, desired=Desired.TERMINATED))
        assert await cell.runtime.list() == []
        assert not cell.state.desired.workspaces
        assert [grave.generation for grave in cell.state.desired.tombstones()] == [2]
        assert (cell.phase(), cell.reason()) == (Phase.TERMINATED, Reason.REMOVED)

    async def test_the_end_of_a_group_takes_its_workspaces_and_its_password(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.put(OTHER)
        await cell.put(replace(GROUP, generation=2, desired=Desired.TERMINATED))
        assert await cell.runtime.list() == []
        assert not cell.state.desired.groups
        assert not list((cell.folder / "secrets").glob("*.json"))
        assert len(cell.state.desired.tombstones()) == 3

    async def test_a_workspace_put_into_an_ended_group_ends_too(self, cell: MemoryCell) -> None:
        await cell.put(GROUP, "first")
        await cell.put(replace(GROUP, generation=2, desired=Desired.TERMINATED))
        await cell.put(ORDERS)
        assert cell.acts() == []
        assert cell.state.desired.buried(ORDERS.id)


class TestUpgrades:
    async def test_a_newer_engine_waits_for_the_group_s_window(
        self, cell: MemoryCell, runtime: MemoryRuntime, clock: ManualClock
    ) -> None:
        await cell.bring_up()
        soon = clock.now() + timedelta(hours=2)
        window = UpdateWindow(soon.isoweekday() % 7, soon.hour)
        await cell.put(replace(GROUP, generation=2, update_window=window))
        runtime.outdate(ORDERS.id)
        await cell.settle(60)
        assert Action.UPGRADE not in cell.acts()
        await clock.elapse((soon.replace(minute=0, second=0) - clock.now()).total_seconds())
        await cell.settle(60)
        assert cell.acts().count(Action.UPGRADE) == 1
        assert (Phase.UPDATING, Reason.UPGRADING_ENGINE) in cell.story()
        assert cell.phase() is Phase.RUNNING


class TestPasswords:
    NEW = replace(GROUP, generation=2, password_version=2)

    async def test_a_change_reaches_a_running_workspace(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.put(self.NEW, "second")
        assert cell.runtime.passwords[ORDERS.id] == "second"
        assert cell.view().password_version == 2

    async def test_a_change_reaches_a_suspended_one_at_its_resume(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        suspended = following(ORDERS, desired=Desired.SUSPENDED)
        await cell.put(suspended)
        await cell.put(self.NEW, "second")
        assert cell.runtime.passwords[ORDERS.id] == "first"
        await cell.put(following(suspended, desired=Desired.RUNNING))
        assert cell.runtime.passwords[ORDERS.id] == "second"

    async def test_a_workspace_made_later_gets_the_newest(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.put(self.NEW, "second")
        await cell.put(OTHER)
        assert cell.runtime.passwords[OTHER.id] == "second"


class TestHealing:
    async def test_a_killed_engine_is_started_again_with_a_reason(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        cell.runtime.crash(ORDERS.id)
        await cell.settle()
        assert cell.phase() is Phase.RUNNING
        assert (Phase.HEALING, Reason.ENGINE_EXITED) in cell.story()

    async def test_a_hanging_engine_is_noticed_by_the_next_probe(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        cell.runtime.hang(ORDERS.id)
        await cell.settle(6)
        assert cell.phase() is Phase.RUNNING
        assert (Phase.HEALING, Reason.ENGINE_UNRESPONSIVE) in cell.story()

    async def test_an_engine_that_cannot_start_fails_and_a_resume_tries_again(self, cell: MemoryCell) -> None:
        cell.runtime.fail(ORDERS.id, Action.START, Reason.ENGINE_CANNOT_START, times=5)
        await cell.put(GROUP, "first")
        await cell.put(ORDERS)
        await cell.clock.elapse(60)
        assert (cell.phase(), cell.reason()) == (Phase.FAILED, Reason.ENGINE_CANNOT_START)
        assert cell.observed() == 0
        await cell.put(following(ORDERS, desired=Desired.RUNNING))
        assert cell.phase() is Phase.RUNNING

    async def test_a_lost_volume_is_never_replaced_by_an_empty_one(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        cell.runtime.lose_volume(ORDERS.id)
        await cell.settle(6)
        assert (cell.phase(), cell.reason()) == (Phase.FAILED, Reason.VOLUME_MISSING)
        assert cell.acts().count(Action.CREATE_VOLUME) == 1

    async def test_trouble_with_one_leaves_the_others_alone(self, tmp_path: Path, clock: ManualClock) -> None:
        class Cursed(MemoryRuntime):
            async def observe(self, workspace: WorkspaceID) -> Observation:
                if workspace == OTHER.id:
                    raise OSError("no such device")
                return await super().observe(workspace)

        async with cells.started(tmp_path, clock, Cursed(clock), new_id) as cell:
            await cell.put(GROUP, "first")
            await cell.put(OTHER)
            await cell.put(ORDERS)
            assert cell.phase() is Phase.RUNNING
            await clock.elapse(120)
            assert cell.phase() is Phase.RUNNING

    async def test_a_runtime_whose_actions_change_nothing_does_not_spin(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        class Idle(MemoryRuntime):
            async def act(
                self, spec: WorkspaceSpec, action: Action, secrets: Secrets, doors: Doors = Doors()
            ) -> None:
                self.acts.append((spec.id, action))

        async with cells.started(tmp_path, clock, Idle(clock), new_id) as cell:
            await cell.put(GROUP, "first")
            await cell.put(ORDERS)
            before = len(cell.acts())
            await clock.elapse(10)
            assert len(cell.acts()) - before <= 45


class TestAutoSuspend:
    async def test_an_idle_workspace_is_suspended_and_the_decision_is_on_record_first(
        self, cell: MemoryCell
    ) -> None:
        await cell.bring_up()
        await cell.put(following(ORDERS, auto_suspend=IDLE))
        await cell.clock.elapse(590)
        assert cell.phase() is Phase.RUNNING
        await cell.clock.elapse(20)
        assert (cell.phase(), cell.reason()) == (Phase.SUSPENDED, Reason.AUTO_SUSPENDED_IDLE)
        held = DesiredState(FileStorage(cell.folder)).workspaces[ORDERS.id]
        assert held.auto_suspended is not None
        assert '"kind":"decision"' in cell.ledger_text()

    async def test_somebody_connected_keeps_it_awake(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.put(following(ORDERS, auto_suspend=IDLE))
        cell.runtime.use(ORDERS.id, connections=1)
        await cell.clock.elapse(2000)
        assert cell.phase() is Phase.RUNNING
        cell.runtime.use(ORDERS.id, connections=0)
        await cell.clock.elapse(610)
        assert cell.phase() is Phase.SUSPENDED

    async def test_a_query_between_two_looks_counts(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.put(following(ORDERS, auto_suspend=IDLE))
        await cell.clock.elapse(500)
        cell.runtime.use(ORDERS.id, queries=1)
        await cell.clock.elapse(500)
        assert cell.phase() is Phase.RUNNING

    async def test_a_schedule_counts_from_the_resume_whatever_the_use(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.put(following(ORDERS, auto_suspend=SCHEDULED))
        cell.runtime.use(ORDERS.id, connections=3)
        await cell.clock.elapse(605)
        assert cell.reason() is Reason.AUTO_SUSPENDED_SCHEDULED

    async def test_a_schedule_goes_on_counting_through_a_restart_of_the_agent(
        self, tmp_path: Path, clock: ManualClock, runtime: MemoryRuntime
    ) -> None:
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            await cell.bring_up()
            await cell.put(following(ORDERS, auto_suspend=SCHEDULED))
            await clock.elapse(400)
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            await clock.elapse(210)
            assert cell.reason() is Reason.AUTO_SUSPENDED_SCHEDULED

    async def test_a_decision_survives_a_restart_and_a_resize_and_ends_with_a_resume(
        self, tmp_path: Path, clock: ManualClock, runtime: MemoryRuntime
    ) -> None:
        scheduled = following(ORDERS, auto_suspend=SCHEDULED)
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            await cell.bring_up()
            await cell.put(scheduled)
            await clock.elapse(605)
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            assert cell.phase() is Phase.SUSPENDED
            bigger = following(scheduled, size="S-0")
            await cell.put(bigger)
            assert cell.phase() is Phase.SUSPENDED
            assert cell.observed() == bigger.generation
            await cell.put(following(bigger, desired=Desired.RUNNING))
            assert cell.phase() is Phase.RUNNING
            await clock.elapse(590)
            assert cell.phase() is Phase.RUNNING

    async def test_a_decision_that_cannot_be_stored_is_not_acted_on(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.put(following(ORDERS, auto_suspend=SCHEDULED))
        folder = cell.folder / "state" / "workspaces"
        folder.rename(folder.with_name("away"))
        await cell.clock.elapse(700)
        assert cell.phase() is Phase.RUNNING
        folder.with_name("away").rename(folder)
        await cell.clock.elapse(10)
        assert cell.phase() is Phase.SUSPENDED

    async def test_a_full_disk_does_not_stop_healing(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        shutil.rmtree(cell.folder / "state")
        cell.runtime.crash(ORDERS.id)
        await cell.settle(5)
        assert cell.phase() is Phase.RUNNING


class TestCrashes:
    """The agent is killed between any two events; the next one ends in the same place."""

    async def _through(
        self, folder: Path, clock: ManualClock, runtime: MemoryRuntime, target: Phase
    ) -> MemoryCell:
        async with cells.started(folder, clock, runtime, new_id) as cell:
            await cell.settle(2)
            if target is Phase.TERMINATED:
                assert not cell.state.desired.workspaces
                assert cell.state.desired.buried(ORDERS.id)
            else:
                assert cell.phase() is target
            return cell

    @pytest.mark.parametrize("turns", range(0, 60, 3))
    @pytest.mark.parametrize(
        ("desired", "target"),
        [
            (Desired.RUNNING, Phase.RUNNING),
            (Desired.SUSPENDED, Phase.SUSPENDED),
            (Desired.TERMINATED, Phase.TERMINATED),
        ],
    )
    async def test_each_change_completes_wherever_it_was_cut(
        self, turns: int, desired: Desired, target: Phase, tmp_path: Path, clock: ManualClock
    ) -> None:
        runtime = MemoryRuntime(clock)
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            cell.state.passwords.put(GROUP.id, Password(1, "first"))
            cell.state.desired.put_group(GROUP)
            if desired is not Desired.RUNNING:
                await cell.put(ORDERS)
            spec = ORDERS if desired is Desired.RUNNING else following(ORDERS, desired=desired)
            cell.state.desired.put_workspace(spec)
            cell.reconciler.wake(spec.id)
            for _ in range(turns):
                await asyncio.sleep(0)
        await self._through(tmp_path, clock, runtime, target)
        assert runtime.acts.count((ORDERS.id, Action.CREATE_VOLUME)) <= 2

    async def test_a_new_agent_announces_nothing_that_has_not_changed(
        self, tmp_path: Path, clock: ManualClock, runtime: MemoryRuntime
    ) -> None:
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            await cell.bring_up()
            since = cell.view().since
        clock.advance(100)
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            assert cell.story() == []
            assert (cell.phase(), cell.view().since) == (Phase.RUNNING, since)


class TestUsage:
    async def test_suspended_time_is_not_metered(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.clock.elapse(100)
        suspended = following(ORDERS, desired=Desired.SUSPENDED)
        await cell.put(suspended)
        await cell.clock.elapse(1000)
        (interval,) = cell.intervals()
        assert interval.end is not None
        assert 99 < (interval.end - interval.start).total_seconds() < 102

    async def test_an_interval_is_on_disk_before_anybody_hears_that_it_runs(self, cell: MemoryCell) -> None:
        files = cell.folder / "state" / "intervals"
        on_disk: list[int] = []

        def heard() -> None:
            view = cell.state.views.now.get(ORDERS.id)
            if view is not None and view.phase is Phase.RUNNING:
                on_disk.append(len(list(files.iterdir())))

        cell.heard.append(heard)
        await cell.bring_up()
        assert on_disk
        assert all(on_disk)

    async def test_heartbeats_say_until_when_it_was_seen(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.clock.elapse(3 * HEARTBEAT_SECONDS)
        (interval,) = cell.intervals()
        assert (cell.clock.now() - interval.last_seen).total_seconds() <= HEARTBEAT_SECONDS + 6
        assert interval.end is None

    async def test_a_crash_of_everything_bills_to_the_last_heartbeat(
        self, tmp_path: Path, clock: ManualClock, runtime: MemoryRuntime
    ) -> None:
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            await cell.bring_up()
            await clock.elapse(100)
            (last,) = cell.intervals()
        runtime.crash(ORDERS.id)
        clock.advance(5000)
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            ended = [i for i in cell.intervals() if i.end is not None]
            assert [(i.id, i.end) for i in ended] == [(last.id, last.last_seen)]
            assert cell.phase() is Phase.RUNNING

    async def test_stopping_with_the_engines_ends_usage_now(self, cell: MemoryCell) -> None:
        await cell.bring_up()
        await cell.clock.elapse(12)
        await cell.runtime.close(stop_engines=True)
        cell.reconciler.settle_usage()
        (interval,) = cell.intervals()
        assert interval.end is not None


async def test_many_workspaces_take_turns_and_never_hold_up_everything_else_together(
    tmp_path: Path, clock: ManualClock
) -> None:
    rounds, taken = 0, []

    class Noting(MemoryRuntime):
        async def observe(self, workspace: WorkspaceID) -> Observation:
            taken.append(rounds)
            return await super().observe(workspace)

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async with cells.started(tmp_path, clock, Noting(clock), new_id) as cell:
        await cell.put(GROUP, "first")
        working = asyncio.create_task(others())
        names = [WorkspaceID(new_id()) for _ in range(50)]
        for name in names:
            suspended = replace(ORDERS, id=name, name=name, desired=Desired.SUSPENDED)
            cell.state.desired.put_workspace(suspended)
            cell.reconciler.wake(name)
        while len(taken) < len(names):
            await asyncio.sleep(0)
        working.cancel()
    assert max(taken.count(each) for each in taken) == 1
