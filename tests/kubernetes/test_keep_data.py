"""`byoc cell destroy --keep-data`, and an installation of the same cell that goes on with what was kept."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from byoc import sql
from byoc.cell.incluster import BUNDLE_LABEL, KEYS, NAMESPACE, WORKSPACE_LABEL
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.authority import SECRET
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.plan import Situation, Step, plan
from byoc.dataplane.runtime import Secrets
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase
from byoc.model.spec import WorkspaceSpec
from tests.emulated.installing import Site, package
from tests.emulated.machines.world import World
from tests.kubernetes.cell import Cell
from tests.kubernetes.plane import Plane

ROOT = Path(__file__).parents[2]
PASSWORD = "first password"
MERGE = "application/merge-patch+json"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
VOLUMES = "/api/v1/persistentvolumes"


def destroy(plane: Plane, folder: Path, *options: str) -> dict[str, Any]:
    """Run the command as a person does who administers the cluster."""
    config = folder / "kubeconfig"
    config.write_text(json.dumps(plane.kubeconfig("admin")))
    cell = package().cell
    words = ("cell", "destroy", cell, "--context", "plane", "--force", "--confirm", cell, "-o", "json")
    ended = subprocess.run(
        [sys.executable, "-m", "byoc", *words, *options],
        cwd=ROOT,
        env={"HOME": str(folder), "PATH": os.environ["PATH"], "KUBECONFIG": str(config)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return said


async def settled(runtime: KubernetesRuntime, spec: WorkspaceSpec, situation: Situation) -> Step:
    """Do as the reconciler does until nothing is to be done."""
    async with asyncio.timeout(120):
        while True:
            step = plan(spec, situation, await runtime.observe(spec.id), SystemClock().now())
            if step.done:
                return step
            if step.action is not None:
                await runtime.act(spec, step.action, Secrets(1, PASSWORD), situation.doors)
            else:
                await asyncio.sleep(0.05)


def asked(plane: Plane, spec: WorkspaceSpec, statement: str) -> Any:
    place = f"/api/v1/namespaces/{names.namespace(spec.id)}/pods/{names.POD}"
    address = plane.ask("admin", "GET", place)[1]["status"]["podIP"]
    with sql.connect(address, user="admin", password=PASSWORD, timeout=5) as session:
        return session.execute(statement).rows


def held(plane: Plane, name: str) -> Any:
    return plane.ask("admin", "GET", f"{CORE}/secrets/{name}")[1].get("data")


def volumes(plane: Plane) -> dict[str, str]:
    """Volumes of workspaces, and how they stand."""
    _, found = plane.ask("admin", "GET", VOLUMES)
    ours = (each for each in found["items"] if names.workspace_of(each["spec"]["claimRef"]["namespace"]))
    return {each["metadata"]["name"]: each["status"]["phase"] for each in ours}


@pytest.mark.timeout(300)
async def test_a_cell_taken_out_with_its_data_kept_comes_back_with_keys_and_data_and_goes_whole_at_last(
    plane: Plane, world: World, site: Site, tmp_path: Path
) -> None:
    site.install()
    plane.ask("admin", "PATCH", f"{CORE}/secrets/{KEYS}", {"stringData": {"keys.json": "own"}}, kind=MERGE)
    cell, situation = Cell(plane, world), Situation(password_version=1)
    spec = WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")
    before = cell.runtime()
    assert (await settled(before, spec, situation)).phase is Phase.RUNNING
    for statement in ("CREATE DATABASE kept", "CREATE TABLE kept.t AS SELECT 'still here' v"):
        await asyncio.to_thread(asked, plane, spec, statement)
    await before.close(stop_engines=False)
    keys, authority = held(plane, KEYS), held(plane, SECRET)
    (volume,) = volumes(plane)

    said = await asyncio.to_thread(destroy, plane, tmp_path, "--keep-data")

    assert said["left"] == []
    kept = {(each["kind"], each["id"]) for each in said["kept"]}
    assert {("PersistentVolume", volume), ("Namespace", NAMESPACE)} <= kept
    assert volumes(plane) == {volume: "Released"}
    _, spaces = plane.ask("admin", "GET", f"/api/v1/namespaces?labelSelector={WORKSPACE_LABEL}")
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    _, rights = plane.ask("admin", "GET", f"{roles}?labelSelector={BUNDLE_LABEL}")
    assert (spaces["items"], rights["items"]) == ([], [])
    assert (held(plane, KEYS), held(plane, SECRET)) == (keys, authority)

    site.install()
    after = cell.runtime()
    back = await settled(after, spec, Situation(password_version=1, must_exist=True))
    assert back.phase is Phase.RUNNING
    assert await asyncio.to_thread(asked, plane, spec, "SELECT v FROM kept.t") == (("still here",),)
    assert volumes(plane) == {volume: "Bound"}
    assert (held(plane, KEYS), held(plane, SECRET)) == (keys, authority)
    await after.close(stop_engines=False)

    assert await asyncio.to_thread(destroy, plane, tmp_path) == {"cell": package().cell, "left": []}
    assert volumes(plane) == {}
    assert plane.ask("admin", "GET", f"/api/v1/namespaces/{NAMESPACE}")[0] == 404
    assert world.faults == []
