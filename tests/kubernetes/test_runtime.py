"""What only a cluster's runtime does: walls, names, certificates, volumes, and what somebody else changed."""

import asyncio
import base64
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from byoc.clock import SystemClock
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.adoption import adoptable
from byoc.dataplane.kubernetes.authority import lasts
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.plan import Situation, Step, plan
from byoc.dataplane.runtime import Doors, Process, Secrets
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.walking import walk
from byoc.wire.certificates import Certificate, belongs, make_authority
from tests.kubernetes.cell import DOMAIN, SETTINGS, Cell

Json = dict[str, Any]
SECRETS = Secrets(1, "first password")
MERGE = "application/merge-patch+json"


class EarlierClock(SystemClock):
    """A clock of three hundred days ago."""

    def now(self) -> datetime:
        return super().now() - timedelta(days=300)


@pytest.fixture
def spec() -> WorkspaceSpec:
    return WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")


@pytest.fixture
async def running(runtime: KubernetesRuntime, spec: WorkspaceSpec) -> WorkspaceSpec:
    assert (await walk(runtime, spec, SECRETS))[-1].phase is Phase.RUNNING
    return spec


def to(spec: WorkspaceSpec, desired: Desired) -> WorkspaceSpec:
    return replace(spec, generation=spec.generation + 1, desired=desired)


def of(cell: Cell, spec: WorkspaceSpec, path: str) -> Json:
    """Return one object of a workspace; ``path`` is below its namespace."""
    group, _, rest = path.rpartition(":")
    root = f"/apis/{group}" if group else "/api/v1"
    whole = f"{root}/namespaces/{names.namespace(spec.id)}/{rest}".removesuffix("/")
    _, found = cell.plane.ask("admin", "GET", whole)
    return found


def meddle(cell: Cell, spec: WorkspaceSpec, method: str, path: str, change: Json | None = None) -> None:
    group, _, rest = path.rpartition(":")
    root = f"/apis/{group}" if group else "/api/v1"
    whole = f"{root}/namespaces/{names.namespace(spec.id)}/{rest}".removesuffix("/")
    status, answer = cell.plane.ask("admin", method, whole, change, kind=MERGE if change else "")
    assert status == 200, answer


async def settled(
    runtime: KubernetesRuntime, spec: WorkspaceSpec, situation: Situation, seconds: float = 60
) -> list[Step]:
    """Do as the reconciler does until nothing is to be done; return what was done."""
    done: list[Step] = []
    async with asyncio.timeout(seconds):
        while True:
            step = plan(spec, situation, await runtime.observe(spec.id), SystemClock().now())
            done.append(step)
            if step.done:
                return done
            if step.action is not None:
                await runtime.act(spec, step.action, SECRETS, situation.doors)


WALL = "networking.k8s.io/v1:networkpolicies/sql"
BINDING = "rbac.authorization.k8s.io/v1:rolebindings/byoc-agent"
BEHIND = Situation(password_version=1)


