"""The service on a real database: limits, names, writers at once, events, keys, logs, expiry."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from math import inf, nan

import pytest

from byoc.controlplane.fleet.service import hash_key
from byoc.controlplane.fleet.start import DATABASE, OWNER_TOKEN
from byoc.dataplane.policy import Policy
from byoc.errors import (
    CellAway,
    Conflict,
    Failed,
    IllegalState,
    LimitReached,
    NotAuthenticated,
    RefusedByCell,
    UsageError,
)
from byoc.ids import KeyID, UserID, new_id
from byoc.model.metrics import Metric, Sample
from byoc.model.password import check_password
from byoc.model.records import GroupChanges, NewGroup, NewWorkspace, WorkspaceChanges
from byoc.model.spec import AutoSuspend, Desired, SuspendType
from byoc.model.verbs import Verb
from byoc.model.workspace import State
from byoc.wire.cell import Measured, Reading, encode
from tests.integration.fleet.world import World


async def test_of_two_writers_on_one_workspace_one_wins(fleet: World) -> None:
    _, orders = await fleet.running()
    outcomes = await asyncio.gather(
        fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size="S-0")),
        fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size="S-1")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), IllegalState]
    assert (await fleet.record(orders)).spec.generation == 2


async def test_a_group_holds_five_workspaces_however_many_ask_at_once(fleet: World) -> None:
    group = await fleet.group()
    outcomes = await asyncio.gather(
        *(fleet.workspace(group, f"w{index}") for index in range(16)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, LimitReached)]
    assert (len(outcomes) - len(refused), len(refused)) == (5, 11)
    assert len(await fleet.fleet.workspaces(fleet.by, group, include_terminated=False)) == 5


async def test_a_workspace_that_goes_keeps_its_name_but_no_place(fleet: World) -> None:
    group = await fleet.group()
    first, *_ = [await fleet.workspace(group, f"w{index}") for index in range(5)]
    await fleet.fleet.terminate_workspace(fleet.by, first)
    with pytest.raises(Conflict, match="named `w0`"):
        await fleet.workspace(group, "w0")
    await fleet.workspace(group, "w5")
    with pytest.raises(LimitReached):
        await fleet.workspace(group, "w6")


async def test_many_changes_share_a_commit(fleet: World) -> None:
    groups = [await fleet.group(f"g{index}") for index in range(8)]
    before = fleet.store.commits
    await asyncio.gather(*(fleet.workspace(group, f"w{n}") for group in groups for n in range(4)))
    assert fleet.store.commits - before < 32


async def test_names_are_taken_among_the_living_only(fleet: World) -> None:
    group, orders = await fleet.running()
    with pytest.raises(Conflict):
        await fleet.workspace(group, "orders")
    with pytest.raises(Conflict):
        await fleet.group("group of orders")
    other = await fleet.group("another")
    with pytest.raises(Conflict):
        await fleet.fleet.update_group(fleet.by, other, GroupChanges(name="group of orders"))
    await fleet.fleet.terminate_workspace(fleet.by, orders)
    await fleet.delivered(orders)
    fleet.cell.bury_what_ended()
    await fleet.report(full=True)
    assert await fleet.workspace(group, "orders") != orders


async def test_a_group_with_live_workspaces_goes_only_by_force(fleet: World) -> None:
    group, orders = await fleet.running()
    with pytest.raises(Conflict):
        await fleet.fleet.terminate_group(fleet.by, group, force=False)
    await fleet.fleet.terminate_group(fleet.by, group, force=True)
    assert (await fleet.record(orders)).spec.desired is Desired.TERMINATED
    with pytest.raises(IllegalState):
        await fleet.workspace(group, "late")
    with pytest.raises(IllegalState):
        await fleet.fleet.update_group(fleet.by, group, GroupChanges(name="x"))
    await fleet.fleet.terminate_group(fleet.by, group, force=False)


async def test_a_size_above_the_cells_memory_is_refused_early(fleet: World) -> None:
    group, orders = await fleet.running()
    with pytest.raises(UsageError, match=r"needs 192\.0 GiB of memory, cell `local` has 16\.0 GiB"):
        await fleet.workspace(group, "big", size="S-384")
    with pytest.raises(UsageError, match="scale factor 4"):
        await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size="S-12", scale_factor=4))
    await fleet.workspace(group, "fits", size="S-12")


async def test_a_change_that_changes_nothing_writes_nothing(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size="S-00", scale_factor=1))
    assert await fleet.state(orders) is State.ACTIVE
    assert (await fleet.record(orders)).spec.generation == 1


async def test_resume_can_switch_auto_suspend_off_also_where_it_runs(fleet: World) -> None:
    _, orders = await fleet.running()
    setting = AutoSuspend(SuspendType.IDLE, 60)
    await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(auto_suspend=setting))
    await fleet.delivered(orders)
    await fleet.report()
    await fleet.fleet.resume_workspace(fleet.by, orders, disable_auto_suspend=False)
    assert (await fleet.record(orders)).spec.auto_suspend == setting
    await fleet.fleet.resume_workspace(fleet.by, orders, disable_auto_suspend=True)
    record = await fleet.record(orders)
    assert record.spec.auto_suspend == AutoSuspend()
    assert record.auto_suspend_changed_at == fleet.clock.now()


async def test_a_follower_is_woken_by_the_commit(fleet: World) -> None:
    _, orders = await fleet.running()
    last = (await fleet.events(orders))[-1].number
    waiting = asyncio.create_task(fleet.fleet.wait_events(orders, last, 3600))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await asyncio.wait_for(waiting, 5)
    assert (await fleet.events(orders, after=last))[0].kind == "accepted"


async def test_a_follower_that_comes_late_waits_for_nothing(fleet: World) -> None:
    _, orders = await fleet.running()
    await asyncio.wait_for(fleet.fleet.wait_events(orders, 0, 3600), 5)


async def test_a_quiet_wait_ends_with_its_time(fleet: World) -> None:
    _, orders = await fleet.running()
    waiting = asyncio.create_task(fleet.fleet.wait_events(orders, 10**6, 10))
    await fleet.clock.elapse(11)
    await asyncio.wait_for(waiting, 5)


async def test_generated_passwords_satisfy_the_policy_and_open_in_the_cell_only(fleet: World) -> None:
    created = await fleet.fleet.create_group(fleet.by, NewGroup("g", fleet.cell.id, ()))
    assert created.admin_password is not None
    check_password(created.admin_password)
    await fleet.group_delivered(created.id)
    assert fleet.cell.passwords[created.id] == (1, created.admin_password)


async def test_no_password_and_no_key_is_in_the_database(fleet: World) -> None:
    created = await fleet.fleet.create_group(fleet.by, NewGroup("g", fleet.cell.id, ()))
    mine = "Correct-Horse-7531-Battery"
    await fleet.fleet.update_group(fleet.by, created.id, GroupChanges(admin_password=mine))
    await fleet.group_delivered(created.id)
    folder = fleet.folder / "controlplane"
    token = (folder / OWNER_TOKEN).read_text().strip()
    dump = b"".join(path.read_bytes() for path in folder.glob(f"{DATABASE}*"))
    assert created.id.encode() in dump
    for secret in (created.admin_password or "", mine, token):
        assert secret.encode() not in dump


async def test_a_password_that_breaks_the_policy_is_refused(fleet: World) -> None:
    with pytest.raises(UsageError, match="password must"):
        await fleet.fleet.create_group(fleet.by, NewGroup("g", fleet.cell.id, (), admin_password="short"))


async def test_keys_authenticate_until_they_expire_or_are_revoked(fleet: World) -> None:
    now = fleet.clock.now()
    user = await fleet.store.read(lambda tx: tx.identities.user(fleet.by.organization_id, fleet.by.email))

    def add(tx: object) -> None:
        until = now + timedelta(hours=1)
        tx.identities.add_key(KeyID(new_id()), UserID(user), hash_key("short-lived"), now, until)

    await fleet.store.write(add)
    assert (await fleet.fleet.authenticate("short-lived")).email == "ann@example.com"
    with pytest.raises(NotAuthenticated):
        await fleet.fleet.authenticate("unknown")
    fleet.clock.advance(3601)
    with pytest.raises(NotAuthenticated):
        await fleet.fleet.authenticate("short-lived")


async def test_logs_are_refused_by_the_default_policy_and_named(fleet: World) -> None:
    _, orders = await fleet.running()
    with pytest.raises(RefusedByCell, match=r"logs\.read.*policy-allow"):
        await fleet.fleet.logs(fleet.by, orders)
    fleet.cell.policy = Policy(allow=("*",))
    fleet.cell.logs = "ready for connections"
    assert await fleet.fleet.logs(fleet.by, orders) == "ready for connections"
    await fleet.cut()
    with pytest.raises(CellAway):
        await fleet.fleet.logs(fleet.by, orders)


async def test_an_expired_group_is_terminated_with_its_workspaces(fleet: World) -> None:
    group, orders = await fleet.running()
    soon = fleet.clock.now() + timedelta(seconds=10)
    await fleet.fleet.update_group(fleet.by, group, GroupChanges(expires_at=soon))
    assert await fleet.plane.expiry.look() == 0
    fleet.clock.set_wall_clock(soon)
    assert await fleet.plane.expiry.look() == 1
    assert await fleet.plane.expiry.look() == 0
    accepted = [event for event in await fleet.events(orders) if event.kind == "accepted"][-1]
    assert accepted.by == "control plane (expiresAt)"
    assert (await fleet.record(orders)).spec.desired is Desired.TERMINATED


async def test_expiry_runs_by_itself(fleet: World) -> None:
    soon = fleet.clock.now() + timedelta(seconds=10)
    group = await fleet.group("short-lived", expires_at=soon)
    fleet.clock.advance(31)

    async def going() -> bool:
        return (await fleet.fleet.group(fleet.by, group)).spec.desired is Desired.TERMINATED

    await fleet.until(going)


async def test_metrics_come_from_the_cell_at_once_and_are_found_nowhere_else(fleet: World) -> None:
    group, orders = await fleet.running()
    measured = Measured(orders, (Sample(Metric.CONNECTIONS, 471_147_114_711.0, "node-1"),))
    fleet.cell.metrics = json.dumps(encode(Reading(fleet.clock.now(), (measured,))))
    for reading in (
        await fleet.fleet.workspace_metrics(fleet.by, orders),
        await fleet.fleet.group_metrics(fleet.by, group),
    ):
        assert reading.workspaces == (measured,)
    with closing(sqlite3.connect(fleet.folder / "controlplane" / DATABASE)) as database:
        assert "471147114711" not in "\n".join(database.iterdump())
    targets = [target for target, claims in fleet.cell.asked if claims.verbs == (Verb.METRICS_READ,)]
    assert targets == [f"/cell/v1/workspaces/{orders}/metrics", f"/cell/v1/groups/{group}/metrics"]
    fleet.cell.metrics = '{"at": "2026-01-01T00:00:00Z", "workspaces": [], "newer": 1}'
    with pytest.raises(Failed, match="not understood"):
        await fleet.fleet.group_metrics(fleet.by, group)


@pytest.mark.parametrize("value", [inf, -inf, nan])
async def test_metrics_that_are_no_numbers_are_not_understood(fleet: World, value: float) -> None:
    group, orders = await fleet.running()
    measured = Measured(orders, (Sample(Metric.MEM_USED_B, value, "node-1"),))
    fleet.cell.metrics = json.dumps(encode(Reading(fleet.clock.now(), (measured,))))
    with pytest.raises(Failed, match="not understood"):
        await fleet.fleet.group_metrics(fleet.by, group)


async def test_metrics_that_the_policy_denies_are_refused_by_name(fleet: World) -> None:
    group, _ = await fleet.running()
    fleet.cell.policy = Policy(deny=("metrics.read",))
    with pytest.raises(RefusedByCell, match=r"metrics\.read.*policy-deny"):
        await fleet.fleet.group_metrics(fleet.by, group)


async def test_the_overview_counts_what_lives(fleet: World) -> None:
    group, _ = await fleet.running()
    await fleet.workspace(group, "second")
    overview = await fleet.fleet.overview()
    assert overview.groups == 1
    assert overview.workspaces == {"ACTIVE": 1, "PENDING": 1}
    assert (overview.cells, overview.connected, overview.lost) == ({"enrolled": 1}, 1, 0)


async def test_a_failed_change_leaves_nothing_behind(fleet: World) -> None:
    group, orders = await fleet.running()
    count = "select count(*) from changes"
    before = _count(fleet, count)
    with pytest.raises(UsageError):
        await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size="S-384"))
    with pytest.raises(Conflict):
        await fleet.fleet.create_workspace(fleet.by, NewWorkspace("orders", group))
    assert _count(fleet, count) == before


def _count(fleet: World, query: str) -> int:
    with sqlite3.connect(fleet.folder / "controlplane" / DATABASE) as connection:
        found: int = connection.execute(query).fetchone()[0]
    connection.close()
    return found


async def test_readers_see_what_their_own_write_did(fleet: World) -> None:
    group = await fleet.group()
    for index in range(5):
        orders = await fleet.workspace(group, f"w{index}")
        assert (await fleet.record(orders)).spec.name == f"w{index}"
    stranger = replace(fleet.by, email="bob@example.com")
    assert len(await fleet.fleet.workspaces(stranger, group, include_terminated=False)) == 5
