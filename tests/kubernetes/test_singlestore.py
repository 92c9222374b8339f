"""What a workspace with an operator does on a real API server; the operator is a stand-in, see its docstring."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.runtime import Secrets
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase
from byoc.model.spec import WorkspaceSpec
from byoc.testing.walking import walk
from tests.kubernetes.cell import Cell

Json = dict[str, Any]
SECRETS = Secrets(1, "first password")


@pytest.fixture
def spec() -> WorkspaceSpec:
    return WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")


@pytest.fixture
async def runtime(operated: Cell) -> AsyncIterator[KubernetesRuntime]:
    opened = operated.runtime()
    yield opened
    await opened.close(stop_engines=False)
    await operated.clear()


@pytest.fixture
async def running(runtime: KubernetesRuntime, spec: WorkspaceSpec) -> WorkspaceSpec:
    assert (await walk(runtime, spec, SECRETS))[-1].phase is Phase.RUNNING
    return spec


def of(cell: Cell, spec: WorkspaceSpec, path: str) -> Json:
    group, _, rest = path.rpartition(":")
    root = f"/apis/{group}" if group else "/api/v1"
    _, found = cell.plane.ask("admin", "GET", f"{root}/namespaces/{names.namespace(spec.id)}/{rest}")
    return found


async def test_it_runs(operated: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec) -> None:
    seen = await runtime.observe(running.id)
    print(seen)
    assert seen.sql_ready
