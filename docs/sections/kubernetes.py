"""Tables of docs/kubernetes-cell.md, from the builders that make a workspace's objects. Pure."""

from collections.abc import Mapping
from typing import Final

from byoc.cell.rights import AGENT_IN_CLUSTER, OPERATOR_IN_WORKSPACE, Right
from byoc.dataplane.kubernetes import manifests, names, sizing
from byoc.dataplane.kubernetes.chosen import chosen
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.settings import SINGLESTORE, ClusterSettings
from byoc.dataplane.kubernetes.singlestore import manifests as operated
from byoc.dataplane.kubernetes.singlestore.order import Secret, memsql_cluster
from byoc.dataplane.kubernetes.singlestore.shape import disk_gib, shape
from byoc.dataplane.runtime import Doors, Limits
from byoc.ids import GroupID, WorkspaceID
from byoc.model.size import LADDER, SIZES
from docs.sections.page import code, table

_WORKSPACE: Final = WorkspaceID("ID")
_EXAMPLE: Final = Intended(_WORKSPACE, GroupID("GROUP"), Limits("S-1"), Doors(), 320, running=True, kept=True)
_SETTINGS: Final = ClusterSettings(domain="CELL.byoc.internal")
_MEANT: Final = {
    (
        "Namespace",
        "byoc-ws-ID",
    ): "all of the workspace; admits restricted pods only; its annotation says what the rest was made from",
    ("RoleBinding", "byoc-agent"): "gives the agent its rights here, and nowhere else",
    ("ResourceQuota", "workspace"): "what the namespace may take at most",
    ("LimitRange", "workspace"): "what a container gets that says nothing",
    ("NetworkPolicy", "default-deny"): "nothing in, nothing out",
    ("NetworkPolicy", "sql"): "port 3306 from the agent and from the group's firewall ranges",
    (
        "PodDisruptionBudget",
        "engine",
    ): "the engine may be moved, by a person; the pod tells the autoscaler not to",
    ("ConfigMap", "byoc-engine"): "`my.cnf`, and what runs first: makes a new volume, upgrades older data",
    ("Service", "svc-ID-ddl"): "headless: the pod's own address, as a name",
    ("Service", "svc-ID-dml"): "the same; this name is the endpoint that the API returns",
    ("PersistentVolumeClaim", "data"): "the volume; made once by the agent, never by a controller",
    (
        "Secret",
        "byoc-engine",
    ): "the engine's certificate and key, the cell's authority, hashes of our own account",
    ("StatefulSet", "engine"): "one pod, or none while suspended",
}
_OPERATED: Final = ClusterSettings(
    engine=SINGLESTORE,
    domain="CELL.byoc.internal",
    image="IMAGE:TAG@sha256:DIGEST",
    operator_image="OPERATOR:TAG@sha256:DIGEST",
    bucket="BUCKET",
    region="REGION",
    role="arn:aws:iam::123456789012:role/ROLE",
)
_MEANT_OPERATED: Final = {
    ("NetworkPolicy", "sql"): "port 3306 of aggregators from the agent and from the group's firewall ranges",
    ("NetworkPolicy", "within"): "nodes and operator reach each other, and names are found",
    ("NetworkPolicy", "operator"): "the operator reaches the API server",
    ("NetworkPolicy", "storage"): "nodes reach the bucket; only where the cell has one",
    ("PodDisruptionBudget", "engine"): "one node may be moved at a time",
    (
        "ServiceAccount",
        "cluster",
    ): "under which the nodes run; by it and the namespace AWS knows their part of the bucket",
    ("Service", "svc-ID-ddl"): "headless: the master aggregator",
    ("Service", "svc-ID-dml"): "headless: all aggregators; this name is the endpoint that the API returns",
    ("Secret", "byoc-engine"): "the engine's certificate and key, the cell's authority",
    ("MemsqlCluster", "cluster"): "what the operator is told to run, licence and hash of `admin` included",
    ("ServiceAccount", "sdb-operator"): "under which the operator runs",
    ("RoleBinding", "sdb-operator"): "gives the operator its rights here, and nowhere else",
    ("Deployment", "sdb-operator"): "the operator: one pod, or none while suspended",
}
_SHOWN: Final = ("S-00", "S-0", "S-1", "S-2", "S-4", "S-8")


