"""Reports: their order, what they teach us, and what they may not touch."""

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byoc.controlplane.api.workspaces import shape
from byoc.ids import GroupID, IntervalID, WorkspaceID, new_id
from byoc.model.records import GroupChanges, WorkspaceChanges
from byoc.model.report import (
    Authority,
    CellFacts,
    Condition,
    Interval,
    LedgerHead,
    Phase,
    Reason,
    Stored,
    Transition,
)
from byoc.model.scaling import Change
from byoc.model.spec import Desired, GroupSpec, WorkspaceSpec
from byoc.model.workspace import State
from byoc.testing import ManualClock
from byoc.wire import tokens
from byoc.wire.certificates import fingerprint, make_authority
from tests.integration.fleet.fakecell import FakeCell
from tests.integration.fleet.world import World, world


async def other_cell(fleet: World) -> FakeCell:
    cell = FakeCell(fleet.clock, dict(fleet.keys.trusted))
    await fleet.enrol(cell, "other")
    return cell


def interval(workspace: str, start: Any, *, minutes: float, own: str = "", ended: bool = False) -> Interval:
    seen = start + timedelta(minutes=minutes)
    return Interval(
        IntervalID(own or new_id()), WorkspaceID(workspace), "S-1", 1, 1, start, seen, seen if ended else None
    )


async def test_a_report_is_answered_with_a_receipt_for_its_ledger_head(fleet: World) -> None:
    status, answer = await fleet.report()
    assert status == 200
    receipt = tokens.check_receipt(answer["receipt"], fleet.keys.trusted)
    assert (receipt.cell, receipt.seq) == (fleet.cell.id, fleet.cell.seq)
    assert receipt.report == fleet.cell.name_of(fleet.cell.sent[-1])
    assert answer["fullWanted"] is False
    assert answer["keySetVersion"] == fleet.keys.key_set(fleet.clock.now()).version


async def test_an_older_report_changes_nothing_and_gets_no_receipt(fleet: World) -> None:
    _, orders = await fleet.running()
    old = fleet.cell.report()
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.delivered(orders)
    await fleet.report(full=True)
    assert await fleet.state(orders) is State.SUSPENDED
    _, answer = await fleet.take(old)
    assert (answer["receipt"], answer["fullWanted"]) == ("", False)
    assert await fleet.state(orders) is State.SUSPENDED
    assert fleet.plane.counters.old_reports == 1


async def test_an_older_report_is_told_so_by_a_word_that_names_it(fleet: World) -> None:
    old, newer = fleet.cell.report(full=True), fleet.cell.report(full=True)
    await fleet.take(newer)
    _, answer = await fleet.take(old)
    said = tokens.check_behind(answer["behind"], fleet.keys.trusted)
    assert said.report == fleet.cell.name_of(old)
    assert (said.cell, said.incarnation, said.seq) == (fleet.cell.id, fleet.cell.incarnation, fleet.cell.seq)
    assert said.holds(0)
    assert fleet.plane.counters.behind == 1


@pytest.mark.parametrize("full", [False, True])
async def test_the_last_report_again_is_an_older_one(fleet: World, full: bool) -> None:
    token = fleet.cell.report(full=full)
    _, first = await fleet.take(token)
    _, again = await fleet.take(token)
    assert first["receipt"]
    assert (again["receipt"], again["fullWanted"]) == ("", False)
    assert "behind" not in again, "nothing newer is known: this is no cell that was restored"
    assert fleet.plane.counters.behind == 0


async def test_a_report_after_a_missing_one_is_asked_for_in_full(fleet: World) -> None:
    fleet.cell.report()
    _, answer = await fleet.report()
    assert (answer["receipt"], answer["fullWanted"]) == ("", True)
    _, answer = await fleet.report(full=True)
    assert answer["fullWanted"] is False


async def test_a_new_incarnation_must_begin_with_a_full_report(fleet: World) -> None:
    fleet.cell.lose_state()
    _, answer = await fleet.report()
    assert answer["fullWanted"] is True
    _, answer = await fleet.report(full=True)
    assert answer["receipt"]


async def test_reports_of_an_incarnation_that_is_over_are_ignored(fleet: World) -> None:
    stale = fleet.cell.report(full=True)
    fleet.cell.lose_state()
    await fleet.report(full=True)
    _, answer = await fleet.take(stale)
    assert answer["receipt"] == ""
    assert fleet.plane.counters.old_reports == 1
    said = tokens.check_behind(answer["behind"], fleet.keys.trusted)
    assert said.incarnation == fleet.cell.incarnation != said.report.incarnation


