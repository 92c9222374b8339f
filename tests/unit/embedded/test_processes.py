import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.embedded import processes
from byoc.embedded.places import Places
from byoc.embedded.processes import Identity

SLEEPER = "import time; print(flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"


@pytest.fixture
def spawned() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def spawn(spawned: list[subprocess.Popen[bytes]], code: str) -> Identity:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    spawned.append(process)
    assert process.stdout is not None
    process.stdout.readline()
    who = processes.identify(process.pid)
    assert who is not None
    return who


def test_this_process_is_alive_and_a_reused_pid_is_not() -> None:
    own = processes.identify(os.getpid())
    assert own is not None
    assert processes.is_alive(own)
    assert not processes.is_alive(Identity(own.pid, own.started - 1))
    assert processes.resident(own) > 1_000_000


def test_a_zombie_is_not_alive(spawned: list[subprocess.Popen[bytes]]) -> None:
    who = spawn(spawned, SLEEPER)
    spawned[0].kill()
    os.waitid(os.P_PID, who.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_alive(who)
    assert processes.resident(who) == 0


def test_a_process_that_obeys_is_not_killed(spawned: list[subprocess.Popen[bytes]]) -> None:
    who = spawn(spawned, SLEEPER)
    assert processes.stop([who], grace=10) == []
    assert not processes.is_alive(who)


def test_a_process_that_does_not_is(spawned: list[subprocess.Popen[bytes]]) -> None:
    who = spawn(spawned, STUBBORN)
    assert processes.stop([who], grace=0.1) == [who]
    assert not processes.is_alive(who)


def test_who_is_gone_already_is_no_error() -> None:
    assert processes.stop([Identity(2**22 - 1, 1.0)], grace=0.1) == []


def test_pids_are_read_as_written(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.run.mkdir()
    members = {"agent": Identity(12, 1700000000.25), "gateway": Identity(13, 1700000001.5)}
    processes.write_pids(places, members)
    assert processes.read_pids(places) == members


@pytest.mark.parametrize("text", ["", "[]", '{"agent": 4}', '{"agent": {"pid": "x", "started": 1}}'])
def test_a_broken_pid_file_names_nobody(tmp_path: Path, text: str) -> None:
    places = Places(tmp_path)
    places.run.mkdir()
    places.pids.write_text(text)
    assert processes.read_pids(places) == {}


def test_an_engine_is_found_by_the_volume_it_was_started_on(
    spawned: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    places = Places(tmp_path)
    lookalike = tmp_path / "mariadbd"
    volume = places.volumes / "w1" / "data"
    lookalike.write_text("#!/bin/sh\necho\nread line\n")
    lookalike.chmod(0o755)
    process = subprocess.Popen(
        [str(lookalike), f"--datadir={volume}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    spawned.append(process)
    assert process.stdout is not None
    process.stdout.readline()
    assert {name: who.pid for name, who in processes.engines(places).items()} == {"w1": process.pid}
    assert processes.engines(Places(tmp_path / "other")) == {}
