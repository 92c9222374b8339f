"""What the parts of a cell may do in its cluster: one row a right, each with its reason.

Read by the manifests, which turn the rows into roles, and printed in docs/access.md. The invariant:
no ``*`` anywhere; whatever RBAC cannot say, ``byoc.cell.admission`` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from byoc.cell.incluster import (
    AGENT,
    AUTOSCALER,
    CONTROL,
    CONTROL_GROUP,
    ENGINE_FILES,
    ENGINE_OPERATOR,
    ENROLMENT,
    INSTALLED,
    NAMESPACE,
    PAPERS,
    POLICY,
    SHOWN,
    STORAGE_CLASS,
    TOKEN,
    VENDOR_OPERATOR,
)

_RBAC: Final = "rbac.authorization.k8s.io"
_LOOK: Final = ("get", "list", "watch")
_ALL: Final = (*_LOOK, "create", "update", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Right:
    """One right.

    Attributes:
        group: API group; empty for the core group.
        names: the only objects it is for; empty for every one.
        why: what it is needed for.
    """

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()

    def rule(self) -> dict[str, Any]:
        """Return the rule of a role."""
        rule: dict[str, Any] = {
            "apiGroups": [self.group],
            "resources": list(self.resources),
            "verbs": list(self.verbs),
        }
        return rule | {"resourceNames": list(self.names)} if self.names else rule


AGENT_IN_CLUSTER: Final = (
    Right(
        "",
        ("namespaces",),
        (*_LOOK, "create", "patch", "delete"),
        "each workspace has a namespace of its own; others are out of its reach by the admission policy",
    ),
    Right(
        "",
        ("pods", "persistentvolumeclaims", "services"),
        _LOOK,
        "one watch a kind for all workspaces, instead of a thousand; engines are seen to fail at once",
    ),
    Right("apps", ("statefulsets",), _LOOK, "as before: what is meant to run"),
    Right(
        "networking.k8s.io", ("networkpolicies",), _LOOK, "as before: a wall that somebody opened is closed"
    ),
    Right(
        "memsql.com",
        ("memsqlclusters",),
        _LOOK,
        "as before, where engines have an operator: what it was told to run, and what it says of it",
    ),
    Right("policy", ("poddisruptionbudgets",), _LOOK, "as before: one that somebody removed is put back"),
    Right(
        "",
        ("resourcequotas", "limitranges", "serviceaccounts"),
        ("list", "watch"),
        "as before: a limit that somebody lifted is put back",
    ),
    Right(
        "",
        ("configmaps", "secrets"),
        ("list", "watch"),
        "as before, an engine's settings and certificate; those of this name only, which nobody else gives",
        names=(ENGINE_FILES,),
    ),
    Right(
        "apps",
        ("deployments",),
        ("list", "watch"),
        "as before, where engines have an operator: this one's, and no other",
        names=(VENDOR_OPERATOR,),
    ),
    Right("", ("nodes",), _LOOK, "zones of machines; an instance that died is a node that is gone"),
    Right(
        "",
        ("nodes",),
        ("patch",),
        "says of a machine that stays away that it is out of service, or its pods and volumes stay there for "
        "ever; the admission policy lets it change nothing else of a machine",
    ),
    Right(
        "",
        ("persistentvolumes",),
        (*_LOOK, "patch"),
        "terminating a workspace lets its volumes go, which are kept otherwise; a kept one is claimed anew",
    ),
    Right(
        "storage.k8s.io",
        ("storageclasses",),
        ("get",),
        "says whether volumes are encrypted and may grow",
        names=(STORAGE_CLASS,),
    ),
    Right(
        _RBAC,
        ("rolebindings",),
        (*_LOOK, "create", "patch", "delete"),
        "gives the engine's operator, and the agent itself, rights in one workspace's namespace",
    ),
    Right(
        _RBAC,
        ("clusterroles",),
        ("bind",),
        "what those rolebindings may give: this role and no other",
        names=(ENGINE_OPERATOR,),
    ),
)
"""Of the agent, everywhere; limited further by the admission policy."""

AGENT_AT_HOME: Final = (
    Right(
        "coordination.k8s.io",
        ("leases",),
        ("get", "patch"),
        "one of the two agents leads; the installation makes the object",
        names=(AGENT,),
    ),
    Right(
        "",
        ("configmaps",),
        ("get", "create", "patch"),
        "the cell's state, and how it stands; the admission policy keeps the other ConfigMaps from it",
    ),
    Right("", ("secrets",), ("get", "create", "patch"), "the cell's keys and its groups' passwords"),
    Right("", ("secrets",), ("delete",), "the enrolment token, once it was used", names=(TOKEN,)),
)
"""Of the agent, in its own namespace."""

CONTROL_AT_HOME: Final = (
    Right(
        "",
        ("configmaps",),
        ("get", "update"),
        "the customer reads and writes the policy, the kill switch and approvals from outside the VPC",
        names=(POLICY, PAPERS),
    ),
    Right(
        "",
        ("configmaps",),
        ("get",),
        "the customer sees how the cell stands, what waits for approval, and what is installed",
        names=(ENROLMENT, INSTALLED, SHOWN),
    ),
)
"""Of the control function, in the client's namespace: the customer's papers, and a look at the agent's."""

