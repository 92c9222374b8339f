"""The MemsqlCluster of a workspace: what its operator is told to run, and what it may be told. Pure.

The vendor's definition of the kind has no schema: the API server takes any field, and the operator looks
past those that it does not know, so a misspelt limit would be no limit. Therefore ``SCHEMA`` here says which
fields there are, as the vendor's reference describes operator 4.81, and ``checked`` refuses every other; and
after it was applied, what the pods really ask for is compared with it (``engine``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from byoc.cell.incluster import ENGINE_APP, WORKSPACE_LABEL
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import MEMSQL_CLUSTER, Json
from byoc.dataplane.kubernetes.manifests import placement
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.kubernetes.singlestore.shape import Nodes, Shape, shape
from byoc.errors import UsageError

USER: Final = 999
"""Of the vendor's image."""
GROUP: Final = 5555
"""That owns the volumes, as the vendor's manifests have it."""
AGGREGATES: Final = "byoc.dev/aggregates"
"""Label of the pods that answer customers."""
_MIB: Final = 2**20

_TEXT, _NUMBER, _WHOLE, _TRUTH, _ANY, _WORDS = "text", "number", "whole", "truth", "any", "words"
_META: Final = {"labels": _WORDS, "annotations": _WORDS}
_NODES: Final = {
    "count": _WHOLE,
    "cores": _NUMBER,
    "coresLimit": _NUMBER,
    "memoryMB": _WHOLE,
    "storageGB": _WHOLE,
    "storageClass": _TEXT,
    "objectMetaOverrides": _META,
    "securityContext": _ANY,
    "nodeVolumes": {"volumes": _ANY, "volumeMounts": _ANY},
    "globalVariables": _WORDS,
}
# The two spellings of one thing are the vendor's own.
_AGGREGATORS: Final = {**_NODES, "memoryMBLimit": _WHOLE}
_PLACE: Final = {"nodeSelector": _WORDS, "tolerations": _ANY, "affinity": _ANY}
SCHEMA: Final[Mapping[str, Any]] = {
    "license": _TEXT,
    "adminHashedPassword": _TEXT,
    "nodeImage": {"repository": _TEXT, "tag": _TEXT},
    "redundancyLevel": _WHOLE,
    "serviceAccountName": _TEXT,
    "serviceSpec": {"type": _TEXT, "headless": _TRUTH, "objectMetaOverrides": _META},
    "secureConnectionSpec": {
        "sslSecretName": _TEXT,
        "clientServerConnection": _TEXT,
        "intraClusterConnection": _TEXT,
    },
    "globalVariables": _WORDS,
    "schedulingDetails": {"master": _PLACE, "aggregator": _PLACE, "leaf-ag1": _PLACE},
    "masterAggregatorSpec": _AGGREGATORS,
    "childAggregatorSpec": _AGGREGATORS,
    "leafSpec": {**_NODES, "memoryLimitMB": _WHOLE},
}
"""Every field that a MemsqlCluster of ours may have, and of what kind its value is."""
REQUIRED: Final = (
    "license",
    "adminHashedPassword",
    "nodeImage.repository",
    "nodeImage.tag",
    "redundancyLevel",
    *(
        f"{nodes}.{what}"
        for nodes, limit in (("masterAggregatorSpec", "memoryMBLimit"), ("leafSpec", "memoryLimitMB"))
        for what in ("count", "cores", "coresLimit", "memoryMB", limit, "storageGB", "storageClass")
    ),
)


@dataclass(frozen=True, slots=True)
class Secret:
    """What a MemsqlCluster has to say of secrets: the operator knows no other place for it.

    Attributes:
        admin: hash of the password of ``admin``.
    """

    licence: str = field(repr=False)
    admin: str = field(repr=False)


def memsql_cluster(intended: Intended, settings: ClusterSettings, secret: Secret) -> Json:
    """Return the MemsqlCluster, checked.

    Raises:
        UsageError: a field is none that the operator knows.
    """
    manifest = watched(intended, settings)
    manifest["spec"] = {"license": secret.licence, "adminHashedPassword": secret.admin, **manifest["spec"]}
    checked(manifest)
    return manifest


