"""A local runtime on the real engine, with a clock whose patience can be used up."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from byoc import durable, sql
from byoc.clock import SystemClock
from byoc.dataplane.local import template
from byoc.dataplane.local.engine import Engine, find
from byoc.dataplane.local.runtime import LocalRuntime
from byoc.dataplane.runtime import Secrets
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.spec import WorkspaceSpec
from byoc.testing.walking import walk


class SkippingClock(SystemClock):
    """Real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped


@pytest.fixture
def skipping() -> SkippingClock:
    return SkippingClock()


@pytest.fixture(scope="session")
def engine() -> Engine:
    found = find(os.environ)
    if found is None:
        pytest.fail("no SQL engine on this machine; get one with `byoc engine install`")
    return found


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Path:
    folder = tmp_path_factory.mktemp("template")
    template.ensure(folder, engine)
    return folder


@pytest.fixture
def cell(short_path: Path, templates: Path) -> Path:
    (short_path / "template").symlink_to(templates)
    durable.make_folder(short_path / "volumes")
    return short_path


@pytest.fixture
async def runtime(cell: Path, skipping: SkippingClock) -> AsyncIterator[LocalRuntime]:
    opened = LocalRuntime(cell, skipping, os.environ)
    yield opened
    await opened.close(stop_engines=False)
    await LocalRuntime(cell, SystemClock(), os.environ).close(stop_engines=True)


@pytest.fixture
def spec() -> WorkspaceSpec:
    return WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")


@pytest.fixture
def secrets() -> Secrets:
    return Secrets(1, r"pass 'wörd' \ \" 密")


@pytest.fixture
async def running(runtime: LocalRuntime, spec: WorkspaceSpec, secrets: Secrets) -> WorkspaceSpec:
    await walk(runtime, spec, secrets)
    return spec


@pytest.fixture
async def port(runtime: LocalRuntime, running: WorkspaceSpec) -> int:
    seen = await runtime.observe(running.id)
    return int((seen.endpoint or "").partition(":")[2])


@pytest.fixture
def admin(port: int, secrets: Secrets) -> sql.Session:
    return sql.connect(port=port, password=secrets.password)
