"""The kinds of Kubernetes objects that the agent works with, and where each is served.

Used by ``client``, which takes and gives plain objects of these kinds, and by whoever names one. The
invariant: what is not in this table, the agent cannot touch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]
"""One Kubernetes object."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind.

    Attributes:
        group: API group; empty for the core group.
        part: of an object, such as ``resize``; empty for the object itself.
    """

    group: str
    version: str
    name: str
    plural: str
    namespaced: bool = True
    part: str = ""

    @property
    def api(self) -> str:
        """Group and version as an object names them."""
        return f"{self.group}/{self.version}" if self.group else self.version


NAMESPACE: Final = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
NODE: Final = Kind("", "v1", "Node", "nodes", namespaced=False)
VOLUME: Final = Kind("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False)
CLAIM: Final = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
POD: Final = Kind("", "v1", "Pod", "pods")
POD_SIZE: Final = Kind("", "v1", "Pod", "pods", part="resize")
SERVICE: Final = Kind("", "v1", "Service", "services")
CONFIG_MAP: Final = Kind("", "v1", "ConfigMap", "configmaps")
SECRET: Final = Kind("", "v1", "Secret", "secrets")
QUOTA: Final = Kind("", "v1", "ResourceQuota", "resourcequotas")
LIMIT_RANGE: Final = Kind("", "v1", "LimitRange", "limitranges")
ACCOUNT: Final = Kind("", "v1", "ServiceAccount", "serviceaccounts")
STATEFUL_SET: Final = Kind("apps", "v1", "StatefulSet", "statefulsets")
DEPLOYMENT: Final = Kind("apps", "v1", "Deployment", "deployments")
NETWORK_POLICY: Final = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
BUDGET: Final = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
ROLE_BINDING: Final = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
STORAGE_CLASS: Final = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False)
MEMSQL_CLUSTER: Final = Kind("memsql.com", "v1alpha1", "MemsqlCluster", "memsqlclusters")

KINDS: Final = (
    NAMESPACE, NODE, VOLUME, CLAIM, POD, SERVICE, CONFIG_MAP, SECRET, QUOTA, LIMIT_RANGE, ACCOUNT,
    STATEFUL_SET, DEPLOYMENT, NETWORK_POLICY, BUDGET, ROLE_BINDING, STORAGE_CLASS, MEMSQL_CLUSTER,
)  # fmt: skip
_BY_NAME: Final = {(kind.api, kind.name): kind for kind in KINDS}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """Return the kind of an object.

    Raises:
        KeyError: the agent has nothing to do with such objects.
    """
    return _BY_NAME[manifest["apiVersion"], manifest["kind"]]
