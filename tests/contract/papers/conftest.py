"""Each way into a cell past every control plane: a folder, a kubeconfig, and a cell's control function.

The function is the packed code itself, called through an emulated Lambda by whoever has credentials; it
reaches an emulated cluster over HTTPS under a token of its own.
"""

import base64
import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from boto3 import Session
from moto import mock_aws

from byoc.bootstrap.aws import Account
from byoc.bootstrap.control import FunctionPapers
from byoc.cell.incluster import NAMESPACE, POLICY
from byoc.cell.manifests import bundle
from byoc.cell.naming import physical
from byoc.cell.package import CONTROL, control_package
from byoc.dataplane.desk import Desk, FolderDesk, FolderPapers
from byoc.dataplane.kubernetes.desk import ClusterDesk
from byoc.model.papers import Paper, Papers
from byoc_cli.context import Context
from byoc_cli.inside import Where, inside
from tests.emulated.agents import Home, kubeconfig
from tests.emulated.functions import running
from tests.emulated.kubernetes import Cluster, serving
from tests.emulated.objects import Stored
from tests.unit.cell.examples import cell

REGION = "us-east-1"
WAYS = ("folder", "context", "function")
NAME = "main"


@dataclass
class Way:
    """One way in, and what the cell does at its own end."""

    papers: Papers
    desk: Desk
    cluster: Cluster | None = None
    folder: Path | None = None

    def show(self, paper: Paper, text: str) -> None:
        """Show a paper as the agent does."""
        self.desk.show(paper, text)

    def word(self, paper: Paper) -> str:
        """Read a paper of the customer's as the agent does."""
        if self.folder is not None:
            return FolderPapers(self.folder).read(paper).text
        if paper is Paper.POLICY:
            # The kubelet brings it into the pod.
            found = self.objects[path(POLICY)].value
            return str((found.get("data") or {}).get(paper.value, ""))
        assert isinstance(self.desk, ClusterDesk)
        self.desk.look()
        return self.desk.word(paper)

    @property
    def objects(self) -> dict[str, Stored]:
        """What the cluster holds."""
        assert self.cluster is not None
        return self.cluster.objects


def path(name: str) -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    if request.param == "folder":
        (tmp_path / "cell").mkdir()
        yield Way(FolderPapers(tmp_path / "cell"), FolderDesk(tmp_path / "cell"), folder=tmp_path / "cell")
        return
    with {"function": function, "context": context}[request.param](tmp_path, monkeypatch) as found:
        yield found


@contextmanager
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    """A cluster that a kubeconfig reaches."""
    with installed(tmp_path, "token") as (cluster, home):
        file = tmp_path / "kubeconfig"
        file.write_text(json.dumps(kubeconfig(cluster.url, cluster.authority, "token")))
        monkeypatch.setenv("KUBECONFIG", str(file))
        given = Context(dict(os.environ), io.StringIO(), io.StringIO(), io.StringIO())
        way = inside(given, Where(context="cell"))
        yield Way(way.papers, ClusterDesk(home.client()), cluster)


@contextmanager
def installed(tmp_path: Path, token: str) -> Iterator[tuple[Cluster, Home]]:
    """A cluster with what the bundle puts there for papers, and the agent's way into it."""
    cluster = Cluster(admits=lambda shown: shown == "token" or shown.startswith("k8s-aws-v1."), version=100)
    with serving(cluster, tmp_path) as served, closing(Home(served.url, served.authority, token)) as home:
        for made in bundle(cell()).objects:
            if made["kind"] == "ConfigMap":
                metadata = made["metadata"] | {"resourceVersion": "1"}
                cluster.objects[path(made["metadata"]["name"])] = Stored(made | {"metadata": metadata})
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        cluster.objects[f"/api/v1/namespaces/{NAMESPACE}"] = Stored(namespace)
        yield cluster, home


@contextmanager
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    """An account with a control function, and the cluster that it reaches, as the bundle leaves it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with installed(tmp_path, "token") as (cluster, home), mock_aws(), running(lambda _: {}):
        account = Account(Session(), REGION)
        deploy(account, cluster)
        yield Way(FunctionPapers(account, NAME), ClusterDesk(home.client()), cluster)


def deploy(account: Account, cluster: Cluster) -> None:
    """Make the function as the stack does: its own package, its own settings."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in control_package().items():
            archive.writestr(name, text)
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"}]}
    role = account.client("iam").create_role(RoleName="control", AssumeRolePolicyDocument=json.dumps(trust))
    account.client("lambda").create_function(
        FunctionName=physical("lambda", NAME, "control"),
        Runtime="python3.13",
        Role=role["Role"]["Arn"],
        Handler=CONTROL,
        Code={"ZipFile": packed.getvalue()},
        Environment={
            "Variables": {
                "BYOC_CELL": NAME,
                "BYOC_CLUSTER": "byoc-main",
                "BYOC_CLUSTER_ENDPOINT": cluster.url,
                "BYOC_CLUSTER_AUTHORITY": base64.b64encode(cluster.authority.encode()).decode(),
            }
        },
    )
