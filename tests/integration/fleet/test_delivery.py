"""What becomes of intent on its way to the cell: coalesced, refused, expired, lost, forged."""

from dataclasses import replace
from datetime import timedelta

import pytest

from byoc.controlplane.fleet.dispatch import OWNER
from byoc.dataplane.policy import Policy
from byoc.errors import IllegalState, LimitReached
from byoc.model.records import GroupChanges, WorkspaceChanges
from byoc.model.spec import AutoScale, AutoSuspend, Desired, SuspendType, WorkspaceSpec
from byoc.model.verbs import Verb
from byoc.model.workspace import State
from tests.integration.fleet.world import World

FIVE_FIELDS = WorkspaceChanges(
    size="S-1",
    scale_factor=2,
    cache_config=2,
    auto_suspend=AutoSuspend(SuspendType.IDLE, 600),
    auto_scale=AutoScale(4),
)


def held(fleet: World, own: str) -> WorkspaceSpec:
    spec = fleet.cell.held[own]
    assert isinstance(spec, WorkspaceSpec)
    return spec


async def test_a_group_reaches_the_cell_before_its_workspaces(fleet: World) -> None:
    group = await fleet.group()
    orders = await fleet.workspace(group)
    await fleet.delivered(orders)
    targets = [target for target, _ in fleet.cell.asked]
    assert targets == [f"/cell/v1/groups/{group}", f"/cell/v1/workspaces/{orders}"]
    assert await fleet.kinds(orders) == ["accepted", "delivered"]
    assert await fleet.state(orders) is State.PENDING


async def test_one_patch_of_five_fields_is_one_generation_with_the_verbs_it_needs(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.fleet.update_workspace(fleet.by, orders, FIVE_FIELDS)
    await fleet.delivered(orders)
    _, claims = fleet.cell.asked[-1]
    assert [(change.generation, change.verb) for change in claims.changes] == [
        (2, Verb.WORKSPACE_RESIZE),
        (2, Verb.WORKSPACE_UPDATE),
    ]
    spec = held(fleet, orders)
    assert (spec.size, spec.scale_factor, spec.cache_config) == ("S-1", 2, 2)
    await fleet.report()
    assert await fleet.state(orders) is State.ACTIVE


async def test_changes_made_while_the_cell_is_away_arrive_as_one_lawful_delivery(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.cut()
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.fleet.resume_workspace(fleet.by, orders, disable_auto_suspend=False)
    before = len(fleet.cell.asked)
    await fleet.log_in()
    await fleet.delivered(orders)
    assert len(fleet.cell.asked) == before + 1
    _, claims = fleet.cell.asked[-1]
    assert claims.base == 1
    assert [change.verb for change in claims.changes] == [Verb.WORKSPACE_SUSPEND, Verb.WORKSPACE_RESUME]
    assert held(fleet, orders).desired is Desired.RUNNING


async def test_suspend_and_resize_asked_while_away_both_hold(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.cut()
    await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size="S-0"))
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.log_in()
    await fleet.delivered(orders)
    spec = held(fleet, orders)
    assert (spec.size, spec.desired, spec.generation) == ("S-0", Desired.SUSPENDED, 3)


async def test_a_lost_acknowledgement_costs_a_repetition_and_nothing_else(fleet: World) -> None:
    _, orders = await fleet.running()
    fleet.cell.lose_answers = 1
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.delivered(orders, passing=0.1)
    assert held(fleet, orders).generation == 2
    assert max(fleet.cell.seen.values()) == 1
    assert (await fleet.kinds(orders)).count("delivered") == 2
    assert fleet.plane.counters.unanswered == 1


async def test_a_base_that_moved_is_signed_anew(fleet: World) -> None:
    _, orders = await fleet.running()
    fleet.cell.lose_answers = 1
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.until(lambda: _true(fleet.cell.lose_answers == 0))
    # The cell has generation 2, we believe it has 1, and generation 3 is asked for meanwhile.
    await fleet.fleet.terminate_workspace(fleet.by, orders)
    await fleet.delivered(orders, passing=0.1)
    assert held(fleet, orders).desired is Desired.TERMINATED
    assert fleet.plane.counters.signed_anew >= 1
    assert fleet.cell.asked[-1][1].base == 2


async def _true(value: bool) -> bool:
    return value


async def test_a_forged_answer_counts_as_none(fleet: World) -> None:
    _, orders = await fleet.running()
    fleet.cell.forge_answers = True
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.until(lambda: _true(fleet.plane.counters.forged_answers >= 2), passing=0.1)
    assert (await fleet.record(orders)).seen.acknowledged_generation == 1
    fleet.cell.forge_answers = False
    await fleet.delivered(orders, passing=0.5)


async def test_a_refused_change_is_put_back_and_its_event_names_the_rule(fleet: World) -> None:
    _, orders = await fleet.running()
    fleet.cell.policy = Policy(deny=("workspace.resize",))
    await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size="S-1"))
    event = await fleet.told(orders, "refused")
    assert event.reason == "policy-deny"
    assert "policy-deny" in event.text
    assert event.state == "PENDING"
    await fleet.delivered(orders)
    record = await fleet.record(orders)
    assert (record.spec.size, record.spec.generation) == ("S-00", 3)
    await fleet.report()
    assert await fleet.state(orders) is State.ACTIVE
    assert "FAILED" not in {event.state for event in await fleet.events(orders)}


