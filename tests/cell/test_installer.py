"""The installer's code, run for real over HTTPS against an emulated API server, and its package alone."""

import base64
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as VendorsCredentials

from byoc.cell.incluster import AGENT, AUTOSCALER
from byoc.cell.installer.api import Api
from byoc.cell.installer.budget import Budget
from byoc.cell.installer.handler import read
from byoc.cell.installer.install import halt
from byoc.cell.installer.kinds import Manifest, path
from byoc.cell.installer.look import diff, not_ready, troubles
from byoc.cell.installer.token import Credentials, cluster_token
from byoc.cell.manifests import bundle
from byoc.cell.package import package as files_of
from byoc.cell.workloads import labels
from byoc.errors import Forbidden, NotAuthenticated, StillPending, Unreachable, UsageError
from tests.emulated.installing import CORE, EndingStories, InstallerStories, Site, asks, package
from tests.emulated.kubernetes import Cluster, serving
from tests.unit.cell.examples import cell

Json = dict[str, Any]

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Hands:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def budget(self, seconds: float) -> Budget:
        return Budget.of(seconds, self.monotonic, self.sleep)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with serving(Cluster(), tmp_path) as found:
        yield found


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def site(cluster: Cluster, hands: Hands) -> Site:
    return Site(cluster.url, cluster.authority, "token", hands.budget)


class TestAgainstAnEmulation(InstallerStories, EndingStories):
    pass


def test_a_cluster_that_does_not_know_the_role_yet_is_asked_again(site: Site, cluster: Cluster) -> None:
    cluster.failures = [401, 503, 429, 500]
    assert site.install()["op"] == "install"


def test_a_cluster_that_never_knows_the_role_is_given_up_within_the_budget(
    site: Site, cluster: Cluster, hands: Hands
) -> None:
    cluster.admits = lambda _: False
    with pytest.raises(NotAuthenticated):
        site.install()
    assert 50 < hands.now <= 100


def test_what_is_forbidden_is_not_asked_again(site: Site, cluster: Cluster) -> None:
    cluster.failures = [403]
    with pytest.raises(Forbidden, match="Namespace byoc-system"):
        site.install()
    assert len(cluster.asked) == 1


def test_a_cluster_under_another_authority_is_not_talked_to(
    site: Site, cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with serving(Cluster(), tmp_path / "other") as other:
        site.authority = other.authority
        with pytest.raises(Unreachable, match="certificate"):
            site.install()
    assert cluster.asked == []


def test_a_cluster_out_of_reach_is_given_up_within_the_budget(site: Site, hands: Hands) -> None:
    site.server = "https://127.0.0.1:1"
    with pytest.raises(Unreachable):
        site.install()
    assert 50 < hands.now <= 100


def test_a_namespace_that_does_not_end_is_told_of_and_a_repeated_call_goes_on(
    site: Site, cluster: Cluster, hands: Hands
) -> None:
    site.install()
    cluster.lingering = 10_000
    with pytest.raises(StillPending, match="Namespace byoc-system is still ending"):
        site.run({"op": "uninstall"})
    assert hands.now <= 100
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles/byoc-agent"
    # Until the last pod is gone, every limit holds.
    assert site.get(roles) is not None
    cluster.objects["/api/v1/namespaces/byoc-system"].ending = 1
    assert "ClusterRole byoc-agent" in site.run({"op": "uninstall"})["removed"]


def test_the_pods_go_before_what_limits_them(site: Site, cluster: Cluster) -> None:
    site.install()
    cluster.asked.clear()
    site.run({"op": "uninstall"})
    removed = [each.rpartition("/")[0].rpartition("/")[2] for each in cluster.asked if "DELETE" in each]
    assert removed[:3] == ["deployments", "statefulsets", "namespaces"]
    assert "validatingadmissionpolicies" in removed[3:]


def put_pod(site: Site, name: str, labels: Json, phase: str) -> None:
    spec = {"containers": [{"name": "it", "image": "image"}]}
    metadata = {"name": name, "labels": labels}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}}
    site.make(f"{CORE}/pods", pod)


