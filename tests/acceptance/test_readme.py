"""The README's session, extracted and run as written."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.testing.instance import Instance

ROOT = Path(__file__).parents[2]


def session() -> list[str]:
    text = (ROOT / "README.md").read_text()
    block = re.search(r"<!-- session:.*?-->\n```console\n(.*?)```", text, re.DOTALL)
    assert block is not None, "the README has lost its session"
    return [line.removeprefix("$ ") for line in block.group(1).splitlines() if line.startswith("$ ")]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A user's environment of its own, with `byoc` on the PATH, and an instance running."""
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"],
        "XDG_STATE_HOME": str(tmp_path / ".local" / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / ".config"),
        "XDG_DATA_HOME": str(tmp_path / ".local" / "share"),
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    instance = Instance(tmp_path / "data", environment=environment)
    with instance:
        yield environment


def run(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shlex.split(command), env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_session_of_the_readme_works_as_written(home: dict[str, str]) -> None:
    printed = {}
    for command in session():
        done = run(command, home)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        printed[command] = done.stdout
    (selected,) = [text for command, text in printed.items() if "select * from shop.t" in command]
    assert "1" in selected.split(), "the row survived suspend and resume"
    (shown,) = [text for command, text in printed.items() if " show " in command]
    assert "S-0" in shown
    assert "ACTIVE" in shown


def test_the_session_goes_through_the_whole_life_of_a_workspace() -> None:
    commands = " ".join(session())
    for verb in ("group create", "workspace create", "connect", "suspend", "resume", "ledger verify", "down"):
        assert verb in commands
