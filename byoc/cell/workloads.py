"""The pods of the client's namespace: two agents in two zones, and the autoscaler.

Read by the manifests. The invariants: the restricted pod security standard holds for all of them;
images are named by digest; no secret stands in arguments or environment; what an agent is given at
its start (arguments, environment, mounts) is what ``byoc agent run`` needs as a local process too; beside
it stands what copies its ledger, and of the two the agent alone has a token of the cluster's, the other alone
credentials of AWS.
"""

from typing import Any, Final, Protocol

from byoc.cell.args import CellArgs, Gateway, Image
from byoc.cell.arns import cluster_name
from byoc.cell.images import autoscaler
from byoc.cell.incluster import (
    AGENT,
    AUTOSCALER,
    CONFIG,
    GROUP_LABEL,
    NAMESPACE,
    PAPERS,
    POLICY,
    STORAGE_CLASS,
    SYSTEM_GROUP,
    SYSTEM_TAINT,
    TOKEN,
)
from byoc.cell.subnets import SERVICE_RANGES

Json = dict[str, Any]

DATA: Final = "/var/lib/byoc"
CONFIG_FOLDER: Final = "/etc/byoc/config"
POLICY_FOLDER: Final = "/etc/byoc/policy"
PAPERS_FOLDER: Final = "/etc/byoc/papers"
TOKEN_FOLDER: Final = "/etc/byoc/enrolment"  # noqa: S105 - the name of a folder
ACCOUNT_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
CONFIG_DIGEST: Final = "byoc.dev/config-digest"
"""Annotation of the agent's pods: a changed configuration makes new pods."""
_NO_CREDENTIALS: Final = "eks.amazonaws.com/skip-containers"
"""Annotation of a pod: which containers get no credentials of its role (amazon-eks-pod-identity-webhook)."""
_TMP: Final = "/tmp"  # noqa: S108 - a folder of the pod's own
_PLAIN: Final = {"HOME": _TMP, "BYOC_LOG_LEVEL": "info", "PYTHONUNBUFFERED": "1"}
_USER: Final = 10001
_DISK: Final = "10Gi"
_DISCOVERED: Final = "k8s.io/cluster-autoscaler/enabled"
_ZONE: Final = "topology.kubernetes.io/zone"


class AgentArgs(Protocol):
    """What the agents are made from, in a cluster of ours or in any other."""

    @property
    def agent(self) -> Image:
        """Image of the agents."""
        ...

    @property
    def gateway(self) -> Gateway:
        """Where they dial."""
        ...

    @property
    def egress_proxy(self) -> str:
        """What they dial through; empty for nothing."""
        ...


def labels(name: str) -> dict[str, str]:
    """Return the labels of the pods of ``name``."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "byoc"}


def agents(args: AgentArgs, config_digest: str, *, ours: bool = True, region: str = "") -> list[Json]:
    """Return the pair of agents, the Service that names them, and how many may be away.

    ``ours``: the cluster has the machines that a cell makes for them.
    ``region``: of the bucket to which their ledgers are copied; empty where they are copied nowhere.
    """
    annotations = {CONFIG_DIGEST: config_digest, **({_NO_CREDENTIALS: "agent"} if region else {})}
    selector = {"matchLabels": {"app.kubernetes.io/name": AGENT}}
    metadata = {"name": AGENT, "namespace": NAMESPACE}
    service = {"clusterIP": "None", "selector": selector["matchLabels"]}
    spec = {
        "replicas": 2,
        "serviceName": AGENT,
        "podManagementPolicy": "Parallel",
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "selector": selector,
        "template": {
            "metadata": {"labels": labels(AGENT), "annotations": annotations},
            "spec": _agent_pod(args, ours=ours, region=region),
        },
        "volumeClaimTemplates": [_claim()],
    }
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            "spec": {"maxUnavailable": 1, "selector": selector},
        },
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec},
    ]


def _claim() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "cell", "labels": labels(AGENT)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "resources": {"requests": {"storage": _DISK}},
        },
    }


def _agent_pod(args: AgentArgs, *, ours: bool, region: str) -> Json:
    apart = {"topologyKey": _ZONE, "labelSelector": {"matchLabels": {"app.kubernetes.io/name": AGENT}}}
    beside = [_shipper(args, region)] if region else []
    return {
        **_pod(AGENT),
        # Not for every container: the agent's alone has it mounted.
        "automountServiceAccountToken": False,
        **(_on_system_machines() if ours else {}),
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
        "terminationGracePeriodSeconds": 60,
        "containers": [
            {
                **_container("agent", args.agent, cpu="100m", memory="256Mi", limit="512Mi"),
                "command": ["byoc", "agent", "run", "--data", DATA],
                "env": _environment(args),
                "volumeMounts": _mounts(),
            },
            *beside,
        ],
        "volumes": [
            _account(),
            {"name": "config", "configMap": {"name": CONFIG}},
            {"name": "policy", "configMap": {"name": POLICY, "optional": True}},
            {"name": "papers", "configMap": {"name": PAPERS, "optional": True}},
            # Optional: the pod starts long before the token is there, and the kubelet brings it in then.
            {"name": "enrolment", "secret": {"secretName": TOKEN, "optional": True, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
        ],
    }


def _shipper(args: AgentArgs, region: str) -> Json:
    """Return what copies an agent's ledger: it reads the agent's volume, and asks S3 alone."""
    plain = _PLAIN | {"AWS_REGION": region}
    return {
        **_container("ledger", args.agent, cpu="20m", memory="128Mi", limit="256Mi"),
        "command": ["byoc", "agent", "ship-ledger", "--data", DATA],
        # No proxy: the buckets are reached from inside the VPC.
        "env": [{"name": name, "value": value} for name, value in sorted(plain.items())],
        "volumeMounts": [*_cell(), {"name": "tmp", "mountPath": _TMP}],
    }


def _account() -> Json:
    """Return the token of the agent's account, as the cluster would mount it into every container."""
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": "account", "projected": {"sources": sources, "defaultMode": 0o440}}


