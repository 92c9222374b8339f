"""The objects of one workspace with a SingleStore engine, its MemsqlCluster apart. Pure.

Used by ``engine``. The invariants are those of every workspace's objects, and: an operator has rights in one
namespace only, in which nothing else is; customers reach aggregators only; nodes reach each other and, where
the cell has a bucket, what answers on 443, and nothing else.
"""

from typing import Final

from byoc.cell.incluster import ENGINE_APP, ENGINE_OPERATOR, WORKSPACE_LABEL
from byoc.dataplane.kubernetes import manifests, names
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.manifests import Secrets, made
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.kubernetes.singlestore.order import AGGREGATES, GROUP, watched
from byoc.dataplane.kubernetes.singlestore.shape import Shape, shape

OPERATOR_USER: Final = 10001
"""Of the operator's image, as the vendor's reference gives it."""
OPERATOR_LABELS: Final = {"name": names.OPERATOR, names.APP: ENGINE_OPERATOR}
_POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
"""Label that Kubernetes itself gives every pod of a StatefulSet."""
_ROLE: Final = "eks.amazonaws.com/role-arn"
_REGIONAL: Final = "eks.amazonaws.com/sts-regional-endpoints"
"""STS is asked in the cell's region, where the cell has an endpoint for it, and not in another."""
_UNSAID: Final = "256Mi"


def surroundings(intended: Intended, settings: ClusterSettings) -> list[Json]:
    """Return limits, walls, names, and under which account the nodes run."""
    return [
        _quota(intended, settings),
        manifests.limit_range(intended, _UNSAID),
        *_walls(intended, settings),
        manifests.budget(intended),
        _account(intended, settings),
        *services(intended, settings),
    ]


def _account(intended: Intended, settings: ClusterSettings) -> Json:
    """Return the nodes' account; by what it says EKS mounts a token for AWS, of no use to this cluster."""
    said = {_ROLE: settings.role, _REGIONAL: "true"} if settings.role else None
    return made(
        intended,
        "v1",
        "ServiceAccount",
        names.CLUSTER,
        annotations=said,
        automountServiceAccountToken=False,
    )


def services(intended: Intended, settings: ClusterSettings) -> list[Json]:
    """Return the names: changes of the schema go to the master, everything else to any aggregator."""
    master = _shape(intended, settings).master.pods[0]
    return [
        manifests.service(intended, settings, "ddl", {_POD_NAME: master}, names.PORT),
        manifests.service(
            intended, settings, "dml", {WORKSPACE_LABEL: intended.workspace, AGGREGATES: "true"}, names.PORT
        ),
    ]


def claims(intended: Intended, settings: ClusterSettings) -> list[Json]:
    """Return the claims under the names that the operator's StatefulSets look for."""
    return [
        manifests.claim_of(intended, settings, name, nodes.disk_gib)
        for nodes in _shape(intended, settings).every
        for name in nodes.claims
    ]


def secret(intended: Intended, secrets: Secrets) -> Json:
    """Return certificate and key, under the names that the operator reads and those that we do."""
    texts = {
        "tls.crt": secrets.certificate,
        "tls.key": secrets.key,
        "tls.ca": secrets.authority,
        "ca.crt": secrets.authority,
    }
    return manifests.sealed(intended, texts)


def operator(intended: Intended, settings: ClusterSettings) -> list[Json]:
    """Return the operator: its account, its rights, and one pod, or none while suspended."""
    rbac = "rbac.authorization.k8s.io"
    return [
        made(intended, "v1", "ServiceAccount", names.OPERATOR),
        made(
            intended,
            f"{rbac}/v1",
            "RoleBinding",
            names.OPERATOR,
            roleRef={"apiGroup": rbac, "kind": "ClusterRole", "name": ENGINE_OPERATOR},
            subjects=[
                {
                    "kind": "ServiceAccount",
                    "name": names.OPERATOR,
                    "namespace": names.namespace(intended.workspace),
                }
            ],
        ),
        deployment(intended, settings),
    ]


