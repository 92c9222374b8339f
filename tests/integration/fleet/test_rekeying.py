"""A cell's own keys are replaced while everything runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from byoc.controlplane.fleet.believing import PREVIOUS_LIFE
from byoc.controlplane.fleet.courier import Parcel
from byoc.dataplane.files import FileStorage
from byoc.dataplane.keys import CellKeys
from byoc.errors import CellAway, RefusedByCell, Unreachable
from byoc.model.verbs import Verb
from byoc.nimbus.http import HttpRequest, HttpResponse
from tests.integration.fleet.realcell import RealCell
from tests.integration.fleet.world import CHALLENGE, GATEWAY, World


@asynccontextmanager
async def connected(fleet: World, folder: Path) -> AsyncIterator[RealCell]:
    real = RealCell(fleet, folder)
    await real.enrol()
    async with real.running():
        yield real


def thumbprint(real: RealCell) -> str:
    return CellKeys.load_or_create(FileStorage(real.folder)).thumbprint


async def log_in_with(fleet: World, real: RealCell, keys: CellKeys) -> int:
    """Try a login that is signed with ``keys``, and end it again."""
    token = keys.login(
        cell=real.id, challenge=CHALLENGE, audience=GATEWAY, now=fleet.clock.now(), jti="a-login"
    )
    was, real.login = real.login, lambda *_: token  # type: ignore[method-assign]
    try:
        status, _ = await fleet.log_in(real)  # type: ignore[arg-type]
    finally:
        real.login = was  # type: ignore[method-assign]
    return status


async def test_a_cell_changes_its_keys_and_no_request_is_dropped(fleet: World, tmp_path: Path) -> None:
    async with connected(fleet, tmp_path / "cell") as real:
        before = thumbprint(real)
        new = await fleet.fleet.rotate_keys(fleet.by, real.id)
        assert (thumbprint(real), new != before) == (new, True)
        await real.reported()
        record = await fleet.fleet.cell(fleet.by, real.id)
        assert record.signing_key != record.change.previous_signing
        assert await fleet.fleet.rotate_keys(fleet.by, real.id) != new
        await real.reported()
        changed = [one for one in real.records("keys") if one["which"] == "cell"]
        assert (changed[0]["before"], changed[0]["now"]) == (before, new)
        assert [kind for kind in await real.told() if kind.startswith("keys")] == [
            "keys-prepared",
            "keys-changed",
        ] * 2


async def test_an_answer_that_was_under_way_while_the_keys_changed_is_believed(
    fleet: World, tmp_path: Path
) -> None:
    """Asked when the next keys were not known yet, answered when they are in use."""
    async with connected(fleet, tmp_path / "cell") as real:
        record = await fleet.fleet.cell(fleet.by, real.id)
        await fleet.fleet.rotate_keys(fleet.by, real.id)
        courier = fleet.fleet._courier
        answer = await courier.send(record, Parcel("GET", "/cell/v1/status", "ann", verbs=(Verb.CELL_READ,)))
        assert answer.status == 200
        assert fleet.plane.counters.forged_answers == 0


async def test_the_key_before_is_believed_for_an_hour_and_no_longer(fleet: World, tmp_path: Path) -> None:
    async with connected(fleet, tmp_path / "cell") as real:
        kept = real.copy("keys.json", "thumbprint")
        old = CellKeys.load_or_create(FileStorage(kept))
        await fleet.fleet.rotate_keys(fleet.by, real.id)
        assert await log_in_with(fleet, real, old) == 200
        fleet.clock.advance(PREVIOUS_LIFE.total_seconds())
        assert await log_in_with(fleet, real, old) == 401
        new = CellKeys.load_or_create(FileStorage(real.folder))
        assert await log_in_with(fleet, real, new) == 200


class Cut:
    """A way to a cell that breaks at one request: before it, or after the cell has answered."""

    def __init__(self, real: RealCell, path: str, *, after: bool) -> None:
        self._request = real.request
        self.path = path
        self.after = after
        self.cuts = 0

    async def __call__(self, asked: HttpRequest) -> HttpResponse:
        if asked.target.endswith(self.path) and not self.cuts:
            self.cuts += 1
            if self.after:
                await self._request(asked)
            raise Unreachable("cut")
        return await self._request(asked)


@pytest.mark.parametrize("after", [False, True], ids=["before the cell heard it", "before its answer came"])
@pytest.mark.parametrize("path", ["/keys/prepare", "/keys/take-over"])
async def test_a_cell_that_is_killed_at_any_step_connects_and_the_change_can_be_repeated(
    fleet: World, tmp_path: Path, path: str, *, after: bool
) -> None:
    real = RealCell(fleet, tmp_path / "cell")
    await real.enrol()
    async with real.running():
        real.request = Cut(real, path, after=after)  # type: ignore[method-assign]
        with pytest.raises(Unreachable, match="did not answer"):
            await fleet.fleet.rotate_keys(fleet.by, real.id)
        # What it reports from now on is believed, whichever key it signs with.
        await real.reported()
    async with real.running():
        await real.reported()
        new = await fleet.fleet.rotate_keys(fleet.by, real.id)
        assert thumbprint(real) == new
        await real.reported()


async def test_keys_that_a_gateway_puts_in_the_cells_place_are_not_believed(
    fleet: World, tmp_path: Path
) -> None:
    async with connected(fleet, tmp_path / "cell") as real:
        stranger = CellKeys.load_or_create(FileStorage(tmp_path / "stranger")).enrolment("")
        ask = real.request

        async def forged(asked: HttpRequest) -> HttpResponse:
            answer = await ask(asked)
            if not asked.target.endswith("/keys/prepare"):
                return answer
            body: Any = (
                f'{{"signingKey": {stranger.signing_key}, "sealingKey": {stranger.sealing_key},'
                f' "certificate": "{stranger.certificate}"}}'
            ).replace("'", '"')
            return replace(answer, body=body.encode())

        real.request = forged  # type: ignore[method-assign]
        with pytest.raises(Unreachable, match="not signed"):
            await fleet.fleet.rotate_keys(fleet.by, real.id)
        assert (await fleet.fleet.cell(fleet.by, real.id)).change.next_signing is None


async def test_a_policy_may_keep_a_cells_keys_as_they_are(fleet: World, tmp_path: Path) -> None:
    async with connected(fleet, tmp_path / "cell") as real:
        before = thumbprint(real)
        (real.folder / "policy.toml").write_text('deny = ["cell.rekey"]')
        with pytest.raises(RefusedByCell, match="policy-deny"):
            await fleet.fleet.rotate_keys(fleet.by, real.id)
        assert thumbprint(real) == before


async def test_a_cell_that_is_away_keeps_its_keys(fleet: World, tmp_path: Path) -> None:
    async with connected(fleet, tmp_path / "cell") as real:
        await real.disconnect()
        with pytest.raises(CellAway):
            await fleet.fleet.rotate_keys(fleet.by, real.id)
