"""Workspaces as real processes: trouble that only a real engine makes."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from byoc import durable, sql
from byoc.clock import SystemClock
from byoc.dataplane.local import engine as engines
from byoc.dataplane.local import process, template
from byoc.dataplane.local.engine import Engine
from byoc.dataplane.local.runtime import LocalRuntime
from byoc.dataplane.local.volume import Run, Volume
from byoc.dataplane.plan import MAX_FAILED_STARTS
from byoc.dataplane.runtime import Action, Limits, Observation, Process, Secrets
from byoc.errors import TooManyRequests
from byoc.ids import WorkspaceID, new_id
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.walking import step, walk

T = TypeVar("T")

AGENT = """
import asyncio, os, sys
from pathlib import Path
from byoc.clock import SystemClock
from byoc.dataplane.local.runtime import LocalRuntime
from byoc.dataplane.runtime import Secrets
from byoc.model.spec import WorkspaceSpec
from byoc.testing.walking import walk

async def main():
    runtime = LocalRuntime(Path(sys.argv[1]), SystemClock(), os.environ)
    spec = WorkspaceSpec(sys.argv[2], "g", 1, "orders", "S-00")
    print("walking", flush=True)
    await walk(runtime, spec, Secrets(1, "password"))
    print("running", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def next_generation(spec: WorkspaceSpec, **changes: Any) -> WorkspaceSpec:
    return replace(spec, generation=spec.generation + 1, **changes)


def pid_of(runtime: LocalRuntime, workspace: WorkspaceID) -> int:
    run = runtime._workspaces[workspace].run
    assert run is not None
    return run.pid


@pytest.mark.parametrize("milliseconds", [0, 5, 15, 30, 60, 90, 130, 200])
async def test_an_agent_killed_at_any_moment_of_a_create_leaves_what_the_next_one_completes(
    runtime: LocalRuntime, cell: Path, spec: WorkspaceSpec, milliseconds: int
) -> None:
    await asyncio.to_thread(walk_and_be_killed, cell, spec.id, milliseconds / 1000)
    steps = await walk(runtime, spec, Secrets(1, "password"))
    assert steps[-1].phase is Phase.RUNNING
    assert len(list_engines(cell)) == 1
    await walk(runtime, next_generation(spec, desired=Desired.TERMINATED), Secrets())
    assert list_engines(cell) == []
    assert list((cell / "volumes").iterdir()) == []


def walk_and_be_killed(cell: Path, workspace: WorkspaceID, seconds: float) -> None:
    command = [sys.executable, "-c", AGENT, str(cell), workspace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"walking\n"
        try:
            agent.wait(seconds)
        except subprocess.TimeoutExpired:
            agent.kill()


def list_engines(cell: Path) -> list[int]:
    return [
        each.pid
        for each in psutil.process_iter(["cmdline", "status"])
        if each.info["status"] != psutil.STATUS_ZOMBIE
        and any(str(cell / "volumes") in word for word in each.info["cmdline"] or ())
    ]


async def test_an_engine_whose_number_was_never_written_down_is_found(
    runtime: LocalRuntime, cell: Path, running: WorkspaceSpec, secrets: Secrets
) -> None:
    pid = pid_of(runtime, running.id)
    volume = Volume(cell / "volumes", running.id)
    run = volume.read_run()
    assert run is not None
    volume.write_run(replace(run, pid=0))
    again = LocalRuntime(cell, SystemClock(), os.environ)
    steps = await walk(again, running, secrets)
    assert [taken.phase for taken in steps] == [Phase.RUNNING]
    assert pid_of(again, running.id) == pid
    await again.close(stop_engines=False)


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


async def test_a_process_that_only_has_the_same_number_is_never_touched(
    runtime: LocalRuntime, cell: Path, spec: WorkspaceSpec, stranger: "subprocess.Popen[bytes]"
) -> None:
    await runtime.act(spec, Action.CREATE_VOLUME, Secrets())
    now = SystemClock().now()
    Volume(cell / "volumes", spec.id).write_run(Run(1, Limits("S-00"), now, 0, stranger.pid, now))
    again = LocalRuntime(cell, SystemClock(), os.environ)
    assert (await again.observe(spec.id)).process is Process.EXITED
    for action in (Action.STOP, Action.REMOVE):
        await again.act(spec, action, Secrets())
    assert await again.observe(spec.id) == Observation()
    assert stranger.poll() is None
    await again.close(stop_engines=True)


async def test_what_a_kill_left_half_made_or_half_removed_is_cleared(cell: Path) -> None:
    for name in (".creating-" + new_id(), ".removing-" + new_id()):
        (cell / "volumes" / name / "data").mkdir(parents=True)
    runtime = LocalRuntime(cell, SystemClock(), os.environ)
    assert await runtime.list() == []
    assert list((cell / "volumes").iterdir()) == []
    await runtime.close(stop_engines=True)


async def test_a_port_that_another_has_is_waited_for_and_kept(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, port: int
) -> None:
    await walk(runtime, next_generation(running, desired=Desired.SUSPENDED), secrets)
    resumed = next_generation(next_generation(running))
    with closing(socket.create_server(("127.0.0.1", port))):
        for _ in range(3):
            taken = await step(runtime, resumed, secrets)
        assert (taken.reason, taken.done) == (Reason.PORT_TAKEN, False)
    assert (await walk(runtime, resumed, secrets))[-1].phase is Phase.RUNNING
    assert (await runtime.observe(resumed.id)).endpoint == f"127.0.0.1:{port}"


async def test_an_engine_that_cannot_start_fails_with_a_code_and_a_new_generation_tries_again(
    runtime: LocalRuntime, cell: Path, running: WorkspaceSpec, secrets: Secrets
) -> None:
    await walk(runtime, next_generation(running, desired=Desired.SUSPENDED), secrets)
    system = cell / "volumes" / running.id / "data" / "ibdata1"
    kept = system.read_bytes()
    system.write_bytes(b"rubbish" * 4096)
    resumed = next_generation(next_generation(running))
    steps = await walk(runtime, resumed, secrets)
    assert (steps[-1].phase, steps[-1].reason) == (Phase.FAILED, Reason.ENGINE_CANNOT_START)
    assert (await runtime.observe(running.id)).failures.starts == MAX_FAILED_STARTS
    assert "ibdata1" in await runtime.logs(running.id)
    system.write_bytes(kept)
    assert (await walk(runtime, next_generation(resumed), secrets))[-1].phase is Phase.RUNNING


async def test_a_hung_engine_is_found_out_and_restarted(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, skipping: Any
) -> None:
    pid = pid_of(runtime, running.id)
    os.kill(pid, signal.SIGSTOP)
    assert (await runtime.observe(running.id)).process is Process.RUNNING
    skipping.skipped += 20
    seen = await runtime.observe(running.id)
    assert (seen.process, seen.sql_ready) == (Process.UNRESPONSIVE, False)
    steps = await walk(runtime, running, secrets)
    assert (steps[0].phase, steps[0].reason) == (Phase.HEALING, Reason.ENGINE_UNRESPONSIVE)
    assert not psutil.pid_exists(pid)


async def test_committed_rows_survive_kill_9(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, port: int, admin: sql.Session
) -> None:
    with admin:
        list(admin.run("use cluster; create table t (a int primary key); insert into t values (1), (2)"))
        os.kill(pid_of(runtime, running.id), signal.SIGKILL)
    assert await anext(runtime.watch()) == running.id
    await walk(runtime, running, secrets)
    with sql.connect(port=port, password=secrets.password, database="cluster") as session:
        assert session.execute("select a from t").rows == ((1,), (2,))


async def test_a_volume_removed_under_a_running_engine_is_gone_and_the_engine_can_be_stopped(
    runtime: LocalRuntime, cell: Path, running: WorkspaceSpec
) -> None:
    shutil.rmtree(cell / "volumes" / running.id)
    seen = await runtime.observe(running.id)
    assert (seen.exists, seen.process) == (False, Process.RUNNING)
    await runtime.act(running, Action.STOP, Secrets())
    assert await runtime.observe(running.id) == Observation()
    assert list_engines(cell) == []


async def test_a_machine_without_an_engine_is_waited_for(
    cell: Path, spec: WorkspaceSpec, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_FOLDERS", ())
    nowhere = {"PATH": "/nonexistent", "HOME": str(cell)}
    runtime = LocalRuntime(cell, SystemClock(), nowhere)
    assert runtime.facts().engine_version == ""
    for _ in range(3):
        taken = await step(runtime, spec, secrets)
    assert (taken.reason, taken.done) == (Reason.ENGINE_MISSING, False)
    await runtime.close(stop_engines=True)


async def test_long_paths_get_a_short_socket(cell: Path, spec: WorkspaceSpec, secrets: Secrets) -> None:
    deep = cell / ("d" * 60) / ("e" * 60)
    durable.make_folder(deep / "volumes")
    (deep / "template").symlink_to(cell / "template")
    runtime = LocalRuntime(deep, SystemClock(), os.environ)
    assert (await walk(runtime, spec, secrets))[-1].phase is Phase.RUNNING
    path = Volume(deep / "volumes", spec.id).socket
    assert len(os.fsencode(path)) <= 100
    assert path.parent.stat().st_mode & 0o777 == 0o700
    await runtime.act(spec, Action.REMOVE, secrets)
    assert not path.exists()
    await runtime.close(stop_engines=True)


def test_a_template_cut_short_is_made_again(short_path: Path, engine: Engine) -> None:
    unfinished = short_path / f".{engine.version}-1.tmp"
    (unfinished / "mysql").mkdir(parents=True)
    older = short_path / "10.6.0-1"
    older.mkdir()
    made = template.ensure(short_path, engine)
    assert (made / "ibdata1").is_file()
    assert not unfinished.exists()
    assert not older.exists()
    before = (made / "ibdata1").stat().st_mtime_ns
    assert template.ensure(short_path, engine) == made
    assert (made / "ibdata1").stat().st_mtime_ns == before


async def test_engines_are_in_a_session_of_their_own_with_nothing_of_ours(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets
) -> None:
    pid = pid_of(runtime, running.id)
    engine = psutil.Process(pid)
    assert os.getsid(pid) == pid
    assert set(engine.environ()) <= {"PATH", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
    assert secrets.password not in " ".join(engine.cmdline())
    assert [each.fd for each in engine.open_files() if "engine.log" not in each.path and each.fd < 3] == []


async def until_free(attempt: Callable[[], Awaitable[T]]) -> T:
    """A look of our own may hold the very slot that is wanted; it lets go of it soon."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return await attempt()
        except TooManyRequests:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_all_connections_taken_is_no_illness(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, port: int
) -> None:
    async def connect() -> sql.Session:
        return sql.connect(port=port, password=secrets.password)

    with ExitStack() as held:
        for _ in range(64):
            held.enter_context(await until_free(connect))
        seen = await runtime.observe(running.id)
        assert (seen.sql_ready, seen.connections) == (True, 64)
        await until_free(lambda: runtime.act(running, Action.SET_PASSWORD, Secrets(2, "another")))
        assert (await runtime.observe(running.id)).password_version == 2


async def test_use_is_told_from_our_own_looking(
    runtime: LocalRuntime, running: WorkspaceSpec, admin: sql.Session
) -> None:
    before = (await runtime.observe(running.id)).queries
    admin.execute("select 1")
    during = await runtime.observe(running.id)
    assert (during.connections, during.queries > before) == (1, True)
    admin.close()
    after = await runtime.observe(running.id)
    again = await runtime.observe(running.id)
    assert again.connections == 0
    assert again.queries == after.queries


async def test_values_changed_behind_our_back_are_seen_and_put_right(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets
) -> None:
    volume = runtime._workspaces[running.id].volume
    record = volume.read()
    assert record is not None
    with sql.connect(
        socket=str(volume.socket), user="byoc_internal", password=record.internal_password
    ) as session:
        session.execute("set global max_connections = 500")
    assert (await runtime.observe(running.id)).limits is None
    steps = await walk(runtime, running, secrets)
    assert [taken.action for taken in steps] == [Action.RESIZE_ONLINE, None]


def test_the_machines_memory_is_known() -> None:
    assert 0 < process.memory_bytes() <= psutil.virtual_memory().total


async def test_a_program_that_has_no_command_line_yet_is_not_taken_for_dead(
    runtime: LocalRuntime, running: WorkspaceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = pid_of(runtime, running.id)
    # What the kernel shows between the moment a program replaces its parent's and its own first one.
    with monkeypatch.context() as moment:
        moment.setattr(psutil.Process, "cmdline", lambda _: [])
        seen = await runtime.observe(running.id)
        assert seen.process is Process.RUNNING
        assert pid_of(runtime, running.id) == pid


async def test_data_of_a_newer_engine_is_left_untouched_until_there_is_such_an_engine(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, cell: Path
) -> None:
    suspended = next_generation(running, desired=Desired.SUSPENDED)
    await walk(runtime, suspended, secrets)
    volume = Volume(cell / "volumes", running.id)
    record = volume.read()
    assert record is not None
    volume.write(replace(record, engine_version="99.1.0"))
    before = {path: path.stat().st_mtime_ns for path in volume.data.rglob("*")}
    resumed = next_generation(suspended, desired=Desired.RUNNING)
    for _ in range(2):
        await runtime.act(resumed, Action.START, secrets)
    taken = await step(runtime, resumed, secrets)
    assert (taken.reason, taken.done) == (Reason.ENGINE_TOO_OLD, False)
    assert {path: path.stat().st_mtime_ns for path in volume.data.rglob("*")} == before
    volume.write(record)
    assert (await walk(runtime, resumed, secrets))[-1].phase is Phase.RUNNING