async def test_a_report_with_another_cells_key_is_refused(fleet: World) -> None:
    other = await other_cell(fleet)
    status, _ = await fleet.take(other.report(full=True), fleet.cell)
    assert status == 401
    forged = replace(other, id=fleet.cell.id)
    status, _ = await fleet.take(forged.report(full=True), fleet.cell)
    assert status == 401
    assert fleet.plane.counters.forged_reports == 2


async def test_a_report_naming_another_cell_is_refused(fleet: World) -> None:
    other = await other_cell(fleet)
    honest = fleet.cell.id
    fleet.cell.id = other.id
    token = fleet.cell.report(full=True)
    fleet.cell.id = honest
    status, _ = await fleet.take(token)
    assert status == 401


async def test_a_cell_cannot_touch_the_objects_of_another(fleet: World) -> None:
    group, orders = await fleet.running()
    other = await other_cell(fleet)
    stolen = replace(fleet.cell.held[orders], generation=9, desired=Desired.TERMINATED)
    other.held[orders] = stolen
    other.held[group] = replace(fleet.cell.held[group], generation=9, desired=Desired.TERMINATED)
    other.buried[group] = 9
    other.intervals["x"] = interval(orders, fleet.clock.now(), minutes=5)
    await fleet.report(other, full=True)
    record = await fleet.record(orders)
    assert (record.spec.generation, await fleet.state(orders)) == (1, State.ACTIVE)
    assert (await fleet.fleet.group(fleet.by, group)).terminated_at is None
    assert await usage(fleet) == []


async def usage(fleet: World) -> list[str]:
    now = fleet.clock.now()
    rows = await fleet.fleet.usage(
        fleet.by, start=now - timedelta(days=1), end=now + timedelta(days=1), aggregate="month"
    )
    return [row.value for row in rows]


async def test_intervals_are_upserted_and_what_ended_stays_so(fleet: World) -> None:
    _, orders = await fleet.running()
    start, own = fleet.clock.now(), new_id()
    for minutes, ended in ((30, False), (60, True), (45, False)):
        fleet.cell.intervals[own] = interval(orders, start, minutes=minutes, own=own, ended=ended)
        await fleet.report()
    assert await usage(fleet) == ["1"]


async def test_what_volumes_held_is_billed_by_the_average_and_nonsense_is_ignored(fleet: World) -> None:
    _, orders = await fleet.running()
    start = fleet.clock.now().replace(minute=0, second=0, microsecond=0)
    end = start + timedelta(hours=1)

    async def averages() -> list[str]:
        rows = await fleet.fleet.stored(fleet.by, start=start, end=end, aggregate="hour")
        return [row.value for row in rows]

    def other(**changes: Any) -> Stored:
        return replace(half, id=IntervalID(new_id()), **changes)

    half = Stored(IntervalID(new_id()), WorkspaceID(orders), start, start + timedelta(minutes=30), 1_800_000)
    await fleet.report(stored=(half,))
    assert await averages() == ["500"]
    await fleet.report(stored=(replace(half, until=end, byte_seconds=3_600_000, closed=True),))
    assert await averages() == ["1000"]
    late = other(until=end + timedelta(hours=1))
    foreign = other(workspace_id=WorkspaceID(new_id()))
    await fleet.report(stored=(other(byte_seconds=-1), other(byte_seconds=2**70), late, foreign))
    assert await averages() == ["1000"]


async def test_a_transition_reported_twice_is_one_event(fleet: World) -> None:
    _, orders = await fleet.running()
    seen = Transition(orders, 1, Phase.HEALING, Reason.ENGINE_EXITED, fleet.clock.now())
    await fleet.report(transitions=(seen,))
    await fleet.report(transitions=(seen,))
    assert (await fleet.kinds(orders)).count("healing") == 1


async def test_the_last_event_of_a_report_shows_the_state_that_readers_see(fleet: World) -> None:
    group = await fleet.group()
    orders = await fleet.workspace(group)
    await fleet.delivered(orders)
    now = fleet.clock.now()
    story = tuple(
        Transition(orders, 1, phase, reason, now + timedelta(seconds=index))
        for index, (phase, reason) in enumerate(
            [
                (Phase.PROVISIONING, Reason.COPYING_TEMPLATE),
                (Phase.STARTING, Reason.WAITING_FOR_SQL),
                (Phase.RUNNING, Reason.ANSWERED_SQL),
            ]
        )
    )
    await fleet.report(transitions=story)
    states = [event.state for event in await fleet.events(orders)][-3:]
    assert states == ["PENDING", "PENDING", "ACTIVE"]


