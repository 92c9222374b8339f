"""What the agent and the control function may do, asked of the real API server: RBAC and admission policy."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from byoc.cell.incluster import NAMESPACE
from tests.emulated.installing import AGENTS, CORE, DENY_ALL, Site
from tests.kubernetes.conftest import AGENT_USER, CONTROL_USER
from tests.kubernetes.plane import Plane

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
STEPS = "application/json-patch+json"
SPACES = "/api/v1/namespaces"
VOLUMES = "/api/v1/persistentvolumes"
OURS, OTHER, THEIRS = "byoc-ws-one", "byoc-ws-three", "somebody-elses"
ENFORCE = "pod-security.kubernetes.io/enforce"
VERSION = "pod-security.kubernetes.io/enforce-version"
ENGINES = "metadata.name=byoc-engine"
LABEL = "byoc.dev/workspace"


def workspace(name: str, *, enforce: str = "restricted", label: bool = True, version: str = "") -> Json:
    labels = {ENFORCE: enforce} | ({LABEL: "one"} if label else {}) | ({VERSION: version} if version else {})
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def config(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def binding(
    *, role: str = "byoc-engine-operator", account: tuple[str, str] = ("byoc-agent", NAMESPACE)
) -> Json:
    rbac = "rbac.authorization.k8s.io"
    name, namespace = account
    return {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "engine"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }


def volume(name: str, namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": "data"},
            "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": name},
        },
    }


def bindings(namespace: str) -> str:
    return f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"


LET_GO = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/byoc-agent"
REVIEW = {
    "apiVersion": "authorization.k8s.io/v1",
    "kind": "SelfSubjectAccessReview",
    "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}},
}
"""A question, which stores nothing."""
Asked = tuple[str, str, Json | list[Json] | None]

MACHINE = "/api/v1/nodes/rights"
THEIR_TAINT = {"key": "theirs", "effect": "NoSchedule"}
OUT = {"key": "node.kubernetes.io/out-of-service", "value": "byoc-agent", "effect": "NoExecute"}

ALLOWED: dict[str, Asked] = {
    "make a workspace's namespace": ("POST", SPACES, workspace("byoc-ws-two")),
    "make one of today's standard": ("POST", SPACES, workspace("byoc-ws-two", version="latest")),
    "annotate it": ("PATCH", f"{SPACES}/{OURS}", {"metadata": {"annotations": {"a": "b"}}}),
    "give itself the engine's rights there": ("POST", bindings(OURS), binding()),
    "give them to the operator's account there": ("POST", bindings(OTHER), binding(account=("op", OTHER))),
    "make state": ("POST", f"{CORE}/configmaps", config("byoc-state-one")),
    "keep the keys": ("PATCH", f"{CORE}/secrets/byoc-keys", {"stringData": {"a": "b"}}),
    "show its thumbprint": ("PATCH", f"{CORE}/configmaps/byoc-enrolment", {"data": {"thumbprint": "a"}}),
    "lead": ("PATCH", LEASE, {"spec": {"holderIdentity": "byoc-agent-0"}}),
    "let a workspace's volume go": ("PATCH", f"{VOLUMES}/ours", LET_GO),
    "ask what it may do": ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", REVIEW),
    "see the machines": ("GET", "/api/v1/nodes", None),
    "give a machine up": ("PATCH", MACHINE, [{"op": "add", "path": "/spec/taints/-", "value": OUT}]),
    "hear of edits of engines' secrets": ("GET", f"/api/v1/secrets?fieldSelector={ENGINES}", None),
    "hear of edits of engines' settings": ("GET", f"/api/v1/configmaps?fieldSelector={ENGINES}", None),
    "read the policy": ("GET", f"{CORE}/configmaps/byoc-policy", None),
}  # fmt: skip
REFUSED: dict[str, Asked] = {
    "make a namespace without the label": ("POST", SPACES, workspace("byoc-ws-x", label=False)),
    "make one of another name": ("POST", SPACES, workspace("other")),
    "make one that admits any pod": ("POST", SPACES, workspace("byoc-ws-x", enforce="privileged")),
    "label another's namespace": ("PATCH", f"{SPACES}/{THEIRS}", workspace(THEIRS)),
    "loosen its own namespace": ("PATCH", f"{SPACES}/{NAMESPACE}", workspace(NAMESPACE, enforce="baseline")),
    "loosen a workspace's": ("PATCH", f"{SPACES}/{OURS}", workspace(OURS, enforce="privileged")),
    "go by an old standard": ("PATCH", f"{SPACES}/{OURS}", {"metadata": {"labels": {VERSION: "v1.0"}}}),
    "make one of an old standard": ("POST", SPACES, workspace("byoc-ws-x", version="v1.0")),
    "take a workspace's label away": ("PATCH", f"{SPACES}/{OURS}", {"metadata": {"labels": {LABEL: None}}}),
    "delete its own namespace": ("DELETE", f"{SPACES}/{NAMESPACE}", None),
    "delete another's": ("DELETE", f"{SPACES}/{THEIRS}", None),
    "bind in another's namespace": ("POST", bindings(THEIRS), binding()),
    "bind in its own": ("POST", bindings(NAMESPACE), binding()),
    "bind the administrator's role": ("POST", bindings(OURS), binding(role="cluster-admin")),
    "bind its own role": ("POST", bindings(OURS), binding(role="byoc-agent")),
    "give rights to a stranger": ("POST", bindings(OURS), binding(account=("default", THEIRS))),
    "read a workspace's secrets unbound": ("GET", f"{SPACES}/{OURS}/secrets", None),
    "read another's secrets": ("GET", f"{SPACES}/{THEIRS}/secrets", None),
    "read everybody's secrets": ("GET", "/api/v1/secrets", None),
    "read everybody's by a label": ("GET", f"/api/v1/secrets?labelSelector={LABEL}", None),
    "read those of another name": ("GET", "/api/v1/secrets?fieldSelector=metadata.name=byoc-keys", None),
    "read all but those": ("GET", "/api/v1/secrets?fieldSelector=metadata.name!=byoc-engine", None),
    "read everybody's settings": ("GET", "/api/v1/configmaps", None),
    "read everybody's deployments": ("GET", "/apis/apps/v1/deployments", None),
    "make an object of another name at home": ("POST", f"{CORE}/configmaps", config("other")),
    "write the policy": ("PATCH", f"{CORE}/configmaps/byoc-policy", {"data": {"a": "b"}}),
    "write its own configuration": ("PATCH", f"{CORE}/configmaps/byoc-config", {"data": {"a": "b"}}),
    "let another's volume go": ("PATCH", f"{VOLUMES}/theirs", LET_GO),
    "scale itself": ("PATCH", AGENTS, {"spec": {"replicas": 3}}),
    "open the network": ("DELETE", DENY_ALL, None),
    "take a machine out by another's word": (
        "PATCH",
        MACHINE,
        [{"op": "add", "path": "/spec/taints/-", "value": OUT | {"value": "nodeshutdown"}}],
    ),
    "lift another's taint": ("PATCH", MACHINE, [{"op": "remove", "path": "/spec/taints/0"}]),
    "keep pods off a machine": ("PATCH", MACHINE, {"spec": {"unschedulable": True}}),
    "move a machine to another zone": (
        "PATCH",
        MACHINE,
        {"metadata": {"labels": {"topology.kubernetes.io/zone": "elsewhere"}}},
    ),
    "take a machine away": ("DELETE", MACHINE, None),
    "lift the policy that limits it": (
        "DELETE",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/byoc-agent-stays-home",
        None,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(plane: Plane) -> Iterator[Callable[[], None]]:
    """Yield a function that makes what the questions are about, once."""
    done: list[bool] = []

    def prepare() -> None:
        if done:
            return
        done.append(True)
        for name in (OURS, OTHER):
            plane.ask("admin", "POST", SPACES, workspace(name))
        plane.ask("admin", "POST", SPACES, workspace(THEIRS, label=False))
        plane.ask("admin", "POST", VOLUMES, volume("ours", OURS))
        machine = {"metadata": {"name": "rights"}, "spec": {"taints": [THEIR_TAINT]}}
        plane.ask("admin", "POST", "/api/v1/nodes", machine)
        plane.ask("admin", "POST", VOLUMES, volume("theirs", THEIRS))

    yield prepare
    plane.ask("admin", "DELETE", MACHINE)
    plane.ask("admin", "DELETE", f"{SPACES}/{THEIRS}")


@pytest.fixture
def cell(site: Site, plane: Plane, prepared: Callable[[], None]) -> Plane:
    """The cluster with everything installed and every limit in force."""
    site.install()
    prepared()
    ends = time.monotonic() + 20
    # A policy is in force a moment after it was accepted.
    while plane.ask(AGENT_USER, "POST", f"{SPACES}?dryRun=All", workspace("other"))[0] != 403:
        assert time.monotonic() < ends, "the admission policy never came into force"
        time.sleep(0.1)
    return plane


def ask(plane: Plane, user: str, asked: Asked) -> tuple[int, str]:
    method, path, body = asked
    dry = f"{path}?dryRun=All" if method != "GET" else path
    kind = "" if method != "PATCH" else STEPS if isinstance(body, list) else MERGE
    status, answer = plane.ask(user, method, dry, body, kind=kind)
    return status, str(answer.get("message", ""))


def test_the_agent_may_do_its_work(cell: Plane) -> None:
    refused = {
        what: said
        for what, asked in ALLOWED.items()
        if (said := ask(cell, AGENT_USER, asked))[0] not in (200, 201)
    }
    assert refused == {}


def test_the_agent_may_do_nothing_else(cell: Plane) -> None:
    passed = {
        what: said for what, asked in REFUSED.items() if (said := ask(cell, AGENT_USER, asked))[0] != 403
    }
    assert passed == {}


def test_where_it_is_bound_the_agent_runs_the_engine_and_only_there(cell: Plane) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "licence"}}
    assert cell.ask(AGENT_USER, "POST", bindings(OURS), binding())[0] in (201, 409)
    assert ask(cell, AGENT_USER, ("POST", f"{SPACES}/{OURS}/secrets", secret))[0] == 201
    assert ask(cell, AGENT_USER, ("POST", f"{SPACES}/{THEIRS}/secrets", secret))[0] == 403
    assert cell.ask(AGENT_USER, "DELETE", f"{bindings(OURS)}/engine")[0] == 200


def test_the_customer_writes_the_policy_through_the_control_function_and_nothing_else(cell: Plane) -> None:
    def write(name: str) -> Asked:
        return "PUT", f"{CORE}/configmaps/{name}", config(name) | {"data": {"policy.toml": "allow = []"}}

    assert ask(cell, CONTROL_USER, write("byoc-policy"))[0] == 200
    for refused in ("byoc-config", "byoc-enrolment"):
        assert ask(cell, CONTROL_USER, write(refused))[0] == 403
    for unread in (f"{CORE}/secrets/byoc-keys", f"{CORE}/secrets", f"{CORE}/pods"):
        assert ask(cell, CONTROL_USER, ("GET", unread, None))[0] == 403
