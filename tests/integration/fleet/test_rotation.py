"""Every key of the control plane replaced while it runs, with a cell that never stops answering."""

import asyncio
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from byoc.controlplane import kms as kms_home
from byoc.controlplane import rotation
from byoc.controlplane.keys import LINGER, ControlPlaneKeys, Signing, read_root
from byoc.controlplane.signers import COMMAND
from byoc.errors import IllegalState, PreconditionFailed, Unreachable
from byoc.testing import ManualClock
from byoc.wire.jws import Kind, claimed_key, sign, verify
from byoc.wire.keys import SigningKey
from byoc.wire.keysets import open_key_set
from tests.integration.fleet.realcell import RealCell
from tests.integration.fleet.test_key_life import DAY, HOUR, knock
from tests.integration.fleet.world import World


@pytest.fixture
async def real(fleet: World, tmp_path: Path) -> RealCell:
    made = RealCell(fleet, tmp_path / "real")
    await made.enrol()
    return made


async def pass_days(fleet: World, real: RealCell, days: float) -> None:
    """Let time pass; the cell answers all along, and its reports are taken."""
    for _ in range(int(days * 8)):
        fleet.clock.advance(3 * HOUR)
        assert await knock(real) == 200
        await real.reported()


async def test_a_signing_key_is_published_a_day_before_it_signs_and_no_request_is_dropped(
    fleet: World, real: RealCell
) -> None:
    folder, old = fleet.folder / "controlplane", fleet.keys.signing.kid
    async with real.running():
        assert real.pinned is not None
        await pass_days(fleet, real, 1)
        kid, used_from = rotation.rotate_signing(folder, rotation.made_here(), fleet.clock.now())
        assert used_from - fleet.clock.now() == timedelta(days=1)
        assert await knock(real) == 200
        await real.reported()
        assert set(fleet.keys.key_set(fleet.clock.now()).keys) == {old, kid}
        assert fleet.keys.signing.kid == old
        await pass_days(fleet, real, 0.9)
        assert set(real.pinned.keys) == {old, kid}, "the cell holds it before it signs"
        await pass_days(fleet, real, 1)
        assert fleet.keys.signing.kid == kid
        fleet.clock.advance(LINGER.total_seconds())
        assert set(fleet.keys.key_set(fleet.clock.now()).keys) == {kid}
        await pass_days(fleet, real, 1)
        assert set(real.pinned.keys) == {kid}
        assert rotation.forget_signing(folder, fleet.clock.now()) == [old]
    assert len(list((folder / "keys").glob("signing-*.json"))) == 1
    assert fleet.plane.counters.forged_answers == 0


async def test_a_key_in_wrong_hands_signs_nothing_more_and_cells_follow_with_their_next_report(
    fleet: World, real: RealCell
) -> None:
    folder, old = fleet.folder / "controlplane", fleet.keys.signing
    async with real.running():
        assert real.pinned is not None
        rotation.rotate_signing(folder, rotation.made_here(), fleet.clock.now())
        kid, since = rotation.rotate_signing(folder, rotation.made_here(), fleet.clock.now(), at_once=True)
        assert since == fleet.clock.now()
        assert [path.name for path in (folder / "keys").glob("signing-*.json")] == [f"signing-{kid}.json"]
        await real.reported()
        assert set(real.pinned.keys) == {kid}
        assert await knock(real) == 200
        # What the thief signs, of whatever time, nobody believes any more.
        fleet.keys._in_use = Signing(old)
        assert await knock(real) == 401


async def test_the_key_set_key_is_replaced_and_the_cell_follows(fleet: World, real: RealCell) -> None:
    async with real.running():
        assert real.pinned is not None
        before = claimed_key(Kind.KEY_SET, fleet.keys.key_set(fleet.clock.now()).text)
        kid = rotation.rotate_key_set_key(fleet.folder / "controlplane", fleet.clock.now())
        assert kid != before
        assert claimed_key(Kind.KEY_SET, fleet.keys.key_set(fleet.clock.now()).text) == kid
        await pass_days(fleet, real, 1.5)
        assert real.pinned.version == fleet.keys.key_set(fleet.clock.now()).version


