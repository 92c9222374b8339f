"""Whose lock is cleared and whose is respected."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from byoc.bootstrap.engine import locks
from byoc.errors import PreconditionFailed

PREFIX = ".pulumi/locks/organization/byoc/prod/"
HERE = "this-laptop"


class Memory:
    """Objects in a dict."""

    def __init__(self, **held: object) -> None:
        self.held = {f"{PREFIX}{name}.json": json.dumps(facts).encode() for name, facts in held.items()}

    def keys(self, prefix: str) -> Sequence[str]:
        return [key for key in self.held if key.startswith(prefix)]

    def read(self, key: str) -> bytes | None:
        return self.held.get(key)

    def write(self, key: str, data: bytes) -> None:
        self.held[key] = data

    def delete(self, key: str) -> None:
        self.held.pop(key, None)


def facts(pid: object = 7, hostname: str = HERE) -> dict[str, object]:
    return {"pid": pid, "username": "ann", "hostname": hostname, "timestamp": "2026-11-24T10:00:00Z"}


def clear(objects: Memory, *alive: int) -> list[locks.Lock]:
    return locks.clear(objects, "byoc", "prod", hostname=HERE, alive=lambda pid: pid in alive)


def test_a_dead_process_of_this_machine_is_unlocked() -> None:
    objects = Memory(one=facts(7))
    assert [lock.pid for lock in clear(objects)] == [7]
    assert objects.held == {}


@pytest.mark.parametrize(
    ("held", "named"),
    [
        (facts(7), "ann@this-laptop (process 7) since 2026-11-24T10:00:00Z"),
        (facts(9, "elsewhere"), "ann@elsewhere (process 9) since 2026-11-24T10:00:00Z"),
        (facts(0), "ann@this-laptop (process 0)"),
        (facts("7"), "ann@this-laptop (process 0)"),
        ({}, "unknown@unknown (process 0) since an unknown time"),
        (["no", "lock"], "unknown@unknown"),
    ],
)
def test_what_may_live_is_refused_with_a_name_and_a_time(held: object, named: str) -> None:
    objects = Memory(one=held)
    with pytest.raises(PreconditionFailed) as refusal:
        clear(objects, 7)
    assert f"prod is locked by {named}" in refusal.value.message
    assert len(objects.held) == 1


def test_a_living_lock_beside_a_dead_one_keeps_both() -> None:
    objects = Memory(dead=facts(8), living=facts(7))
    with pytest.raises(PreconditionFailed, match="process 7"):
        clear(objects, 7)
    assert len(objects.held) == 2


def test_locks_of_other_stacks_and_files_beside_a_lock_are_none_of_ours() -> None:
    objects = Memory()
    objects.held[".pulumi/locks/organization/byoc/production/one.json"] = b"{}"
    objects.held[f"{PREFIX}one.json.attrs"] = b"{}"
    assert clear(objects) == []
    assert len(objects.held) == 2


def test_a_torn_lock_is_somebodys() -> None:
    objects = Memory()
    objects.held[f"{PREFIX}one.json"] = b'{"pid": 7, "user'
    with pytest.raises(PreconditionFailed):
        clear(objects)


def test_a_number_that_a_shell_got_after_a_reboot_is_no_engine(tmp_path: Path) -> None:
    mine = tmp_path / str(os.getpid())
    mine.mkdir()
    (mine / "comm").write_text("bash\n")
    assert not locks.engine_runs(os.getpid(), tmp_path)
    (mine / "comm").write_text("pulumi\n")
    assert locks.engine_runs(os.getpid(), tmp_path)
    assert locks.engine_runs(os.getpid(), tmp_path / "no such folder"), (
        "where no names are told, a number counts"
    )
    assert not locks.engine_runs(2**22 - 1, tmp_path)