async def test_an_auto_scaling_is_told_with_its_figures_and_shown_until_the_customer_says_something(
    fleet: World,
) -> None:
    _, orders = await fleet.running()
    scaled = Change(1, 2, 0.934, 180.0)
    told = Transition(orders, 1, Phase.RUNNING, Reason.AUTO_SCALED_UP, fleet.clock.now(), scaled=scaled)
    report = fleet.cell.workspace_report(fleet.cell.held[orders], scale_factor=2)
    await fleet.take(fleet.cell.report(transitions=(told,), workspaces=(report,)))
    event = (await fleet.events(orders))[-1]
    assert event.reason == "auto-scaled-up"
    assert event.text.endswith(": scale factor 1 to 2, load 93% over 180 s")
    record = await fleet.record(orders)
    assert shape(record)["scaleFactor"] == 2
    assert record.spec.scale_factor == 1
    await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(scale_factor=4))
    assert shape(await fleet.record(orders))["scaleFactor"] == 4


async def test_a_change_that_needs_no_transition_still_gets_its_event(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(enable_kai=True))
    await fleet.delivered(orders)
    assert await fleet.state(orders) is State.PENDING
    await fleet.report()
    last = (await fleet.events(orders))[-1]
    assert (last.kind, last.state, last.generation) == ("running", "ACTIVE", 2)


async def test_a_lost_acknowledgement_is_made_good_by_a_report(fleet: World) -> None:
    _, orders = await fleet.running()
    fleet.cell.lose_answers = 10**6
    await fleet.fleet.suspend_workspace(fleet.by, orders)

    async def stored() -> bool:
        return fleet.cell.held[orders].generation == 2

    await fleet.until(stored)
    await fleet.report()
    record = await fleet.record(orders)
    assert record.seen.acknowledged_generation == 2
    assert await fleet.state(orders) is State.SUSPENDED


async def test_a_cell_that_is_ahead_is_taken_as_it_is(fleet: World) -> None:
    _, orders = await fleet.running()
    spec = fleet.cell.held[orders]
    assert isinstance(spec, WorkspaceSpec)
    fleet.cell.held[orders] = replace(spec, generation=7, size="S-4")
    _, answer = await fleet.report()
    assert answer["fullWanted"] is True
    await fleet.report(full=True)
    record = await fleet.record(orders)
    assert (record.spec.generation, record.spec.size) == (7, "S-4")
    assert "adopted" in await fleet.kinds(orders)
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.delivered(orders)
    assert fleet.cell.held[orders].generation == 8


