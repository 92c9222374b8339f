"""Account -> cell -> workspace -> nothing, offline: the commands a user types, on an empty emulated account.

What is real: the command line, the engine, the program, the functions' package, the API server, scheduler
and controllers of the cluster, both agents in their pods with no more than their account's rights, the
control plane, the gateway, the SQL server. What is emulated: AWS's own services, and the machines.
"""

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from byoc import sql
from byoc.bootstrap.engine.find import Pulumi
from byoc.cell.incluster import (
    AGENT,
    GROUP_LABEL,
    NAMESPACE,
    STORAGE_CLASS,
    SYSTEM_GROUP,
    SYSTEM_TAINT,
    WORKSPACE_LABEL,
)
from byoc.testing.instance import Instance, eventually
from tests.emulated import account, entrance
from tests.emulated.entrance import Entrance
from tests.emulated.functions import running as functions
from tests.emulated.handlers.handler import REGION
from tests.emulated.machines.world import World, running_world
from tests.emulated.plugins import lay_plugins
from tests.kubernetes.agent_image import REFERENCE, agent_program
from tests.kubernetes.plane import Plane, running
from tests.pulumi.site import Site
from tests.pulumi.world import ROOT

CELL, PASSWORD = "sales", "Secret-77-horse"
_CACHE = os.environ.get("BYOC_TOOLS", "")  # found before the test is given a home of its own


@dataclass
class ClusterSite(Site):
    """With a cluster that is reached from the account's functions."""

    plane: Plane
    world: World
    entrance: Entrance

    def ask(self, path: str) -> Any:
        """Ask the cluster as its administrator; None where there is no such thing."""
        status, found = self.plane.ask("admin", "GET", path)
        return found if status == 200 else None

    def listed(self, path: str) -> list[str]:
        return [each["metadata"]["name"] for each in self.ask(path)["items"]]

    def said(self) -> str:
        """Return the end of what the agents said."""
        logs = [
            each.words.read_text()[-3000:]
            for number in range(2)
            for each in self.world.containers(NAMESPACE, f"{AGENT}-{number}").values()
        ]
        return "\n".join(logs)


def prepare_machines(plane: Plane) -> None:
    """Make one machine of each zone a system machine, and leave the storage class to the cell."""
    taint = {"key": SYSTEM_TAINT, "value": "true", "effect": "NoSchedule"}
    change = {"metadata": {"labels": {GROUP_LABEL: SYSTEM_GROUP}}, "spec": {"taints": [taint]}}
    for name in ("a1", "b1", "c1"):
        kind = "application/strategic-merge-patch+json"
        assert plane.ask("admin", "PATCH", f"/api/v1/nodes/{name}", change, kind=kind)[0] == 200
    plane.ask("admin", "DELETE", f"/apis/storage.k8s.io/v1/storageclasses/{STORAGE_CLASS}")


@pytest.fixture
def site(engine: Pulumi, short_path: Path) -> Iterator[ClusterSite]:
    home = short_path / "home"
    lay_plugins(home / ".local/share/byoc-pulumi/home")
    tools = dict(os.environ) | ({"BYOC_TOOLS": _CACHE} if _CACHE else {})
    built = subprocess.run(
        [ROOT / "scripts/tools", "plane"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=tools,
        check=True,
    )
    (short_path / "plane").mkdir()
    binary = Path(built.stdout.decode().strip())
    with (
        account.serving() as aws,
        entrance.attending() as door,
        running(short_path / "plane", binary, {}, door.config()) as plane,
        running_world(plane, short_path / "world") as world,
    ):
        door.account = aws
        prepare_machines(plane)
        world.images.programs["registry.example/byoc-agent"] = agent_program(short_path)
        reached = {
            "BYOC_CLUSTER_ENDPOINT": plane.url,
            "BYOC_CLUSTER_AUTHORITY": base64.b64encode(plane.authority.encode()).decode(),
        }
        # By the key id of its role a function is known where it comes in.
        with functions(lambda name: {**reached, "AWS_ACCESS_KEY_ID": name}):
            yield ClusterSite(aws, home, str(engine.path.parent), plane, world, door)


@contextmanager
def somebody_elses_lock(site: ClusterSite) -> Iterator[str]:
    """Let another machine be at work on the cell; yield the bucket of its data, with an object in it."""
    s3 = site.account.aws()("s3")
    names = [one["Name"] for one in s3.list_buckets()["Buckets"]]
    states, data = (next(name for name in names if kind in name) for kind in ("state", "data"))
    lock = {"pid": 7, "username": "anna", "hostname": "build-3", "timestamp": "2026-11-29T08:00:00Z"}
    where = {"Bucket": states, "Key": f".pulumi/locks/organization/byoc/{CELL}/one.json"}
    s3.put_object(**where, Body=json.dumps(lock).encode())
    s3.put_object(Bucket=data, Key="kept", Body=b"data")
    yield data
    s3.delete_object(**where)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "instance") as made:
        yield made


