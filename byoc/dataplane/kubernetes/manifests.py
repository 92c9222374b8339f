"""The objects of one workspace with a MariaDB engine. Pure: the same input gives the same objects.

Used by the runtime, which applies them. The invariants: a pod meets the restricted security standard;
nothing reaches an engine but the agent and whom the group's firewall ranges name, and the engine reaches
nothing; the volume is made once, by us, so that nothing ever makes an empty one in a lost one's place; no
secret stands anywhere but in the Secret.
"""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from byoc.cell.incluster import AGENT, ENGINE_APP, ENGINE_OPERATOR, NAMESPACE, WORKSPACE_LABEL
from byoc.dataplane.kubernetes import drift, engine_files, names, sizing
from byoc.dataplane.kubernetes.intended import Intended, limits_text
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.runtime import Doors

_USER: Final = 999
"""Of MariaDB's own image."""
_GRACE_SECONDS: Final = 120
"""An engine writes its changed pages before it ends."""
_LOST_SECONDS: Final = 30
"""How long a pod stays on a machine that says nothing, before it is to run elsewhere."""
_ZONE: Final = "topology.kubernetes.io/zone"
_NAME: Final = "kubernetes.io/metadata.name"
_TTL_SECONDS: Final = "10"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the engine's Secret holds, as text."""

    init_sql: str = field(repr=False)
    certificate: str = field(repr=False)
    key: str = field(repr=False)
    authority: str = field(repr=False)


def space(intended: Intended) -> Json:
    """Return the workspace's namespace."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": names.namespace(intended.workspace),
            "labels": {**names.labels(intended.workspace), **labels},
            "annotations": {names.INTENDED: intended.to_text()},
        },
    }


def binding(intended: Intended) -> Json:
    """Return what gives the agent its rights in the namespace."""
    rbac = "rbac.authorization.k8s.io"
    return made(
        intended,
        f"{rbac}/v1",
        "RoleBinding",
        AGENT,
        roleRef={"apiGroup": rbac, "kind": "ClusterRole", "name": ENGINE_OPERATOR},
        subjects=[{"kind": "ServiceAccount", "name": AGENT, "namespace": NAMESPACE}],
    )


def surroundings(intended: Intended, settings: ClusterSettings) -> list[Json]:
    """Return what stands around the engine, running or not: limits, walls, settings, the names."""
    return [
        _quota(intended, settings),
        _limit_range(intended, settings),
        *_walls(intended),
        budget(intended),
        config(intended, settings),
        *services(intended, settings),
    ]


def services(intended: Intended, settings: ClusterSettings) -> list[Json]:
    """Return the Services that name the engine; published only while it is meant to run."""
    return [_service(intended, settings, which) for which in ("ddl", "dml")]


def config(intended: Intended, settings: ClusterSettings) -> Json:
    """Return the engine's ConfigMap: its settings, and what is run before it."""
    data = {
        "my.cnf": engine_files.settings(intended.limits, settings.size_divisor),
        "prepare.sh": engine_files.prepare(),
        "upgrade.sh": engine_files.upgrade(),
        "volume": engine_files.KEPT if intended.kept else engine_files.NEW,
    }
    return made(intended, "v1", "ConfigMap", names.FILES, data=data)


def claim(intended: Intended, settings: ClusterSettings) -> Json:
    """Return the claim of the volume."""
    return claim_of(intended, settings, names.CLAIM, intended.disk_gib)


def claim_of(intended: Intended, settings: ClusterSettings, name: str, disk_gib: int) -> Json:
    """Return a claim."""
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": settings.storage_class,
        "resources": {"requests": {"storage": f"{disk_gib}Gi"}},
    }
    return made(intended, "v1", "PersistentVolumeClaim", name, spec=spec)


def secret(intended: Intended, secrets: Secrets) -> Json:
    """Return the engine's Secret."""
    texts = {
        "init.sql": secrets.init_sql,
        "tls.crt": secrets.certificate,
        "tls.key": secrets.key,
        "ca.crt": secrets.authority,
    }
    return sealed(intended, texts)


def sealed(intended: Intended, texts: Mapping[str, str]) -> Json:
    """Return the engine's Secret with ``texts`` in it."""
    data = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    return vessel(intended, annotations={names.SEAL: drift.seal(data)}, data=data)


def vessel(intended: Intended, **more: Any) -> Json:
    """Return the engine's Secret, but for what only the agent knows."""
    return made(intended, "v1", "Secret", names.FILES, type="Opaque", **more)