async def test_two_contents_of_one_generation_end_with_the_cells(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.cut()
    spec = fleet.cell.held[orders]
    assert isinstance(spec, WorkspaceSpec)
    fleet.cell.held[orders] = replace(spec, generation=2, size="S-2")
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    await fleet.log_in()

    async def asked_for() -> bool:
        held = await fleet.store.read(lambda tx: tx.cells.get(fleet.cell.id))
        return held is not None and held.full_wanted

    await fleet.until(asked_for, passing=0.1)
    _, answer = await fleet.report(transitions=())
    assert answer["fullWanted"] is True
    await fleet.report(full=True)
    record = await fleet.record(orders)
    assert (record.spec.size, record.spec.generation, record.spec.desired) == ("S-2", 2, Desired.RUNNING)


async def test_objects_that_we_forgot_are_adopted_from_a_full_report(fleet: World) -> None:
    group = GroupSpec(GroupID(new_id()), 3, "found")
    orders = WorkspaceSpec(WorkspaceID(new_id()), group.id, 5, "orders", "S-0")
    fleet.cell.held |= {group.id: group, orders.id: orders}
    _, answer = await fleet.report()
    assert answer["fullWanted"] is True
    await fleet.report(full=True)
    assert (await fleet.fleet.group(fleet.by, group.id)).spec == group
    record = await fleet.record(orders.id)
    assert (record.spec, await fleet.state(orders.id)) == (orders, State.ACTIVE)
    assert await fleet.kinds(orders.id) == ["adopted"]


async def test_a_cell_that_lost_its_state_gets_it_back_by_a_resync(fleet: World) -> None:
    group, orders = await fleet.running()
    await fleet.fleet.update_workspace(fleet.by, orders, WorkspaceChanges(size="S-1"))
    await fleet.delivered(orders)
    await fleet.report()
    await fleet.cut()
    await fleet.fleet.suspend_workspace(fleet.by, orders)
    fleet.cell.lose_state()
    await fleet.log_in()
    await fleet.report(full=True)
    assert await fleet.state(orders) is State.PENDING
    await fleet.delivered(orders, passing=0.2)
    assert fleet.cell.adopted == {group, orders}
    spec = fleet.cell.held[orders]
    assert (spec.generation, spec.desired) == (3, Desired.SUSPENDED)
    assert fleet.cell.passwords == {}
    await fleet.report()
    assert (await fleet.fleet.group(fleet.by, group)).condition is Condition.PASSWORD_NEEDED
    await fleet.fleet.update_group(fleet.by, group, GroupChanges(admin_password=""))
    await fleet.group_delivered(group)
    await fleet.report()
    assert (await fleet.fleet.group(fleet.by, group)).condition is Condition.NONE


async def test_a_termination_accepted_before_the_state_was_lost_is_delivered_again(fleet: World) -> None:
    _, orders = await fleet.running()
    await fleet.fleet.terminate_workspace(fleet.by, orders)
    await fleet.delivered(orders)
    fleet.cell.lose_state()
    await fleet.log_in()
    await fleet.report(full=True)

    async def ended() -> bool:
        spec = fleet.cell.held.get(orders)
        return spec is not None and spec.desired is Desired.TERMINATED

    await fleet.until(ended, passing=0.2)


async def test_another_authority_of_a_cell_is_told_to_its_owner_with_its_fingerprint(fleet: World) -> None:
    one, other = (make_authority(name=name, now=fleet.clock.now()).certificate for name in ("one", "other"))
    for each, events in (((one,), 0), ((one,), 0), ((other, one), 1), ((other,), 2), ((b"damaged",), 3)):
        told = tuple(Authority(text.decode()) for text in each)
        await fleet.report(facts=CellFacts("MariaDB", "10.11", "0.1", 1, 2**34, authorities=told))
        found = await fleet.fleet.cell_events(fleet.by, fleet.cell.id)
        said = [event.text for event in found if event.kind == "authority"]
        assert len(said) == events
        record = await fleet.fleet.cell(fleet.by, fleet.cell.id)
        assert record.facts is not None
        assert record.facts.authorities == told
    assert said[0].endswith(f"{fingerprint(other)}, {fingerprint(one)}")
    assert said[1].endswith(f": {fingerprint(other)}")


async def test_a_ledger_that_goes_back_is_an_alarm_and_a_cell_that_is_behind(fleet: World) -> None:
    async def alarms() -> int:
        events = await fleet.fleet.cell_events(fleet.by, fleet.cell.id)
        return [event.kind for event in events].count("ledger-cut")

    await fleet.report()
    fleet.cell.seq += 1
    await fleet.take(fleet.cell.report(full=True, ledger=None))
    assert await alarms() == 0
    short = LedgerHead("chain", 1, "0" * 64)
    for _ in range(3):
        _, answer = await fleet.report(full=True, ledger=short)
        assert (answer["receipt"], await alarms()) == ("", 1)
    said = tokens.check_behind(answer["behind"], fleet.keys.trusted)
    assert said.holds(short.seq)
    assert not said.holds(said.ledger_seq)
    fleet.cell.incarnation = new_id()
    for _ in range(3):
        _, answer = await fleet.report(full=True, ledger=short)
        assert answer["receipt"]
    assert await alarms() == 2, "once for the report, once for the incarnation that goes on from there"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32), sizes=st.lists(st.sampled_from(["S-0", "S-1", "S-2"]), min_size=1, max_size=5)
)
async def test_however_reports_are_repeated_and_reordered_the_newest_wins(
    tmp_path_factory: Any, seed: int, sizes: list[str]
) -> None:
    folder: Path = tmp_path_factory.mktemp("reports")
    async with world(folder, ManualClock(), dispatching=False) as fleet:
        group = GroupSpec(GroupID(new_id()), 1, "g")
        orders = WorkspaceSpec(WorkspaceID(new_id()), group.id, 1, "orders", "S-00")
        fleet.cell.held |= {group.id: group, orders.id: orders}
        sent = [fleet.cell.report(full=True)]
        for generation, size in enumerate(sizes, start=2):
            fleet.cell.held[orders.id] = replace(orders, generation=generation, size=size)
            sent.append(fleet.cell.report(full=True))
        shuffled = random.Random(seed)  # noqa: S311 - an order, not a secret
        arriving = sent + shuffled.choices(sent, k=len(sent))
        shuffled.shuffle(arriving)
        for token in arriving:
            status, _ = await fleet.take(token)
            assert status == 200
        record = await fleet.record(orders.id)
        assert (record.spec.size, record.spec.generation) == (sizes[-1], len(sizes) + 1)
        before = await fleet.events(orders.id)
        for token in sent:
            await fleet.take(token)
        assert await fleet.events(orders.id) == before
