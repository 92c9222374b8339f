"""A volume that is nearly full, on the real API server: quota, claim and disk grow while the engine runs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from byoc import sql
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes import growth, names
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.plan import Situation, Step, plan
from byoc.dataplane.runtime import Secrets
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase, Reason
from byoc.model.spec import WorkspaceSpec
from byoc.testing.walking import walk
from tests.kubernetes.cell import SETTINGS, Cell

Json = dict[str, Any]
SECRETS = Secrets(1, "first password")
CLASS = "/apis/storage.k8s.io/v1/storageclasses"
MIB = 2**20


@pytest.fixture
async def runtime(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubernetesRuntime]:
    # The smallest volume is of 1 GiB: here one of 40 MiB of it counts as nearly full.
    monkeypatch.setattr(growth, "FULL", 40 / 1024)
    monkeypatch.setattr(growth, "MEASURE_SECONDS", 0.0)
    async with cell.tended(cell.runtime(replace(SETTINGS, volume_growth=2))) as lent:
        yield lent


async def step(runtime: KubernetesRuntime, spec: WorkspaceSpec) -> Step:
    seen = await runtime.observe(spec.id)
    found = plan(spec, Situation(password_version=1), seen, SystemClock().now())
    if found.action is not None:
        await runtime.act(spec, found.action, SECRETS)
    return found


async def until(runtime: KubernetesRuntime, spec: WorkspaceSpec, reason: Reason) -> Step:
    async with asyncio.timeout(60):
        while (found := await step(runtime, spec)).reason is not reason:
            assert found.phase is Phase.RUNNING
            await asyncio.sleep(0.05)
    return found


def claim(cell: Cell, spec: WorkspaceSpec) -> Json:
    path = f"/api/v1/namespaces/{names.namespace(spec.id)}/persistentvolumeclaims/data"
    return cell.plane.ask("admin", "GET", path)[1]


def fill(cell: Cell, spec: WorkspaceSpec, mib: int) -> None:
    """Put rows of so much into a table."""
    _, pod = cell.plane.ask("admin", "GET", f"/api/v1/namespaces/{names.namespace(spec.id)}/pods/engine-0")
    address = pod["status"]["podIP"]
    with sql.connect(address, names.PORT, "admin", SECRETS.password, database="cluster") as session:
        session.execute("CREATE TABLE IF NOT EXISTS heap (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB)")
        for _ in range(mib // 2):
            session.execute("INSERT INTO heap (b) VALUES (REPEAT('x', %s))", (2 * MIB,))


async def test_a_volume_that_fills_up_is_expanded_while_it_serves_as_far_as_storage_and_limit_let_it(
    cell: Cell, runtime: KubernetesRuntime
) -> None:
    spec = WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")
    assert (await walk(runtime, spec, SECRETS))[-1].phase is Phase.RUNNING
    started = (await runtime.observe(spec.id)).started_at
    expandable(cell, yes=False)
    try:
        fill(cell, spec, 40)
        said = await until(runtime, spec, Reason.VOLUME_CANNOT_GROW)
        assert said.done
        assert claim(cell, spec)["spec"]["resources"]["requests"]["storage"] == "1Gi"
    finally:
        expandable(cell, yes=True)
    cell.world.cloud.resizing = False
    try:
        growing = await until(runtime, spec, Reason.EXPANDING_VOLUME)
        assert growing.phase is Phase.RUNNING
        assert claim(cell, spec)["spec"]["resources"]["requests"]["storage"] == "2Gi"
        # The cloud takes its time: that is said, and nothing more is asked for.
        waiting = await step(runtime, spec)
        assert (waiting.action, waiting.reason) == (None, Reason.EXPANDING_VOLUME)
    finally:
        cell.world.cloud.resizing = True
    path = f"/api/v1/namespaces/{names.namespace(spec.id)}/persistentvolumeclaims/data"
    # Its resizer looks again when something of the claim changes.
    nudge: Json = {"metadata": {"annotations": {"test/look": "again"}}}
    cell.plane.ask("admin", "PATCH", path, nudge, kind="application/merge-patch+json")
    await until(runtime, spec, Reason.ANSWERED_SQL)
    assert claim(cell, spec)["status"]["capacity"]["storage"] == "2Gi"
    fill(cell, spec, 60)
    at_limit = await until(runtime, spec, Reason.VOLUME_AT_LIMIT)
    assert at_limit.done
    assert (await runtime.observe(spec.id)).started_at == started


def expandable(cell: Cell, *, yes: bool) -> None:
    path = f"{CLASS}/{SETTINGS.storage_class}"
    change: Json = {"allowVolumeExpansion": yes}
    status, answer = cell.plane.ask("admin", "PATCH", path, change, kind="application/merge-patch+json")
    assert status == 200, answer
