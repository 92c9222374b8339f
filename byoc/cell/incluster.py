"""Names of what stands in a cell's cluster.

Read by the nodes and the add-ons (labels, taints, service accounts), by the manifests, and by the
installer function, whose package holds this file: standard library only. The invariant: what two
parts must agree on in the cluster is written here and nowhere else.
"""

from typing import Final

NAMESPACE: Final = "byoc-system"
"""Where the Nimbus client and the autoscaler run."""
AGENT: Final = "byoc-agent"
"""Service account, StatefulSet, Service, Lease and disruption budget of the Nimbus client."""
AUTOSCALER: Final = "byoc-autoscaler"
"""Service account and Deployment of the cluster autoscaler."""

CONTROL: Final = "byoc-control"
"""Role of the control function in the client's namespace."""
CONTROL_GROUP: Final = "byoc:control"
"""Kubernetes group of the control function's access entry: it has the rights this group is given."""

GROUP_LABEL: Final = "byoc.dev/group"
"""Label of every machine: ``system`` or ``workspace``."""
SYSTEM_GROUP: Final = "system"
WORKSPACE_GROUP: Final = "workspace"
SYSTEM_TAINT: Final = "byoc.dev/system"
"""Key of the system group's taint; value ``true``, effect ``NoSchedule``."""

STORAGE_CLASS: Final = "byoc-gp3"
ENGINE_APP: Final = "byoc-engine"
"""Value of ``app.kubernetes.io/name`` on everything of an engine."""
ENGINE_CLUSTER: Final = "cluster"
"""MemsqlCluster of a workspace, and the service account of its nodes: its makers want one name for both. AWS
knows the nodes by it, and by their namespace."""
SQL_PORT: Final = 3306
WORKSPACE_PRIORITY: Final = "byoc-workspace"
"""Priority class of the pods of workspaces: they go before whatever else somebody runs in the cluster."""
ENGINE_FILES: Final = "byoc-engine"
"""ConfigMap and Secret of an engine: a name that nobody else gives, for the agent sees all that bear it."""
VENDOR_OPERATOR: Final = "sdb-operator"
"""Deployment, service account and RoleBinding of an engine's own operator, as its makers name it."""
ENGINE_OPERATOR: Final = "byoc-engine-operator"
"""The one ClusterRole that the agent may bind, in a workspace's namespace only."""
WORKSPACE_LABEL: Final = "byoc.dev/workspace"
"""Label of a workspace's namespace; its value is the workspace's ID."""
WORKSPACE_PREFIX: Final = "byoc-ws-"
"""How the name of a workspace's namespace begins."""
ENGINES_SUBJECTS: Final = f"system:serviceaccount:{WORKSPACE_PREFIX}*:{ENGINE_CLUSTER}"
"""Whom the cluster's tokens are of that engines' nodes are given."""
TOKENS_FOR: Final = "sts.amazonaws.com"
"""Whom a token is for that a role is taken on with (EKS user guide, "IAM roles for service accounts")."""
DATABASES_RECORD: Final = "byoc.dev/databases"
"""Annotation of a workspace's namespace: which databases lie in the bucket, and not on volumes."""

LICENCE: Final = "byoc-engine-licence"
"""Secret with the licence of an engine that needs one; the customer makes it, the agent reads it."""
KEYS: Final = "byoc-keys"
"""Secret with the cell's two key pairs; written by the agent that leads, read by both."""
ENROLMENT: Final = "byoc-enrolment"
"""ConfigMap in which the agent shows ``thumbprint`` and ``standing``."""
TOKEN: Final = "byoc-enrolment-token"  # noqa: S105 - the name of a Secret
"""Secret in which an enrolment token is handed over; mounted by the agent, removed by it after use."""
CONFIG: Final = "byoc-config"
POLICY: Final = "byoc-policy"
"""ConfigMap with the customer's policy; the agent reads it and may not write it."""
PAPERS: Final = "byoc-papers"
"""ConfigMap with the customer's other papers; the agent reads it and may not write it."""
STATE_PREFIX: Final = "byoc-state-"
"""How the names of the agent's own ConfigMaps and Secrets begin."""
SHOWN: Final = f"{STATE_PREFIX}shown"
"""ConfigMap in which the agent shows the customer its own papers."""
INSTALLED: Final = "byoc-installed"
"""ConfigMap in which the installer writes, last of all, what it installed."""

MANAGER: Final = "byoc-installer"
"""Field manager of everything the bundle holds."""
BUNDLE_LABEL: Final = "byoc.dev/bundle"
"""Label of everything the bundle holds: what has it and is in no bundle any more is removed."""
BUNDLE_VALUE: Final = "cell"

OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
"""Kubernetes' taint of a machine that is given up; the agent sets it with its own name as the value."""
