"""Who set which field of an object: what somebody added beside what the bundle says. Pure.

Read by the installer and by the drift report. The API server keeps, with every object, which manager
set which field; applying again heals what was changed and never sees what was added.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from byoc.cell.incluster import MANAGER
from byoc.cell.installer.kinds import Manifest

_NOT_CONTENT: Final = frozenset({"apiVersion", "kind", "metadata"})


def foreign_fields(manifest: Manifest, found: Mapping[str, Any]) -> list[str]:
    """Return ``manager: path`` of each field of ``found`` that another set, within what ``manifest`` fills.

    Objects whose content the bundle leaves to others (the policy, the keys) have none; what a
    controller writes (status, metadata) is its own affair.
    """
    content = set(manifest) - _NOT_CONTENT
    said = []
    for entry in found.get("metadata", {}).get("managedFields") or []:
        if entry.get("manager") == MANAGER or entry.get("subresource"):
            continue
        paths = _leaves(entry.get("fieldsV1") or {}, "")
        said += [f"{entry.get('manager')}: {path}" for path in paths if path.split(".")[0] in content]
    return sorted(said)


def leaves_to_others(manifest: Manifest) -> bool:
    """Whether the bundle says nothing of the object's content."""
    return not set(manifest) - _NOT_CONTENT


def kept(manifest: Manifest, found: Mapping[str, Any] | None) -> Manifest:
    """Return ``manifest`` with what an earlier bundle said where this one leaves it to the customer.

    Else applying it would take that away: a policy that is not given again, and nothing in its place.
    The version is named, so that what the customer says meanwhile is not overwritten.
    """
    if found is None or not leaves_to_others(manifest) or not found.get("data"):
        return manifest
    if not any(map(_fills, found["metadata"].get("managedFields") or [])):
        return manifest
    metadata = {**manifest["metadata"], "resourceVersion": found["metadata"]["resourceVersion"]}
    return {**manifest, "metadata": metadata, "data": found["data"]}


def _fills(entry: Mapping[str, Any]) -> bool:
    ours = (entry.get("manager"), entry.get("operation")) == (MANAGER, "Apply")
    return ours and "f:data" in (entry.get("fieldsV1") or {})


def _leaves(fields: Mapping[str, Any], above: str) -> Iterator[str]:
    for name, below in fields.items():
        if name == ".":
            continue
        path = f"{above}.{name.removeprefix('f:')}" if above else name.removeprefix("f:")
        if below and set(below) != {"."}:
            yield from _leaves(below, path)
        else:
            yield path
