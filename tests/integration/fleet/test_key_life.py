"""The control plane's key set over weeks: it is renewed in time, and what a cell does that was away."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from byoc.controlplane.fleet.courier import Parcel
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.errors import Unreachable
from byoc.model.verbs import Verb
from byoc.nimbus.http import HttpRequest, HttpResponse
from byoc.wire.keysets import KEY_SET_LIFE
from tests.integration.fleet.realcell import RealCell
from tests.integration.fleet.world import World

HOUR = timedelta(hours=1).total_seconds()
DAY = 24 * HOUR


@pytest.fixture
async def real(fleet: World, tmp_path: Path) -> RealCell:
    made = RealCell(fleet, tmp_path / "real")
    await made.enrol()
    return made


async def knock(real: RealCell) -> int:
    """One request of the cell, signed now; the status of its answer, also of one without a signature."""
    statuses: list[int] = []
    answer = real.request

    async def note(asked: HttpRequest) -> HttpResponse:
        answered = await answer(asked)
        statuses.append(answered.status)
        return answered

    record = await real.fleet.fleet.cell(real.fleet.by, real.id)
    parcel = Parcel("GET", "/cell/v1/status", "ann", verbs=(Verb.CELL_READ,))
    real.request = note  # type: ignore[method-assign]
    # A refusal before the door is not signed, so the courier takes it for none.
    with suppress(Unreachable):
        await real.fleet.plane.fleet._courier.send(record, parcel)
    del real.request  # type: ignore[method-assign]
    return statuses[-1]


async def test_a_connected_cell_never_runs_out_of_keys_in_a_month(fleet: World, real: RealCell) -> None:
    versions, closest = set(), KEY_SET_LIFE
    async with real.running():
        assert real.pinned is not None
        for _ in range(30 * 8):
            fleet.clock.advance(3 * HOUR)
            assert await knock(real) == 200
            await real.reported()
            versions.add(real.pinned.version)
            closest = min(closest, real.pinned.expires_at - fleet.clock.now())
    assert 25 <= len(versions) <= 31, "about one a day"
    assert closest > KEY_SET_LIFE / 2
    assert fleet.plane.counters.forged_answers == 0


async def test_a_cell_that_is_told_of_no_newer_set_asks_by_age(fleet: World, real: RealCell) -> None:
    """A gateway may keep the answers to reports back, for ever."""
    async with real.running():
        assert real.pinned is not None
        assert real.reporter is not None
        answer = real.reporter._post

        async def keep_back(method: str, path: str, body: bytes) -> tuple[int, bytes]:
            status, said = await answer(method, path, body)
            return (502, b"") if path.endswith("/report") else (status, said)

        real.reporter._post = keep_back
        for _ in range(30 * 4):
            fleet.clock.advance(6 * HOUR)
            await fleet.clock.elapse(120)
            assert await knock(real) == 200
    assert 5 <= real.posted.count("GET /cell/v1/keys") <= 15


async def test_a_cell_cut_off_for_ten_days_refuses_verbs_and_recovers_when_it_is_back(
    fleet: World, real: RealCell
) -> None:
    async with real.running() as cell:
        await real.disconnect()
        fleet.clock.advance(10 * DAY)
        await cell.settle()
        real.away = False
        assert await knock(real) == 401
        assert real.records("unauthenticated")[-1]["rule"] == "keys-expired"
        await real.connect()
        await real.reported()
        assert await knock(real) == 200


async def test_a_cell_that_was_stopped_for_ten_days_recovers_at_its_start(
    fleet: World, real: RealCell
) -> None:
    async with real.running():
        pass
    fleet.clock.advance(10 * DAY)
    async with real.running():
        assert await knock(real) == 200


async def test_a_control_plane_that_was_down_for_a_month_issues_a_higher_version_at_once(
    fleet: World,
) -> None:
    before = fleet.keys.key_set(fleet.clock.now())
    fleet.clock.advance(30 * DAY)
    again = ControlPlaneKeys.load(fleet.folder / "controlplane").key_set(fleet.clock.now())
    assert again.version > before.version
    assert again.expires_at - fleet.clock.now() == KEY_SET_LIFE
