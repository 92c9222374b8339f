"""Data of another series than the image's: brought up to date before it serves, or left alone and named."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from byoc import sql
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.local.engine import PROGRAM, find
from byoc.dataplane.local.upgrade import TOOL, find_tool
from byoc.dataplane.plan import Situation, Step, plan
from byoc.dataplane.runtime import Secrets
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.walking import walk
from tests.emulated.machines.container import PATH, Mount
from tests.emulated.machines.world import World
from tests.kubernetes.cell import SETTINGS, Cell

SECRETS = Secrets(1, "first password")
IMAGE = f"registry.invalid/with-tools/mariadb:11.4@sha256:{64 * '0'}"
IN_THE_WINDOW = Situation(password_version=1, may_upgrade=True)
OLDER = "10.2"
_TOOLS: Final = "/opt/tools"
_VERSION_AT: Final = 51
"""Where the definition of a table says which version of the server wrote it."""


class Image:
    """An image with all of this machine's programs; the tool that brings data up to date is the test's."""

    def __init__(self, world: World, folder: Path) -> None:
        engine = find(os.environ)
        assert engine is not None
        found = find_tool(engine, os.environ)
        assert found is not None
        self.series = ".".join(engine.version.split(".")[:2])
        self._tool, self._server = found, engine.program
        self._folder = folder
        like = world.images.engine
        for place in (*like.environment["PATH"].split(":"), *PATH.split(":")):
            for each in Path(place).iterdir() if Path(place).is_dir() else ():
                if each.name != TOOL and not (folder / each.name).is_symlink():
                    (folder / each.name).symlink_to(each)
        self.program = replace(
            like,
            mounts=[*like.mounts, Mount(folder, _TOOLS)],
            environment={**like.environment, "PATH": _TOOLS},
        )

    def with_tool(self, before: str = "") -> None:
        """Have the tool in it, after a line of shell."""
        self._put(TOOL, before, self._tool)

    def with_server(self, before: str = "") -> None:
        """Have the server in it, after a line of shell."""
        self._put(PROGRAM, before, self._server)

    def _put(self, name: str, before: str, program: Path) -> None:
        made = self._folder / ".new"
        made.write_text(f'#!/bin/sh\n{before}\nexec {program} "$@"\n')
        made.chmod(0o755)
        made.rename(self._folder / name)

    def held_back(self) -> Path:
        """Have the tool in it, and have it wait for a file; return which."""
        self.with_tool(f"until [ -e {_TOOLS}/go ]; do sleep 0.05; done")
        return self._folder / "go"


@pytest.fixture
def image(cell: Cell, tmp_path: Path) -> Iterator[Image]:
    (tmp_path / "tools").mkdir()
    made = Image(cell.world, tmp_path / "tools")
    cell.world.images.programs["with-tools"] = made.program
    yield made
    del cell.world.images.programs["with-tools"]


@pytest.fixture
async def runtime(cell: Cell, image: Image) -> AsyncIterator[KubernetesRuntime]:
    async with cell.tended(cell.runtime(replace(SETTINGS, image=IMAGE))) as opened:
        yield opened


@pytest.fixture
async def spec(cell: Cell, runtime: KubernetesRuntime) -> WorkspaceSpec:
    """A workspace with a row, under the cell's image of before, with what an older series would have left."""
    made = WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")
    first = cell.runtime()
    assert (await walk(first, made, SECRETS))[-1].phase is Phase.RUNNING
    await first.close(stop_engines=False)
    asked(cell, made, "CREATE TABLE t (i INT)", "INSERT INTO t VALUES (7)", "DROP TABLE mysql.column_stats")
    return made


def asked(cell: Cell, spec: WorkspaceSpec, *statements: str) -> sql.Result:
    """Ask as the customer; return the last answer."""
    _, pod = cell.plane.ask("admin", "GET", f"/api/v1/namespaces/{names.namespace(spec.id)}/pods/engine-0")
    address = pod["status"]["podIP"]
    with sql.connect(address, names.PORT, "admin", SECRETS.password, database="cluster") as session:
        *_, last = (session.execute(each) for each in statements)
        return last


