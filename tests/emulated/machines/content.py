"""What a pod's volumes and environment hold: taken from ConfigMaps, Secrets, claims and the pod itself. Pure.

``Known`` is every ConfigMap and Secret of the cluster as it is now. A missing one that is not optional is
:class:`Missing`, which keeps the container from starting, as it does on a machine.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Known = Mapping[tuple[str, str, str], Json]
"""By kind, namespace and name."""


class Missing(Exception):
    """Something that the pod needs is not there."""


@dataclass(frozen=True)
class Files:
    """The files of one volume."""

    files: Mapping[str, bytes]
    mode: int = 0o644


def held(known: Known, kind: str, namespace: str, name: str, *, optional: bool) -> dict[str, bytes]:
    """Return what a ConfigMap or Secret holds."""
    found = known.get((kind, namespace, name))
    if found is None:
        if optional:
            return {}
        raise Missing(f"{kind.lower()} {name!r} not found")
    coded = kind == "Secret"
    texts = {
        key: base64.b64decode(value) if coded else value.encode()
        for key, value in (found.get("data") or {}).items()
    }
    binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    return texts | binary


def files(known: Known, pod: Json, volume: Json, token: Callable[[], bytes]) -> Files | None:
    """Return the files of ``volume``; None for one that is a folder of its own."""
    space = pod["metadata"]["namespace"]
    if "configMap" in volume:
        source = volume["configMap"]
        return Files(_of(known, "ConfigMap", space, source), source.get("defaultMode", 0o644))
    if "secret" in volume:
        source = {"name": volume["secret"]["secretName"], **volume["secret"]}
        return Files(_of(known, "Secret", space, source), source.get("defaultMode", 0o644))
    if "downwardAPI" in volume:
        source = volume["downwardAPI"]
        return Files(_downward(pod, source), source.get("defaultMode", 0o644))
    if "projected" in volume:
        found: dict[str, bytes] = {}
        for each in volume["projected"]["sources"]:
            found |= _projected(known, pod, each, token)
        return Files(found, volume["projected"].get("defaultMode", 0o644))
    return None


def _projected(known: Known, pod: Json, source: Json, token: Callable[[], bytes]) -> dict[str, bytes]:
    space = pod["metadata"]["namespace"]
    if "serviceAccountToken" in source:
        return {source["serviceAccountToken"]["path"]: token()}
    if "configMap" in source:
        return _of(known, "ConfigMap", space, source["configMap"])
    if "secret" in source:
        return _of(known, "Secret", space, source["secret"])
    return _downward(pod, source["downwardAPI"])


def _of(known: Known, kind: str, space: str, source: Json) -> dict[str, bytes]:
    found = held(known, kind, space, source["name"], optional=source.get("optional", False))
    if not source.get("items"):
        return found
    return {each["path"]: found[each["key"]] for each in source["items"] if each["key"] in found}


def _downward(pod: Json, source: Json) -> dict[str, bytes]:
    return {
        each["path"]: field(pod, each["fieldRef"]["fieldPath"]).encode()
        for each in source["items"]
        if "fieldRef" in each
    }


def field(pod: Json, path: str) -> str:
    """Return one field of the pod, as the downward API names it."""
    quoted = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if quoted:
        return str((pod["metadata"].get(quoted[1]) or {}).get(quoted[2], ""))
    value: Any = pod
    for name in path.split("."):
        value = (value or {}).get(name)
    return "" if value is None else str(value)


def environment(known: Known, pod: Json, container: Json) -> dict[str, str]:
    """Return the container's environment, with ``$(NAME)`` of earlier lines filled in."""
    space, found = pod["metadata"]["namespace"], {}
    for each in container.get("envFrom") or []:
        for kind, name in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if name in each:
                source = each[name]
                texts = held(known, kind, space, source["name"], optional=source.get("optional", False))
                found |= {each.get("prefix", "") + key: text.decode() for key, text in texts.items()}
    for each in container.get("env") or []:
        value = _value(known, pod, each)
        if value is not None:
            found[each["name"]] = filled(value, found)
    return found


def _value(known: Known, pod: Json, each: Json) -> str | None:
    source = each.get("valueFrom")
    if not source:
        return str(each.get("value", ""))
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return str(_resource(pod, source["resourceFieldRef"]))
    kind = "Secret" if "secretKeyRef" in source else "ConfigMap"
    wanted = source.get("secretKeyRef") or source["configMapKeyRef"]
    optional = wanted.get("optional", False)
    texts = held(known, kind, pod["metadata"]["namespace"], wanted["name"], optional=optional)
    if wanted["key"] in texts:
        return texts[wanted["key"]].decode()
    if optional:
        return None
    raise Missing(f"couldn't find key {wanted['key']} in {kind} {wanted['name']}")


def _resource(pod: Json, wanted: Json) -> str:
    kind, _, name = wanted["resource"].partition(".")
    for each in pod["spec"]["containers"]:
        if each["name"] == wanted.get("containerName", pod["spec"]["containers"][0]["name"]):
            return str(((each.get("resources") or {}).get(kind) or {}).get(name, ""))
    return ""


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return ``text`` with each ``$(NAME)`` that is known filled in; ``$$`` stands for one ``$``."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return values.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([\w.-]+)\)", one, text)
