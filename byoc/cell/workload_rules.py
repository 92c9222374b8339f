"""What no object in the cluster of a cell may be. Pure.

Read by ``rules``, for objects of Kubernetes that the program registers or the installer applies.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_KUBERNETES: Final = "kubernetes:"
_ROLES: Final = ("ClusterRole", "Role")
_PUBLISHED: Final = ("LoadBalancer", "NodePort")
_SIDES: Final = ("containers", "initContainers", "ephemeralContainers")


def objects_broken(what: str, kind: str, inputs: Mapping[str, Any]) -> Iterator[str]:
    """Return what is wrong with one object.

    Args:
        what: ``images``, ``doors`` or ``rights``.
        kind: type token, such as ``kubernetes:apps/v1:StatefulSet``; another provider's breaks nothing.
        inputs: the object.
    """
    if kind.startswith(_KUBERNETES):
        yield from {"images": _images, "doors": _doors, "rights": _rights}[what](
            kind.rpartition(":")[2], inputs
        )


def _images(_: str, inputs: Mapping[str, Any]) -> Iterator[str]:
    for pod in _pods(inputs):
        for side in _SIDES:
            for container in _list(pod.get(side)):
                image = str(container.get("image", ""))
                if "@sha256:" not in image:
                    yield f"image {image or '(none)'} must be named by its digest"


def _doors(kind: str, inputs: Mapping[str, Any]) -> Iterator[str]:
    spec = _map(inputs.get("spec"))
    if kind == "Service" and (spec.get("type") in _PUBLISHED or spec.get("externalIPs")):
        yield f"a service must not be published ({spec.get('type') or 'externalIPs'})"
    if kind in {"Ingress", "Gateway"}:
        yield "nothing of the cluster is published"
    for pod in _pods(inputs):
        if pod.get("hostNetwork") is True:
            yield "a pod must not share its machine's network"


def _rights(kind: str, inputs: Mapping[str, Any]) -> Iterator[str]:
    if kind not in _ROLES:
        return
    for rule in _list(inputs.get("rules")):
        for name in ("apiGroups", "resources", "verbs"):
            if "*" in _list(rule.get(name)):
                yield f"has * among its {name}"


def _pods(inputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    spec = _map(inputs.get("spec"))
    if "containers" in spec:
        yield spec
    job = _map(_map(spec.get("jobTemplate")).get("spec"))
    for template in (spec.get("template"), job.get("template")):
        if pod := _map(_map(template).get("spec")):
            yield pod


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else []