def disk(cell: Cell, spec: WorkspaceSpec) -> Path:
    place = f"/api/v1/namespaces/{names.namespace(spec.id)}/persistentvolumeclaims/data"
    claim = cell.plane.ask("admin", "GET", place)[1]["spec"]["volumeName"]
    volume = cell.plane.ask("admin", "GET", f"/api/v1/persistentvolumes/{claim}")[1]
    return cell.world.cloud.path(volume["spec"]["csi"]["volumeHandle"])


def record(cell: Cell, spec: WorkspaceSpec) -> Path:
    return disk(cell, spec) / "series"


def defined_by(cell: Cell, spec: WorkspaceSpec, version: int, *, every: bool) -> None:
    """Have one system table, or each, say that a version of the server defined it."""
    found = sorted((disk(cell, spec) / "data" / "mysql").glob("*.frm"))
    tables = [each for each in found if each.read_bytes().startswith(b"\xfe\x01")]
    for each in tables if every else tables[:1]:
        with each.open("r+b") as definition:
            definition.seek(_VERSION_AT)
            definition.write(struct.pack("<I", version))


def touched(cell: Cell, spec: WorkspaceSpec) -> dict[Path, int]:
    return {each: each.stat().st_mtime_ns for each in disk(cell, spec).rglob("*")}


def at_work(cell: Cell, spec: WorkspaceSpec) -> bool:
    """Whether a server has the data open, and the tool waits."""
    return record(cell, spec).read_text().split()[1:] == [OLDER]


async def until(runtime: KubernetesRuntime, spec: WorkspaceSpec, reason: Reason) -> Step:
    """Do as the reconciler does until something is said."""
    async with asyncio.timeout(90):
        while True:
            step = plan(spec, IN_THE_WINDOW, await runtime.observe(spec.id), SystemClock().now())
            if step.reason is reason:
                return step
            assert not step.done, step
            if step.action is not None:
                await runtime.act(spec, step.action, SECRETS)
            await asyncio.sleep(0.02)


def to(spec: WorkspaceSpec, desired: Desired) -> WorkspaceSpec:
    return replace(spec, generation=spec.generation + 1, desired=desired)


def whole(cell: Cell, spec: WorkspaceSpec) -> bool:
    """Whether what the older series lacked is there, and what the customer had."""
    there = asked(cell, spec, "SELECT COUNT(*) FROM mysql.column_stats", "SELECT i FROM cluster.t")
    accounts = asked(cell, spec, "SELECT user FROM mysql.global_priv ORDER BY 1").rows
    return there.rows == ((7,),) and accounts == (("admin",), ("byoc_internal",), ("mariadb.sys",))


async def test_a_newer_image_brings_the_data_up_to_date_before_it_serves(
    cell: Cell, runtime: KubernetesRuntime, image: Image, spec: WorkspaceSpec
) -> None:
    assert record(cell, spec).read_text() == f"{image.series}\n"
    record(cell, spec).write_text(f"{OLDER}\n")
    go = image.held_back()
    await until(runtime, spec, Reason.UPGRADING_ENGINE)
    waiting = await until(runtime, spec, Reason.UPGRADING_DATA)
    assert waiting.phase is Phase.STARTING
    seen = await runtime.observe(spec.id)
    assert (seen.sql_ready, seen.failures.starts) == (False, 0)
    go.touch()
    await until(runtime, spec, Reason.ANSWERED_SQL)
    assert whole(cell, spec)
    assert record(cell, spec).read_text() == f"{image.series}\n"