async def test_a_cell_follows_a_new_root_that_the_old_one_signed(fleet: World, real: RealCell) -> None:
    folder, old = fleet.folder / "controlplane", fleet.keys.root
    async with real.running():
        assert real.pinned is not None
        for _ in range(2):
            kid = rotation.rotate_root(folder)
            await pass_days(fleet, real, 1.5)
            assert fleet.keys.root.kid == kid
            assert real.pinned.root.kid == kid
    assert real.pinned.root != old
    text = ControlPlaneKeys.load(folder).key_set(fleet.clock.now()).text
    assert open_key_set(text, root=old, now=fleet.clock.now(), minimum_version=0).root.kid == kid


def test_of_two_roots_put_in_place_at_once_the_second_is_signed_by_the_first(
    tmp_path: Path, clock: ManualClock
) -> None:
    old = ControlPlaneKeys.make(tmp_path, clock.now()).root
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: rotation.rotate_root(tmp_path), range(4)))
    held = read_root(ControlPlaneKeys.root_file(tmp_path))
    assert len(held.links) == 4, "none took another's place unsigned"
    text = ControlPlaneKeys.load(tmp_path).key_set(clock.now()).text
    assert open_key_set(text, root=old, now=clock.now(), minimum_version=0).root.kid == held.key.kid


def test_a_certificate_renewed_beside_a_rotation_does_not_bring_the_old_key_back(
    tmp_path: Path, clock: ManualClock
) -> None:
    running = ControlPlaneKeys.make(tmp_path, clock.now())
    folder = tmp_path / "keys"
    kid = rotation.rotate_key_set_key(tmp_path, clock.now())
    # As where the running process had its look just before: the folder seems unchanged to it.
    running._seen = folder.stat().st_mtime_ns
    clock.advance(360 * DAY)
    assert claimed_key(Kind.KEY_SET, running.key_set(clock.now()).text) == kid


class SlowSigner:
    """Keeps its key elsewhere, and signs when it is told to."""

    def __init__(self) -> None:
        self._key = SigningKey.generate()
        self.public, self.kid = self._key.public, self._key.kid
        self.asked, self.told = threading.Event(), threading.Event()

    def sign(self, data: bytes) -> bytes:
        self.asked.set()
        assert self.told.wait(60)
        return self._key.sign(data)


async def test_while_whoever_keeps_the_key_takes_its_time_everything_else_goes_on(fleet: World) -> None:
    slow = SlowSigner()
    fleet.keys._held = [Signing(slow)]
    fleet.keys._in_use = fleet.keys._held[0]
    wish = fleet.fleet.enrolment_token(fleet.by, fleet.cell.id, fleet.cell.signing.kid)
    waiting = [asyncio.create_task(wish), asyncio.create_task(fleet.report())]
    while not slow.asked.is_set():
        await asyncio.sleep(0.01)
    assert [each.name for each in await fleet.fleet.cells(fleet.by)] == ["local"]
    assert not any(each.done() for each in waiting), "neither was signed by another key"
    slow.told.set()
    granted, (status, _) = await asyncio.gather(*waiting)
    assert verify(Kind.ENROLMENT, granted["token"], {slow.kid: slow.public})
    assert status == 200


def test_a_second_key_waits_for_the_first(tmp_path: Path, clock: ManualClock) -> None:
    ControlPlaneKeys.make(tmp_path, clock.now())
    rotation.rotate_signing(tmp_path, rotation.made_here(), clock.now())
    with pytest.raises(IllegalState, match="published already"):
        rotation.rotate_signing(tmp_path, rotation.made_here(), clock.now())
    clock.advance(DAY)
    rotation.rotate_signing(tmp_path, rotation.made_here(), clock.now())


def test_an_old_key_signs_on_where_the_new_one_was_published_and_the_process_starts_again(
    tmp_path: Path, clock: ManualClock
) -> None:
    before = ControlPlaneKeys.make(tmp_path, clock.now()).signing.kid
    kid, _ = rotation.rotate_signing(tmp_path, rotation.made_here(), clock.now())
    again = ControlPlaneKeys.load(tmp_path)
    assert again.signing.kid == before
    clock.advance(DAY)
    again.key_set(clock.now())
    assert again.signing.kid == kid


# --- keys that are kept elsewhere -------------------------------------------------------------


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        made = boto3.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
        yield str(made["KeyMetadata"]["Arn"])


