"""One Kubernetes object as an API server keeps it: who set which field, and what an apply then means.

Pure; the HTTP around it is in ``kubernetes.py``. Lists are taken whole, as atomic lists are.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]
NOT_OWNED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
SET_FOR_EVER = {
    "StorageClass": (("parameters",), "field is immutable"),
    "RoleBinding": (("roleRef",), "cannot change roleRef"),
    "ClusterRoleBinding": (("roleRef",), "cannot change roleRef"),
    "StatefulSet": (("spec", "volumeClaimTemplates"), "updates to statefulset spec are forbidden"),
}
DEFAULTS: dict[str, Json] = {
    "StatefulSet": {"revisionHistoryLimit": 10},
    "Service": {"sessionAffinity": "None"},
}


class Refusal(Exception):
    """What the server says no with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def leaves(value: Any, above: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from leaves(below, (*above, name))
    elif above and above not in NOT_OWNED:
        yield above, value


def put(value: Json, path: Path, leaf: Any) -> None:
    for name in path[:-1]:
        below = value.get(name)
        value[name] = value = below if isinstance(below, dict) else {}
    value[path[-1]] = leaf


def take(value: Json, path: Path) -> None:
    above = [value]
    for name in path[:-1]:
        below = above[-1].get(name)
        if not isinstance(below, dict):
            return
        above.append(below)
    above[-1].pop(path[-1], None)
    for number in range(len(path) - 2, -1, -1):
        if above[number + 1] == {}:
            above[number].pop(path[number], None)


def look(value: Any, path: Path) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def merge(value: Json, patch: Json) -> Json:
    out = dict(value)
    for name, wanted in patch.items():
        if wanted is None:
            out.pop(name, None)
        elif isinstance(wanted, dict):
            held = out.get(name)
            out[name] = merge(held if isinstance(held, dict) else {}, wanted)
        else:
            out[name] = wanted
    return out


@dataclass
class Stored:
    """An object and its owners."""

    value: Json
    owners: dict[str, set[Path]] = field(default_factory=dict)
    ending: int = 0

    def applied(self, manager: str, manifest: Mapping[str, Any], *, force: bool) -> "Stored":
        """Return what this object is once ``manager`` has applied ``manifest``."""
        new = copy.deepcopy(self)
        wanted = dict(leaves(dict(manifest)))
        mine, others = new.owners.pop(manager, set()), new.owners
        for path in mine - wanted.keys():
            if not any(path in paths for paths in others.values()):
                take(new.value, path)
        for path, leaf in wanted.items():
            if look(new.value, path) == leaf:
                continue
            for other, paths in others.items():
                inside = {each for each in paths if each[: len(path)] == path or path[: len(each)] == each}
                if inside and not force:
                    raise Refusal(409, f"conflict with {other}: .{'.'.join(path)}")
                paths.difference_update(inside)
            put(new.value, path, leaf)
        new.owners[manager] = set(wanted)
        return new.checked(self)

    def updated(self, manager: str, whole: Json) -> "Stored":
        """Return what this object is once ``manager`` has written it as ``whole``."""
        new = copy.deepcopy(self)
        new.value = copy.deepcopy(whole)
        old, now = dict(leaves(self.value)), dict(leaves(new.value))
        changed = {path for path, leaf in now.items() if old.get(path, ...) != leaf}
        for paths in new.owners.values():
            paths.difference_update([path for path in paths if path in changed or path not in now])
        new.owners.setdefault(manager, set()).update(
            path for path in changed if path[0] != "status" and path[:2] != ("metadata", "managedFields")
        )
        return new.checked(self)

    def checked(self, old: "Stored") -> "Stored":
        """Refuse what may never change; add what the server adds."""
        kind = self.value["kind"]
        path, message = SET_FOR_EVER.get(kind, ((), ""))
        if path and look(old.value, path) is not None and look(old.value, path) != look(self.value, path):
            raise Refusal(422, f'{kind} "{self.value["metadata"]["name"]}" is invalid: {message}')
        if look(self.value, ("spec", "replicas")) is not None and self.value["spec"]["replicas"] < 0:
            raise Refusal(422, "spec.replicas: must be greater than or equal to 0")
        for name, value in DEFAULTS.get(kind, {}).items():
            self.value["spec"].setdefault(name, value)
        return self

    def content(self) -> Json:
        """What a change of makes a new version: all but the server's own bookkeeping."""
        kept = {"resourceVersion", "generation", "managedFields"}
        metadata = {name: value for name, value in self.value["metadata"].items() if name not in kept}
        return {**self.value, "metadata": metadata}

    def managed_fields(self) -> list[Json]:
        """Return the owners as the server shows them."""
        shown = []
        for manager, paths in sorted(self.owners.items()):
            tree: Json = {}
            for path in sorted(paths):
                put(tree, tuple(f"f:{name}" for name in path), {})
            shown.append({"manager": manager, "operation": "Apply", "fieldsV1": tree})
        return [each for each in shown if each["fieldsV1"]]