async def test_an_upgrade_that_is_killed_or_suspended_in_the_middle_is_made_whole_by_the_next_start(
    cell: Cell, runtime: KubernetesRuntime, image: Image, spec: WorkspaceSpec
) -> None:
    # A volume of before there were records: who wrote it stands in its definitions.
    record(cell, spec).unlink()
    defined_by(cell, spec, 100200, every=True)
    go = image.held_back()
    await until(runtime, spec, Reason.UPGRADING_ENGINE)
    await until(runtime, spec, Reason.UPGRADING_DATA)
    async with asyncio.timeout(60):
        while not record(cell, spec).exists() or not at_work(cell, spec):
            await asyncio.sleep(0.05)
    cell.world.kill_process(names.namespace(spec.id), names.POD, names.UPGRADE)
    await until(runtime, spec, Reason.UPGRADING_DATA)
    suspended = to(spec, Desired.SUSPENDED)
    assert (await walk(runtime, suspended, SECRETS))[-1].phase is Phase.SUSPENDED
    assert record(cell, spec).read_text() == f"{image.series} {OLDER}\n"
    go.touch()
    await until(runtime, to(suspended, Desired.RUNNING), Reason.ANSWERED_SQL)
    assert whole(cell, spec)
    assert record(cell, spec).read_text() == f"{image.series}\n"


async def test_data_of_a_newer_series_is_left_untouched_and_named(
    cell: Cell, runtime: KubernetesRuntime, image: Image, spec: WorkspaceSpec
) -> None:
    suspended = to(spec, Desired.SUSPENDED)
    await walk(runtime, suspended, SECRETS)
    resumed = to(suspended, Desired.RUNNING)
    record(cell, spec).write_text("99.1\n")
    before = touched(cell, spec)
    said = await until(runtime, resumed, Reason.ENGINE_TOO_OLD)
    assert not said.done
    assert touched(cell, spec) == before
    record(cell, spec).unlink()
    (first, *_) = sorted((disk(cell, spec) / "data" / "mysql").glob("*.frm"))
    kept = first.read_bytes()
    defined_by(cell, spec, 990100, every=False)
    before = touched(cell, spec)
    said = await until(runtime, resumed, Reason.ENGINE_TOO_OLD)
    assert not said.done
    assert touched(cell, spec) == before
    first.write_bytes(kept)
    record(cell, spec).write_text(f"{image.series}\n")
    await until(runtime, resumed, Reason.ANSWERED_SQL)


async def test_without_its_tool_it_is_named_and_so_is_a_tool_that_fails_and_both_go_on_by_themselves(
    cell: Cell, runtime: KubernetesRuntime, image: Image, spec: WorkspaceSpec
) -> None:
    suspended = to(spec, Desired.SUSPENDED)
    await walk(runtime, suspended, SECRETS)
    resumed = to(suspended, Desired.RUNNING)
    record(cell, spec).write_text(f"{OLDER}\n")
    before = touched(cell, spec)
    said = await until(runtime, resumed, Reason.UPGRADE_TOOL_MISSING)
    assert not said.done
    assert touched(cell, spec) == before
    image.with_tool("echo no; exit 1")
    said = await until(runtime, resumed, Reason.DATA_NOT_UPGRADED)
    assert not said.done
    assert record(cell, spec).read_text() == f"{image.series} {OLDER}\n"
    image.with_tool()
    await until(runtime, resumed, Reason.ANSWERED_SQL)
    assert whole(cell, spec)


@pytest.mark.parametrize("began", [False, True])
async def test_data_that_only_its_own_series_can_recover_is_left_to_that_one(
    cell: Cell, runtime: KubernetesRuntime, image: Image, spec: WorkspaceSpec, *, began: bool
) -> None:
    # One in between had begun, and was killed; perhaps this one too, before its server had said anything.
    between = f"10.3 {OLDER}\n"
    record(cell, spec).write_text(f"{image.series} {OLDER}\n" if began else between)
    if began:
        record(cell, spec).with_name("series.before").write_text(between)
    image.with_server(
        'case "$*" in *.upgrade*) echo "InnoDB: Upgrade after a crash is not supported."; exit 1;; esac'
    )
    image.with_tool()
    await until(runtime, spec, Reason.DATA_NOT_UPGRADED)
    assert record(cell, spec).read_text() == between
    image.with_server()
    await until(runtime, spec, Reason.ANSWERED_SQL)
    assert whole(cell, spec)