class TestWalls:
    async def test_whom_the_group_lets_in_is_let_in_without_a_restart(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        before = (await runtime.observe(running.id)).started_at
        doors = Doors(("203.0.113.0/24",))
        (mending, rest) = await settled(runtime, running, replace(BEHIND, doors=doors))
        assert (mending.phase, mending.reason) == (Phase.RUNNING, Reason.APPLYING_FIREWALL)
        assert rest.reason is Reason.ANSWERED_SQL
        (rule,) = of(cell, running, WALL)["spec"]["ingress"]
        assert [each["ipBlock"]["cidr"] for each in rule["from"] if "ipBlock" in each] == ["203.0.113.0/24"]
        seen = await runtime.observe(running.id)
        assert (seen.doors, seen.started_at) == (doors, before)

    async def test_a_door_that_somebody_opened_is_heard_of_and_closed(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        heard = asyncio.ensure_future(anext(runtime.watch()))
        await asyncio.sleep(0)
        meddle(cell, running, "PATCH", WALL, {"spec": {"ingress": [{}]}})
        assert await asyncio.wait_for(heard, 30) == running.id
        (mending, _) = await settled(runtime, running, BEHIND)
        assert mending.reason is Reason.PUTTING_BACK
        assert len(of(cell, running, WALL)["spec"]["ingress"][0]["from"]) == 1


class TestByHand:
    async def test_what_somebody_removed_is_put_back(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        seen = await runtime.observe(running.id)
        for path in around(running):
            before = of(cell, running, path)
            meddle(cell, running, "DELETE", path)
            await putting_back(runtime, running)
            assert said(of(cell, running, path)) == said(before), path
        await nothing_is_written(runtime, running)
        assert (await runtime.observe(running.id)).started_at == seen.started_at

    async def test_what_somebody_changed_is_put_back(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        seen = await runtime.observe(running.id)
        for path, change in edits(running).items():
            before = of(cell, running, path)
            meddle(cell, running, "PATCH", path, change)
            assert said(of(cell, running, path)) != said(before), path
            await putting_back(runtime, running)
            assert said(of(cell, running, path)) == said(before), path
        strange = make_authority(name="somebody's", now=SystemClock().now()).key
        change = {"data": {"tls.key": base64.b64encode(strange).decode()}}
        meddle(cell, running, "PATCH", "secrets/byoc-engine", change)
        await putting_back(runtime, running)
        data = of(cell, running, "secrets/byoc-engine")["data"]
        assert belongs(Certificate(*(base64.b64decode(data[name]) for name in ("tls.crt", "tls.key"))))
        await nothing_is_written(runtime, running)
        assert (await runtime.observe(running.id)).started_at == seen.started_at


class TestFollowing:
    async def test_an_agent_whose_watches_ended_begins_them_anew(
        self,
        cell: Cell,
        runtime: KubernetesRuntime,
        running: WorkspaceSpec,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        first = runtime._following
        assert first is not None
        with monkeypatch.context() as patched:
            patched.delattr("byoc.dataplane.kubernetes.tending.decide")
            runtime._tending._news.set()
            await asyncio.wait_for(asyncio.wait([first]), 30)
        meddle(cell, running, "DELETE", WALL)
        await putting_back(runtime, running)
        assert of(cell, running, WALL)["kind"] == "NetworkPolicy"
        assert runtime._following is not first


def around(spec: WorkspaceSpec) -> list[str]:
    """Return every object of a workspace but its volume and what runs."""
    return [
        *(f"services/{names.service(spec.id, which)}" for which in ("ddl", "dml")),
        "policy/v1:poddisruptionbudgets/engine",
        WALL,
        "networking.k8s.io/v1:networkpolicies/default-deny",
        "configmaps/byoc-engine",
        "secrets/byoc-engine",
        "resourcequotas/workspace",
        "limitranges/workspace",
        BINDING,
    ]


def edits(spec: WorkspaceSpec) -> dict[str, Json]:
    """Return a change for each, by its path."""
    more = [{"port": 3306, "name": "sql", "targetPort": "sql"}, {"port": 3307, "name": "theirs"}]
    privileged = {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit")}
    return {
        f"services/{names.service(spec.id, 'ddl')}": {"spec": {"ports": more}},
        f"services/{names.service(spec.id, 'dml')}": {"metadata": {"annotations": {names.HOSTNAME: "x.y"}}},
        "policy/v1:poddisruptionbudgets/engine": {"spec": {"maxUnavailable": 0}},
        WALL: {"spec": {"ingress": [{}]}},
        "configmaps/byoc-engine": {"data": {"my.cnf": "[mariadbd]\n"}},
        "secrets/byoc-engine": {"data": {"ca.crt": ""}},
        "resourcequotas/workspace": {"spec": {"hard": {"pods": "9"}}},
        "limitranges/workspace": {"spec": {"limits": [{"type": "Container"}]}},
        BINDING: {"subjects": []},
        "": {"metadata": {"labels": privileged, "annotations": {names.INTENDED: None}}},
    }


def said(found: Json) -> Json:
    """Return what a person says of an object, without what the API server and controllers add."""
    kept = {name: value for name, value in found.items() if name not in {"status", "metadata"}}
    metadata = found["metadata"]
    kept["spec"] = {n: v for n, v in (found.get("spec") or {}).items() if not n.startswith("clusterIP")}
    annotations = metadata.get("annotations") or {}
    if found["kind"] == "Secret":
        # A lost certificate is another one afterwards.
        kept["data"] = {name: text for name, text in found["data"].items() if not name.startswith("tls.")}
        annotations = sorted(annotations)
    return kept | {"labels": metadata.get("labels"), "annotations": annotations}


async def putting_back(runtime: KubernetesRuntime, spec: WorkspaceSpec) -> None:
    """Wait until the runtime has heard of it, and has done what it does then."""
    heard: set[Reason] = set()
    async with asyncio.timeout(60):
        while Reason.PUTTING_BACK not in heard:
            await asyncio.sleep(0.02)
            steps = await settled(runtime, spec, BEHIND)
            assert {step.phase for step in steps} == {Phase.RUNNING}
            heard |= {step.reason for step in steps}


async def nothing_is_written(runtime: KubernetesRuntime, spec: WorkspaceSpec) -> None:
    """See that what was put back is whole to the runtime too, or it would put it back for ever."""
    before = runtime._cluster.traffic.writes
    for _ in range(3):
        (rest,) = await settled(runtime, spec, BEHIND)
        assert rest.reason is Reason.ANSWERED_SQL
    assert runtime._cluster.traffic.writes == before


class TestNames:
    async def test_an_endpoint_has_its_name_only_while_it_runs(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        service = f"services/{names.service(running.id, 'dml')}"
        host = f"svc-{running.id}-dml.{DOMAIN}"
        assert of(cell, running, service)["metadata"]["annotations"][names.HOSTNAME] == host
        await walk(runtime, to(running, Desired.SUSPENDED), SECRETS)
        assert names.HOSTNAME not in (of(cell, running, service)["metadata"].get("annotations") or {})
        await walk(runtime, to(running, Desired.RUNNING), SECRETS)
        assert of(cell, running, service)["metadata"]["annotations"][names.HOSTNAME] == host


class TestCertificates:
    async def test_one_that_is_about_to_end_is_replaced_while_the_engine_runs(
        self, cell: Cell, spec: WorkspaceSpec
    ) -> None:
        old = KubernetesRuntime(cell.cluster(), SETTINGS, EarlierClock())
        await walk(old, spec, SECRETS)
        await old.close(stop_engines=False)
        runtime = cell.runtime()
        try:
            before = await runtime.observe(spec.id)
            assert (before.sql_ready, before.amiss) == (True, True)
            steps = await settled(runtime, spec, BEHIND)
            assert steps[0].reason is Reason.PUTTING_BACK
            held = base64.b64decode(of(cell, spec, "secrets/byoc-engine")["data"]["tls.crt"])
            assert lasts(held, SystemClock().now())
            shown = runtime._held[spec.id].following
            async with asyncio.timeout(60):
                while shown.certificate != held:
                    await runtime.observe(spec.id)
            assert (await runtime.observe(spec.id)).started_at == before.started_at
        finally:
            await runtime.close(stop_engines=False)
            await cell.clear()


class TestVolumes:
    async def test_a_terminated_workspace_leaves_no_volume_that_anybody_pays_for(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        before = set(cell.world.cloud.disks)
        await walk(runtime, to(running, Desired.TERMINATED), SECRETS)
        (gone,) = before - cell.world.cloud.disks
        assert gone in cell.world.cloud.deleted
        status, _ = cell.plane.ask("admin", "GET", f"/api/v1/namespaces/{names.namespace(running.id)}")
        assert status == 404
        _, volumes = cell.plane.ask("admin", "GET", "/api/v1/persistentvolumes")
        claims = [each["spec"]["claimRef"]["namespace"] for each in volumes["items"]]
        assert names.namespace(running.id) not in claims

    async def test_a_volume_that_was_emptied_is_never_initialised_again(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        claim = of(cell, running, "persistentvolumeclaims/data")
        _, volume = cell.plane.ask("admin", "GET", f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        await walk(runtime, to(running, Desired.SUSPENDED), SECRETS)
        disk = cell.world.cloud.path(volume["spec"]["csi"]["volumeHandle"])
        shutil.rmtree(disk / "data")
        steps = await settled(runtime, to(running, Desired.RUNNING), replace(BEHIND, must_exist=True))
        assert (steps[-1].phase, steps[-1].reason) == (Phase.FAILED, Reason.VOLUME_MISSING)
        assert not (disk / "data").exists()

    async def test_a_claim_that_somebody_removed_is_made_anew_for_its_volume_and_for_no_other(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        suspended = to(running, Desired.SUSPENDED)
        await walk(runtime, suspended, SECRETS)
        bound = of(cell, running, "persistentvolumeclaims/data")["spec"]["volumeName"]
        meddle(cell, running, "DELETE", "persistentvolumeclaims/data")
        async with asyncio.timeout(30):
            while not adoptable(runtime._cache.view(running.id)):
                await asyncio.sleep(0.05)
        steps = await settled(runtime, to(suspended, Desired.RUNNING), replace(BEHIND, must_exist=True))
        assert steps[-1].phase is Phase.RUNNING
        assert of(cell, running, "persistentvolumeclaims/data")["spec"]["volumeName"] == bound

    async def test_a_volume_that_is_gone_is_said_and_no_claim_is_made(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        suspended = to(running, Desired.SUSPENDED)
        await walk(runtime, suspended, SECRETS)
        bound = of(cell, running, "persistentvolumeclaims/data")["spec"]["volumeName"]
        volume = f"/api/v1/persistentvolumes/{bound}"
        let_go = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
        cell.plane.ask("admin", "PATCH", volume, let_go, kind="application/merge-patch+json")
        meddle(cell, running, "DELETE", "persistentvolumeclaims/data")
        async with asyncio.timeout(30):
            while (await runtime.observe(running.id)).exists:
                await asyncio.sleep(0.05)
        steps = await settled(runtime, to(suspended, Desired.RUNNING), replace(BEHIND, must_exist=True))
        assert (steps[-1].phase, steps[-1].reason) == (Phase.FAILED, Reason.VOLUME_MISSING)
        assert of(cell, running, "persistentvolumeclaims/data")["code"] == 404

    async def test_a_larger_size_grows_the_disk_and_a_smaller_one_leaves_it(
        self, cell: Cell, running: WorkspaceSpec, runtime: KubernetesRuntime
    ) -> None:
        for generation, size, gib in ((2, "S-1", "2Gi"), (3, "S-00", "2Gi")):
            resized = replace(running, generation=generation, size=size)
            await settled(runtime, resized, BEHIND)
            claim = of(cell, running, "persistentvolumeclaims/data")
            assert claim["spec"]["resources"]["requests"]["storage"] == gib


class TestImages:
    async def test_a_newer_one_reaches_a_running_engine_in_the_window_only(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
    ) -> None:
        image = f"registry.invalid/mariadb:11.4@sha256:{64 * '0'}"
        newer = cell.runtime(replace(SETTINGS, image=image))
        try:
            (rest,) = await settled(newer, running, BEHIND)
            assert rest.reason is Reason.ANSWERED_SQL
            seen = await newer.observe(running.id)
            assert (seen.outdated, seen.amiss) == (True, False)
            steps = await settled(newer, running, replace(BEHIND, may_upgrade=True))
            assert steps[0].reason is Reason.UPGRADING_ENGINE
            seen = await newer.observe(running.id)
            assert (seen.outdated, seen.failures.crashes) == (False, 0)
            found = of(cell, running, "pods/engine-0")["spec"]["containers"][0]["image"]
            assert found == image
        finally:
            await newer.close(stop_engines=False)


class TestSizes:
    async def test_what_cannot_be_done_in_the_running_pod_is_done_by_a_restart(
        self, cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started = of(cell, running, "pods/engine-0")["metadata"]["uid"]
        bigger = replace(running, generation=2, size="S-0")
        # A machine that is full says so in the pod; here the kubelet does not even look.
        frozen = of(cell, running, "pods/engine-0")["spec"]["nodeName"]
        cell.world.freeze(frozen)
        monkeypatch.setattr("byoc.dataplane.kubernetes.mariadb.RESIZE_SECONDS", 1.0)
        try:
            step = plan(bigger, BEHIND, await runtime.observe(running.id), SystemClock().now())
            assert step.action is not None
            await runtime.act(bigger, step.action, SECRETS)
            seen = await runtime.observe(running.id)
            assert seen.restart_needed
        finally:
            cell.world.thaw(frozen)
        await settled(runtime, bigger, BEHIND)
        seen = await runtime.observe(running.id)
        assert (seen.process, seen.limits and seen.limits.size) == (Process.RUNNING, "S-0")
        assert of(cell, running, "pods/engine-0")["metadata"]["uid"] != started
