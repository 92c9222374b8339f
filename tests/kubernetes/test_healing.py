"""What breaks below a workspace, and how the cell brings it back: a real control plane, real engines.

The agent's own loop is the plan, walked step by step, so each test sees the reason that a person would see.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from byoc import sql
from byoc.dataplane.kubernetes import following
from byoc.dataplane.kubernetes.names import POD, namespace
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.plan import Step
from byoc.dataplane.runtime import Secrets
from byoc.errors import ByocError
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.walking import step, walk
from tests.kubernetes.cell import SETTINGS, Cell

Json = dict[str, Any]

SECRETS = Secrets(1, "first password")
SLOW = 100.0
"""For Kubernetes: 8 s until a silent machine is noticed, 20 s until its pods are collected."""


@pytest.fixture
async def runtime(cell: Cell) -> AsyncIterator[KubernetesRuntime]:
    async with cell.tended(cell.runtime(replace(SETTINGS, patience_seconds=2))) as lent:
        yield lent


@pytest.fixture
async def running(runtime: KubernetesRuntime, cell: Cell) -> WorkspaceSpec:
    """A workspace that answers and holds one row."""
    spec = WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")
    await walk(runtime, spec, SECRETS)
    for statement in ("CREATE DATABASE kept", "CREATE TABLE kept.t (i INT)", "INSERT INTO kept.t VALUES (7)"):
        assert await asyncio.to_thread(ask, cell, spec, statement) is not None
    return spec


@pytest.fixture(autouse=True)
def mended(cell: Cell) -> Iterator[None]:
    """Mends the machines that a test breaks."""
    yield
    for machine in cell.world.machines.values():
        if not machine.powered:
            cell.world.switch_on(machine.name)
        elif machine.frozen:
            cell.world.thaw(machine.name)
    cell.world.images.broken.clear()


def pod(cell: Cell, spec: WorkspaceSpec) -> Json | None:
    status, found = cell.plane.ask("admin", "GET", f"/api/v1/namespaces/{namespace(spec.id)}/pods/{POD}")
    return found if status == 200 else None


def ask(cell: Cell, spec: WorkspaceSpec, statement: str = "SELECT i FROM kept.t") -> Any:
    """Return what the engine answers; None where it does not."""
    found = pod(cell, spec)
    try:
        address = (found or {})["status"]["podIP"]
        with sql.connect(address, user="admin", password=SECRETS.password, timeout=3) as session:
            return session.execute(statement).rows
    except (ByocError, KeyError):
        return None


def home(cell: Cell, spec: WorkspaceSpec) -> str:
    found = pod(cell, spec)
    assert found is not None
    return str(found["spec"]["nodeName"])


async def until(
    runtime: KubernetesRuntime, spec: WorkspaceSpec, wanted: Callable[[Step], bool], *, seconds: float = SLOW
) -> list[Step]:
    """Go on as the agent does until a step is ``wanted``; return them all. No step may be a failure."""
    steps: list[Step] = []
    ends = time.monotonic() + seconds
    while not steps or not wanted(steps[-1]):
        assert time.monotonic() < ends, steps[-3:]
        steps.append(await step(runtime, spec, SECRETS))
        assert steps[-1].phase is not Phase.FAILED, steps[-1]
        await asyncio.sleep(0.05)
    return steps


def because(*reasons: Reason) -> Callable[[Step], bool]:
    return lambda taken: taken.reason in reasons


WELL = because(Reason.ANSWERED_SQL)


async def test_a_workspace_on_a_dead_machine_runs_on_another_of_its_zone(
    runtime: KubernetesRuntime, running: WorkspaceSpec, cell: Cell
) -> None:
    machine = home(cell, running)
    cell.world.lose_power(machine)
    await until(runtime, running, because(Reason.MACHINE_LOST))
    await until(runtime, running, lambda taken: WELL(taken) and home(cell, running) != machine)
    assert home(cell, running)[0] == machine[0]
    assert ask(cell, running) == ((7,),)


async def test_a_workspace_of_a_lost_zone_says_so_and_goes_on_with_its_zone(
    runtime: KubernetesRuntime, running: WorkspaceSpec, cell: Cell
) -> None:
    zone = cell.world.in_zone(cell.world.machines[home(cell, running)].zone)
    cell.world.freeze(*zone, pods=True)
    await until(runtime, running, because(Reason.ZONE_LOST))
    cell.world.thaw(*zone)
    await until(runtime, running, WELL)
    assert ask(cell, running) == ((7,),)
    assert home(cell, running) in zone


async def test_a_deleted_pod_is_healed_with_its_data(
    runtime: KubernetesRuntime, running: WorkspaceSpec, cell: Cell
) -> None:
    before = pod(cell, running)
    assert before is not None
    cell.plane.ask("admin", "DELETE", f"/api/v1/namespaces/{namespace(running.id)}/pods/{POD}")

    def another(taken: Step) -> bool:
        found = pod(cell, running)
        return WELL(taken) and found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    await until(runtime, running, another)
    assert ask(cell, running) == ((7,),)


async def test_an_image_that_cannot_be_pulled_is_said_and_tried_until_it_can(
    runtime: KubernetesRuntime, running: WorkspaceSpec, cell: Cell
) -> None:
    suspended = replace(running, generation=2, desired=Desired.SUSPENDED)
    await walk(runtime, suspended, SECRETS)
    cell.world.images.broken.add("library/mariadb")
    resumed = replace(running, generation=3)
    await until(runtime, resumed, because(Reason.IMAGE_UNAVAILABLE))
    cell.world.images.broken.clear()
    await until(runtime, resumed, WELL)
    assert ask(cell, resumed) == ((7,),)


async def test_a_volume_that_is_not_attached_to_the_machine_is_said_until_it_is(
    runtime: KubernetesRuntime, running: WorkspaceSpec, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "ATTACHED_WITHIN", timedelta(seconds=6))
    await walk(runtime, replace(running, generation=2, desired=Desired.SUSPENDED), SECRETS)
    claim = f"/api/v1/namespaces/{namespace(running.id)}/persistentvolumeclaims/data"
    volume = cell.plane.ask("admin", "GET", claim)[1]["spec"]["volumeName"]
    async with asyncio.timeout(SLOW):
        while volume in attached(cell):
            await asyncio.sleep(0.1)
    cell.world.cloud.attaching = False
    resumed = replace(running, generation=3)
    try:
        await until(runtime, resumed, because(Reason.WAITING_FOR_VOLUME))
    finally:
        cell.world.cloud.attaching = True
    await until(runtime, resumed, WELL)
    assert ask(cell, resumed) == ((7,),)


def attached(cell: Cell) -> set[str]:
    """Return the volumes that some machine has, or is to have."""
    found = cell.plane.ask("admin", "GET", "/apis/storage.k8s.io/v1/volumeattachments")[1]["items"]
    return {each["spec"]["source"]["persistentVolumeName"] for each in found}


async def test_an_api_server_that_restarts_under_way_delays_a_suspend_and_a_resume_and_no_more(
    runtime: KubernetesRuntime, running: WorkspaceSpec, cell: Cell
) -> None:
    suspended = replace(running, generation=2, desired=Desired.SUSPENDED)
    walking = asyncio.create_task(persist(runtime, suspended))
    cell.plane.kill("kube-apiserver")
    await asyncio.to_thread(cell.plane.restart, "kube-apiserver")
    assert (await walking).reason is Reason.STOPPED_AS_ASKED
    assert pod(cell, running) is None
    resumed = replace(running, generation=3)
    walking = asyncio.create_task(persist(runtime, resumed))
    cell.plane.kill("kube-apiserver")
    await asyncio.to_thread(cell.plane.restart, "kube-apiserver")
    assert WELL(await walking)
    assert ask(cell, resumed) == ((7,),)


async def persist(runtime: KubernetesRuntime, spec: WorkspaceSpec) -> Step:
    """Walk the plan as the agent does, for whom an action that failed is one to repeat."""
    ends = time.monotonic() + SLOW
    while True:
        try:
            taken = await step(runtime, spec, SECRETS)
        except ByocError:
            assert time.monotonic() < ends
            await asyncio.sleep(0.5)
            continue
        if taken.done and taken.reason in {Reason.STOPPED_AS_ASKED, Reason.ANSWERED_SQL}:
            return taken
        assert time.monotonic() < ends, taken
        await asyncio.sleep(0.05)


async def test_an_engine_that_cannot_start_is_given_up_after_five_tries_and_comes_back_when_asked(
    runtime: KubernetesRuntime, running: WorkspaceSpec, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byoc.dataplane.plan._FIRST_DELAY", 0.05)
    claim = f"/api/v1/namespaces/{namespace(running.id)}/persistentvolumeclaims/data"
    volume = cell.plane.ask("admin", "GET", claim)[1]["spec"]["volumeName"]
    _, found = cell.plane.ask("admin", "GET", f"/api/v1/persistentvolumes/{volume}")
    files = cell.world.cloud.path(found["spec"]["csi"]["volumeHandle"]) / "data"
    suspended = replace(running, generation=2, desired=Desired.SUSPENDED)
    await walk(runtime, suspended, SECRETS)
    # What stands for the system tablespace is one no more.
    (files / "ibdata1").rename(files / "away")
    (files / "ibdata1").write_bytes(b"no tablespace" * 4096)
    resumed = replace(running, generation=3, desired=Desired.RUNNING)
    steps, ends = [await step(runtime, resumed, SECRETS)], time.monotonic() + SLOW
    while not steps[-1].done:
        assert time.monotonic() < ends, steps[-3:]
        steps.append(await step(runtime, resumed, SECRETS))
    assert (steps[-1].phase, steps[-1].reason) == (Phase.FAILED, Reason.ENGINE_CANNOT_START)
    assert (await runtime.observe(running.id)).failures.starts == 5
    # Its own words stay in the cell, and are there for who may read them.
    assert "ibdata1" in await runtime.logs(running.id)
    (files / "away").replace(files / "ibdata1")
    again = replace(resumed, generation=4)
    await until(runtime, again, WELL)
    assert ask(cell, again) == ((7,),)


async def test_a_size_larger_than_any_machine_is_said_and_can_be_suspended(
    runtime: KubernetesRuntime, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byoc.dataplane.kubernetes.tending.AUTOSCALER_SECONDS", 6.0)
    large = cell.runtime(replace(SETTINGS, memory_bytes=None, size_divisor=1))
    spec = WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-0", scale_factor=64)
    try:
        await until(large, spec, because(Reason.WAITING_FOR_MACHINE))
        await until(large, spec, because(Reason.NO_MACHINE_LARGE_ENOUGH))
        await until(large, replace(spec, generation=2, desired=Desired.SUSPENDED), lambda taken: taken.done)
    finally:
        await large.close(stop_engines=False)
