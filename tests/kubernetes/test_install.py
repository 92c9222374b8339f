"""A cell of any Kubernetes: `byoc cell install`, a workspace in it, `byoc cell destroy`, and nothing left.

Real: the command line, the control plane and gateway of an instance, the API server, the scheduler and the
controllers, both agents in pods of their own under their service account's token, the SQL server.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from byoc.bootstrap.anywhere import look
from byoc.cell.incluster import NAMESPACE, STORAGE_CLASS, WORKSPACE_LABEL
from byoc.cell.installer.api import Api
from byoc.errors import Conflict, NotFound, PreconditionFailed
from byoc.testing.instance import Instance, eventually
from tests.emulated.installing import Site
from tests.emulated.machines.world import World
from tests.kubernetes.agent_image import REFERENCE, ROOT, agent_program
from tests.kubernetes.conftest import _budget
from tests.kubernetes.guarding import Guarding
from tests.kubernetes.plane import Plane

CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
VOLUMES = "/api/v1/persistentvolumes"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cluster(plane: Plane, world: World, site: Site, tmp_path: Path) -> Iterator[Path]:
    """A cluster that nobody prepared for a cell; returns a kubeconfig of its administrator."""
    _, classes = plane.ask("admin", "GET", CLASSES)
    like = next((each for each in classes["items"] if each["metadata"]["name"] == STORAGE_CLASS), None)
    kept = (
        {name: like[name] for name in like if name != "metadata"}
        if like
        else {"provisioner": "ebs.csi.aws.com"}
    )
    plane.ask("admin", "DELETE", f"{CLASSES}/{STORAGE_CLASS}")
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    standard = {**kept, "metadata": {"name": "standard", "annotations": default}, "reclaimPolicy": "Delete"}
    plane.ask("admin", "POST", CLASSES, standard)
    world.images.programs["registry.example/byoc-agent"] = agent_program(tmp_path)
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(plane.kubeconfig("admin")))
    try:
        yield path
    finally:
        del world.images.programs["registry.example/byoc-agent"]
        plane.ask("admin", "DELETE", f"{CLASSES}/standard")
        if like:
            plane.ask("admin", "POST", CLASSES, {**kept, "metadata": {"name": STORAGE_CLASS}})


def opened(plane: Plane) -> Api:
    return Api(plane.url, plane.authority, lambda: plane.tokens["admin"], _budget(60))


class TestLook:
    def test_a_cluster_that_will_do_says_what_it_is_like(self, plane: Plane, cluster: Path) -> None:
        with closing(opened(plane)) as api:
            seen = look(api, cell="demo")
        assert seen.kubernetes == "1.36"
        assert seen.storage["metadata"]["name"] == "standard"
        assert all(port for _, port in seen.api)
        assert seen.region == "us-east-1"

    def test_without_a_storage_class_nothing_begins(self, plane: Plane, cluster: Path) -> None:
        with (
            closing(opened(plane)) as api,
            pytest.raises(PreconditionFailed, match="no storage class `fast`"),
        ):
            look(api, cell="demo", storage_class="fast")

    def test_a_cluster_that_has_another_cell_is_refused(
        self, plane: Plane, cluster: Path, site: Site
    ) -> None:
        site.install()
        with closing(opened(plane)) as api, pytest.raises(Conflict, match="is installed in this cluster"):
            look(api, cell="demo")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "instance") as made:
        yield made


@pytest.fixture
def byoc(instance: Instance, cluster: Path, tmp_path: Path) -> Command:
    """Return what runs one command as a user would."""
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "NO_COLOR": "1",
        "KUBECONFIG": str(cluster),
        "BYOC_URL": instance.line["url"],
        "BYOC_TOKEN": instance.line["token"],
    }

    def run(*words: str, code: int | None = 0) -> "subprocess.CompletedProcess[str]":
        ended = subprocess.run(
            [sys.executable, "-m", "byoc", *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
        assert code in {None, ended.returncode}, f"{ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended

    return run


@pytest.mark.timeout(900)
def test_a_cell_of_any_kubernetes_from_install_to_destroy(
    plane: Plane, world: World, byoc: Command, instance: Instance, tmp_path: Path
) -> None:
    where = (
        "--context", "plane", "--gateway", instance.line["gateway"],
        "--gateway-ca", str(tmp_path / "instance/gateway/ca.crt"), "--agent-image", REFERENCE,
    )  # fmt: skip
    made = byoc("cell", "install", "demo", *where, "-o", "json")
    cell = json.loads(made.stdout.splitlines()[-1])["cellID"]
    again = byoc("cell", "install", "demo", *where, "-o", "json")
    assert json.loads(again.stdout.splitlines()[-1])["cellID"] == cell

    body = {
        "name": "g",
        "regionID": cell,
        "firewallRanges": ["0.0.0.0/0"],
        "adminPassword": "Secret-77-horse",
    }
    group = instance.ask("POST", "/v1/workspaceGroups", body)["workspaceGroupID"]
    wanted = {"name": "orders", "workspaceGroupID": group, "size": "S-00"}
    workspace = instance.ask("POST", "/v1/workspaces", wanted)["workspaceID"]
    assert instance.settled(workspace, "ACTIVE", seconds=240)["endpoint"]
    assert spaces(plane)
    Guarding(plane, world, byoc, lambda: opened(plane), instance, workspace, tmp_path).story()

    byoc("cell", "destroy", "demo", "--context", "plane", "--confirm", "demo", code=5)
    instance.ask("DELETE", f"/v1/workspaceGroups/{group}?force=true")
    eventually("it is gone", lambda: instance.workspace(workspace)["state"] == "TERMINATED", seconds=120)
    gone = byoc("cell", "destroy", "demo", "--context", "plane", "--confirm", "demo", "-o", "json")
    assert json.loads(gone.stdout.splitlines()[-1]) == {"cell": "demo", "left": []}
    assert plane.ask("admin", "GET", f"/api/v1/namespaces/{NAMESPACE}")[0] == 404
    assert spaces(plane) == []
    assert volumes(plane) == []


def spaces(plane: Plane) -> list[str]:
    _, found = plane.ask("admin", "GET", f"/api/v1/namespaces?labelSelector={WORKSPACE_LABEL}")
    return [each["metadata"]["name"] for each in found["items"]]


def volumes(plane: Plane) -> list[Any]:
    _, found = plane.ask("admin", "GET", VOLUMES)
    return [each["spec"].get("claimRef") for each in found["items"]]


def test_a_context_that_is_not_there_is_named_with_those_that_are(cluster: Path) -> None:
    from byoc.dataplane.kubernetes.kubeconfig import open_context  # noqa: PLC0415

    with pytest.raises(NotFound, match="no context `prod`") as caught:
        open_context("prod", {"KUBECONFIG": str(cluster)})
    assert "plane" in (caught.value.hint or "")
