"""Tables of docs/kubernetes-cell.md, from the builders that make a workspace's objects. Pure."""

from typing import Final

from byoc.cell.rights import AGENT_IN_CLUSTER, OPERATOR_IN_WORKSPACE, Right
from byoc.dataplane.kubernetes import manifests, names, sizing
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.settings import ClusterSettings
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
    ("ConfigMap", "engine"): "`my.cnf`, and the script that initialises a new volume once",
    ("Service", "svc-ID-ddl"): "headless: the pod's own address, as a name",
    ("Service", "svc-ID-dml"): "the same; this name is the endpoint that the API returns",
    ("PersistentVolumeClaim", "data"): "the volume; made once by the agent, never by a controller",
    ("Secret", "engine"): "the engine's certificate and key, the cell's authority, hashes of our own account",
    ("StatefulSet", "engine"): "one pod, or none while suspended",
}
_SHOWN: Final = ("S-00", "S-0", "S-1", "S-2", "S-4", "S-8")


def objects() -> str:
    """Return every object of a workspace and what it is for."""
    made = [
        manifests.space(_EXAMPLE),
        manifests.binding(_EXAMPLE),
        *manifests.surroundings(_EXAMPLE, _SETTINGS),
        manifests.claim(_EXAMPLE, _SETTINGS),
        manifests.secret(_EXAMPLE, manifests.Secrets("", "", "", "")),
        manifests.engine(_EXAMPLE, _SETTINGS),
    ]
    keys = [(each["kind"], each["metadata"]["name"]) for each in made]
    return table(
        ("kind", "name", "what it is for"), ((kind, f"`{name}`", _MEANT[kind, name]) for kind, name in keys)
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
