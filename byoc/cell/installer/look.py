"""What is in the cluster and what should be: readiness with its reasons, and drift.

Called by the handler; changes nothing (a dry run asks the API server what an apply would change).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from byoc.cell.incluster import ENROLMENT, INSTALLED, NAMESPACE
from byoc.cell.installer.api import Api
from byoc.cell.installer.install import left_over
from byoc.cell.installer.kinds import Manifest, title
from byoc.cell.installer.ownership import foreign_fields, kept
from byoc.cell.installer.package import Package
from byoc.errors import NotFound, UsageError

Json = dict[str, Any]

_WORKLOADS: Final = ("StatefulSet", "Deployment")
# The server's own bookkeeping: it differs between two reads of an unchanged object.
_BOOKKEEPING: Final = ("managedFields", "resourceVersion", "generation")
_MOST: Final = 20
_LOOKS: Final = 4
"""How often an object is looked at that somebody keeps writing."""


def status(api: Api, package: Package, *, marked: bool = True) -> Json:
    """Return whether everything runs, why not, and what the agent shows of itself.

    ``marked``: the installer brought the bundle, which says when it is whole.
    """
    mark = _data(api, INSTALLED)
    reasons = [_not_installed(mark)] if marked and mark.get("bundle") != package.digest else []
    for manifest in package.objects:
        if manifest["kind"] in _WORKLOADS:
            reasons += not_ready(manifest, api.get(manifest))
    pods = api.items(f"/api/v1/namespaces/{NAMESPACE}/pods", {})
    reasons += [said for pod in pods for said in troubles(pod)]
    shown = _data(api, ENROLMENT)
    return {
        "bundle": package.digest,
        "installed": mark.get("bundle", ""),
        "ready": not reasons,
        "reasons": reasons[:_MOST],
        "thumbprint": shown.get("thumbprint", ""),
        "standing": shown.get("standing", ""),
    }


def _not_installed(mark: Mapping[str, str]) -> str:
    return "another bundle is installed" if mark else "nothing is installed, or not all of it"


def _data(api: Api, name: str) -> dict[str, str]:
    metadata = {"name": name, "namespace": NAMESPACE}
    found = api.get({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    return dict((found or {}).get("data") or {})


def not_ready(manifest: Manifest, found: Mapping[str, Any] | None) -> list[str]:
    """Return why a workload is not ready; nothing where it is."""
    if found is None:
        return [f"{title(manifest)} is missing"]
    wanted, seen = manifest["spec"]["replicas"], found.get("status", {})
    # Without looking at the generation, a change looks done before anybody has seen it.
    if seen.get("observedGeneration", 0) < found["metadata"].get("generation", 1):
        return [f"{title(manifest)} was changed and its controller has not seen it yet"]
    ready, updated = seen.get("readyReplicas", 0), seen.get("updatedReplicas", 0)
    if ready < wanted:
        return [f"{title(manifest)} has {ready} of {wanted} pods ready"]
    return [] if updated >= wanted else [f"{title(manifest)} has {updated} of {wanted} pods of this bundle"]


def troubles(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps a pod from running, in the API server's words."""
    name, seen = pod["metadata"]["name"], pod.get("status", {})
    for condition in seen.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"pod {name}: {condition.get('reason')}: {condition.get('message', '')[:300]}"
    for container in seen.get("containerStatuses") or []:
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason"):
            yield f"pod {name}: {waiting['reason']}: {waiting.get('message', '')[:300]}"


def diff(api: Api, package: Package) -> Json:
    """Return what in the cluster is not as the bundle says: ``{object, change, fields}`` each.

    ``change`` is ``missing``, ``changed``, ``added`` (somebody put something beside it) or ``left over``.
    """
    drift = [found for manifest in package.objects for found in _compare(api, manifest)]
    drift += [_found(each, "left over") for each in left_over(api, package)]
    return {"bundle": package.digest, "drift": drift}


def _compare(api: Api, manifest: Manifest) -> list[Json]:
    live = api.get(manifest)
    for _ in range(_LOOKS):
        if live is None:
            return [_found(manifest, "missing")]
        found = _against(api, manifest, live)
        # A controller that writes between the two questions makes a difference that is none.
        seen, live = live, api.get(manifest) if found else live
        if live is not None and live["metadata"]["resourceVersion"] == seen["metadata"]["resourceVersion"]:
            break
    return found


def _against(api: Api, manifest: Manifest, live: Json) -> list[Json]:
    try:
        wanted = api.apply(kept(manifest, live), dry_run=True)
    except NotFound:
        return [_found(manifest, "missing")]
    except UsageError:
        # A field that is set for ever: the next installation makes the object anew.
        return [_found(manifest, "changed", list(differences(_shown(live, manifest), manifest)))]
    changed = list(differences(_content(live), _content(wanted)))
    both = (("changed", changed), ("added", foreign_fields(manifest, wanted)))
    return [_found(manifest, change, fields) for change, fields in both if fields]


def _found(manifest: Manifest, change: str, fields: list[str] | None = None) -> Json:
    return {"object": title(manifest), "change": change, "fields": (fields or [])[:_MOST]}


def _content(manifest: Manifest) -> Json:
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in _BOOKKEEPING}
    return {**{name: value for name, value in manifest.items() if name != "status"}, "metadata": metadata}


def _shown(live: Any, manifest: Any) -> Any:
    """Return the part of ``live`` that ``manifest`` speaks of: defaults are no difference."""
    if isinstance(live, dict) and isinstance(manifest, dict):
        return {name: _shown(live[name], value) for name, value in manifest.items() if name in live}
    if isinstance(live, list) and isinstance(manifest, list) and len(live) == len(manifest):
        return [_shown(one, other) for one, other in zip(live, manifest, strict=True)]
    return live


def differences(one: Any, other: Any, above: str = "") -> Iterator[str]:
    """Yield the paths at which two JSON values differ; never the values, which may be secret."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from differences(one.get(name), other.get(name), f"{above}.{name}" if above else name)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{above}[{number}]")
    elif one != other:
        yield above