async def test_after_a_refusal_the_next_change_goes_through(fleet: World) -> None:
    _, orders = await fleet.running()
    fleet.cell.policy = Policy(deny=("workspace.resize",))
    await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size="S-1"))
    await fleet.told(orders, "refused")
    await fleet.delivered(orders)
    await fleet.report()
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.delivered(orders)
    assert held(fleet, orders).desired is Desired.SUSPENDED
    assert held(fleet, orders).size == "S-00"


async def test_a_refused_create_leaves_a_terminated_record_and_frees_the_name(fleet: World) -> None:
    group = await fleet.group()
    fleet.cell.policy = Policy(deny=("workspace.create",))
    orders = await fleet.workspace(group)
    event = await fleet.told(orders, "refused")
    assert event.state == "TERMINATED"
    assert await fleet.state(orders) is State.TERMINATED
    assert orders not in fleet.cell.held
    fleet.cell.policy = Policy()
    await fleet.delivered(await fleet.workspace(group))


async def test_a_refused_group_takes_its_workspaces_with_it(fleet: World) -> None:
    fleet.cell.policy = Policy(deny=("group.create",))
    await fleet.cut()
    group = await fleet.group()
    orders = await fleet.workspace(group)
    await fleet.log_in()
    await fleet.told(orders, "refused")
    assert (await fleet.fleet.group(fleet.by, group)).terminated_at is not None
    assert not fleet.cell.held