def halting(site: Site, seconds: float = 100) -> None:
    api = Api(site.server, site.authority, lambda: site.token, site.budget(seconds))
    with closing(api):
        halt(api)


def test_only_pods_of_the_bundle_that_still_work_are_waited_for(site: Site, hands: Hands) -> None:
    site.install()
    put_pod(site, "debugging", {}, "Succeeded")
    put_pod(site, "somebodys", {"app.kubernetes.io/part-of": "shop"}, "Running")
    put_pod(site, "evicted", labels(AGENT), "Failed")
    halting(site)
    assert hands.now == 0
    assert {"debugging", "somebodys"} <= {
        each["metadata"]["name"] for each in (site.get(f"{CORE}/pods") or {})["items"]
    }


@pytest.mark.parametrize("phase", ["Running", "Pending", "Unknown"])
@pytest.mark.parametrize("name", [AGENT, AUTOSCALER])
def test_a_pod_of_the_bundle_that_has_not_ended_is_waited_for(
    site: Site, hands: Hands, name: str, phase: str
) -> None:
    site.install()
    put_pod(site, f"{name}-0", labels(name), phase)
    with pytest.raises(StillPending, match="the agents are still ending"):
        halting(site)
    assert hands.now > 90


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"op": "apply"},
        {"op": "install", "tf": {"action": "explode"}},
        {"op": "install", "tf": "delete"},
        {"objects": [{"kind": "Pod"}]},
    ],
)
def test_what_the_function_does_not_do_is_refused(event: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        read(event)


@pytest.mark.parametrize(
    ("action", "op"), [("create", "install"), ("update", "install"), ("delete", "uninstall")]
)
def test_only_the_end_of_the_stack_uninstalls(action: str, op: str) -> None:
    previous = {"op": "install", "bundle": "old", "cell": "demo"}
    event = {"op": "install", "bundle": "new", "tf": {"action": action, "prev_input": previous}}
    assert read(event).op == op


def test_force_is_never_taken_from_the_stack() -> None:
    previous = {"op": "install", "bundle": "old", "force": True}
    assert not read({"tf": {"action": "delete", "prev_input": previous}}).force


@pytest.mark.parametrize("session", ["", "session+token/with=signs"])
@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1"])
def test_the_clusters_token_is_what_the_vendors_signer_makes(
    region: str, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cluster_token("byoc-demo", region, Credentials("AKIDEXAMPLE", "se/cr+et", session), NOW)
    suffix = ".cn" if region.startswith("cn-") else ""
    url = f"https://sts.{region}.amazonaws.com{suffix}/?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("GET", url, headers={"x-k8s-aws-id": "byoc-demo"})
    monkeypatch.setattr(
        "botocore.auth.get_current_datetime", lambda *_args, **_more: NOW.replace(tzinfo=None)
    )
    vendors = VendorsCredentials("AKIDEXAMPLE", "se/cr+et", session or None)
    SigV4QueryAuth(vendors, "sts", region, expires=60).add_auth(request)
    ours = base64.urlsafe_b64decode(made.removeprefix("k8s-aws-v1.") + "===").decode()
    assert _parts(ours) == _parts(request.url)


def _parts(url: str) -> tuple[str, set[str]]:
    base, _, query = url.partition("?")
    return base, set(query.split("&"))


def test_the_package_runs_alone_and_answers_a_call_as_lambda_makes_it(
    tmp_path: Path, cluster: Cluster
) -> None:
    root = _unpacked(tmp_path)
    cluster.admits = lambda token: token.startswith("k8s-aws-v1.")
    environment = {
        "LAMBDA_TASK_ROOT": str(root),
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "session",
        "BYOC_CELL": cell().name,
        "BYOC_CLUSTER": "byoc-demo",
        "BYOC_CLUSTER_ENDPOINT": cluster.url,
        "BYOC_CLUSTER_AUTHORITY": base64.b64encode(cluster.authority.encode()).decode(),
        "HTTPS_PROXY": "http://127.0.0.1:1",
    }
    code = (
        "import json, sys, importlib; sys.path.insert(0, sys.argv[1]); "
        "context = type('C', (), {'get_remaining_time_in_millis': lambda self: 120_000})(); "
        "handle = importlib.import_module('byoc.cell.installer.handler').handle; "
        "answer = handle(json.loads(sys.argv[2]), context); "
        "foreign = [n for n, m in sys.modules.items() if '-packages' in str(getattr(m, '__file__', ''))]; "
        "print(json.dumps([answer, foreign]))"
    )
    event = asks(package()) | {"tf": {"action": "create", "prev_input": None}}
    command = [sys.executable, "-I", "-S", "-c", code, str(root), json.dumps(event)]
    ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    answer, foreign = json.loads(ended.stdout)
    assert (answer["objects"], foreign) == (len(package().objects), [])
    assert "install took" in ended.stderr


def _unpacked(folder: Path) -> Path:
    archive, root = folder / "package.zip", folder / "task"
    with zipfile.ZipFile(archive, "w") as written:
        for name, text in files_of(bundle(cell())).items():
            written.writestr(name, text)
    with zipfile.ZipFile(archive) as made:
        made.extractall(root)
    return root


def test_the_package_holds_the_bundle_and_nothing_that_is_not_needed() -> None:
    held = files_of(bundle(cell()))
    assert held["bundle.json"] == bundle(cell()).text
    assert set(held) - {"bundle.json"} == {
        "byoc/errors.py",
        "byoc/cell/incluster.py",
        *(f"byoc/cell/installer/{name}.py" for name in (
            "__init__", "api", "budget", "handler", "handover", "install", "kinds", "look", "ownership",
            "package", "token",
        )),
    }  # fmt: skip
    assert sum(map(len, held.values())) < 250_000
    compile(held["byoc/cell/installer/handler.py"], "handler.py", "exec")


WORKLOAD = {
    "kind": "StatefulSet",
    "metadata": {"name": "byoc-agent", "namespace": "byoc-system"},
    "spec": {"replicas": 2},
}


class Watched(Api):
    """A way into a cluster in which a controller writes to an object as soon as it was looked at first."""

    def __init__(self, site: Site, budget: Budget) -> None:
        super().__init__(site.server, site.authority, lambda: site.token, budget)
        self._site = site
        self._written: set[str] = set()

    def get(self, manifest: Manifest) -> Json | None:
        found = super().get(manifest)
        where = path(manifest)
        if found is not None and where not in self._written:
            self._written.add(where)
            self._site.edit(where, {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}})
        return found


def test_what_a_controller_writes_between_two_looks_is_no_drift(site: Site, hands: Hands) -> None:
    site.install()
    with closing(Watched(site, hands.budget(100))) as api:
        assert diff(api, package())["drift"] == []


@pytest.mark.parametrize(
    ("generation", "status", "said"),
    [
        (2, {"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 2}, "has not seen it"),
        (1, {"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 2}, "1 of 2 pods ready"),
        (
            1,
            {"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 1},
            "1 of 2 pods of this",
        ),
    ],
)
def test_a_workload_is_ready_only_when_its_controller_says_so_of_this_generation(
    generation: int, status: dict[str, int], said: str
) -> None:
    found = {"metadata": {"generation": generation}, "status": status}
    [reason] = not_ready(WORKLOAD, found)
    assert said in reason
    done = {"observedGeneration": generation, "readyReplicas": 2, "updatedReplicas": 2}
    assert not_ready(WORKLOAD, found | {"status": done}) == []


def test_a_pods_troubles_are_told_in_the_servers_words() -> None:
    pod = {
        "metadata": {"name": "byoc-agent-0"},
        "status": {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
            ],
            "containerStatuses": [
                {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
                {"state": {"running": {}}},
            ],
        },
    }
    assert list(troubles(pod)) == [
        "pod byoc-agent-0: Unschedulable: 0/2 nodes",
        "pod byoc-agent-0: ImagePullBackOff: no such image",
    ]
