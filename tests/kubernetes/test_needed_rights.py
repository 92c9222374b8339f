"""The agent's rights in the cluster: a whole life of a workspace needs each of them, and no other."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import httpx2
import pytest

from byoc.cell.incluster import AGENT, ENGINE_OPERATOR, WORKSPACE_LABEL
from byoc.cell.rights import AGENT_IN_CLUSTER, OPERATOR_IN_WORKSPACE, Right, rights
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.runtime import Doors, Secrets
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.walking import walk
from tests.kubernetes.cell import AGENT_USER, SETTINGS, Cell, put

TABLES = {AGENT: AGENT_IN_CLUSTER, ENGINE_OPERATOR: OPERATOR_IN_WORKSPACE}
NOT_IN_A_LIFE = {
    "nodes", "storageclasses", "clusterroles", "pods/log", "endpoints", "events",
    "serviceaccounts", "deployments", "replicasets", "statefulsets/scale", "cronjobs", "leases",
    "memsqlclusters", "memsqlclusters/status", "memsqlclusters/finalizers",
}  # fmt: skip
"""What a life of MariaDB has no request for.

Machines, storage classes and logs are asked for by healing, growth and logs (``test_machines``,
``test_growth``, ``test_healing``, all under this account), an operator's objects in ``test_singlestore``; the
rest is what the vendor's reference says that its operator needs, which is not run here.
"""
SECRETS = Secrets(1, "first password")
VERBS = {"PATCH": "patch", "DELETE": "delete", "POST": "create", "PUT": "update"}


@dataclass(frozen=True)
class Asked:
    """One request, as RBAC sees it."""

    group: str
    resource: str
    verb: str

    @classmethod
    def of(cls, request: httpx2.Request) -> "Asked":
        parts = request.url.path.strip("/").split("/")
        group, parts = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        if parts[0] == "namespaces" and len(parts) > 2:
            parts = parts[2:]
        single = len(parts) > 1
        resource = "/".join((parts[0], parts[2])) if len(parts) > 2 else parts[0]
        reading = "watch" if request.url.params.get("watch") else "get" if single else "list"
        return cls(group, resource, VERBS.get(request.method, reading))

    def by(self, right: Right) -> bool:
        return self.group == right.group and self.resource in right.resources and self.verb in right.verbs


@pytest.fixture
async def asked(cell: Cell) -> AsyncIterator[set[Asked]]:
    """Everything that the agent asks for in one life of a workspace."""
    found: set[Asked] = set()
    cluster = cell.cluster()

    async def note(request: httpx2.Request) -> None:
        found.add(Asked.of(request))

    cluster._client._client._client.event_hooks["request"].append(note)
    runtime = KubernetesRuntime(cluster, SETTINGS, SystemClock())
    spec = WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")
    for number, change in enumerate(
        ({}, {"size": "S-0"}, {"desired": Desired.SUSPENDED}, {"desired": Desired.RUNNING}), 1
    ):
        spec = replace(spec, generation=number, **change)
        assert (await walk(runtime, spec, SECRETS))[-1].phase.settled
    await runtime._making.engine(runtime._making.intended(spec, Doors(everybody=True)))
    ended = replace(spec, generation=9, desired=Desired.TERMINATED)
    assert (await walk(runtime, ended, SECRETS))[-1].phase is Phase.TERMINATED
    await runtime.close(stop_engines=False)
    yield found
    await cell.clear()


def test_a_life_needs_every_kind_of_object_that_the_agent_has_a_right_to(asked: set[Asked]) -> None:
    for table in TABLES.values():
        for right in table:
            for resource in set(right.resources) - NOT_IN_A_LIFE:
                uses = {
                    each.verb for each in asked if each.group == right.group and each.resource == resource
                }
                assert uses & set(right.verbs), (right.group, resource)
    assert {each.verb for each in asked} <= {"get", "list", "watch", "patch", "delete", "create"}


@pytest.fixture
def whole(cell: Cell) -> Iterator[None]:
    yield
    for each in rights():
        put(cell.plane, each)


@pytest.fixture(scope="module")
def space() -> str:
    """The name of a workspace's namespace, in which the agent is bound to be the engine's operator."""
    return names.namespace(WorkspaceID(new_id()))


REMOVED = [
    pytest.param(name, right, id=f"{name}-{right.group or 'core'}-{right.resources[0]}")
    for name, table in TABLES.items()
    for right in table
]


@pytest.mark.parametrize(("name", "right"), REMOVED)
def test_without_any_one_of_its_rights_the_agent_is_refused_what_it_is_for(
    cell: Cell, whole: None, space: str, name: str, right: Right
) -> None:
    for made in (_space(space), _binding(space)):
        put(cell.plane, made)
    question = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": _attributes(right, "" if name == AGENT else space)},
    }
    _until(cell, question, allowed=True)
    (role,) = (each for each in rights() if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", name))
    role["rules"] = [each.rule() for each in TABLES[name] if each is not right]
    put(cell.plane, role)
    _until(cell, question, allowed=False)


def _attributes(right: Right, namespace: str) -> dict[str, str]:
    resource, _, part = right.resources[0].partition("/")
    # Reading is given over the whole cluster too: what only this row gives is writing.
    verb = "patch" if "patch" in right.verbs else right.verbs[0]
    asked = {"group": right.group, "resource": resource, "subresource": part, "verb": verb}
    named = {"name": right.names[0]} if right.names else {}
    return asked | named | ({"namespace": namespace} if namespace else {})


def _until(cell: Cell, question: dict[str, object], *, allowed: bool) -> None:
    ends = time.monotonic() + 30
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    while True:
        status, answer = cell.plane.ask(AGENT_USER, "POST", path, question)
        assert status == 201, answer
        if answer["status"]["allowed"] is allowed:
            return
        assert time.monotonic() < ends, answer
        time.sleep(0.05)


def _space(name: str) -> dict[str, object]:
    metadata = {"name": name, "labels": {WORKSPACE_LABEL: name}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _binding(space: str) -> dict[str, object]:
    rbac = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "engine", "namespace": space},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": ENGINE_OPERATOR},
        "subjects": [{"kind": "ServiceAccount", "name": AGENT, "namespace": "byoc-system"}],
    }
