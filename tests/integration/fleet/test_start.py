"""`controlplane init`, again and again: after crashes, on restored folders, with files missing."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from byoc import durable
from byoc.controlplane.fleet.service import hash_key
from byoc.controlplane.fleet.start import DATABASE, OWNER_TOKEN, Owner, make
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.errors import PreconditionFailed, Unwritable
from byoc.ids import new_id
from byoc.store.sqlite import open_store
from byoc.testing import ManualClock
from tests.integration.fleet.world import World

OWNER = Owner("ann@example.com", "Acme")


async def init(data: Path, clock: ManualClock, *, renew: bool = False) -> str:
    token = await make(data, OWNER, clock, new_id, renew=renew)
    file = data / "controlplane" / OWNER_TOKEN
    assert file.read_text().strip() == token
    assert (file.stat().st_mode & 0o777) == 0o600
    return token


async def works(data: Path, clock: ManualClock, token: str) -> bool:
    store = open_store(data / "controlplane" / DATABASE)
    found = await store.read(lambda tx: tx.identities.principal(hash_key(token), clock.now()))
    organizations = await store.read(lambda tx: tx.identities.organizations())
    await store.close()
    assert len(organizations) == 1
    return found is not None and found.email == OWNER.email


async def test_init_again_changes_nothing(tmp_path: Path, clock: ManualClock) -> None:
    token = await init(tmp_path, clock)
    assert await init(tmp_path, clock) == token
    assert await works(tmp_path, clock, token)


async def test_a_backup_without_the_owners_file_locks_nobody_out(tmp_path: Path, clock: ManualClock) -> None:
    token = await init(tmp_path, clock)
    (tmp_path / "controlplane" / OWNER_TOKEN).unlink()
    another = await init(tmp_path, clock)
    assert another != token
    assert await works(tmp_path, clock, another)
    assert await works(tmp_path, clock, token), "nobody asked for the earlier key to end"


async def test_a_database_older_than_the_owners_file_takes_the_key_that_is_in_use(
    tmp_path: Path, clock: ManualClock
) -> None:
    first = await init(tmp_path, clock)
    folder = tmp_path / "controlplane"
    shutil.copytree(folder, tmp_path / "kept")
    second = await init(tmp_path, clock, renew=True)
    for file in folder.glob(f"{DATABASE}*"):
        file.unlink()
    for file in (tmp_path / "kept").glob(f"{DATABASE}*"):
        shutil.copy2(file, folder)
    assert await init(tmp_path, clock) == second
    assert await works(tmp_path, clock, second)
    assert await works(tmp_path, clock, first)


async def test_a_new_key_that_was_asked_for_ends_the_ones_before(tmp_path: Path, clock: ManualClock) -> None:
    token = await init(tmp_path, clock)
    another = await init(tmp_path, clock, renew=True)
    assert await works(tmp_path, clock, another)
    assert not await works(tmp_path, clock, token)


async def test_a_key_that_was_ended_is_not_brought_back_by_its_file(
    tmp_path: Path, clock: ManualClock
) -> None:
    token = await init(tmp_path, clock)
    await init(tmp_path, clock, renew=True)
    (tmp_path / "controlplane" / OWNER_TOKEN).write_text(token + "\n")
    third = await init(tmp_path, clock)
    assert third != token
    assert await works(tmp_path, clock, third)
    assert not await works(tmp_path, clock, token)


@pytest.mark.parametrize("text", ["", "guess", "é" * 64, "A" * 64, "0" * 63])
async def test_a_file_that_holds_no_key_of_ours_gives_nobody_one(
    tmp_path: Path, clock: ManualClock, text: str
) -> None:
    await init(tmp_path, clock)
    (tmp_path / "controlplane" / OWNER_TOKEN).write_text(text)
    token = await init(tmp_path, clock)
    assert token != text
    assert await works(tmp_path, clock, token)
    assert not await works(tmp_path, clock, text)


@pytest.mark.parametrize("renew", [False, True])
async def test_a_crash_between_file_and_database_leaves_a_key_that_the_next_run_makes_good(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, renew: bool
) -> None:
    before = await init(tmp_path, clock) if renew else ""

    def full(*_: object) -> None:
        raise Unwritable("no space")

    monkeypatch.setattr("byoc.store.identities.Identities.add_key", full)
    with pytest.raises(Unwritable):
        await init(tmp_path, clock, renew=renew)
    monkeypatch.undo()
    written = (tmp_path / "controlplane" / OWNER_TOKEN).read_text().strip()
    assert await init(tmp_path, clock) == written
    assert await works(tmp_path, clock, written)
    assert not before or await works(tmp_path, clock, before)


async def test_a_crash_before_the_file_leaves_nothing(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = durable.write_file

    def full(path: Path, *given: object) -> None:
        if path.name == OWNER_TOKEN:
            raise Unwritable("no space")
        write(path, *given)  # type: ignore[arg-type]

    monkeypatch.setattr("byoc.durable.write_file", full)
    with pytest.raises(Unwritable):
        await init(tmp_path, clock)
    monkeypatch.undo()
    assert await works(tmp_path, clock, await init(tmp_path, clock))


def lose_root(folder: Path) -> None:
    ControlPlaneKeys.root_file(folder).unlink()


def lose_keys(folder: Path) -> None:
    shutil.rmtree(folder / "keys")


@pytest.mark.parametrize("lose", [lose_root, lose_keys])
async def test_a_root_that_cells_trust_is_never_replaced_by_another(
    fleet: World, lose: Callable[[Path], None]
) -> None:
    lose(fleet.folder / "controlplane")
    with pytest.raises(PreconditionFailed, match=r"root\.json"):
        await init(fleet.folder, fleet.clock)
    assert not ControlPlaneKeys.root_file(fleet.folder / "controlplane").exists()


async def test_a_lost_root_that_no_cell_trusts_yet_is_made_again(tmp_path: Path, clock: ManualClock) -> None:
    token = await init(tmp_path, clock)
    await asyncio.to_thread(lose_root, tmp_path / "controlplane")
    (tmp_path / "controlplane" / "keys" / "keyset.json").unlink()
    assert await init(tmp_path, clock) == token
