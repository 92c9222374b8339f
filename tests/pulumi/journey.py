"""A journey from an empty emulated account to a workspace and back: where it happens, and its common steps.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byoc import sql
from byoc.bootstrap.engine.find import Pulumi
from byoc.cell.incluster import (
    AGENT,
    ENGINE_FILES,
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
    """With a cluster of the account's."""

    plane: Plane
    world: World
    entrance: Entrance
    credentials: dict[str, str] = field(default_factory=dict)
    """Of whoever types, where it is not the account's owner."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.credentials}

    @property
    def reached(self) -> dict[str, str]:
        """What the account's functions are told of the cluster."""
        return {
            "BYOC_CLUSTER_ENDPOINT": self.plane.url,
            "BYOC_CLUSTER_AUTHORITY": base64.b64encode(self.plane.authority.encode()).decode(),
        }

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


@contextmanager
def cluster_site(engine: Pulumi, folder: Path) -> Iterator[ClusterSite]:
    """An empty account, machines that no cell has been made of yet, and a home with nothing in it."""
    home = folder / "home"
    lay_plugins(home / ".local/share/byoc-pulumi/home")
    tools = dict(os.environ) | ({"BYOC_TOOLS": _CACHE} if _CACHE else {})
    built = subprocess.run(
        [ROOT / "scripts/tools", "plane"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=tools,
        check=True,
    )
    (folder / "plane").mkdir()
    binary = Path(built.stdout.decode().strip())
    with (
        account.serving() as aws,
        entrance.attending() as door,
        running(folder / "plane", binary, {}, door.config()) as plane,
        running_world(plane, folder / "world") as world,
    ):
        door.account = aws
        _prepare_machines(plane)
        world.images.programs["registry.example/byoc-agent"] = agent_program(folder)
        yield ClusterSite(aws, home, str(engine.path.parent), plane, world, door)


def _prepare_machines(plane: Plane) -> None:
    """Make one machine of each zone a system machine, and leave the storage class to the cell."""
    taint = {"key": SYSTEM_TAINT, "value": "true", "effect": "NoSchedule"}
    change = {"metadata": {"labels": {GROUP_LABEL: SYSTEM_GROUP}}, "spec": {"taints": [taint]}}
    for name in ("a1", "b1", "c1"):
        kind = "application/strategic-merge-patch+json"
        assert plane.ask("admin", "PATCH", f"/api/v1/nodes/{name}", change, kind=kind)[0] == 200
    plane.ask("admin", "DELETE", f"/apis/storage.k8s.io/v1/storageclasses/{STORAGE_CLASS}")


# --- steps ----------------------------------------------------------------------------------------


def way_to(instance: Instance) -> dict[str, str]:
    """The environment of whoever has logged in to the control plane."""
    return {"BYOC_URL": instance.line["url"], "BYOC_TOKEN": instance.line["token"]}


def bootstrap_words(instance: Instance, *more: str) -> tuple[str, ...]:
    """The command that makes the cell."""
    authority = str(instance.data / "gateway/ca.crt")
    where = ("--name", CELL, "--gateway", instance.line["gateway"], "--gateway-ca", authority)
    return ("bootstrap", *where, "--agent-image", REFERENCE, *more)


def bootstrapped(site: ClusterSite, instance: Instance, *more: str) -> dict[str, Any]:
    """Make the cell; return what the command printed."""
    words = (*bootstrap_words(instance, *more), "--yes", "-o", "json")
    made = site.byoc(*words, env=way_to(instance))
    answer: dict[str, Any] = json.loads(made.stdout)
    assert {one["result"] for one in answer["checks"]} <= {"pass", "unknown"}
    regions = {one["regionID"]: one for one in instance.ask("GET", "/v1/regions")}
    assert regions[answer["cellID"]]["regionName"] == REGION
    agents = site.ask(f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{AGENT}")
    assert agents["status"]["readyReplicas"] == 2
    return answer


def workspace_in(site: ClusterSite, instance: Instance, cell: str, folder: Path) -> dict[str, Any]:
    """Make a group and a workspace in it, as a user would; return what the API says of it."""
    secret = folder / "password"
    secret.write_text(PASSWORD)
    group = ("group", "create", "g", "--region", cell, "--password-file", str(secret))
    site.byoc(*group, "--firewall-range", "10.0.0.0/8", env=way_to(instance))
    site.byoc("workspace", "create", "orders", "--group", "g", env=way_to(instance))
    (held,) = instance.ask("GET", "/v1/workspaceGroups")
    (workspace,) = instance.ask("GET", f"/v1/workspaces?workspaceGroupID={held['workspaceGroupID']}")
    assert workspace["state"] == "ACTIVE"
    found: dict[str, Any] = workspace
    return found


def served(site: ClusterSite, workspace: Mapping[str, Any], statement: str) -> Any:
    """Ask the workspace's engine where its pod is, under the name and the authority that its users know."""
    space = f"/api/v1/namespaces/byoc-ws-{workspace['workspaceID']}"
    pod, secret = site.ask(f"{space}/pods/engine-0"), site.ask(f"{space}/secrets/{ENGINE_FILES}")
    name = workspace["endpoint"].removesuffix(":3306")
    tls = sql.Tls(base64.b64decode(secret["data"]["ca.crt"]).decode(), name)
    with sql.connect(pod["status"]["podIP"], 3306, "admin", PASSWORD, tls=tls) as session:
        return session.execute(statement).rows


def end_workspace(site: ClusterSite, instance: Instance, workspace: Mapping[str, Any]) -> None:
    """Terminate the group, and wait until its workspace is gone."""
    site.byoc("group", "terminate", "g", "--force", "--confirm", "g", env=way_to(instance))
    gone = lambda: instance.workspace(workspace["workspaceID"])["state"] == "TERMINATED"  # noqa: E731
    eventually("the workspace is gone", gone, seconds=120)


def nothing_drifted(site: ClusterSite, instance: Instance) -> None:
    """Look for what is not as the program says."""
    drift = site.byoc("cell", "drift", CELL, "-o", "json", env=way_to(instance))
    assert json.loads(drift.stdout) == {"account": [], "cluster": []}


def destroyed(site: ClusterSite, instance: Instance) -> None:
    """Destroy the cell; nothing of it is left in account and cluster."""
    ended = site.byoc("cell", "destroy", CELL, "--confirm", CELL, "-o", "json", env=way_to(instance))
    left = json.loads(ended.stdout)["left"]
    assert [one for one in left if one["fate"] == "leftover"] == []
    assert site.account.aws()("eks").list_clusters()["clusters"] == []
    assert site.ask(f"/api/v1/namespaces/{NAMESPACE}") is None
    assert site.listed(f"/api/v1/namespaces?labelSelector={WORKSPACE_LABEL}") == []
    volumes = site.ask("/api/v1/persistentvolumes")["items"]
    # The workspace's is gone; the agents' own outlive the cluster, and are looked for by their tag.
    assert {each["spec"]["claimRef"]["namespace"] for each in volumes} <= {NAMESPACE}
    assert site.world.faults == []
