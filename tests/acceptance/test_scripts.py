"""`scripts/up` on machines of several kinds: what it picks, what it says when it cannot go on.

The shell functions run for real; programs that a machine may lack are small stand-ins on the PATH.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from byoc.testing.instance import free_port
from tests.acceptance.people import Ran

ROOT = Path(__file__).parents[2]
TOO_OLD = "#!/bin/sh\nexit 1\n"


class Machine:
    """A clone on a machine that has exactly the named programs."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.root = folder / "clone"
        self.bin.mkdir()
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "venv.sh", self.root / "scripts")
        for name in ("sh", "cat", "cksum", "id", "rm", "mkdir"):
            self.has(name, shutil.which(name) or "")

    def has(self, name: str, program: str) -> None:
        """Give the machine a program."""
        (self.bin / name).symlink_to(program)

    def has_script(self, name: str, text: str) -> None:
        """Give the machine a stand-in."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, code: str, **environment: str) -> Ran:
        """Run shell code after the script's functions."""
        ended = subprocess.run(
            [str(self.bin / "sh"), "-euc", f'root={self.root}; . "$root/scripts/venv.sh"; {code}'],
            env={"PATH": str(self.bin), "HOME": str(self.root)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_newest_python_is_picked(machine: Machine) -> None:
    for name in ("python3", "python3.11", "python3.13"):
        machine.has(name, sys.executable)
    assert machine.run("find_python").out.strip().endswith("/python3.13")


def test_a_python_that_is_too_old_is_passed_over(machine: Machine) -> None:
    machine.has_script("python3.14", TOO_OLD)
    machine.has("python3", sys.executable)
    assert machine.run("find_python").out.strip().endswith("/python3")


def test_the_one_that_the_user_names_beats_all(machine: Machine) -> None:
    machine.has("python3.14", sys.executable)
    machine.has("mine", sys.executable)
    assert machine.run("find_python", PYTHON="mine").out.strip().endswith("/mine")


def test_the_one_that_the_user_names_must_do(machine: Machine) -> None:
    machine.has_script("old", TOO_OLD)
    ran = machine.run("find_python", PYTHON="old")
    assert (ran.code, ran.out) == (9, "")
    assert "not Python 3.11 or newer" in ran.err


@pytest.mark.parametrize(
    ("tool", "line"),
    [
        ("apt-get", "sudo apt-get install -y python3 python3-venv"),
        ("dnf", "sudo dnf install -y python3"),
        ("brew", "brew install python3"),
        ("", "install Python 3.11 or newer, or uv, and run this again"),
    ],
)
def test_without_python_the_line_to_run_is_printed(machine: Machine, tool: str, line: str) -> None:
    if tool:
        machine.has_script(tool, "#!/bin/sh\n")
    ran = machine.run("make_venv")
    assert ran.code == 9
    assert ran.out == ""
    assert f"hint: {line}\n" in ran.err


def test_without_python_uv_brings_one(machine: Machine) -> None:
    machine.has_script("uv", '#!/bin/sh\necho "$@" > "$HOME/asked"\n')
    assert machine.run("make_venv").code == 0
    assert (machine.root / "asked").read_text().split()[:3] == ["venv", "--quiet", "--seed"]


def test_without_ensurepip_root_installs_it_and_uv_is_not_needed(machine: Machine) -> None:
    machine.has_script(
        "python3",
        "#!/bin/sh\n"
        """case "$*" in *'import ensurepip'*) exit 1 ;; *print*) echo 3.12 ;; """
        """*venv*) echo "$@" >> "$HOME/did" ;; esac\n""",
    )
    machine.has_script("apt-get", '#!/bin/sh\necho apt "$@" >> "$HOME/did"\n')
    (machine.bin / "id").unlink()
    machine.has_script("id", "#!/bin/sh\necho 0\n")
    ran = machine.run("make_venv")
    assert ran.code == 0, ran.err
    did = (machine.root / "did").read_text()
    assert "install -y --no-install-recommends python3.12-venv" in did
    assert did.splitlines()[-1] == f"-m venv {machine.root}/.venv"


@pytest.fixture
def clone(short_path: Path) -> Path:
    """What a fresh clone holds: files under version control, as they are on disk."""
    folder = short_path / "clone"
    safe = ["git", "-c", f"safe.directory={ROOT}"]
    listed = subprocess.run([*safe, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_a_fresh_clone_starts_with_one_command_and_again_at_once(clone: Path) -> None:
    home = clone.parent
    environment = {
        "HOME": str(home),
        "PATH": "/usr/bin:/bin",
        # Those of this machine: without them some machines reach no package at all.
        "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"],
    }

    def up() -> tuple[Ran, float]:
        began = time.monotonic()
        ended = subprocess.run(
            [str(clone / "scripts/up"), "--detach", "--port", str(port), "-o", "json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr), time.monotonic() - began

    port = free_port()
    byoc = str(clone / ".venv" / "bin" / "byoc")
    try:
        first, _ = up()
        assert first.code == 0, first.err
        assert first.out.count("\n") == 1
        assert first.json["data"] == str(home / ".local/share/byoc")
        assert subprocess.run([byoc, "down"], env=environment, check=False).returncode == 0

        second, seconds = up()
        assert second.code == 0, second.err
        assert second.json["cellID"] == first.json["cellID"]
        assert "installing" not in second.err
        # Four for the start itself, one for the script, the rest for a machine that is busy with tests.
        assert seconds < 10
    finally:
        subprocess.run([byoc, "down"], env=environment, check=False)