def test_a_key_in_kms_signs_after_its_day(tmp_path: Path, clock: ManualClock, kms: str) -> None:
    keys = ControlPlaneKeys.make(tmp_path, clock.now())
    kid, _ = rotation.rotate_signing(tmp_path, rotation.kept_in_kms(kms), clock.now())
    clock.advance(DAY)
    trusted = keys.key_set(clock.now()).keys
    assert (keys.signing.kid, trusted[kid].algorithm) == (kid, "ES256")

    for size in (10, 2_000):  # longer ones are hashed here first, which the emulation knows nothing of
        claims = {"said": "x" * size}
        token = sign(Kind.BEHIND, claims, keys.signing)
        assert verify(Kind.BEHIND, token, trusted) == claims
    (file,) = (tmp_path / "keys").glob(f"signing-{kid}.json")
    assert '"d"' not in file.read_text(), "its private half is nowhere here"


def test_a_kms_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    assert kms_home.SECONDS < 10
    monkeypatch.setattr(kms_home, "SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unreachable, match="KMS does not answer"):
            kms_home.sign_with_kms("key", b"data")


def test_a_key_that_kms_does_not_have_changes_nothing(tmp_path: Path, clock: ManualClock, kms: str) -> None:
    ControlPlaneKeys.make(tmp_path, clock.now())
    with pytest.raises(Unreachable, match="KMS refused: NotFoundException"):
        rotation.kept_in_kms(kms[:-4] + "0000")
    other = dict(rotation.kept_in_kms(kms), public=SigningKey.generate().public.jwk())
    with pytest.raises((PreconditionFailed, Unreachable)):
        rotation.rotate_signing(tmp_path, other, clock.now())
    assert len(list((tmp_path / "keys").glob("signing-*.json"))) == 1


TOKEN = """
    import os, sys
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key = serialization.load_pem_private_key(open({key!r}, "rb").read(), None)
    data = sys.stdin.buffer.read()
    assert os.environ["BYOC_SIGNER_KEY"] and len(sys.argv) == 1
    sys.stdout.buffer.write(key.sign(data, ec.ECDSA(hashes.SHA256())))
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A command that signs like a token would; returns the public half."""
    openssl = [
        "openssl",
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-noout",
        "-out",
        str(tmp_path / "k.pem"),
    ]
    subprocess.run(openssl, check=True, capture_output=True)
    program = tmp_path / "pkcs11.py"
    program.write_text(textwrap.dedent(TOKEN).format(key=str(tmp_path / "k.pem")))
    monkeypatch.setenv(COMMAND, f"{sys.executable} {program}")
    read = ["openssl", "ec", "-in", str(tmp_path / "k.pem"), "-pubout"]
    return subprocess.run(read, check=True, capture_output=True).stdout


def test_a_key_behind_a_command_signs(tmp_path: Path, clock: ManualClock, command: bytes) -> None:
    folder = tmp_path / "controlplane"
    keys = ControlPlaneKeys.make(folder, clock.now())
    kid, _ = rotation.rotate_signing(folder, rotation.kept_behind_command(command), clock.now())
    clock.advance(DAY)
    trusted = keys.key_set(clock.now()).keys

    assert keys.signing.kid == kid
    assert verify(Kind.BEHIND, sign(Kind.BEHIND, {"a": 1}, keys.signing), trusted) == {"a": 1}


@pytest.mark.parametrize("broken", ["false", "true", "/nowhere/at/all", "echo no signature"])
def test_a_command_that_does_not_sign_changes_nothing(
    tmp_path: Path, clock: ManualClock, command: bytes, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    folder = tmp_path / "controlplane"
    ControlPlaneKeys.make(folder, clock.now())
    monkeypatch.setenv(COMMAND, broken)
    with pytest.raises(Unreachable):
        rotation.rotate_signing(folder, rotation.kept_behind_command(command), clock.now())
    assert len(list((folder / "keys").glob("signing-*.json"))) == 1


def test_without_the_command_the_key_is_named(
    tmp_path: Path, clock: ManualClock, command: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "controlplane"
    ControlPlaneKeys.make(folder, clock.now())
    rotation.rotate_signing(folder, rotation.kept_behind_command(command), clock.now())
    monkeypatch.delenv(COMMAND)
    with pytest.raises(PreconditionFailed, match=COMMAND):
        ControlPlaneKeys.load(folder)
