import os
import threading
from pathlib import Path

import pytest

from byoc import durable
from byoc.errors import Unwritable


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"

    durable.write_file(path, "one, and longer than the next")
    durable.write_file(path, b"two", mode=0o644)

    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


def test_a_lock_is_seen_while_it_is_held_and_by_all_who_look(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    assert not durable.is_locked(path)
    with durable.locked(path):
        assert durable.is_locked(path)
        assert durable.is_locked(path)
    assert not durable.is_locked(path)


def test_a_secret_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        durable.write_file(tmp_path / "a", "x")
        durable.append(tmp_path / "b", b"x")
    finally:
        os.umask(before)

    assert {entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()} == {0o600}


def test_what_a_cut_write_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".a.tmp").write_bytes(b"half of something longer")

    durable.write_file(tmp_path / "a", "x")

    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "x"


def test_content_and_folder_are_synced_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    durable.write_file(tmp_path / "a", "x")
    durable.append(tmp_path / "b", b"x")
    durable.append(tmp_path / "b", b"y")
    durable.remove(tmp_path / "a")

    folder = str(tmp_path)
    appended = [f"{folder}/b", folder, f"{folder}/b"]
    assert synced == [f"{folder}/.a.tmp", folder, *appended, folder]


def test_two_writers_of_one_file_leave_one_of_the_two_contents(tmp_path: Path) -> None:
    contents = [bytes([letter]) * 50_000 for letter in b"ab"]

    def write(content: bytes) -> None:
        for _ in range(20):
            durable.write_file(tmp_path / "a", content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (tmp_path / "a").read_bytes() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_missing_folder_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a"
    for attempt in (
        lambda: durable.write_file(path, "x"),
        lambda: durable.append(path, b"x"),
        lambda: durable.sync_folder(path),
    ):
        with pytest.raises(Unwritable, match="cannot write"):
            attempt()


def test_a_full_disk_leaves_the_old_content() -> None:
    full = Path("/dev/full")
    with pytest.raises(Unwritable, match="No space left"):
        durable.append(full, b"x")


def test_what_was_removed_stays_removed_and_may_be_missing(tmp_path: Path) -> None:
    durable.write_file(tmp_path / "a", "x")

    durable.remove(tmp_path / "a")
    durable.remove(tmp_path / "a")
    durable.remove(tmp_path / "none" / "a")

    assert not list(tmp_path.iterdir())


def test_folders_are_made_with_those_above_them(tmp_path: Path) -> None:
    durable.make_folder(tmp_path / "a" / "b")
    durable.make_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    durable.write_file(tmp_path / "file", "x")
    with pytest.raises(Unwritable):
        durable.make_folder(tmp_path / "file")


def test_a_removal_takes_along_what_a_write_left_that_was_cut_short(tmp_path: Path) -> None:
    durable.write_file(tmp_path / "a", b"old")
    (tmp_path / ".a.tmp").write_bytes(b"half of")
    durable.remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_removal_lets_a_write_that_is_under_way_be(tmp_path: Path) -> None:
    with durable.locked(tmp_path / ".a.tmp"):
        durable.remove(tmp_path / "a")
        assert (tmp_path / ".a.tmp").exists()
