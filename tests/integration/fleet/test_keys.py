"""The Control Plane's keys on disk: made once, renewed in time, never going back."""

from datetime import timedelta
from pathlib import Path

import pytest

from byoc.controlplane.keys import ControlPlaneKeys
from byoc.errors import PreconditionFailed
from byoc.testing import ManualClock
from byoc.wire.keysets import open_key_set


def test_keys_are_made_once_and_only_their_owner_reads_them(tmp_path: Path, clock: ManualClock) -> None:
    made = ControlPlaneKeys.make(tmp_path, clock.now())
    again = ControlPlaneKeys.make(tmp_path, clock.now())
    assert (made.root, made.signing.kid) == (again.root, again.signing.kid)
    assert made.key_set(clock.now()).text == again.key_set(clock.now()).text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_the_key_set_hangs_from_the_root_and_holds_the_signing_key(
    tmp_path: Path, clock: ManualClock
) -> None:
    keys = ControlPlaneKeys.make(tmp_path, clock.now())
    text = keys.key_set(clock.now()).text
    opened = open_key_set(text, root=keys.root, now=clock.now(), minimum_version=0)
    assert opened.keys == keys.trusted


def test_a_key_set_that_is_a_day_old_is_issued_anew_with_a_higher_version(
    tmp_path: Path, clock: ManualClock
) -> None:
    keys = ControlPlaneKeys.make(tmp_path, clock.now())
    first = keys.key_set(clock.now())
    clock.advance(timedelta(hours=23).total_seconds())
    assert keys.key_set(clock.now()) is first
    clock.advance(timedelta(hours=2).total_seconds())
    second = keys.key_set(clock.now())
    assert second.version > first.version
    assert ControlPlaneKeys.load(tmp_path).key_set(clock.now()).text == second.text


def test_the_version_rises_also_where_an_old_copy_was_restored(tmp_path: Path, clock: ManualClock) -> None:
    keys = ControlPlaneKeys.make(tmp_path, clock.now())
    old = (tmp_path / "keyset.jws").read_bytes()
    clock.advance(timedelta(days=3).total_seconds())
    newest = keys.key_set(clock.now()).version
    for damage in (old, b"nonsense", None):
        clock.advance(timedelta(days=2).total_seconds())
        if damage is None:
            (tmp_path / "keyset.jws").unlink()
        else:
            (tmp_path / "keyset.jws").write_bytes(damage)
        version = ControlPlaneKeys.load(tmp_path).key_set(clock.now()).version
        assert version > newest
        newest = version


def test_the_certificate_is_renewed_before_its_year_is_over(tmp_path: Path, clock: ManualClock) -> None:
    keys = ControlPlaneKeys.make(tmp_path, clock.now())
    for _ in range(14):
        clock.advance(timedelta(days=30).total_seconds())
        text = keys.key_set(clock.now()).text
        open_key_set(text, root=keys.root, now=clock.now(), minimum_version=0)
    reloaded = ControlPlaneKeys.load(tmp_path)
    clock.advance(timedelta(days=2).total_seconds())
    text = reloaded.key_set(clock.now()).text
    assert open_key_set(text, root=keys.root, now=clock.now(), minimum_version=0).keys == keys.trusted


@pytest.mark.parametrize("name", ["root.json", "keyset.json", "signing"])
def test_a_damaged_key_is_named(tmp_path: Path, clock: ManualClock, name: str) -> None:
    ControlPlaneKeys.make(tmp_path, clock.now())
    (file,) = (tmp_path / "keys").glob(f"{name}*")
    for damage in ("", "[]", "{}", '{"kty": "OKP"}'):
        file.write_text(damage)
        with pytest.raises(PreconditionFailed, match=file.name):
            ControlPlaneKeys.load(tmp_path)


def test_a_folder_without_keys_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        ControlPlaneKeys.load(tmp_path)
    assert "controlplane init" in refused.value.hint
