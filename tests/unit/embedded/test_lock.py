import os
import subprocess
import sys
from pathlib import Path

import pytest

from byoc.embedded.lock import hold, is_held, is_private
from byoc.embedded.places import Places
from byoc.errors import DataInUse, PreconditionFailed


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    places = Places(tmp_path)
    with hold(places), pytest.raises(DataInUse, match=f"pid {os.getpid()}$") as caught, hold(places):
        pass
    assert "byoc down --data" in caught.value.hint


def test_a_lock_is_free_again_after_its_holder(tmp_path: Path) -> None:
    places = Places(tmp_path)
    with hold(places):
        assert is_held(places)
    assert not is_held(places)
    with hold(places):
        assert is_held(places)


@pytest.mark.parametrize(
    ("owner", "mode", "private"),
    [
        (1000, 0o40755, True),
        (1000, 0o40775, True),
        (0, 0o40755, True),
        (1000, 0o40777, False),
        (1000, 0o41777, False),
        (1001, 0o40755, False),
    ],
)
def test_a_folder_is_private_where_nobody_else_may_write(owner: int, mode: int, *, private: bool) -> None:
    assert is_private(owner, mode, me=1000) is private


@pytest.mark.parametrize("name", ["", "run", "log"])
def test_a_folder_that_somebody_else_laid_out_is_not_taken(tmp_path: Path, name: str) -> None:
    laid_out = tmp_path / name
    laid_out.mkdir(exist_ok=True)
    laid_out.chmod(0o777)
    with pytest.raises(PreconditionFailed, match="anybody may write"), hold(Places(tmp_path)):
        pass
    laid_out.chmod(0o700)
    with hold(Places(tmp_path)):
        pass


def test_a_folder_without_an_instance_is_not_held(tmp_path: Path) -> None:
    assert not is_held(Places(tmp_path / "none"))


def test_a_lock_dies_with_its_process_and_not_with_that_one_s_children(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from byoc.embedded.lock import hold\n"
        "from byoc.embedded.places import Places\n"
        "with hold(Places(Path(sys.argv[1]))):\n"
        "    child = subprocess.Popen(['sleep', '30'], stdout=-3, stderr=-3)\n"
        "    print(child.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, capture_output=True)
    child = int(ended.stdout)
    try:
        assert not is_held(Places(tmp_path))
    finally:
        os.kill(child, 9)