async def test_a_change_that_waited_too_long_expires(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.cut()
    await fleet.fleet.terminate_workspace(fleet.by, orders)
    fleet.clock.advance(timedelta(hours=25).total_seconds())
    await fleet.log_in()
    event = await fleet.told(orders, "expired", passing=1)
    assert event.reason == "too-old"
    await fleet.delivered(orders)
    assert held(fleet, orders).desired is Desired.RUNNING
    await fleet.report(full=True)
    assert await fleet.state(orders) is State.ACTIVE


async def test_a_wait_for_the_cell_is_told_once_and_names_the_cell(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.cut()
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    event = await fleet.told(orders, "waiting")
    assert event.text == "cell `local` is not connected (last seen 2030-01-01T00:00:00Z)"
    for _ in range(4):
        await fleet.clock.elapse(6)
    assert (await fleet.kinds(orders)).count("waiting") == 1


async def test_each_workspace_is_told_of_its_own_wait(fleet: World) -> None:
    group, orders = await fleet.running()
    second = await fleet.workspace(group, "second")
    await fleet.delivered(second)
    await fleet.report(full=True)
    await fleet.cut()
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.told(orders, "waiting")
    await fleet.fleet.suspend_workspace(fleet.by, second)
    await fleet.told(second, "waiting")
    assert (await fleet.kinds(orders)).count("waiting") == 1


async def test_a_workspace_is_kept_back_until_the_cell_has_its_group(fleet: World) -> None:
    fleet.cell.busy_with = "/groups/"
    group = await fleet.group()
    orders = await fleet.workspace(group)
    event = await fleet.told(orders, "waiting", passing=0.1)
    assert "503" in event.text
    await fleet.until(lambda: _true(len(fleet.cell.asked) >= 3), passing=0.1)
    assert {target for target, _ in fleet.cell.asked} == {f"/cell/v1/groups/{group}"}
    fleet.cell.busy_with = ""
    await fleet.delivered(orders, passing=0.5)


async def test_what_puts_a_refusal_back_is_not_itself_put_back(fleet: World) -> None:
    _, orders = await fleet.running()
    fleet.cell.veto = "closed-today"
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.told(orders, "refused")
    asked = len(fleet.cell.asked)
    await fleet.until(lambda: _true(len(fleet.cell.asked) > asked + 2), passing=0.5)
    assert (await fleet.record(orders)).spec.generation == 3
    assert (await fleet.kinds(orders)).count("refused") == 1
    fleet.cell.veto = ""
    await fleet.delivered(orders, passing=1)


async def test_an_acknowledgement_of_something_else_is_not_believed(fleet: World) -> None:
    _, orders = await fleet.running()
    fleet.cell.wrong_digest = True
    await fleet.fleet.suspend_workspace(fleet.by, orders)

    async def report_wanted() -> bool:
        held = await fleet.store.read(lambda tx: tx.cells.get(fleet.cell.id))
        return held is not None and held.full_wanted

    await fleet.until(report_wanted)
    assert (await fleet.record(orders)).seen.acknowledged_generation == 1


async def test_a_claim_that_was_overtaken_is_taken_anew_at_once(fleet: World) -> None:
    _, orders = await fleet.running()
    began = fleet.clock.now()
    await fleet.store.write(
        lambda tx: tx.cells.claim(fleet.cell.id, OWNER, began, began + timedelta(seconds=60))
    )
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.delivered(orders, passing=0.05)
    assert fleet.clock.now() - began < timedelta(seconds=20)


async def test_a_password_set_while_away_reaches_the_cell_and_the_blob_goes(fleet: World) -> None:
    group, _ = await fleet.running()
    first = fleet.cell.passwords[group]
    await fleet.cut()
    changes = GroupChanges(admin_password="")
    await fleet.fleet.update_group(fleet.by, group, changes)
    newest = await fleet.fleet.update_group(fleet.by, group, changes)
    await fleet.log_in()
    await fleet.group_delivered(group)
    assert fleet.cell.passwords[group] == (3, newest)
    assert first[0] == 1
    assert await fleet.store.read(lambda tx: tx.groups.sealed(group, 3)) is not None
    await fleet.report()
    assert await fleet.store.read(lambda tx: tx.groups.sealed(group, 3)) is None


async def test_a_refused_password_leaves_the_old_one_in_force(fleet: World) -> None:
    group, orders = await fleet.running()
    fleet.cell.policy = Policy(deny=("group.password",))
    await fleet.fleet.update_group(fleet.by, group, GroupChanges(admin_password=""))
    assert (await fleet.told(orders, "refused")).text.startswith("workspace group: ")
    await fleet.group_delivered(group)
    record = await fleet.fleet.group(fleet.by, group)
    assert record.spec.password_version == 1
    assert await fleet.store.read(lambda tx: tx.groups.sealed(group, 2)) is None


async def test_termination_ends_with_the_tombstone(fleet: World) -> None:
    group, orders = await fleet.running()
    await fleet.fleet.terminate_group(fleet.by, group, force=True)
    await fleet.group_delivered(group)
    await fleet.delivered(orders)
    fleet.cell.bury_what_ended()
    await fleet.report()
    assert await fleet.state(orders) is State.TERMINATED
    assert (await fleet.fleet.group(fleet.by, group)).terminated_at is not None
    assert (await fleet.events(orders))[-1].state == "TERMINATED"


async def test_the_cell_that_had_terminated_it_wins(fleet: World) -> None:
    _, orders = await fleet.running()
    fleet.cell.buried[orders] = 1
    fleet.cell.held[orders] = replace(held(fleet, orders), desired=Desired.TERMINATED)
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.told(orders, "adopted")
    assert await fleet.state(orders) is State.TERMINATED


async def test_too_many_changes_are_not_piled_up(fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _, orders = await fleet.running()
    await fleet.cut()
    monkeypatch.setattr("byoc.controlplane.fleet.intent.MOST_UNDELIVERED", 4)
    for _ in range(2):
        await fleet.fleet.suspend_workspace(fleet.by, orders)
        await fleet.fleet.resume_workspace(fleet.by, orders, disable_auto_suspend=False)
    with pytest.raises(LimitReached):
        await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.fleet.terminate_workspace(fleet.by, orders)


async def test_what_a_dispatcher_does_without_the_claim_is_not_written(fleet: World) -> None:
    _, orders = await fleet.running()
    now = fleet.clock.now()

    def overtake(tx: object) -> int | None:
        later = now + timedelta(seconds=90)
        return tx.cells.claim(fleet.cell.id, "another", later, later + timedelta(seconds=60))

    assert await fleet.store.write(overtake) is not None
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.until(lambda: _true(held(fleet, orders).generation == 2))
    assert (await fleet.record(orders)).seen.acknowledged_generation == 1
    # The other holder died; its lease runs out.
    await fleet.delivered(orders, passing=5)


async def test_a_pending_change_acknowledged_by_the_cell_blocks_the_next(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.delivered(orders)
    with pytest.raises(IllegalState):
        await fleet.fleet.resume_workspace(fleet.by, orders, disable_auto_suspend=False)
    await fleet.report()
    await fleet.fleet.resume_workspace(fleet.by, orders, disable_auto_suspend=False)