def watched(intended: Intended, settings: ClusterSettings) -> Json:
    """Return the MemsqlCluster without its secrets: the part that follows from what is intended."""
    nodes = shape(intended.limits, intended.disk_gib, settings.size_divisor)
    image = intended.image or settings.image
    repository, _, tag = image.partition("@")[0].rpartition(":")
    place = placement(settings)
    spec = {
        "nodeImage": {"repository": repository, "tag": f"{tag}@{image.partition('@')[2]}"},
        # Volumes outlive machines, and what is unlimited lies in the bucket: a second copy would cost as
        # much again.
        "redundancyLevel": 1,
        "serviceAccountName": names.CLUSTER,
        # Of the operator's own Services; customers are given ours.
        "serviceSpec": {"type": "ClusterIP", "headless": True},
        "secureConnectionSpec": {"sslSecretName": names.FILES, "clientServerConnection": "enable"},
        **({"globalVariables": {"enable_eks_irsa": "ON"}} if settings.bucket else {}),
        "schedulingDetails": {each.role: place for each in nodes.every},
        **_node_specs(intended, settings, nodes),
    }
    return {
        "apiVersion": MEMSQL_CLUSTER.api,
        "kind": MEMSQL_CLUSTER.name,
        "metadata": {
            "name": names.CLUSTER,
            "namespace": names.namespace(intended.workspace),
            "labels": names.labels(intended.workspace),
        },
        "spec": spec,
    }


def _node_specs(intended: Intended, settings: ClusterSettings, nodes: Shape) -> Json:
    aggregates = {AGGREGATES: "true"}
    found = {
        "masterAggregatorSpec": _nodes(intended, settings, nodes.master, "memoryMBLimit", aggregates),
        "leafSpec": _nodes(intended, settings, nodes.leaves, "memoryLimitMB", {}),
    }
    if nodes.children.count:
        made = _nodes(intended, settings, nodes.children, "memoryMBLimit", aggregates)
        found["childAggregatorSpec"] = made
    return found


def _nodes(
    intended: Intended, settings: ClusterSettings, nodes: Nodes, limit: str, labels: Mapping[str, str]
) -> Json:
    cores, memory = nodes.compute.millicores / 1000, nodes.compute.memory // _MIB
    return {
        "count": nodes.count,
        "cores": cores,
        "coresLimit": cores,
        "memoryMB": memory,
        limit: memory,
        "storageGB": nodes.disk_gib,
        "storageClass": settings.storage_class,
        "objectMetaOverrides": {
            "labels": {WORKSPACE_LABEL: intended.workspace, names.APP: ENGINE_APP, **labels},
            "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeVolumes": {
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a folder of the pod's own
        },
    }


# --- what it may be told --------------------------------------------------------------------------


def checked(manifest: Mapping[str, Any]) -> None:
    """See that a MemsqlCluster says nothing that its operator would look past.

    Raises:
        UsageError: the first field that is unknown, of another kind, or missing.
    """
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping):
        raise UsageError("MemsqlCluster: spec is missing")
    _check("spec", spec, SCHEMA)
    for path in REQUIRED:
        found: Any = spec
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is None:
            raise UsageError(f"MemsqlCluster: spec.{path} is missing")


def _check(path: str, found: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name, value in found.items():
        here = f"{path}.{name}"
        if name not in known:
            hint = f"known here: {', '.join(sorted(known))}"
            raise UsageError(f"MemsqlCluster: {here} is no field that the operator knows", hint=hint)
        kind = known[name]
        if isinstance(kind, Mapping):
            if not isinstance(value, Mapping):
                raise UsageError(f"MemsqlCluster: {here} has to be an object")
            _check(here, value, kind)
        elif not _KINDS[kind](value):
            raise UsageError(f"MemsqlCluster: {here} has to be {_SAID[kind]}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    _TEXT: lambda value: isinstance(value, str) and bool(value),
    _WHOLE: _is_whole,
    _NUMBER: lambda value: _is_whole(value) or (isinstance(value, float) and value > 0),
    _TRUTH: lambda value: isinstance(value, bool),
    _ANY: lambda value: isinstance(value, list | dict),
    _WORDS: lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
}
_SAID: Final = {
    _TEXT: "text",
    _WHOLE: "a whole number",
    _NUMBER: "a number above 0",
    _TRUTH: "true or false",
    _ANY: "a list or an object",
    _WORDS: "an object of texts",
}