def engine(intended: Intended, settings: ClusterSettings) -> Json:
    """Return the StatefulSet: one pod, or none."""
    labels = names.labels(intended.workspace)
    selector = {"matchLabels": {WORKSPACE_LABEL: intended.workspace}}
    spec = {
        "replicas": 1 if intended.running else 0,
        "serviceName": names.service(intended.workspace, "ddl"),
        "podManagementPolicy": "Parallel",
        # A change is carried out in the running pod where it can be; else the runtime ends the pod.
        "updateStrategy": {"type": "OnDelete"},
        "selector": selector,
        "template": {
            "metadata": {
                "labels": labels,
                "annotations": {
                    names.LIMITS: limits_text(intended.limits),
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                },
            },
            "spec": _pod(intended, settings),
        },
    }
    return made(intended, "apps/v1", "StatefulSet", names.ENGINE, spec=spec)


def resources(compute: sizing.Compute) -> Json:
    """Return what a container asks for."""
    memory = sizing.bytes_text(compute.memory)
    return {
        "requests": {"cpu": sizing.cores_text(compute.millicores), "memory": memory},
        "limits": {"memory": memory},
    }


def watched(intended: Intended, settings: ClusterSettings) -> list[Json]:
    """Return the objects in which a change by somebody else is seen at once."""
    return [*surroundings(intended, settings), vessel(intended), engine(intended, settings)]


# --- the pod -----------------------------------------------------------------------------


def _pod(intended: Intended, settings: ClusterSettings) -> Json:
    image = intended.image or settings.image
    wanted = sizing.compute(intended.limits, settings.size_divisor)
    return {
        **priority(settings),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **placement(settings),
        "topologySpreadConstraints": [_spread(intended)],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "initContainers": [_prepare(image, wanted.preparing), _upgrade(image, wanted.preparing)],
        "containers": [_engine(image, wanted)],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": names.CLAIM}},
            {"name": "settings", "configMap": {"name": names.FILES}},
            {"name": "secrets", "secret": {"secretName": names.FILES, "defaultMode": 0o440}},
            {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }


def priority(settings: ClusterSettings) -> Json:
    """How much a pod matters beside others of the cluster."""
    return {"priorityClassName": settings.priority_class} if settings.priority_class else {}


def placement(settings: ClusterSettings) -> Json:
    """On which machines a pod may be: away from other engines, and soon on another if one is lost."""
    engines = {
        "topologyKey": _ZONE,
        "labelSelector": {"matchLabels": {names.APP: ENGINE_APP}},
        "namespaceSelector": {"matchExpressions": [{"key": WORKSPACE_LABEL, "operator": "Exists"}]},
    }
    apart = [{"weight": 50, "podAffinityTerm": engines}]
    lost = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _LOST_SECONDS}
    return {
        # An empty one would not be kept, and be missed for ever.
        **({"nodeSelector": dict(settings.node_selector)} if settings.node_selector else {}),
        "tolerations": [{"key": f"node.kubernetes.io/{why}", **lost} for why in ("not-ready", "unreachable")],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": apart}},
    }


def _spread(intended: Intended) -> Json:
    return {
        "maxSkew": 1,
        "topologyKey": _ZONE,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {WORKSPACE_LABEL: intended.workspace}},
    }


def _prepare(image: str, wanted: sizing.Compute) -> Json:
    return {
        **_container(names.PREPARE, image, wanted),
        "command": ["/bin/sh", f"{engine_files.SETTINGS}/prepare.sh"],
        "terminationMessagePath": engine_files.PREPARED,
    }


def _upgrade(image: str, wanted: sizing.Compute) -> Json:
    # A container of its own: that it runs, and after what, is how the agent knows.
    return {
        **_container(names.UPGRADE, image, wanted),
        "command": ["/bin/sh", f"{engine_files.SETTINGS}/upgrade.sh"],
    }


def _engine(image: str, wanted: sizing.Compute) -> Json:
    reachable = {"tcpSocket": {"port": "sql"}}
    return {
        **_container(names.ENGINE, image, wanted),
        "command": [
            "mariadbd",
            f"--defaults-file={engine_files.SETTINGS}/my.cnf",
            "--bind-address=$(POD_IP)",
        ],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "sql", "containerPort": names.PORT, "protocol": "TCP"}],
        # More or less of both while it runs, where the machine has it.
        "resizePolicy": [
            {"resourceName": what, "restartPolicy": "NotRequired"} for what in ("cpu", "memory")
        ],
        # Recovery after a crash may be long; whether SQL is answered, the agent asks itself.
        "startupProbe": {**reachable, "periodSeconds": 2, "failureThreshold": 1800},
        "readinessProbe": {**reachable, "periodSeconds": 5},
        "livenessProbe": {**reachable, "periodSeconds": 10, "failureThreshold": 6},
    }


