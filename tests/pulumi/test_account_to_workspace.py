"""Account -> cell -> workspace, offline: the command a user types, on an empty emulated account.

What is real: the command line, the engine, the program, the functions' package, the control plane, the
gateway, the client started as its manifest says, the SQL server. What is emulated: AWS's own services,
the API server of the cluster, its machines.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from byoc.bootstrap.engine.find import Pulumi
from byoc.testing.instance import Instance, eventually
from tests.emulated import account, kubernetes
from tests.emulated.account import Account
from tests.emulated.functions import running
from tests.emulated.handlers.handler import REGION
from tests.emulated.kubelet import machine
from tests.emulated.kubernetes import Cluster
from tests.emulated.plugins import lay_plugins
from tests.pulumi.world import ROOT

CELL = "sales"
IMAGE = f"registry.example/byoc-agent@sha256:{'a' * 64}"


@dataclass
class Site:
    """An empty account, a cluster that is reached from its functions, and a user's home."""

    account: Account
    home: Path
    path: str

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.path}:{os.environ['PATH']}"
        return {"HOME": str(self.home), "PATH": path, "NO_COLOR": "1", **self.account.environment}

    def byoc(
        self, *words: str, code: int = 0, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command as a user would."""
        ended = subprocess.run(
            [sys.executable, "-m", "byoc", *words],
            cwd=ROOT,
            env={**self.environment, **(env or {})},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
        assert ended.returncode == code, f"{ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended


@pytest.fixture
def site(engine: Pulumi, short_path: Path) -> Iterator[Site]:
    home = short_path / "home"
    lay_plugins(home / ".local/share/byoc-pulumi/home")
    with account.serving() as aws, kubernetes.serving(Cluster(admits=bool), short_path) as cluster:
        reached = {
            "BYOC_CLUSTER_ENDPOINT": cluster.url,
            "BYOC_CLUSTER_AUTHORITY": base64.b64encode(cluster.authority.encode()).decode(),
        }
        with running(lambda _: reached), machine(cluster, short_path / "pod"):
            yield Site(aws, home, str(engine.path.parent))
            said = short_path / "pod/agent.log"
            # Shown by pytest where the test failed.
            sys.stdout.write(said.read_text()[-5000:] if said.exists() else "no agent was started\n")


@contextmanager
def somebody_elses_lock(site: Site) -> Iterator[str]:
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


@pytest.mark.timeout(1200)
def test_account_to_workspace_and_back_to_nothing(site: Site, tmp_path: Path) -> None:
    with Instance(tmp_path / "instance") as instance:
        reach = {"BYOC_URL": instance.line["url"], "BYOC_TOKEN": instance.line["token"]}
        where = (
            "--name", CELL, "--gateway", instance.line["gateway"],
            "--gateway-ca", str(tmp_path / "instance/gateway/ca.crt"), "--agent-image", IMAGE,
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

        body = {
            "name": "g",
            "regionID": answer["cellID"],
            "firewallRanges": [],
            "adminPassword": "Secret-77-horse",
        }
        group = instance.ask("POST", "/v1/workspaceGroups", body)["workspaceGroupID"]
        wanted = {"name": "orders", "workspaceGroupID": group, "size": "S-00"}
        workspace = instance.ask("POST", "/v1/workspaces", wanted)["workspaceID"]
        assert instance.settled(workspace, "ACTIVE", seconds=300)["endpoint"]

        instance.ask("DELETE", f"/v1/workspaceGroups/{group}?force=true")
        eventually("the workspace is gone", lambda: instance.workspace(workspace)["state"] == "TERMINATED")
        drift = site.byoc("cell", "drift", CELL, "-o", "json", env=reach)
        assert json.loads(drift.stdout) == {"account": [], "cluster": []}
        with somebody_elses_lock(site) as data:
            refused = site.byoc("cell", "destroy", CELL, "--confirm", CELL, "-o", "json", code=9, env=reach)
            assert "locked by anna@build-3" in refused.stderr
            assert site.account.aws()("s3").get_object(Bucket=data, Key="kept")["Body"].read() == b"data"
        gone = site.byoc("cell", "destroy", CELL, "--confirm", CELL, "-o", "json", env=reach)
        left = json.loads(gone.stdout)["left"]
        assert [one for one in left if one["fate"] == "leftover"] == []
    assert site.account.aws()("eks").list_clusters()["clusters"] == []