def bootstrapped(site: ClusterSite, instance: Instance, reach: Mapping[str, str]) -> str:
    """Make the cell as was foretold; return its id."""
    where = (
        "--name", CELL, "--gateway", instance.line["gateway"],
        "--gateway-ca", str(instance.data / "gateway/ca.crt"), "--agent-image", REFERENCE,
    )  # fmt: skip
    look = ("bootstrap", *where, "--dry-run", "--exit-code", "-o", "json")
    foretold = json.loads(site.byoc(*look, code=10).stdout)
    assert site.account.aws()("s3").list_buckets()["Buckets"] == [], "a look makes nothing"
    made = site.byoc("bootstrap", *where, "--yes", "-o", "json", env=reach)
    answer = json.loads(made.stdout)
    assert answer["changes"] == foretold["changes"] == {"create": foretold["changes"]["create"]}
    assert {one["result"] for one in answer["checks"]} <= {"pass", "unknown"}
    again = json.loads(site.byoc(*look).stdout)
    assert [op for op, number in again["changes"].items() if number] == ["same"]
    regions = {one["regionID"]: one for one in instance.ask("GET", "/v1/regions")}
    assert regions[answer["cellID"]]["regionName"] == REGION
    return answer["cellID"]


def served(site: ClusterSite, workspace: Mapping[str, Any], statement: str) -> Any:
    """Ask the workspace's engine where its pod is, under the name and the authority that its users know."""
    space = f"/api/v1/namespaces/byoc-ws-{workspace['workspaceID']}"
    pod, secret = site.ask(f"{space}/pods/engine-0"), site.ask(f"{space}/secrets/byoc-engine")
    name = workspace["endpoint"].removesuffix(":3306")
    tls = sql.Tls(base64.b64decode(secret["data"]["ca.crt"]).decode(), name)
    with sql.connect(pod["status"]["podIP"], 3306, "admin", PASSWORD, tls=tls) as session:
        return session.execute(statement).rows


@pytest.mark.timeout(1200)
def test_account_to_workspace_and_back_to_nothing(
    site: ClusterSite, instance: Instance, tmp_path: Path
) -> None:
    reach = {"BYOC_URL": instance.line["url"], "BYOC_TOKEN": instance.line["token"]}
    cell = bootstrapped(site, instance, reach)
    assert sorted(site.entrance.came.values()) == [("system:masters",)]
    assert (
        site.ask(f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{AGENT}")["status"]["readyReplicas"] == 2
    )

    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    group = ("group", "create", "g", "--region", cell, "--password-file", str(secret))
    site.byoc(*group, "--firewall-range", "10.0.0.0/8", env=reach)
    site.byoc("workspace", "create", "orders", "--group", "g", env=reach)
    (held,) = instance.ask("GET", "/v1/workspaceGroups")
    (workspace,) = instance.ask("GET", f"/v1/workspaces?workspaceGroupID={held['workspaceGroupID']}")
    assert workspace["state"] == "ACTIVE"
    served(site, workspace, "CREATE DATABASE shop")
    served(site, workspace, "CREATE TABLE shop.orders AS SELECT 7 AS n")
    site.byoc("workspace", "suspend", "orders", env=reach)
    pods = f"/api/v1/namespaces/byoc-ws-{workspace['workspaceID']}/pods"
    eventually("its pod is gone", lambda: site.listed(pods) == [])
    site.byoc("workspace", "resume", "orders", env=reach)
    assert served(site, workspace, "SELECT n FROM shop.orders") == ((7,),)

    site.byoc("group", "terminate", "g", "--force", "--confirm", "g", env=reach)
    gone = lambda: instance.workspace(workspace["workspaceID"])["state"] == "TERMINATED"  # noqa: E731
    eventually("the workspace is gone", gone, seconds=120)
    drift = site.byoc("cell", "drift", CELL, "-o", "json", env=reach)
    assert json.loads(drift.stdout) == {"account": [], "cluster": []}
    with somebody_elses_lock(site) as data:
        refused = site.byoc("cell", "destroy", CELL, "--confirm", CELL, "-o", "json", code=9, env=reach)
        assert "locked by anna@build-3" in refused.stderr
        assert site.account.aws()("s3").get_object(Bucket=data, Key="kept")["Body"].read() == b"data"
    ended = site.byoc("cell", "destroy", CELL, "--confirm", CELL, "-o", "json", env=reach)
    left = json.loads(ended.stdout)["left"]
    assert [one for one in left if one["fate"] == "leftover"] == []
    assert site.account.aws()("eks").list_clusters()["clusters"] == []
    assert site.ask(f"/api/v1/namespaces/{NAMESPACE}") is None
    assert site.listed(f"/api/v1/namespaces?labelSelector={WORKSPACE_LABEL}") == []
    volumes = site.ask("/api/v1/persistentvolumes")["items"]
    # The workspace's is gone; the agents' own outlive the cluster, and are looked for by their tag.
    assert {each["spec"]["claimRef"]["namespace"] for each in volumes} <= {NAMESPACE}
    assert site.world.faults == []