def _container(name: str, image: str, wanted: sizing.Compute) -> Json:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": resources(wanted),
        # What it said last is where its end is read from; only codes leave the cell.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": engine_files.DATA},
            {"name": "settings", "mountPath": engine_files.SETTINGS, "readOnly": True},
            {"name": "secrets", "mountPath": engine_files.SECRETS, "readOnly": True},
            {"name": "run", "mountPath": engine_files.RUN},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a folder of the pod's own
        ],
    }


# --- around it ---------------------------------------------------------------------------


def _quota(intended: Intended, settings: ClusterSettings) -> Json:
    # The old pod ends before the new one begins, but a resize is admitted before it is counted: two.
    memory = 2 * sizing.compute(intended.limits, settings.size_divisor).memory
    return quota(intended, pods=2, memory=memory, claims=1, disk_gib=intended.disk_gib)


def quota(intended: Intended, *, pods: int, memory: int, claims: int, disk_gib: int) -> Json:
    """Return what the namespace may take at most."""
    hard = {
        "pods": str(pods),
        "requests.memory": sizing.bytes_text(memory),
        "limits.memory": sizing.bytes_text(memory),
        "persistentvolumeclaims": str(claims),
        "requests.storage": f"{disk_gib}Gi",
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }
    return made(intended, "v1", "ResourceQuota", "workspace", spec={"hard": hard})


def _limit_range(intended: Intended, settings: ClusterSettings) -> Json:
    memory = sizing.bytes_text(sizing.compute(intended.limits, settings.size_divisor).memory)
    return limit_range(intended, memory)


def limit_range(intended: Intended, memory: str) -> Json:
    """Return what a container gets that says nothing."""
    limits = [{"type": "Container", "default": {"memory": memory}, "defaultRequest": {"memory": memory}}]
    return made(intended, "v1", "LimitRange", "workspace", spec={"limits": limits})


def _walls(intended: Intended) -> list[Json]:
    return walls(intended, {"matchLabels": {names.APP: ENGINE_APP}}, {})


def walls(intended: Intended, answering: Json, more: Mapping[str, Json]) -> list[Json]:
    """Return the network policies: customers reach the pods that ``answering`` selects.

    ``more`` are further policies by name, for what the engine itself needs.
    """
    agent = {
        "namespaceSelector": {"matchLabels": {_NAME: NAMESPACE}},
        "podSelector": {"matchLabels": {names.APP: AGENT}},
    }
    doors: Json = {
        "podSelector": answering,
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [agent, *blocks(intended.doors)],
                "ports": [{"port": names.PORT, "protocol": "TCP"}],
            }
        ],
    }
    nothing: Json = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return [
        made(intended, "networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)
        for name, spec in {"default-deny": nothing, "sql": doors, **more}.items()
    ]


def blocks(doors: Doors) -> list[Json]:
    """Return the addresses that a group lets in, as a network policy names them."""
    if doors.everybody:
        return [{"ipBlock": {"cidr": cidr}} for cidr in ("0.0.0.0/0", "::/0")]
    ranges = {str(ipaddress.ip_network(text, strict=False)) for text in doors.ranges}
    return [{"ipBlock": {"cidr": cidr}} for cidr in sorted(ranges)]


def budget(intended: Intended) -> Json:
    """Return how many pods may be away."""
    # One of one may go: a person who empties a machine is obeyed. The autoscaler is not, see the pod.
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": {WORKSPACE_LABEL: intended.workspace}},
    }
    return made(intended, "policy/v1", "PodDisruptionBudget", names.ENGINE, spec=spec)


def _service(intended: Intended, settings: ClusterSettings, which: str) -> Json:
    return service(intended, settings, which, {WORKSPACE_LABEL: intended.workspace}, "sql")


def service(
    intended: Intended, settings: ClusterSettings, which: str, selector: Json, target: str | int
) -> Json:
    """Return a Service that names pods of the engine."""
    published = settings.domain and intended.running
    annotations = (
        {names.HOSTNAME: names.host(intended.workspace, which, settings), names.TTL: _TTL_SECONDS}
        if published
        else {}
    )
    spec = {
        "clusterIP": "None",
        "selector": selector,
        "ports": [{"name": "sql", "port": names.PORT, "targetPort": target, "protocol": "TCP"}],
    }
    name = names.service(intended.workspace, which)
    return made(intended, "v1", "Service", name, annotations=annotations, spec=spec)


def made(
    intended: Intended,
    api: str,
    kind: str,
    name: str,
    *,
    annotations: Mapping[str, str] | None = None,
    **more: Any,
) -> Json:
    """Return an object of a workspace, labelled as all of them."""
    metadata: Json = {
        "name": name,
        "namespace": names.namespace(intended.workspace),
        "labels": names.labels(intended.workspace),
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}
