"""What somebody with a little too much tries at the cell's door, and what it costs them and us."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from byoc.dataplane.ledger_verify import verify
from byoc.errors import BadToken, CannotUnseal
from byoc.testing import ManualClock
from byoc.wire import jws, tokens
from byoc.wire.canonical import canonical
from byoc.wire.jws import Kind
from byoc.wire.keys import SealingKey, SigningKey, decode_bytes, encode_bytes
from byoc.wire.sealing import seal, unseal
from tests.unit.dataplane.test_guard import CELL, SIGNING, Cell

STOLEN = SigningKey.generate()
"""The cell's own signing key, in the wrong hands."""


@pytest.fixture
def cell(tmp_path: Path, clock: ManualClock) -> Cell:
    return Cell(tmp_path, clock)


def test_a_stolen_cell_key_asks_the_cell_for_nothing(cell: Cell) -> None:
    """It signs answers and reports; the cell takes requests from the control plane's keys alone."""
    assert cell.refused(cell.cp.request(STOLEN)) == "401 unknown-key"
    for kind in (Kind.ANSWER, Kind.REPORT, Kind.CELL_LOGIN, Kind.RECEIPT):
        assert cell.refused(jws.sign(kind, {"aud": CELL}, STOLEN)) == "401 unknown-key"


def test_a_stolen_cell_key_opens_no_password() -> None:
    sealing = SealingKey.generate()
    blob = seal(sealing.public_jwk(), "secret", cell=CELL, group="g", version=1)
    other = SealingKey.generate()
    with pytest.raises(CannotUnseal):
        unseal(other, blob, cell=CELL, group="g", version=1)
    assert unseal(sealing, blob, cell=CELL, group="g", version=1) == "secret"


def test_a_stolen_cell_key_puts_no_sealing_key_of_its_own_in_the_cells_place_without_enrolling() -> None:
    """A sealing key counts only with the signing key that was enrolled, and enrolling needs a token."""
    own, other = SigningKey.generate(), SealingKey.generate()
    certificate = tokens.certify_sealing_key(own, other.public_jwk())
    with pytest.raises(BadToken):
        tokens.check_sealing_certificate(certificate, STOLEN.public, other.public_jwk())


def test_a_flood_of_key_names_costs_one_record_and_no_memory(cell: Cell, clock: ManualClock) -> None:
    payload = cell.cp.request().split(".")[1]
    for number in range(2000):
        header = {"alg": "EdDSA", "typ": Kind.REQUEST.value, "kid": f"kid-{number}"}
        token = f"{encode_bytes(canonical(header))}.{payload}.{'A' * 86}"
        assert cell.refused(token) == "401 unknown-key"

    assert [(one["rule"], one["count"]) for one in cell.records("unauthenticated")] == [("unknown-key", 1)]
    assert set(cell.guard._counts) == {"unknown-key"}
    assert len(cell.guard._replays) == 0
    assert set(cell.pinned.keys) == {SIGNING.kid}, "no name of a key makes the cell ask for keys"
    clock.advance(60)
    cell.guard.flush()
    assert [one["count"] for one in cell.records("unauthenticated")] == [1, 1999]


def test_a_flood_of_lawful_requests_is_recorded_whole_and_then_refused(cell: Cell) -> None:
    """Whoever holds the control plane's key can fill a ledger, at a bounded rate, and every line names it."""
    cell.guard._replays._limit = 50

    async def flood() -> list[object]:
        asked = [
            cell.guard.admit(f"Bearer {cell.cp.request()}", "GET", "/cell/v1/status", b"") for _ in range(60)
        ]
        return await asyncio.gather(*asked, return_exceptions=True)

    results = asyncio.run(flood())

    assert [getattr(one, "rule", "") for one in results].count("too-many-requests") == 10
    assert len(cell.records("received")) == 60
    found = verify(cell.folder / "ledger", {})
    assert (found.ok, found.problem) == (True, "")


def test_the_same_request_sent_twice_at_once_acts_once(cell: Cell) -> None:
    """Both are checked before the first one's record is on disk."""
    token = f"Bearer {cell.cp.request()}"

    async def both() -> list[object]:
        asked = [cell.guard.admit(token, "GET", "/cell/v1/status", b"") for _ in range(2)]
        return await asyncio.gather(*asked, return_exceptions=True)

    results = asyncio.run(both())

    assert [getattr(one, "rule", "let in") for one in results] == ["let in", "replayed"]
    assert len(cell.records("received")) == 1


@pytest.mark.parametrize("algorithm", ["ES256", "HS256", "RS256", "none", "EdDSA "])
def test_no_header_talks_the_cell_into_another_algorithm(cell: Cell, algorithm: str) -> None:
    head, payload, mark = cell.cp.request().split(".")
    header = {"alg": algorithm, "typ": Kind.REQUEST.value, "kid": SIGNING.kid}
    assert encode_bytes(canonical(header)) != head
    assert cell.refused(f"{encode_bytes(canonical(header))}.{payload}.{mark}") == "401 wrong-algorithm"


@pytest.mark.parametrize("claim", ["sub", "jti", "iss"])
def test_a_signed_word_that_nothing_could_write_down_is_refused_at_the_door(cell: Cell, claim: str) -> None:
    head, payload, _ = cell.cp.request().split(".")
    claims = json.loads(decode_bytes(payload)) | {claim: "\ud800"}
    signed = f"{head}.{encode_bytes(json.dumps(claims).encode())}"

    assert cell.refused(f"{signed}.{encode_bytes(SIGNING.sign(signed.encode()))}") == "401 malformed"
    assert cell.read(cell.cp.request())


def test_a_request_captured_at_one_agent_is_refused_by_the_one_that_takes_over(
    cell: Cell, tmp_path: Path, clock: ManualClock
) -> None:
    """The other agent has a chain and a memory of its own: it takes nothing issued before it led."""
    token = cell.cp.request()
    cell.read(token)
    clock.advance(1)
    other = Cell(tmp_path / "other", clock)
    other.cp = replace(cell.cp)

    assert other.refused(token) == "401 replayed"
    assert other.read(other.cp.request())
