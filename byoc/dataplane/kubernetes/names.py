"""Names, labels and annotations of a workspace's objects. Pure; used by all of the package."""

from typing import Final

from byoc.cell.incluster import (
    DATABASES_RECORD,
    ENGINE_APP,
    ENGINE_CLUSTER,
    ENGINE_FILES,
    SQL_PORT,
    VENDOR_OPERATOR,
    WORKSPACE_LABEL,
    WORKSPACE_PREFIX,
)
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.ids import GroupID, WorkspaceID

ENGINE: Final = "engine"
"""StatefulSet and container of an engine."""
PREPARE: Final = "prepare"
"""Container that is run before an engine: makes a new volume, or looks who wrote the one that is there."""
UPGRADE: Final = "upgrade"
"""Container that is run after that one: brings data of an older series up to date."""
FILES: Final = ENGINE_FILES
"""ConfigMap and Secret of an engine."""
POD: Final = "engine-0"
CLAIM: Final = "data"
"""The volume's claim."""
PORT: Final = SQL_PORT

CLUSTER: Final = ENGINE_CLUSTER
"""MemsqlCluster of a workspace, what its operator names everything after, and its nodes' service account."""
MASTER: Final = f"node-{CLUSTER}-master"
"""StatefulSet of the node that answers, as the operator names it."""
OPERATOR: Final = VENDOR_OPERATOR
"""Deployment, service account and RoleBinding of an engine's operator."""
NODES: Final = (f"{ENGINE}-", f"node-{CLUSTER}-")
"""How names of pods begin that run an engine."""
OURS: Final = (*NODES, f"{OPERATOR}-")
"""The same, and its operator."""
MAIN_SETS: Final = (ENGINE, MASTER)
MAIN_PODS: Final = (POD, f"{MASTER}-0")
MAIN_CLAIMS: Final = (CLAIM, f"pv-storage-{MASTER}-0")
"""Of the node that answers: whichever engine a cell runs, these names are told apart."""

INTENDED: Final = "byoc.dev/intended"
"""Annotation of the namespace: what its objects were made from, as JSON."""
DATABASES: Final = DATABASES_RECORD
LIMITS: Final = "byoc.dev/limits"
"""Annotation of a pod: the limits that it runs with."""
PASSWORD_VERSION: Final = "byoc.dev/password-version"  # noqa: S105 - the name of an annotation
"""Annotation of the claim: version of the admin password in the volume."""
HOSTNAME: Final = "external-dns.alpha.kubernetes.io/hostname"
TTL: Final = "external-dns.alpha.kubernetes.io/ttl"
SEAL: Final = "byoc.dev/seal"
"""Annotation of a Secret: hashes of what the agent put in. An edit is seen by it, and no content is kept."""
APP: Final = "app.kubernetes.io/name"


def namespace(workspace: WorkspaceID) -> str:
    """Return the name of a workspace's namespace."""
    return f"{WORKSPACE_PREFIX}{workspace}"


def workspace_of(namespace: str) -> WorkspaceID | None:
    """Return whose namespace it is; None for one of nobody's."""
    if not namespace.startswith(WORKSPACE_PREFIX):
        return None
    return WorkspaceID(namespace.removeprefix(WORKSPACE_PREFIX))


def folder(group: GroupID, workspace: WorkspaceID) -> str:
    """Return the part of a bucket that is a workspace's, where a role does not say which is."""
    return f"byoc-group-{group}/{workspace}"


def subject(workspace: WorkspaceID) -> str:
    """Return what the cluster calls a workspace's nodes in the tokens that it gives them."""
    return f"system:serviceaccount:{namespace(workspace)}:{CLUSTER}"


def labels(workspace: WorkspaceID) -> dict[str, str]:
    """Return the labels of everything of a workspace."""
    return {WORKSPACE_LABEL: workspace, APP: ENGINE_APP, "app.kubernetes.io/part-of": "byoc"}


def service(workspace: WorkspaceID, which: str) -> str:
    """Return the name of a Service; ``which`` is ``ddl`` or ``dml``."""
    return f"svc-{workspace}-{which}"


def within_cluster(workspace: WorkspaceID, which: str) -> str:
    """Return the name that a Service has for every pod of the cluster."""
    return f"{service(workspace, which)}.{namespace(workspace)}.svc"


def host(workspace: WorkspaceID, which: str, settings: ClusterSettings) -> str:
    """Return the name under which customers reach an engine."""
    if settings.domain:
        return f"{service(workspace, which)}.{settings.domain}"
    return f"{within_cluster(workspace, which)}.cluster.local"


def endpoint(workspace: WorkspaceID, settings: ClusterSettings) -> str:
    """Return ``host:port`` of a workspace, the same for its whole life."""
    return f"{host(workspace, 'dml', settings)}:{PORT}"


def hosts(workspace: WorkspaceID, settings: ClusterSettings) -> tuple[str, ...]:
    """Return every name of an engine, for its certificate."""
    both = ("ddl", "dml")
    named = (host(workspace, which, settings) for which in both)
    return tuple(dict.fromkeys((*named, *(within_cluster(workspace, which) for which in both))))