def deployment(intended: Intended, settings: ClusterSettings) -> Json:
    """Return the operator's Deployment."""
    spec = {
        "replicas": 1 if intended.running else 0,
        # Two at a time would each bring up what the other takes down.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"name": names.OPERATOR}},
        "template": {"metadata": {"labels": OPERATOR_LABELS}, "spec": _operator_pod(settings)},
    }
    return made(intended, "apps/v1", "Deployment", names.OPERATOR, spec=spec)


def seen(intended: Intended, settings: ClusterSettings) -> list[Json]:
    """Return the objects in which a change by somebody else is seen at once."""
    around = [*surroundings(intended, settings), manifests.vessel(intended)]
    if not intended.running:
        return around
    return [*around, watched(intended, settings), *_unpinned(operator(intended, settings))]


def _unpinned(made: list[Json]) -> list[Json]:
    """Leave out which image an operator has: a newer one comes with the next action, never by itself."""
    for each in made:
        if each["kind"] == "Deployment":
            del each["spec"]["template"]["spec"]["containers"][0]["image"]
    return made


def _shape(intended: Intended, settings: ClusterSettings) -> Shape:
    return shape(intended.limits, intended.disk_gib, settings.size_divisor)


def _operator_pod(settings: ClusterSettings) -> Json:
    return {
        "serviceAccountName": names.OPERATOR,
        "enableServiceLinks": False,
        **manifests.priority(settings),
        **manifests.placement(settings),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": OPERATOR_USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": names.OPERATOR,
                "image": settings.operator_image,
                "imagePullPolicy": "IfNotPresent",
                "args": [
                    "--merge-service-annotations",
                    "--fs-group-id",
                    str(GROUP),
                    "--cluster-id",
                    names.CLUSTER,
                ],
                "env": [
                    _of_pod("WATCH_NAMESPACE", "metadata.namespace"),
                    _of_pod("POD_NAME", "metadata.name"),
                    {"name": "OPERATOR_NAME", "value": names.OPERATOR},
                ],
                "resources": {"requests": {"cpu": "50m", "memory": _UNSAID}, "limits": {"memory": _UNSAID}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
            }
        ],
    }


def _of_pod(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _quota(intended: Intended, settings: ClusterSettings) -> Json:
    """What there may be at most; memory is not counted: nodes are replaced one after the other.

    So, on the way to a smaller size, old and new together may be far above twice the new.
    """
    every = _shape(intended, settings).every
    hard = {
        "pods": str(sum(nodes.count for nodes in every) + 2),
        "persistentvolumeclaims": str(sum(nodes.count for nodes in every)),
        "requests.storage": f"{sum(nodes.count * nodes.disk_gib for nodes in every)}Gi",
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }
    return made(intended, "v1", "ResourceQuota", "workspace", spec={"hard": hard})


def _walls(intended: Intended, settings: ClusterSettings) -> list[Json]:
    answering = list(_shape(intended, settings).aggregators)
    more: dict[str, Json] = {
        "within": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {}}]}],
            "egress": [{"to": [{"podSelector": {}}]}, {"ports": _ports(("UDP", 53), ("TCP", 53))}],
        },
        "operator": {
            "podSelector": {"matchLabels": {"name": names.OPERATOR}},
            "policyTypes": ["Egress"],
            # The API server, which has no pod that a policy could name.
            "egress": [{"ports": _ports(("TCP", 443), ("TCP", 6443))}],
        },
    }
    if settings.bucket:
        more["storage"] = {
            "podSelector": {"matchLabels": {names.APP: ENGINE_APP}},
            "policyTypes": ["Egress"],
            "egress": [{"ports": _ports(("TCP", 443))}],
        }
    selected = {"matchExpressions": [{"key": _POD_NAME, "operator": "In", "values": answering}]}
    return manifests.walls(intended, selected, more)


def _ports(*ports: tuple[str, int]) -> list[Json]:
    return [{"port": port, "protocol": protocol} for protocol, port in ports]
