"""The verbs of a transaction: what is written reads back equal, and upserts keep their promises."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from byoc.ids import IntervalID, KeyID, UserID, WorkspaceID
from byoc.model.records import CellState
from byoc.model.report import (
    Attachments,
    Authority,
    CellFacts,
    Condition,
    Interval,
    LedgerHead,
    Phase,
    Reason,
    Stored,
    WorkspaceReport,
    Zone,
)
from byoc.model.spec import AutoScale, AutoSuspend, Desired, GroupSpec, Sensitivity, SuspendType, UpdateWindow
from byoc.model.verbs import Verb
from byoc.model.workspace import Seen
from byoc.store.seam import Store
from byoc.store.values import ChangeRecord, NewEvent
from tests.contract.store.seeds import CELL, GROUP, NOW, ORGANIZATION, base, group, workspace


@pytest.fixture(autouse=True)
async def seeded(store: Store) -> None:
    await store.write(base)


LATER = NOW + timedelta(seconds=90, microseconds=7)
FULL_SPEC = replace(
    workspace("w1").spec,
    generation=4,
    size="S-2",
    scale_factor=2,
    cache_config=4,
    desired=Desired.SUSPENDED,
    desired_generation=3,
    auto_suspend=AutoSuspend(SuspendType.SCHEDULED, 60),
    auto_scale=AutoScale(4, Sensitivity.HIGH),
    enable_kai=True,
)
REPORT = WorkspaceReport(
    id=WorkspaceID("w1"),
    generation=4,
    observed_generation=3,
    digest="digest",
    phase=Phase.UPDATING,
    reason=Reason.APPLYING_SIZE_ONLINE,
    since=LATER,
    progress=40,
    endpoint="h:1",
    auto_suspended_at=NOW,
    last_resumed_at=LATER,
    password_version=2,
    attachments=Attachments(3, 1),
)


async def test_a_workspace_reads_back_equal(store: Store) -> None:
    full = workspace(
        "w1",
        spec=FULL_SPEC,
        seen=Seen(3, REPORT),
        deployment_type="NON-PRODUCTION",
        terminated_at=LATER,
        last_resumed_at=NOW,
        auto_suspend_changed_at=LATER,
        auto_scale_changed_at=NOW,
    )
    await store.write(lambda tx: tx.workspaces.add(full, FULL_SPEC))
    held = await store.read(lambda tx: tx.workspaces.get("w1"))
    assert held is not None
    assert (held.record, held.accepted, held.told_generation) == (full, FULL_SPEC, 0)
    assert await store.read(lambda tx: tx.workspaces.of_group(GROUP, include_terminated=True)) == [full]
    assert await store.read(lambda tx: tx.workspaces.of_group(GROUP, include_terminated=False)) == []


async def test_a_group_reads_back_equal(store: Store) -> None:
    spec = GroupSpec(
        "g2", 3, "ünïcode name", Desired.TERMINATED, 3, 2, ("10.0.0.0/8",), True, UpdateWindow(6, 23)
    )  # fmt: skip
    full = group(
        spec=spec,
        acknowledged_generation=2,
        terminated_at=LATER,
        expires_at=LATER,
        deployment_type="NON-PRODUCTION",
        high_availability=True,
        opt_in_preview=True,
        condition=Condition.PASSWORD_NEEDED,
    )
    await store.write(lambda tx: tx.groups.add(full, spec))
    held = await store.read(lambda tx: tx.groups.get("g2"))
    assert held is not None
    assert (held.record, held.accepted) == (full, spec)


async def test_what_is_due_is_what_was_not_acknowledged(store: Store) -> None:
    for own in ("w1", "w2", "w3"):
        await store.write(lambda tx, own=own: tx.workspaces.add(workspace(own)))  # type: ignore[misc]
    await store.write(lambda tx: tx.workspaces.acknowledge(workspace("w1").spec))
    await store.write(lambda tx: tx.workspaces.terminate("w2", NOW))
    assert await store.read(lambda tx: tx.workspaces.due(CELL)) == ["w3"]
    assert await store.read(lambda tx: tx.workspaces.any_due(CELL))
    assert await store.read(lambda tx: tx.groups.due(CELL)) == ["g1"]
    await store.write(lambda tx: tx.groups.acknowledge(group().spec))
    assert await store.read(lambda tx: tx.groups.due(CELL)) == []
    assert not await store.read(lambda tx: tx.groups.any_due(CELL))
    await store.write(lambda tx: tx.groups.forget_acknowledgement(GROUP))
    assert await store.read(lambda tx: tx.groups.any_due(CELL))
    await store.write(lambda tx: tx.workspaces.terminate("w3", NOW))
    assert not await store.read(lambda tx: tx.workspaces.any_due(CELL))


async def test_a_wait_is_untold_until_it_is_told_for_that_generation(store: Store) -> None:
    await store.write(lambda tx: tx.workspaces.add(workspace("w1")))

    async def untold() -> list[str]:
        found = await store.read(lambda tx: tx.workspaces.untold(CELL))
        assert bool(found) is await store.read(lambda tx: tx.workspaces.any_untold(CELL))
        return [held.record.spec.id for held in found]

    assert await untold() == ["w1"]
    await store.write(lambda tx: tx.workspaces.tell(CELL))
    assert await untold() == []
    await store.write(lambda tx: tx.workspaces.put_intent(FULL_SPEC))
    assert await untold() == ["w1"]
    await store.write(lambda tx: tx.workspaces.acknowledge(FULL_SPEC))
    assert await untold() == []


async def test_events_are_numbered_in_order_and_one_origin_is_one_event(store: Store) -> None:
    await store.write(lambda tx: tx.workspaces.add(workspace("w1")))

    def event(kind: str, origin: str | None = None) -> NewEvent:
        return NewEvent(WorkspaceID("w1"), NOW, kind, 1, "r", "t", "PENDING", 5, "ann", origin)

    new = [event("a"), event("b", "x"), event("b", "x"), event("a"), event("c", "y")]
    await store.write(lambda tx: tx.story.add_events(new))
    events = await store.read(lambda tx: tx.story.events("w1", above=0))
    assert [one.kind for one in events] == ["a", "b", "a", "c"]
    numbers = [one.number for one in events]
    assert numbers == sorted(set(numbers))
    assert (events[0].at, events[0].progress, events[0].by) == (NOW, 5, "ann")
    assert await store.read(lambda tx: tx.story.events("w1", above=numbers[2])) == events[3:]
    assert await store.read(lambda tx: tx.story.events("w1", above=0, newest=2)) == events[2:]
    assert await store.read(lambda tx: tx.story.events("w1", above=0, newest=9)) == events
    later = [NewEvent(WorkspaceID("w1"), NOW, kind, 2, "r", "t", "PENDING") for kind in "de"]
    await store.write(lambda tx: tx.story.add_events(later))
    of_second = await store.read(lambda tx: tx.story.events("w1", above=0, generation=2))
    assert [one.kind for one in of_second] == ["d", "e"]
    assert await store.read(lambda tx: tx.story.has_events("w1", above=numbers[2]))
    assert not await store.read(lambda tx: tx.story.has_events("w1", above=of_second[-1].number))


async def test_changes_come_back_for_the_generations_asked_for(store: Store) -> None:
    for generation in (1, 2, 3):
        change = ChangeRecord(
            "w1", generation, (Verb.WORKSPACE_RESIZE, Verb.WORKSPACE_UPDATE), f"by {generation}", LATER
        )
        await store.write(lambda tx, change=change: tx.story.add_change(change))  # type: ignore[misc]
    found = await store.read(lambda tx: tx.story.changes("w1", above=1, up_to=3))
    assert [change.generation for change in found] == [2, 3]
    assert (found[0].verbs, found[0].sub, found[0].at) == (
        (Verb.WORKSPACE_RESIZE, Verb.WORKSPACE_UPDATE),
        "by 2",
        LATER,
    )


async def test_an_interval_grows_and_never_reopens(store: Store) -> None:
    await store.write(lambda tx: tx.workspaces.add(workspace("w1")))
    start = NOW

    def interval(minutes: int, *, ended: bool = False, of: str = "w1") -> Interval:
        seen = start + timedelta(minutes=minutes)
        return Interval(IntervalID("i1"), WorkspaceID(of), "S-1", 1, 1, start, seen, seen if ended else None)

    async def put(one: Interval) -> Interval:
        await store.write(lambda tx: tx.usage.put(one))
        (found,) = await store.read(
            lambda tx: tx.usage.between(ORGANIZATION, start, start + timedelta(days=1))
        )
        assert found.workspace_name == "name of w1"
        return found.interval

    assert await put(interval(10)) == interval(10)
    assert await put(interval(5)) == interval(10)
    await store.write(lambda tx: tx.workspaces.add(workspace("w2")))
    assert await put(interval(15, ended=True, of="w2")) == interval(10)
    assert (await put(interval(20, ended=True))).end == start + timedelta(minutes=20)
    assert (await put(interval(30))).end == start + timedelta(minutes=20)


async def test_only_intervals_that_share_time_are_found(store: Store) -> None:
    await store.write(lambda tx: tx.workspaces.add(workspace("w1")))
    hours = {"before": (0, 1), "into": (0, 3), "inside": (2, 3), "over": (3, 9), "after": (5, 6)}
    for own, (since, until) in hours.items():
        end = NOW + timedelta(hours=until)
        one = Interval(
            IntervalID(own), WorkspaceID("w1"), "S-0", 1, 1, NOW + timedelta(hours=since), end, end
        )  # fmt: skip
        await store.write(lambda tx, one=one: tx.usage.put(one))  # type: ignore[misc]
    start, end = NOW + timedelta(hours=2), NOW + timedelta(hours=5)
    found = await store.read(lambda tx: tx.usage.between(ORGANIZATION, start, end))
    assert {named.interval.id for named in found} == {"into", "inside", "over"}


async def test_what_a_volume_held_grows_and_stays_of_its_workspace(store: Store) -> None:
    for name in ("w1", "w2"):
        await store.write(lambda tx, name=name: tx.workspaces.add(workspace(name)))  # type: ignore[misc]

    def record(minutes: int, *, of: str = "w1", closed: bool = False) -> Stored:
        until = NOW + timedelta(minutes=minutes)
        return Stored(IntervalID("s1"), WorkspaceID(of), NOW, until, minutes * 60 * 2**40, closed)

    async def put(one: Stored) -> Stored:
        await store.write(lambda tx: tx.usage.put_stored(one))
        end = NOW + timedelta(hours=1)
        (found,) = await store.read(lambda tx: tx.usage.stored_between(ORGANIZATION, NOW, end))
        assert found.workspace_name == "name of w1"
        return found.stored

    assert await put(record(10)) == record(10)
    assert await put(record(5)) == record(10)
    assert await put(record(20, of="w2")) == record(10)
    assert await put(record(30, closed=True)) == record(30, closed=True)
    assert await put(record(20)) == record(30, closed=True)
    later = NOW + timedelta(minutes=30)
    assert (
        await store.read(lambda tx: tx.usage.stored_between(ORGANIZATION, later, later + timedelta(hours=1)))
        == []
    )


async def test_sealed_passwords_last_until_their_version_is_known(store: Store) -> None:
    await store.write(lambda tx: tx.groups.put_sealed(GROUP, 1, "one", NOW))
    await store.write(lambda tx: tx.groups.put_sealed(GROUP, 2, "two", NOW))
    assert await store.read(lambda tx: tx.groups.sealed(GROUP, 1)) is None
    await store.write(lambda tx: tx.groups.drop_sealed(GROUP, 1))
    assert await store.read(lambda tx: tx.groups.sealed(GROUP, 2)) == "two"
    await store.write(lambda tx: tx.groups.drop_sealed(GROUP, 2))
    assert await store.read(lambda tx: tx.groups.sealed(GROUP, 2)) is None


async def test_a_cell_reads_back_equal(store: Store) -> None:
    told = (Authority("new", "vouched"), Authority("old"))
    zones = (Zone("a", 3, 2, 32_000, 2**36, "v1.36.1"), Zone("b", 0, 0, 0, 0, ""))
    facts = CellFacts("MariaDB", "10.11", "0.1", 1, 2**34, ("workspace.create",), told, zones)
    signing, sealing = {"kty": "OKP", "x": "a"}, {"kty": "OKP", "x": "b"}
    await store.write(lambda tx: tx.cells.expect_enrolment(CELL, "jti", "thumb"))
    await store.write(lambda tx: tx.cells.enrol(CELL, CellState.ENROLLED, signing, sealing))
    await store.write(lambda tx: tx.cells.seen(CELL, LATER, facts))
    await store.write(lambda tx: tx.cells.want(CELL, full=True, resync=True))
    await store.write(lambda tx: tx.cells.note_report(CELL, "life", 7))
    held = await store.read(lambda tx: tx.cells.get(CELL))
    assert held is not None
    record = held.record
    assert (record.state, record.signing_key, record.sealing_key) == (CellState.ENROLLED, signing, sealing)
    assert (record.facts, record.last_seen_at, record.connected) == (facts, LATER, False)
    assert (held.enrolment_jti, held.enrolment_thumbprint) == ("jti", "thumb")
    assert (held.incarnation, held.seq, held.full_wanted, held.resync_wanted) == ("life", 7, True, True)


async def test_every_incarnation_is_remembered_with_its_last_report(store: Store) -> None:
    await store.write(lambda tx: tx.cells.note_report(CELL, "first", 9))
    await store.write(lambda tx: tx.cells.note_report(CELL, "second", 1))
    await store.write(lambda tx: tx.cells.note_report(CELL, "second", 2))
    assert await store.read(lambda tx: tx.cells.last_seq(CELL, "first")) == 9
    assert await store.read(lambda tx: tx.cells.last_seq(CELL, "second")) == 2
    assert await store.read(lambda tx: tx.cells.last_seq(CELL, "third")) is None


async def test_sessions_rise_in_epoch_and_end_by_cell_and_by_gateway(store: Store) -> None:
    async def open_one(session: str, gateway: str) -> int:
        return await store.write(lambda tx: tx.cells.open_session(session, CELL, gateway, NOW))

    assert [await open_one("a", "g"), await open_one("b", "h"), await open_one("a", "g")] == [1, 2, 1]
    assert await store.write(lambda tx: tx.cells.close_sessions(gateway="g")) == [CELL]
    assert [one.id for one in await store.read(lambda tx: tx.cells.sessions(CELL))] == ["b"]
    assert await store.write(lambda tx: tx.cells.close_session("b")) == CELL
    assert await store.write(lambda tx: tx.cells.close_session("b")) is None
    assert await open_one("c", "g") == 3
    assert await store.write(lambda tx: tx.cells.close_sessions()) == [CELL]


async def test_a_claim_is_one_owners_until_it_runs_out(store: Store) -> None:
    async def claim(owner: str, seconds: int) -> int | None:
        now = NOW + timedelta(seconds=seconds)
        return await store.write(lambda tx: tx.cells.claim(CELL, owner, now, now + timedelta(seconds=60)))

    assert await claim("one", 0) == 1
    assert await claim("two", 30) is None
    assert await claim("one", 40) == 2
    assert await store.read(lambda tx: tx.cells.holds_claim(CELL, 2))
    assert not await store.read(lambda tx: tx.cells.holds_claim(CELL, 1))
    assert await claim("two", 101) == 3


async def test_the_last_ledger_head_is_kept_also_where_it_went_back(store: Store) -> None:
    async def note(seq: int) -> Any:
        head = LedgerHead("chain", seq, str(seq))
        return await store.write(lambda tx: tx.cells.note_head(CELL, head, NOW))

    assert await note(5) is None
    assert await note(9) == LedgerHead("chain", 5, "5")
    assert await note(7) == LedgerHead("chain", 9, "9")
    assert await note(9) == LedgerHead("chain", 7, "7")
    assert await store.read(lambda tx: tx.cells.head(CELL, "chain")) == LedgerHead("chain", 9, "9")
    assert await store.read(lambda tx: tx.cells.head(CELL, "another")) is None


async def test_what_was_terminated_can_be_there_again(store: Store) -> None:
    await store.write(lambda tx: tx.workspaces.add(workspace("w1")))

    def end_and_revive(tx: Any) -> tuple[Any, Any]:
        tx.workspaces.terminate("w1", LATER)
        tx.groups.terminate(GROUP, LATER)
        tx.workspaces.revive("w1")
        tx.groups.revive(GROUP)
        return tx.workspaces.get("w1"), tx.groups.get(GROUP)

    one, other = await store.write(end_and_revive)
    assert (one.record.terminated_at, other.record.terminated_at) == (None, None)
    assert [held.record.spec.id for held in await store.read(lambda tx: tx.workspaces.of_cell(CELL))] == [
        "w1"
    ]


async def test_keys_are_found_by_their_hash_while_they_are_good(store: Store) -> None:
    def add(tx: Any) -> None:
        tx.identities.add_user(UserID("u1"), ORGANIZATION, "ann@example.com", NOW)
        tx.identities.add_key(KeyID("k1"), UserID("u1"), "hash 1", NOW, None)
        tx.identities.add_key(KeyID("k2"), UserID("u1"), "hash 2", NOW, LATER)

    await store.write(add)

    async def email(key_hash: str, at: Any) -> str | None:
        found = await store.read(lambda tx: tx.identities.principal(key_hash, at))
        return found.email if found is not None else None

    assert await email("hash 1", LATER) == "ann@example.com"
    assert await email("hash 2", NOW) == "ann@example.com"
    assert await email("hash 2", LATER) is None
    assert await email("hash 3", NOW) is None
    await store.write(lambda tx: tx.identities.revoke_keys(UserID("u1"), NOW))
    assert await email("hash 1", NOW) is None
    known = [await store.read(lambda tx, n=n: tx.identities.knows_key(f"hash {n}")) for n in (1, 2, 3)]  # type: ignore[misc]
    assert known == [True, True, False], "also a key that ended is known"
