"""Data of an older series under a newer engine: brought up to date by its own tool, or left untouched."""

import os
from dataclasses import replace
from pathlib import Path

from byoc import sql
from byoc.clock import SystemClock
from byoc.dataplane.local.runtime import LocalRuntime
from byoc.dataplane.local.volume import Record, Volume
from byoc.dataplane.runtime import Action, Process, Secrets
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.walking import step, walk


def newer(spec: WorkspaceSpec, generation: int, desired: Desired) -> WorkspaceSpec:
    return replace(spec, generation=generation, desired=desired)


def away_from_its_tools(runtime: LocalRuntime, folder: Path) -> Path:
    """Let the runtime's engine be one beside which nothing else is."""
    assert runtime._engine is not None
    program = folder / "sbin" / "mariadbd"
    program.parent.mkdir()
    program.symlink_to(runtime._engine.program)
    runtime._engine = replace(runtime._engine, program=program)
    return program


async def written_by_an_older_series(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, cell: Path
) -> tuple[Volume, Record]:
    """Suspend it, with what an older series would have left: no such system table, and its number."""
    volume = Volume(cell / "volumes", running.id)
    record = volume.read()
    assert record is not None
    with sql.connect(
        socket=str(volume.socket), user="byoc_internal", password=record.internal_password
    ) as session:
        session.execute("drop table mysql.column_stats")
    await walk(runtime, newer(running, 2, Desired.SUSPENDED), secrets)
    volume.write(replace(record, engine_version="10.2.0"))
    return volume, record


async def test_data_of_an_older_series_is_brought_up_to_date_before_it_serves(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, cell: Path
) -> None:
    volume, record = await written_by_an_older_series(runtime, running, secrets, cell)
    steps = await walk(runtime, newer(running, 3, Desired.RUNNING), secrets)
    assert steps[-1].phase is Phase.RUNNING
    assert Reason.UPGRADING_DATA in {taken.reason for taken in steps}
    assert volume.read() == record
    with sql.connect(
        socket=str(volume.socket), user="byoc_internal", password=record.internal_password
    ) as session:
        assert session.execute("select count(*) from mysql.column_stats")
    assert record.internal_password not in (volume.folder / "upgrade.log").read_text()


async def test_an_upgrade_that_was_cut_short_is_made_whole_by_the_next_agent(
    runtime: LocalRuntime,
    running: WorkspaceSpec,
    secrets: Secrets,
    cell: Path,
) -> None:
    volume, record = await written_by_an_older_series(runtime, running, secrets, cell)
    resumed = newer(running, 3, Desired.RUNNING)
    await runtime.act(resumed, Action.START, secrets)
    half = volume.read()
    assert half is not None
    assert (half.engine_version, half.upgrade_from) == (record.engine_version, "10.2.0")
    assert not (await runtime.observe(running.id)).sql_ready
    successor = LocalRuntime(cell, SystemClock(), dict(os.environ))
    assert (await walk(successor, resumed, secrets))[-1].phase is Phase.RUNNING
    assert volume.read() == record
    await successor.close(stop_engines=True)


async def test_without_the_tool_older_data_is_left_untouched_and_the_reason_says_so(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, cell: Path, tmp_path: Path
) -> None:
    volume, _ = await written_by_an_older_series(runtime, running, secrets, cell)
    before = {path: path.stat().st_mtime_ns for path in volume.data.rglob("*")}
    lonely = away_from_its_tools(runtime, tmp_path)
    runtime._environment["PATH"] = str(lonely.parent)
    resumed = newer(running, 3, Desired.RUNNING)
    for _ in range(2):
        await runtime.act(resumed, Action.START, secrets)
    taken = await step(runtime, resumed, secrets)
    assert (taken.reason, taken.done) == (Reason.UPGRADE_TOOL_MISSING, False)
    assert {path: path.stat().st_mtime_ns for path in volume.data.rglob("*")} == before
    written = volume.read()
    assert written is not None
    assert written.engine_version == "10.2.0"


async def test_an_upgrade_that_fails_stops_the_engine_and_is_tried_again(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, cell: Path, tmp_path: Path
) -> None:
    volume, record = await written_by_an_older_series(runtime, running, secrets, cell)
    broken = tmp_path / "bin"
    broken.mkdir()
    for name in ("mariadb-upgrade", "mariadb", "mariadb-check"):
        (broken / name).write_text("#!/bin/sh\necho no; exit 1\n")
        (broken / name).chmod(0o755)
    engine = runtime._engine
    away_from_its_tools(runtime, tmp_path)
    resumed = newer(running, 3, Desired.RUNNING)
    await runtime.act(resumed, Action.START, secrets)
    seen = await runtime.observe(running.id)
    while seen.failures.last is None:
        await runtime.act(resumed, Action.WAIT_FOR_SQL, secrets)
        seen = await runtime.observe(running.id)
    assert (seen.failures.last, seen.process) == (Reason.DATA_NOT_UPGRADED, Process.ABSENT)
    assert "no" in (volume.folder / "upgrade.log").read_text()
    runtime._engine = engine
    assert (await walk(runtime, resumed, secrets))[-1].phase is Phase.RUNNING
    assert volume.read() == record
