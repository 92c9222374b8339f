"""Suspended without volumes, on a real API server: what is detached is really gone from the machines.

The engine and its operator are stand-ins, and a folder stands for the bucket.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from byoc.clock import SystemClock
from byoc.dataplane.kubernetes import away, names
from byoc.dataplane.kubernetes.inventory import Inventory
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.plan import plan
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.walking import walk
from tests.emulated.machines.world import World
from tests.emulated.singlestore.operator import Operator
from tests.kubernetes.cell import BOTTOMLESS, Cell, installed
from tests.kubernetes.plane import Plane
from tests.kubernetes.test_singlestore import BEHIND, MERGE, SECRETS, because, names_of, said, until

ORDERS = "memsql.com/v1alpha1:memsqlclusters"
_SECONDS = 300
VOLUMES = "/api/v1/persistentvolumes"


@pytest.fixture
def cell(plane: Plane, world: World, operator: Operator) -> Iterator[Cell]:
    assert operator.buckets.is_dir()
    with installed(plane, world, BOTTOMLESS) as made:
        yield made


@pytest.fixture
async def running(runtime: KubernetesRuntime) -> WorkspaceSpec:
    """One that answers, with a database of its own beside the first one, and a row in each."""
    spec = WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")
    assert (await walk(runtime, spec, SECRETS))[-1].phase is Phase.RUNNING
    said(
        runtime,
        spec,
        "CREATE TABLE cluster.t (i INT)",
        "INSERT INTO cluster.t VALUES (7)",
        f"CREATE DATABASE shop ON S3 '{place(spec)}' CONFIG '{{}}' CREDENTIALS '{{}}'",
        "CREATE TABLE shop.t (i INT, word VARCHAR(20))",
        "INSERT INTO shop.t VALUES (8, 'eight'), (9, NULL)",
    )
    return spec


def place(spec: WorkspaceSpec) -> str:
    return f"kept/{names.subject(spec.id)}"


def bucket(operator: Operator, spec: WorkspaceSpec) -> Path:
    return operator.buckets / place(spec)


def suspended(spec: WorkspaceSpec, generation: int = 2) -> WorkspaceSpec:
    return replace(spec, generation=generation, desired=Desired.SUSPENDED)


def volumes(cell: Cell, spec: WorkspaceSpec) -> set[str]:
    found = cell.plane.ask("admin", "GET", VOLUMES)[1]["items"]
    space = names.namespace(spec.id)
    return {each["metadata"]["name"] for each in found if each["spec"]["claimRef"]["namespace"] == space}


def annotations(cell: Cell, spec: WorkspaceSpec) -> dict[str, str]:
    found = cell.plane.ask("admin", "GET", f"/api/v1/namespaces/{names.namespace(spec.id)}")[1]
    said: dict[str, str] = found["metadata"]["annotations"]
    return said


def record(cell: Cell, spec: WorkspaceSpec) -> Inventory:
    read = Inventory.from_text(annotations(cell, spec)[names.DATABASES])
    assert read is not None
    return read


def write(cell: Cell, spec: WorkspaceSpec, text: str | None) -> None:
    path = f"/api/v1/namespaces/{names.namespace(spec.id)}"
    change = {"metadata": {"annotations": {names.DATABASES: text}}}
    assert cell.plane.ask("admin", "PATCH", path, change, kind=MERGE)[0] == 200


async def until_seen(runtime: KubernetesRuntime, spec: WorkspaceSpec, *, exists: bool) -> None:
    async with asyncio.timeout(_SECONDS):
        while (await runtime.observe(spec.id)).exists is not exists:
            await asyncio.sleep(0.02)


def rows(runtime: KubernetesRuntime, spec: WorkspaceSpec) -> list[object]:
    first = [tuple(each) for each in said(runtime, spec, "SELECT i FROM cluster.t")]
    return [*first, *(tuple(each) for each in said(runtime, spec, "SELECT i, word FROM shop.t ORDER BY i"))]


ROWS = [(7,), (8, "eight"), (9, None)]


async def test_neither_engine_nor_volume_is_left_and_a_resume_brings_every_row_back(
    cell: Cell, operator: Operator, runtime: KubernetesRuntime, running: WorkspaceSpec
) -> None:
    said(runtime, running, "CREATE USER app@'%' IDENTIFIED BY 'of the customer'")
    before, disks = volumes(cell, running), set(cell.world.cloud.disks)
    assert len(before) == 2
    steps = await walk(runtime, suspended(running), SECRETS)
    assert (steps[-1].phase, steps[-1].reason) == (Phase.SUSPENDED, Reason.DATABASES_DETACHED)
    for kind in ("pods", "persistentvolumeclaims", ORDERS, "apps/v1:statefulsets"):
        assert names_of(cell, running, kind) == set(), kind
    assert volumes(cell, running) == set()
    assert len(disks - cell.world.cloud.disks) == 2
    assert {each.name for each in bucket(operator, running).iterdir()} == {"cluster", "shop"}
    assert await runtime.list() == [running.id]
    assert await runtime.stored_bytes(running.id) == 0
    kept = record(cell, running).to_text()
    write(cell, running, None)
    await until_seen(runtime, running, exists=False)
    lost = replace(BEHIND, must_exist=True)
    taken = plan(running, lost, await runtime.observe(running.id), SystemClock().now())
    assert (taken.action, taken.phase, taken.reason) == (None, Phase.FAILED, Reason.VOLUME_MISSING)
    write(cell, running, kept)
    await until_seen(runtime, running, exists=True)
    steps = await walk(runtime, replace(running, generation=3), SECRETS)
    assert (steps[-1].phase, steps[-1].reason) == (Phase.RUNNING, Reason.ANSWERED_SQL)
    assert Phase.PROVISIONING not in {each.phase for each in steps}
    assert rows(runtime, running) == ROWS
    assert volumes(cell, running).isdisjoint(before)
    assert {(each.name, each.detached, each.why) for each in record(cell, running).databases} == {
        ("cluster", False, None),
        ("shop", False, None),
    }
    # What the docs say: accounts are the engine's own, and went with its volumes.
    assert list(said(runtime, running, "SELECT user FROM mysql.user WHERE user = 'app'")) == []


async def test_what_lies_on_volumes_or_will_not_be_detached_keeps_them_and_is_named_in_the_cell(
    cell: Cell, operator: Operator, runtime: KubernetesRuntime, running: WorkspaceSpec
) -> None:
    said(runtime, running, "CREATE DATABASE ledger")
    before = volumes(cell, running)
    steps = await walk(runtime, suspended(running), SECRETS)
    assert (steps[-1].phase, steps[-1].reason) == (Phase.SUSPENDED, Reason.DATABASE_ON_VOLUMES)
    assert volumes(cell, running) == before
    assert not bucket(operator, running).exists()
    named = [each.name for each in record(cell, running).databases if each.why is Reason.DATABASE_ON_VOLUMES]
    assert named == ["ledger"]
    assert (await walk(runtime, replace(running, generation=3), SECRETS))[-1].phase is Phase.RUNNING
    said(runtime, running, "DROP DATABASE ledger")
    bucket(operator, running).mkdir(parents=True)
    for folder in (bucket(operator, running), *bucket(operator, running).parents[:2]):
        folder.chmod(0o777)
    (bucket(operator, running) / "shop.new").write_text("in the way")
    steps = await walk(runtime, suspended(running, 4), SECRETS)
    assert (steps[-1].phase, steps[-1].reason) == (Phase.SUSPENDED, Reason.DETACH_REFUSED)
    assert volumes(cell, running) == before
    assert [(each.name, each.detached, each.why) for each in record(cell, running).databases] == [
        ("cluster", True, None),
        ("shop", False, Reason.DETACH_REFUSED),
    ]
    assert (await walk(runtime, replace(running, generation=5), SECRETS))[-1].reason is Reason.ANSWERED_SQL
    assert rows(runtime, running) == ROWS


async def test_one_that_cannot_be_attached_is_named_in_the_cell_and_tried_until_it_can(
    cell: Cell,
    operator: Operator,
    runtime: KubernetesRuntime,
    running: WorkspaceSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (await walk(runtime, suspended(running), SECRETS))[-1].phase is Phase.SUSPENDED
    shop = bucket(operator, running) / "shop"
    shop.rename(shop.with_name("elsewhere"))
    resumed = replace(running, generation=3)
    steps = await until(runtime, resumed, lambda taken: taken.done)
    assert (steps[-1].phase, steps[-1].reason) == (Phase.RUNNING, Reason.DATABASES_NOT_ATTACHED)
    assert list(said(runtime, running, "SELECT i FROM cluster.t")) == [(7,)]
    assert [(each.name, each.why) for each in record(cell, running).detached] == [
        ("shop", Reason.DATABASES_NOT_ATTACHED)
    ]
    told = await runtime.observe(running.id)
    assert told.databases is not None
    assert (told.databases.attached, told.databases.missing) == (1, 1)
    assert "shop" not in repr(told)
    shop.with_name("elsewhere").rename(shop)
    monkeypatch.setattr(away, "AGAIN_SECONDS", 0.0)
    steps = await until(runtime, resumed, because(Reason.ANSWERED_SQL))
    assert {taken.phase for taken in steps} == {Phase.RUNNING}
    assert rows(runtime, running) == ROWS
