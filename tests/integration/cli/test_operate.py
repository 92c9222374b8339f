"""The entry points of the processes that production runs, as processes."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from byoc.controlplane.fleet.start import init
from byoc.testing.instance import free_port

BYOC = [sys.executable, "-m", "byoc"]


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BYOC, *words], capture_output=True, text=True, check=False)


@dataclass
class Started:
    """A process with a lifeline, which has said that it is ready."""

    process: subprocess.Popen[bytes]
    lifeline: int
    facts: dict[str, Any]

    def end(self) -> int:
        return self.process.wait(timeout=30)


def _start(*words: str) -> Started:
    lifeline, held = os.pipe()
    reading, ready = os.pipe()
    process = subprocess.Popen(
        [*BYOC, *words, "--lifeline", str(lifeline), "--ready-fd", str(ready)],
        pass_fds=(lifeline, ready),
        stderr=subprocess.DEVNULL,
    )
    os.close(lifeline)
    os.close(ready)
    with os.fdopen(reading) as stream:
        return Started(process, held, json.loads(stream.readline() or "null"))


def test_keys_are_replaced_by_commands(data: Path) -> None:
    folder = data / "controlplane" / "keys"
    where = ("--data", str(data), "-o", "json")

    def rotate(*words: str) -> tuple[int, Any]:
        done = _run("controlplane", "rotate-key", *words, *where)
        return done.returncode, json.loads(done.stdout or done.stderr)

    code, published = rotate("signing")
    assert (code, set(published)) == (0, {"key", "usedFrom"})
    assert len(list(folder.glob("signing-*.json"))) == 2
    code, refused = rotate("signing")
    assert (code, refused["error"]["code"]) == (5, "illegal_state")
    code, now = rotate("signing", "--at-once")
    assert code == 0
    assert [path.name for path in folder.glob("signing-*.json")] == [f"signing-{now['key']}.json"]
    before = (folder / "root.json").read_bytes()
    assert rotate("key-set")[0] == rotate("root")[0] == 0
    assert (folder / "root.json").read_bytes() != before
    assert rotate("root", "--at-once")[0] == rotate("key-set", "--kms", "x")[0] == 2
    assert _run("controlplane", "rotate-key", "signing", "--data", str(data / "elsewhere")).returncode != 0


@pytest.fixture
def data(short_path: Path) -> Path:
    """A folder with a control plane that was made, and a cell that knows its gateway."""
    init(short_path)
    (short_path / "cell").mkdir()
    gateway = {"gateway": f"wss://127.0.0.1:{free_port()}/nimbus/v1"}
    (short_path / "cell" / "config.json").write_text(json.dumps(gateway))
    return short_path


@pytest.fixture(params=["controlplane", "agent"])
def started(request: pytest.FixtureRequest, data: Path) -> Iterator[Started]:
    words = {
        "controlplane": ("controlplane", "serve", "--data", str(data), "--port", "0"),
        "agent": ("agent", "run", "--data", str(data)),
    }[request.param]
    running = _start(*words)
    yield running
    running.process.kill()
    running.process.wait()


def test_init_keeps_the_owners_key_to_its_owner_and_may_be_run_again(data: Path) -> None:
    token_file = data / "controlplane" / "owner.token"
    token = token_file.read_text()
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    again = _run("controlplane", "init", "--data", str(data), "-o", "json")
    assert json.loads(again.stdout) == {"data": str(data), "tokenFile": str(token_file)}
    assert token_file.read_text() == token
    assert token.strip() not in again.stdout + again.stderr


def test_init_without_the_owners_file_says_that_the_key_before_still_works(data: Path) -> None:
    token_file = data / "controlplane" / "owner.token"
    token = token_file.read_text()
    token_file.unlink()
    again = _run("controlplane", "init", "--data", str(data))
    assert again.returncode == 0
    assert token_file.read_text() != token
    assert "earlier keys still work; --new-owner-key ends them" in again.stderr
    ended = _run("controlplane", "init", "--data", str(data), "--new-owner-key")
    assert ended.returncode == 0
    assert "still work" not in ended.stderr


def test_migrate_says_which_schema_it_came_to(data: Path) -> None:
    done = _run("controlplane", "migrate", "--data", str(data), "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"]
    assert _run("controlplane", "migrate", "--data", str(data / "nowhere")).returncode == 4


def test_a_process_says_once_that_it_serves(started: Started) -> None:
    assert started.facts
    assert started.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_cleanly(started: Started, number: signal.Signals) -> None:
    started.process.send_signal(number)
    assert started.end() == 0


def test_a_process_does_not_outlive_its_supervisor(started: Started) -> None:
    os.close(started.lifeline)
    assert started.end() == 0


@pytest.mark.parametrize(
    "words",
    [("agent", "run"), ("gateway", "serve", "--port", "0"), ("controlplane", "serve", "--port", "0")],
)
def test_a_folder_that_holds_nothing_is_a_missing_precondition(words: Any, short_path: Path) -> None:
    ended = _run(*words, "--data", str(short_path / "nothing"))
    assert ended.returncode == 9
    assert ended.stderr.splitlines()[0].startswith("error: ")
    assert "Traceback" not in ended.stderr


def test_a_level_of_the_log_that_does_not_exist_is_a_usage_error(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYOC_LOG_LEVEL", "loud")
    ended = _run("agent", "run", "--data", str(data))
    assert ended.returncode == 2
    assert "BYOC_LOG_LEVEL" in ended.stderr
