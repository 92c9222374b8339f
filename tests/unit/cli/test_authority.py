"""Whom the command line takes for a cell's engine: what it saw first, and whom that vouches for."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from byoc.wire.certificates import Certificate, fingerprint, make_authority, make_voucher
from tests.unit.cli.conftest import PROD, Byoc, Plane, cell, workspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AWAY = "svc-orders.example.test:3306"


@pytest.fixture(scope="module")
def made() -> list[Certificate]:
    """Three authorities; the second is the successor of the first."""
    return [make_authority(name=f"cell {number}", now=NOW) for number in range(3)]


def tell(plane: Plane, *authorities: Certificate, vouched: Sequence[bytes] = ()) -> None:
    words = [*vouched, *[b""] * len(authorities)]
    told = [
        {"certificate": each.certificate.decode(), "voucher": word.decode()}
        for each, word in zip(authorities, words, strict=False)
    ]
    facts: dict[str, Any] = {"engine": "MariaDB", "engineVersion": "10.11", "authorities": told}
    plane.cells[:] = [cell(facts=facts)]


def show(byoc: Byoc) -> list[tuple[str, str]]:
    found = byoc("cell", "ca", "prod", "-o", "json").json
    return [(each["standing"], each["fingerprint"]) for each in found]


def prints(*each: Certificate) -> list[str]:
    return [fingerprint(one.certificate) for one in each]


def remembered(environment: dict[str, str]) -> Path:
    return Path(environment["HOME"]) / f".config/byoc/authorities/{PROD}.pem"


def test_what_is_seen_first_is_remembered_when_it_is_used(
    byoc: Byoc, plane: Plane, made: list[Certificate], environment: dict[str, str], tmp_path: Path
) -> None:
    tell(plane, made[0])
    assert show(byoc) == [("seen first", prints(made[0])[0])]
    assert not remembered(environment).exists()
    saved = byoc("cell", "ca", "prod", "--save", str(tmp_path / "ca.pem"))
    assert saved.code == 0
    assert prints(made[0])[0] in saved.err
    assert (tmp_path / "ca.pem").read_bytes() == made[0].certificate
    assert show(byoc) == [("known here", prints(made[0])[0])]
    assert byoc("cell", "ca", "prod", "--save", "-").out.encode() == made[0].certificate


def test_a_successor_that_is_vouched_for_is_said_and_trusted(
    byoc: Byoc, plane: Plane, made: list[Certificate]
) -> None:
    tell(plane, made[0])
    byoc("cell", "ca", "prod", "--save", "-")
    word = make_voucher(made[0], made[1].certificate, NOW)
    tell(plane, made[1], made[0], vouched=[word])
    learnt = byoc("cell", "ca", "prod", "--save", "-")
    assert f"{prints(made[1])[0]} (vouched for)" in learnt.err
    assert learnt.out.encode() == made[1].certificate + made[0].certificate
    # Then the old one is no more told of.
    tell(plane, made[1], vouched=[word])
    assert show(byoc) == [("known here", prints(made[1])[0])]


def test_another_authority_is_shown_and_never_trusted_by_itself(
    byoc: Byoc, plane: Plane, made: list[Certificate], environment: dict[str, str]
) -> None:
    tell(plane, made[0])
    byoc("cell", "ca", "prod", "--save", "-")
    word = make_voucher(made[1], made[2].certificate, NOW)
    tell(plane, made[2], vouched=[word])
    refused = byoc("cell", "ca", "prod", "--save", "-")
    assert (refused.code, refused.out) == (5, "")
    assert "--accept" in refused.err
    assert prints(made[2])[0] in refused.err
    assert remembered(environment).read_bytes() == made[0].certificate
    # A stranger beside a known one changes nothing either.
    tell(plane, made[2], made[0])
    assert byoc("cell", "ca", "prod", "--save", "-").out.encode() == made[0].certificate
    tell(plane, made[2])
    assert byoc("cell", "ca", "prod", "--accept").code == 0
    assert remembered(environment).read_bytes() == made[2].certificate


def test_connect_verifies_off_this_machine_and_refuses_before_it_dials(
    byoc: Byoc, plane: Plane, made: list[Certificate], environment: dict[str, str], tmp_path: Path
) -> None:
    environment["BYOC_SQL_PASSWORD"] = "p"
    plane.workspaces[:] = [workspace(endpoint=AWAY)]
    untold = byoc("workspace", "connect", "orders", "--exec", "select 1")
    assert untold.code == 9
    assert "has told no authority" in untold.err
    tell(plane, made[0])
    byoc("cell", "ca", "prod", "--save", "-")
    tell(plane, made[2])
    refused = byoc("workspace", "connect", "orders", "--exec", "select 1")
    assert refused.code == 5
    assert "another authority" in refused.err
    missing = byoc("workspace", "connect", "orders", "--exec", "select 1", "--ca", str(tmp_path / "none"))
    assert missing.code == 2


def test_what_is_no_certificate_is_said(byoc: Byoc, plane: Plane, environment: dict[str, str]) -> None:
    damaged = Certificate(b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"x"), b"")
    tell(plane, damaged)
    assert byoc("cell", "ca", "prod").code == 9
    remembered(environment).parent.mkdir(parents=True)
    remembered(environment).write_bytes(b"\xff")
    tell(plane, make_authority(name="one", now=NOW))
    assert byoc("cell", "ca", "prod").code == 9
