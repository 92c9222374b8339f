"""Cells: how they join, who may not, how they log in and leave."""

from dataclasses import replace
from datetime import timedelta

import pytest

from byoc.controlplane.fleet.membership import log_in
from byoc.errors import Conflict, IllegalState, NotFound
from byoc.ids import CellID, OrganizationID
from byoc.model.records import CellState, NewGroup
from byoc.model.workspace import State
from byoc.wire.keys import PublicKey, SealingKey, encode_bytes
from byoc.wire.keysets import open_key_set
from tests.integration.fleet.fakecell import FakeCell
from tests.integration.fleet.world import CHALLENGE, GATEWAY, World


async def fresh(fleet: World, name: str = "new") -> tuple[FakeCell, str]:
    """A registered cell that has not enrolled, and a token for its key."""
    cell = FakeCell(fleet.clock, dict(fleet.keys.trusted))
    record = await fleet.fleet.register_cell(fleet.by, name, "AWS", "US New", name)
    cell.id = record.id
    granted = await fleet.fleet.enrolment_token(fleet.by, record.id, cell.signing.kid)
    return cell, granted["token"]


async def state(fleet: World, cell: CellID) -> CellState:
    return (await fleet.fleet.cell(fleet.by, cell)).state


async def enrol(fleet: World, body: object) -> int:
    return (await fleet.ask("enrol", "POST", "/cell/v1/enrol", body))[0]


async def test_enrolment_hands_over_the_keys_that_the_cell_pins(fleet: World) -> None:
    cell, token = await fresh(fleet)
    status, answer = await fleet.ask("enrol", "POST", "/cell/v1/enrol", cell.enrolment(token))
    assert status == 200
    assert answer["cellID"] == cell.id
    root = PublicKey.from_jwk(answer["rootKey"])
    assert root == fleet.keys.root
    key_set = open_key_set(answer["keySet"], root=root, now=fleet.clock.now(), minimum_version=0)
    assert set(key_set.keys) == {fleet.keys.signing.kid}
    assert await state(fleet, cell.id) is CellState.ENROLLED


async def test_copies_of_the_ledger_that_fall_behind_are_told_once_and_so_is_their_end(fleet: World) -> None:
    since = fleet.clock.now()
    for late in (since, since, since + timedelta(seconds=5), None, None):
        assert (await fleet.report(copies_late_since=late))[0] == 200
        assert (await fleet.fleet.cell(fleet.by, fleet.cell.id)).copies_late_since == late
    events = await fleet.fleet.cell_events(fleet.by, fleet.cell.id)
    told = [event.kind for event in events if event.kind.startswith("copies")]
    assert told == ["copies-late", "copies-in-time"]


async def test_the_same_token_and_key_again_get_the_same_answer(fleet: World) -> None:
    cell, token = await fresh(fleet)
    wish = cell.enrolment(token)
    first = await fleet.ask("enrol", "POST", "/cell/v1/enrol", wish)
    assert await fleet.ask("enrol", "POST", "/cell/v1/enrol", wish) == first


async def test_another_key_with_a_good_token_is_refused_and_an_alarm(fleet: World) -> None:
    cell, token = await fresh(fleet)
    thief = FakeCell(fleet.clock, {}, id=cell.id)
    assert await enrol(fleet, thief.enrolment(token)) == 401
    assert await state(fleet, cell.id) is CellState.CONTESTED
    kinds = [event.kind for event in await fleet.fleet.cell_events(fleet.by, cell.id)]
    assert "contested" in kinds
    # The rightful key still gets in, and the contest stays visible until a new token is minted.
    assert await enrol(fleet, cell.enrolment(token)) == 200
    assert await state(fleet, cell.id) is CellState.CONTESTED
    await fleet.fleet.enrolment_token(fleet.by, cell.id, cell.signing.kid)
    assert await state(fleet, cell.id) is CellState.ENROLLED


async def test_a_token_ends_after_a_quarter_of_an_hour(fleet: World) -> None:
    cell, token = await fresh(fleet)
    fleet.clock.advance(timedelta(minutes=16).total_seconds())
    assert await enrol(fleet, cell.enrolment(token)) == 401
    assert await state(fleet, cell.id) is CellState.PENDING


async def test_a_newer_token_ends_the_older(fleet: World) -> None:
    cell, token = await fresh(fleet)
    other = FakeCell(fleet.clock, {}, id=cell.id)
    await fleet.fleet.enrolment_token(fleet.by, cell.id, other.signing.kid)
    assert await enrol(fleet, cell.enrolment(token)) == 401


async def test_a_sealing_key_that_the_cell_did_not_certify_is_refused(fleet: World) -> None:
    cell, token = await fresh(fleet)
    wish = cell.enrolment(token) | {"sealingKey": SealingKey.generate().public_jwk()}
    assert await enrol(fleet, wish) == 401


@pytest.mark.parametrize("body", ["", "[]", "{}", "nonsense", '{"token": 1}'])
async def test_nonsense_is_refused_with_a_reason(fleet: World, body: str) -> None:
    for service, path in (
        ("enrol", "/cell/v1/enrol"),
        ("login", "/cell/v1/login"),
        ("login", "/cell/v1/logout"),
    ):
        status, answer = await fleet.ask(service, "POST", path, body)
        assert status == 400
        assert answer