def objects() -> str:
    """Return every object of a workspace and what it is for."""
    return _listed([*_around(_SETTINGS), manifests.engine(_EXAMPLE, _SETTINGS)], _MEANT)


def operated_objects() -> str:
    """Return every object of a workspace whose engine has an operator."""
    order = memsql_cluster(_EXAMPLE, _OPERATED, Secret("LICENCE", "HASH"))
    claims = {
        ("PersistentVolumeClaim", name): "the volume of a node; made once by the agent"
        for nodes in shape(_EXAMPLE.limits, _EXAMPLE.disk_gib, 1).every
        for name in nodes.claims
    }
    made = [*_around(_OPERATED), order, *operated.operator(_EXAMPLE, _OPERATED)]
    return _listed(made, _MEANT | claims | _MEANT_OPERATED)


def operated_sizes() -> str:
    """Return what the first sizes mean as nodes."""
    rows = []
    for size in (*_SHOWN, "S-16"):
        nodes = shape(Limits(size), disk_gib(Limits(size), 1), 1)
        of = [
            f"{each.count} x {sizing.cores_text(each.compute.millicores)} / "
            f"{sizing.bytes_text(each.compute.memory)}, {each.disk_gib} GiB"
            for each in (nodes.master, nodes.leaves)
        ]
        rows.append((size, of[0], str(nodes.children.count), of[1]))
    return table(("size", "master aggregator", "others like it", "leaves"), rows)


def _around(settings: ClusterSettings) -> list[Json]:
    engine = chosen(settings)
    return [
        manifests.space(_EXAMPLE),
        manifests.binding(_EXAMPLE),
        *engine.surroundings(_EXAMPLE),
        *engine.claims(_EXAMPLE),
        engine.secret(_EXAMPLE, manifests.Secrets("", "", "", "")),
    ]


def _listed(made: list[Json], meant: Mapping[tuple[str, str], str]) -> str:
    keys = [(each["kind"], each["metadata"]["name"]) for each in made]
    return table(
        ("kind", "name", "what it is for"), ((kind, f"`{name}`", meant[kind, name]) for kind, name in keys)
    )


def engine_sizes() -> str:
    """Return what the first sizes mean."""
    assert set(_SHOWN) <= set(LADDER)  # noqa: S101 - a size that is gone must not stay in the docs
    rows = []
    for size in _SHOWN:
        limits = Limits(size)
        wanted, found = sizing.compute(limits, 1), sizing.variables(limits, 1)
        rows.append(
            (
                size,
                f"{SIZES[size].vcpus} / {SIZES[size].memory_bytes // 2**30} GiB",
                f"{sizing.cores_text(wanted.millicores)} / {sizing.bytes_text(wanted.memory)}",
                sizing.bytes_text(found["innodb_buffer_pool_size"]),
                f"{sizing.disk_gib(limits, 1)} GiB",
            )
        )
    return table(("size", "nominal", "the pod asks for", "buffer pool", "disk"), rows)


def agent_rights() -> str:
    """Return what the agent may do: everywhere, and in a workspace's namespace."""
    return "\n".join(
        f"### {heading}\n\n{_rights(rows)}"
        for heading, rows in (
            ("Everywhere in the cluster", AGENT_IN_CLUSTER),
            ("In a workspace's namespace", OPERATOR_IN_WORKSPACE),
        )
    )


def _rights(rows: tuple[Right, ...]) -> str:
    return table(
        ("objects", "may", "why"),
        ((code(each.resources), ", ".join(each.verbs), each.why) for each in rows),
    )


assert names.namespace(_WORKSPACE) == "byoc-ws-ID"  # noqa: S101 - the table above says so