def _cell() -> list[Json]:
    return [
        # The volume's own root: whatever a container runtime makes below it for the next mount is root's.
        {"name": "cell", "mountPath": f"{DATA}/cell"},
        {
            "name": "config",
            "mountPath": f"{DATA}/cell/config.json",
            "subPath": "config.json",
            "readOnly": True,
        },
    ]


def _mounts() -> list[Json]:
    return [
        *_cell(),
        {"name": "account", "mountPath": ACCOUNT_FOLDER, "readOnly": True},
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "policy", "mountPath": POLICY_FOLDER, "readOnly": True},
        {"name": "papers", "mountPath": PAPERS_FOLDER, "readOnly": True},
        {"name": "enrolment", "mountPath": TOKEN_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": _TMP},
    ]


def _environment(args: AgentArgs) -> list[Json]:
    plain = dict(_PLAIN)
    if args.egress_proxy and not args.gateway.endpoint_service:
        plain["HTTPS_PROXY"] = args.egress_proxy
        plain["NO_PROXY"] = f"localhost,127.0.0.1,.svc,.cluster.local,{SERVICE_RANGES[0]}"
    return [
        *({"name": name, "value": value} for name, value in sorted(plain.items())),
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]


def autoscalers(args: CellArgs) -> list[Json]:
    """Return the autoscaler, which gives machines back when workspaces are suspended."""
    cluster = cluster_name(args)
    container = _container("autoscaler", autoscaler(args), cpu="100m", memory="400Mi", limit="600Mi")
    options = [
        "--cloud-provider=aws",
        f"--cluster-name={cluster}",
        f"--node-group-auto-discovery=asg:tag={_DISCOVERED},k8s.io/cluster-autoscaler/{cluster}",
        # One group a zone: a volume's pod can run in its own zone only, so groups are not alike.
        "--balance-similar-node-groups=false",
        "--expander=least-waste",
        "--skip-nodes-with-local-storage=false",
        "--skip-nodes-with-system-pods=true",
        "--aws-use-static-instance-list=true",
        # One replica, replaced before it is started anew: nothing to elect, and no right to write anything.
        "--leader-elect=false",
        "--write-status-configmap=false",
    ]
    pod = {
        **_pod(AUTOSCALER),
        **_on_system_machines(),
        "containers": [
            {
                **container,
                "command": ["/cluster-autoscaler", *options],
                "env": [{"name": "AWS_REGION", "value": args.facts.region}],
            }
        ],
    }
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": AUTOSCALER, "namespace": NAMESPACE},
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {"app.kubernetes.io/name": AUTOSCALER}},
                "template": {"metadata": {"labels": labels(AUTOSCALER)}, "spec": pod},
            },
        }
    ]


def _on_system_machines() -> Json:
    return {
        "nodeSelector": {GROUP_LABEL: SYSTEM_GROUP},
        "tolerations": [
            {"key": SYSTEM_TAINT, "operator": "Equal", "value": "true", "effect": "NoSchedule"},
        ],
    }


def _pod(account: str) -> Json:
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            # Else each mount would open the cell's keys to the group, and the agent refuses such keys.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _container(name: str, image: Image, *, cpu: str, memory: str, limit: str) -> Json:
    return {
        "name": name,
        "image": image.reference,
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": limit}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