async def test_a_service_reaches_its_own_routes_only(fleet: World) -> None:
    for service, path in (
        ("enrol", "/cell/v1/report"),
        ("enrol", "/cell/v1/login"),
        (f"cell:{fleet.cell.id}", "/cell/v1/login"),
        ("login", "/cell/v1/enrol"),
        ("", "/cell/v1/report"),
    ):
        status, _ = await fleet.ask(service, "POST", path, {})
        assert status == 404


async def test_each_session_has_a_higher_epoch_and_a_login_again_keeps_it(fleet: World) -> None:
    _, first = await fleet.log_in(session="a")
    _, again = await fleet.log_in(session="a")
    _, second = await fleet.log_in(session="b")
    assert first["epoch"] == again["epoch"] < second["epoch"]
    sessions = await fleet.fleet.sessions(fleet.by, fleet.cell.id)
    assert [session.id for session in sessions][-2:] == ["a", "b"]


async def test_a_cell_without_a_session_is_not_connected(fleet: World) -> None:
    assert (await fleet.fleet.cell(fleet.by, fleet.cell.id)).connected
    await fleet.cut()
    assert not (await fleet.fleet.cell(fleet.by, fleet.cell.id)).connected


async def test_hostile_logins_are_refused(fleet: World) -> None:
    other = FakeCell(fleet.clock, {}, id=fleet.cell.id)
    unknown = replace(other, id=CellID("00000000-0000-4000-8000-000000000000"))
    wish = {"gateway": GATEWAY, "challenge": encode_bytes(CHALLENGE), "session": "s"}
    attempts = {
        "another key": wish | {"token": other.login(CHALLENGE, GATEWAY)},
        "an unknown cell": wish | {"token": unknown.login(CHALLENGE, GATEWAY)},
        "another challenge": wish | {"token": fleet.cell.login(b"d" * 32, GATEWAY)},
        "another audience": wish | {"token": fleet.cell.login(CHALLENGE, "elsewhere")},
        "another gateway's name": wish
        | {"token": fleet.cell.login(CHALLENGE, "elsewhere"), "gateway": "elsewhere"},
    }
    for name, body in attempts.items():
        status, text = await fleet.ask("login", "POST", "/cell/v1/login", body)
        assert (status, isinstance(text, str)) == (401, True), name
    assert fleet.plane.counters.refused_logins == len(attempts)


async def test_a_retired_cell_is_thrown_out_and_never_comes_back(fleet: World) -> None:
    group, orders = await fleet.running()
    await fleet.fleet.retire_cell(fleet.by, fleet.cell.id)
    assert fleet.link.closed == [fleet.cell.id]
    assert (await fleet.log_in())[0] == 403
    assert (await fleet.report())[0] == 403
    record = await fleet.fleet.cell(fleet.by, fleet.cell.id)
    assert (record.state, record.connected) == (CellState.RETIRED, False)
    with pytest.raises(IllegalState):
        await fleet.fleet.enrolment_token(fleet.by, fleet.cell.id, fleet.cell.signing.kid)
    with pytest.raises(IllegalState):
        await fleet.workspace(group, "more")
    # Nobody is left to ask, so the records end at once.
    await fleet.fleet.terminate_group(fleet.by, group, force=True)
    assert await fleet.state(orders) is State.TERMINATED


async def test_a_group_on_a_cell_that_has_not_enrolled_is_refused(fleet: World) -> None:
    cell, _ = await fresh(fleet)
    with pytest.raises(IllegalState, match="not enrolled"):
        await fleet.fleet.create_group(fleet.by, NewGroup("g", cell.id, ()))


async def test_the_name_of_a_live_cell_is_taken(fleet: World) -> None:
    with pytest.raises(Conflict):
        await fleet.fleet.register_cell(fleet.by, "local", "AWS", "US", "elsewhere")
    await fleet.fleet.retire_cell(fleet.by, fleet.cell.id)
    await fleet.fleet.register_cell(fleet.by, "local", "AWS", "US", "local")


async def test_another_organization_sees_nothing(fleet: World) -> None:
    group, orders = await fleet.running()
    stranger = replace(fleet.by, organization_id=OrganizationID("11111111-1111-4111-8111-111111111111"))
    for attempt in (
        fleet.fleet.workspace(stranger, orders),
        fleet.fleet.group(stranger, group),
        fleet.fleet.cell(stranger, fleet.cell.id),
        fleet.fleet.events(stranger, orders, after=0),
        fleet.fleet.logs(stranger, orders),
        fleet.fleet.suspend_workspace(stranger, orders),
        fleet.fleet.terminate_group(stranger, group, force=True),
        fleet.fleet.retire_cell(stranger, fleet.cell.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await fleet.fleet.cells(stranger) == []
    assert await fleet.fleet.groups(stranger, include_terminated=True) == []


async def test_a_login_of_a_retired_cell_is_refused_inside_the_transaction_too(fleet: World) -> None:
    await fleet.fleet.retire_cell(fleet.by, fleet.cell.id)
    now = fleet.clock.now()
    with pytest.raises(Exception, match="retired"):
        await fleet.store.write(lambda tx: log_in(tx, fleet.cell.id, GATEWAY, "late", now))
