"""A workspace with an operator on a real API server; the operator and its nodes are stand-ins."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from byoc.cell.incluster import AGENT, LICENCE, NAMESPACE
from byoc.cell.rights import AGENT_IN_CLUSTER, OPERATOR_IN_WORKSPACE
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.door import connected
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.kubernetes.singlestore import engine
from byoc.dataplane.plan import Situation, Step, plan
from byoc.dataplane.runtime import Limits, Secrets
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.metrics import Metric
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.walking import step, walk
from tests.emulated.singlestore.operator import CRD, Operator
from tests.kubernetes.cell import Cell, put_licence
from tests.kubernetes.test_needed_rights import Asked

Json = dict[str, Any]
SECRETS = Secrets(1, "first password")
ORDER = "memsql.com/v1alpha1:memsqlclusters/cluster"
BEHIND = Situation(password_version=1)
MERGE = "application/merge-patch+json"
_SECONDS = 120


@pytest.fixture
def spec() -> WorkspaceSpec:
    return WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")


@pytest.fixture
def asked() -> set[Asked]:
    """Everything that the agent asks the API server for."""
    return set()


@pytest.fixture
async def runtime(operated: Cell, asked: set[Asked]) -> AsyncIterator[KubernetesRuntime]:
    cluster = operated.cluster()

    async def note(request: httpx2.Request) -> None:
        asked.add(Asked.of(request))

    cluster._client._client._client.event_hooks["request"].append(note)
    async with operated.tended(KubernetesRuntime(cluster, operated.settings, SystemClock())) as lent:
        yield lent


@pytest.fixture
async def running(runtime: KubernetesRuntime, spec: WorkspaceSpec) -> WorkspaceSpec:
    assert (await walk(runtime, spec, SECRETS))[-1].phase is Phase.RUNNING
    return spec


def path_of(spec: WorkspaceSpec, path: str) -> str:
    group, _, rest = path.rpartition(":")
    root = f"/apis/{group}" if group else "/api/v1"
    return f"{root}/namespaces/{names.namespace(spec.id)}/{rest}"


def of(cell: Cell, spec: WorkspaceSpec, path: str) -> Json:
    return cell.plane.ask("admin", "GET", path_of(spec, path))[1]


def names_of(cell: Cell, spec: WorkspaceSpec, path: str) -> set[str]:
    return {each["metadata"]["name"] for each in of(cell, spec, path)["items"]}


async def until(runtime: KubernetesRuntime, spec: WorkspaceSpec, true: Callable[[Step], bool]) -> list[Step]:
    """Do as the reconciler does until a step is what is waited for."""
    taken: list[Step] = []
    async with asyncio.timeout(_SECONDS):
        while not taken or not true(taken[-1]):
            taken.append(await step(runtime, spec, SECRETS))
    return taken


def because(reason: Reason) -> Callable[[Step], bool]:
    return lambda taken: taken.reason is reason


def said(runtime: KubernetesRuntime, spec: WorkspaceSpec, *statements: str) -> Sequence[Sequence[object]]:
    """Say something as the customer; return the rows of the last answer."""
    pod = runtime._cache.view(spec.id).pod
    assert pod is not None
    door = replace(runtime._door(spec.id, pod.address), password=SECRETS.password)
    with connected(door, "admin") as session:
        return [session.execute(each) for each in statements][-1].rows


async def test_the_operator_s_objects_bear_its_names_and_a_resize_replaces_them_without_a_crash(
    operated: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
) -> None:
    assert names_of(operated, running, "apps/v1:statefulsets") == {
        "node-cluster-master",
        "node-cluster-leaf-ag1",
    }
    assert {"svc-cluster-ddl", "svc-cluster-dml"} <= names_of(operated, running, "services")
    assert of(operated, running, ORDER)["status"] == {"phase": "Running"}
    samples = {each.metric: each.value for each in await runtime.metrics(running.id)}
    assert samples[Metric.CPU_RESOURCE_LIMITS] > 0
    assert samples[Metric.CONNECTIONS] > 0
    before = of(operated, running, "pods/node-cluster-master-0")["metadata"]["uid"]
    bigger = replace(running, generation=2, size="S-0", cache_config=2)
    steps = await until(runtime, bigger, lambda taken: taken.done)
    assert steps[0].reason is Reason.APPLYING_SIZE_ONLINE
    assert steps[-1].reason is Reason.ANSWERED_SQL
    seen = await runtime.observe(running.id)
    assert seen.limits == Limits("S-0", 1, 2)
    assert (seen.failures.crashes, seen.failures.starts) == (0, 0)
    assert of(operated, running, "pods/node-cluster-master-0")["metadata"]["uid"] != before


async def test_a_suspended_one_has_neither_operator_nor_nodes_and_comes_back_with_its_rows(
    operated: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec, asked: set[Asked]
) -> None:
    said(runtime, running, "CREATE TABLE cluster.t (i INT)", "INSERT INTO cluster.t VALUES (7)")
    before = {
        each["metadata"]["name"]: each["spec"]["volumeName"]
        for each in of(operated, running, "persistentvolumeclaims")["items"]
    }
    suspended = replace(running, generation=2, desired=Desired.SUSPENDED)
    assert (await walk(runtime, suspended, SECRETS))[-1].phase is Phase.SUSPENDED
    assert names_of(operated, running, "pods") == set()
    assert of(operated, running, "apps/v1:deployments/sdb-operator")["spec"]["replicas"] == 0
    service = of(operated, running, f"services/{names.service(running.id, 'dml')}")
    assert names.HOSTNAME not in (service["metadata"].get("annotations") or {})
    resumed = replace(running, generation=3)
    assert (await walk(runtime, resumed, SECRETS))[-1].phase is Phase.RUNNING
    assert list(said(runtime, running, "SELECT i FROM cluster.t")) == [(7,)]
    after = {
        each["metadata"]["name"]: each["spec"]["volumeName"]
        for each in of(operated, running, "persistentvolumeclaims")["items"]
    }
    assert after == before
    ended = replace(running, generation=4, desired=Desired.TERMINATED)
    disks = set(operated.world.cloud.disks)
    assert (await walk(runtime, ended, SECRETS))[-1].phase is Phase.TERMINATED
    assert len(disks - operated.world.cloud.disks) == len(before)
    table = (*AGENT_IN_CLUSTER, *OPERATOR_IN_WORKSPACE)
    for resource in ("memsqlclusters", "deployments", "serviceaccounts"):
        verbs = {each.verb for each in asked if each.resource == resource}
        assert verbs, f"{AGENT} never asks for {resource}"
        allowed = {verb for right in table if resource in right.resources for verb in right.verbs}
        assert verbs <= allowed


async def test_a_newer_image_reaches_a_running_one_in_the_window_only_and_is_no_crash(
    operated: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
) -> None:
    master = path_of(running, "pods/node-cluster-master-0")
    old = operated.plane.ask("admin", "GET", master)[1]["spec"]["containers"][0]["image"]
    image = old.replace(":8.9.3@", ":9.0.1@")
    newer = operated.runtime(replace(operated.settings, image=image))
    try:
        assert (await newer.observe(running.id)).outdated
        steps = await until(newer, running, lambda taken: taken.done)
        assert steps[-1].reason is Reason.ANSWERED_SQL
        assert of(operated, running, ORDER)["spec"]["nodeImage"]["tag"].startswith("8.9.3@")
        seen = await newer.observe(running.id)
        assert (seen.outdated, seen.amiss) == (True, False)
        window = replace(BEHIND, may_upgrade=True)
        taken = plan(running, window, seen, SystemClock().now())
        assert taken.reason is Reason.UPGRADING_ENGINE
        assert taken.action is not None
        await newer.act(running, taken.action, SECRETS)
        await until(newer, running, lambda taken: taken.done)
        seen = await newer.observe(running.id)
        assert (seen.outdated, seen.failures.crashes) == (False, 0)
        assert operated.plane.ask("admin", "GET", master)[1]["spec"]["containers"][0]["image"] == image
    finally:
        await newer.close(stop_engines=False)


async def test_an_operator_that_does_not_run_or_does_nothing_is_named_until_it_does(
    operated: Cell,
    operator: Operator,
    runtime: KubernetesRuntime,
    spec: WorkspaceSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "SOON_SECONDS", 0.0)
    monkeypatch.setattr(engine, "STUCK_SECONDS", 0.0)
    space = names.namespace(spec.id)
    operated.world.images.broken.add("singlestore/operator")
    operator.asleep.add(space)
    try:
        await until(runtime, spec, because(Reason.IMAGE_UNAVAILABLE))
        operated.world.images.broken.clear()
        steps = await until(runtime, spec, because(Reason.OPERATOR_STUCK))
        assert {taken.phase for taken in steps} == {Phase.PROVISIONING}
        assert not (await runtime.observe(spec.id)).sql_ready
    finally:
        operated.world.images.broken.clear()
        operator.asleep.discard(space)
    assert (await until(runtime, spec, lambda taken: taken.done))[-1].reason is Reason.ANSWERED_SQL


async def test_what_somebody_took_from_a_running_one_is_put_back_and_sql_goes_on(
    operated: Cell, operator: Operator, runtime: KubernetesRuntime, running: WorkspaceSpec
) -> None:
    started = (await runtime.observe(running.id)).started_at
    operator.asleep.add(names.namespace(running.id))
    more = [
        f"serviceaccounts/{names.CLUSTER}",
        "serviceaccounts/sdb-operator",
        "rbac.authorization.k8s.io/v1:rolebindings/sdb-operator",
        "secrets/byoc-engine",
        "resourcequotas/workspace",
    ]
    deployment = path_of(running, "apps/v1:deployments/sdb-operator")
    try:
        assert operated.plane.ask("admin", "DELETE", deployment)[0] == 200
        change = {"spec": {"leafSpec": {"storageGB": 7}}}
        status, _ = operated.plane.ask("admin", "PATCH", path_of(running, ORDER), change, kind=MERGE)
        assert status == 200
        for each in more:
            assert operated.plane.ask("admin", "DELETE", path_of(running, each))[0] == 200
        await until(runtime, running, because(Reason.PUTTING_BACK))
        steps = await until(runtime, running, lambda taken: taken.done)
    finally:
        operator.asleep.clear()
    assert {taken.phase for taken in steps} == {Phase.RUNNING}
    assert of(operated, running, "apps/v1:deployments/sdb-operator")["spec"]["replicas"] == 1
    assert of(operated, running, ORDER)["spec"]["leafSpec"]["storageGB"] == 1
    assert [of(operated, running, each)["metadata"]["name"] for each in more] == [
        each.rpartition("/")[2] for each in more
    ]
    assert (await runtime.observe(running.id)).started_at == started
    idle = path_of(running, "apps/v1:deployments/sdb-operator")
    assert operated.plane.ask("admin", "PATCH", idle, {"spec": {"replicas": 0}}, kind=MERGE)[0] == 200
    await until(runtime, running, because(Reason.PUTTING_BACK))
    await until(runtime, running, lambda taken: taken.done)
    assert of(operated, running, "apps/v1:deployments/sdb-operator")["spec"]["replicas"] == 1
    before = runtime._cluster.traffic.writes
    assert (await until(runtime, running, lambda taken: taken.done))[0].done
    assert runtime._cluster.traffic.writes == before


async def test_without_a_licence_or_the_vendor_s_kind_of_object_the_start_says_so_and_is_tried_again(
    operated: Cell, operator: Operator, spec: WorkspaceSpec
) -> None:
    plane = operated.plane
    licence = f"/api/v1/namespaces/{NAMESPACE}/secrets/{LICENCE}"
    defined = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    plane.ask("admin", "DELETE", licence)
    plane.ask("admin", "DELETE", f"{defined}/{CRD['metadata']['name']}")
    async with asyncio.timeout(60):
        while plane.ask("admin", "GET", f"{defined}/{CRD['metadata']['name']}")[0] != 404:
            await asyncio.sleep(0.1)
    runtime = operated.runtime()
    try:
        await until(runtime, spec, because(Reason.LICENCE_MISSING))
        put_licence(plane)
        await until(runtime, spec, because(Reason.OPERATOR_MISSING))
        seen = await runtime.observe(spec.id)
        assert plan(spec, BEHIND, seen, SystemClock().now()).phase is not Phase.FAILED
        assert plane.ask("admin", "POST", defined, CRD)[0] == 201
        await until(runtime, spec, because(Reason.WAITING_FOR_SQL))
        assert of(operated, spec, ORDER)["kind"] == "MemsqlCluster"
    finally:
        # Whatever came of it: the other tests need both.
        plane.ask("admin", "POST", defined, CRD)
        put_licence(plane)
        await runtime.close(stop_engines=False)
        await operated.clear()
