"""The kinds of Kubernetes objects that a bundle may hold: where each is served, and in which order.

Read by the manifests, which sort by it, and by the installer, which removes in the reverse order and
looks through every kind here for objects of an earlier bundle. So a row is never taken away, not even
when no bundle has the kind any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Manifest = Mapping[str, Any]
"""One Kubernetes object as JSON."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind.

    Attributes:
        api: group and version, such as ``apps/v1``.
        plural: its name in a path.
        namespaced: its objects live in a namespace.
        replaced: fields that a bundle sets can never be changed, so the object is made anew; what
            it stands for (volumes, pods) is left alone meanwhile.
    """

    name: str
    api: str
    plural: str
    namespaced: bool = True
    replaced: bool = False


ORDER: Final = (
    Kind("Namespace", "v1", "namespaces", namespaced=False),
    Kind("StorageClass", "storage.k8s.io/v1", "storageclasses", namespaced=False, replaced=True),
    Kind("PriorityClass", "scheduling.k8s.io/v1", "priorityclasses", namespaced=False, replaced=True),
    # Before whom it limits.
    Kind(
        "ValidatingAdmissionPolicy",
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicies",
        namespaced=False,
    ),
    Kind(
        "ValidatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicybindings",
        namespaced=False,
    ),
    Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
    Kind("ServiceAccount", "v1", "serviceaccounts"),
    Kind("ClusterRole", "rbac.authorization.k8s.io/v1", "clusterroles", namespaced=False),
    Kind(
        "ClusterRoleBinding",
        "rbac.authorization.k8s.io/v1",
        "clusterrolebindings",
        namespaced=False,
        replaced=True,
    ),
    Kind("Role", "rbac.authorization.k8s.io/v1", "roles"),
    Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings", replaced=True),
    Kind("ConfigMap", "v1", "configmaps"),
    Kind("Secret", "v1", "secrets"),
    Kind("Lease", "coordination.k8s.io/v1", "leases"),
    Kind("Service", "v1", "services"),
    Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
    Kind("StatefulSet", "apps/v1", "statefulsets", replaced=True),
    Kind("Deployment", "apps/v1", "deployments"),
)
"""In the order in which they are applied."""

_BY_NAME: Final = {(kind.api, kind.name): kind for kind in ORDER}


def kind_of(manifest: Manifest) -> Kind:
    """Return the kind of ``manifest``.

    Raises:
        KeyError: no bundle may hold such an object.
    """
    return _BY_NAME[manifest["apiVersion"], manifest["kind"]]


def collection(kind: Kind, namespace: str = "") -> str:
    """Return the path of all objects of ``kind``: in ``namespace``, or everywhere."""
    root = f"/apis/{kind.api}" if "/" in kind.api else f"/api/{kind.api}"
    return f"{root}/namespaces/{namespace}/{kind.plural}" if namespace else f"{root}/{kind.plural}"


def path(manifest: Manifest) -> str:
    """Return the path of one object."""
    kind, metadata = kind_of(manifest), manifest["metadata"]
    namespace = metadata["namespace"] if kind.namespaced else ""
    return f"{collection(kind, namespace)}/{metadata['name']}"


def title(manifest: Manifest) -> str:
    """Return how a person is told of an object: ``StatefulSet byoc-system/byoc-agent``."""
    metadata = manifest["metadata"]
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{manifest['kind']} {place}{metadata['name']}"


def in_order(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ``manifests`` in the order in which they are applied, one order for one set."""
    ranks = {kind: number for number, kind in enumerate(ORDER)}

    def place(manifest: dict[str, Any]) -> tuple[int, str, str]:
        metadata = manifest["metadata"]
        return ranks[kind_of(manifest)], metadata.get("namespace", ""), metadata["name"]

    return sorted(manifests, key=place)