OPERATOR_IN_WORKSPACE: Final = (
    Right("", ("pods",), _ALL, "pods of an engine; a resize may have to replace them"),
    Right("", ("pods/resize",), ("patch",), "a running engine's size is changed while it runs"),
    Right("", ("pods/log",), ("get",), "an engine's log, if the customer's policy lets it be read"),
    Right("", ("services", "endpoints"), _ALL, "an engine's addresses"),
    Right("", ("persistentvolumeclaims",), _ALL, "an engine's volumes"),
    Right("", ("configmaps", "secrets"), _ALL, "an engine's settings, licence and passwords"),
    Right("", ("events",), ("create", "patch", "list", "watch"), "why an engine does not start"),
    Right("", ("serviceaccounts",), _ALL, "under which an engine and its operator run"),
    Right("", ("resourcequotas", "limitranges"), _ALL, "what a workspace may take at most"),
    Right("apps", ("deployments", "replicasets", "statefulsets", "statefulsets/scale"), _ALL,
          "the operator, and the engine's nodes; scaled to nothing while suspended"),
    Right("batch", ("cronjobs",), _ALL, "what the operator does at fixed times"),
    Right("policy", ("poddisruptionbudgets",), _ALL, "how many of an engine's nodes may be away"),
    Right("networking.k8s.io", ("networkpolicies",), _ALL, "who may reach an engine"),
    Right("coordination.k8s.io", ("leases",), _ALL, "one operator works at a time"),
    Right("memsql.com", ("memsqlclusters", "memsqlclusters/status", "memsqlclusters/finalizers"), _ALL,
          "the engine itself, as its operator knows it"),
)  # fmt: skip
"""Of an engine's operator and of the agent, in namespaces of workspaces only."""

AUTOSCALER_IN_CLUSTER: Final = (
    Right("", ("nodes",), (*_LOOK, "update", "delete"), "taints a machine before it ends it"),
    Right("", ("pods/eviction",), ("create",), "moves what runs on a machine that is to go"),
    Right("", ("pods/status",), ("update",), "notes on a pod that a machine was asked for"),
    Right("", ("events",), ("create", "patch"), "tells what it decided"),
    Right("", ("pods", "services", "namespaces", "replicationcontrollers", "persistentvolumes",
               "persistentvolumeclaims"), _LOOK, "finds out what fits where"),
    Right("apps", ("daemonsets", "replicasets", "statefulsets"), _LOOK, "who would bring a pod back"),
    Right("batch", ("jobs", "cronjobs"), _LOOK, "who would bring a pod back"),
    Right("policy", ("poddisruptionbudgets",), _LOOK, "what may not be moved now"),
    Right("resource.k8s.io", ("deviceclasses", "resourceclaims", "resourceslices"), _LOOK,
          "which devices a pod asks for"),
    Right("storage.k8s.io", ("storageclasses", "csinodes", "csidrivers", "csistoragecapacities",
                             "volumeattachments"), _LOOK, "in which zone a volume can be attached"),
)  # fmt: skip
"""Of the autoscaler: as its makers list them, without those for electing a leader and noting its status."""


def account(name: str) -> dict[str, Any]:
    """Return a service account of the cell."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "automountServiceAccountToken": False,
    }


def rights() -> list[dict[str, Any]]:
    """Return the accounts, the roles and who has them."""
    return [
        account(AGENT),
        account(AUTOSCALER),
        *_everywhere(AGENT, AGENT_IN_CLUSTER),
        *_everywhere(AUTOSCALER, AUTOSCALER_IN_CLUSTER),
        _role("ClusterRole", ENGINE_OPERATOR, OPERATOR_IN_WORKSPACE),
        _role("Role", AGENT, AGENT_AT_HOME),
        _binding("RoleBinding", AGENT, "Role"),
        _role("Role", CONTROL, CONTROL_AT_HOME),
        _binding("RoleBinding", CONTROL, "Role", subject=_group(CONTROL_GROUP)),
    ]


def _everywhere(name: str, table: Sequence[Right]) -> list[dict[str, Any]]:
    return [_role("ClusterRole", name, table), _binding("ClusterRoleBinding", name, "ClusterRole")]


def _metadata(kind: str, name: str) -> dict[str, Any]:
    return {"name": name} if kind.startswith("Cluster") else {"name": name, "namespace": NAMESPACE}


def _role(kind: str, name: str, table: Sequence[Right]) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": _metadata(kind, name),
        "rules": [right.rule() for right in table],
    }


def _group(name: str) -> dict[str, str]:
    return {"kind": "Group", "apiGroup": _RBAC, "name": name}


def _binding(kind: str, name: str, role: str, *, subject: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": _metadata(kind, name),
        "roleRef": {"apiGroup": _RBAC, "kind": role, "name": name},
        "subjects": [subject or {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
    }
