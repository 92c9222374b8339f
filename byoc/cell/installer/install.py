"""Bringing the bundle into a cluster, and taking it out again.

Called by the handler. Both may be cut off anywhere and run again, and end in the same place. What
an earlier bundle held and this one does not is removed; what others made is never touched.
"""

from typing import Any, Final

from byoc.cell.incluster import BUNDLE_LABEL, BUNDLE_VALUE, NAMESPACE, WORKSPACE_LABEL
from byoc.cell.installer.api import Api
from byoc.cell.installer.kinds import ORDER, Manifest, kind_of, path, title
from byoc.cell.installer.ownership import foreign_fields, kept, leaves_to_others
from byoc.cell.installer.package import Package
from byoc.errors import IllegalState, UsageError

Json = dict[str, Any]

_SPACE: Final[Json] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
_LABELS: Final = f"{BUNDLE_LABEL}={BUNDLE_VALUE}"
_PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
_OURS: Final = {"labelSelector": "app.kubernetes.io/part-of=byoc"}
"""What the pods of the bundle's workloads bear, of whichever version."""
_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_PAUSE: Final = 0.5
MEMORY: Final = frozenset({"Namespace", "ConfigMap", "Secret", "Lease"})
"""Kinds of what a cell remembers itself by: its keys, its state, and what its customer has said."""
# How the API server says that a field is set once and for ever; other refusals must not cost an object.
_SET_FOR_EVER: Final = ("immutable", "cannot change roleRef", "updates to", "may not be changed")


def install(api: Api, package: Package) -> Json:
    """Apply the bundle; return what was done.

    Raises:
        StillPending: an earlier removal has not ended within the budget.
    """
    space = api.get(_SPACE)
    if space is not None and space["metadata"].get("deletionTimestamp"):
        api.wait_until_gone(_SPACE)
    for manifest in package.objects:
        _put(api, manifest)
    removed = [title(each) for each in left_over(api, package) if api.remove(each)]
    api.apply(package.mark())
    return {"bundle": package.digest, "objects": len(package.objects), "removed": removed}


def _put(api: Api, manifest: Manifest) -> None:
    try:
        found = api.apply(kept(manifest, api.get(manifest)) if leaves_to_others(manifest) else manifest)
    except UsageError as error:
        if not (kind_of(manifest).replaced and any(words in error.message for words in _SET_FOR_EVER)):
            raise
        api.remove(manifest, orphan=True)
        api.wait_until_gone(manifest)
        found = api.apply(manifest)
    if foreign_fields(manifest, found):
        # Applying leaves alone what others added beside it: a container, say, or an open door.
        api.replace(manifest, found["metadata"]["resourceVersion"])
        api.apply(manifest)


def left_over(api: Api, package: Package) -> list[Json]:
    """Return the objects of earlier bundles that this one does not hold, users before what they use."""
    kept = {path(manifest) for manifest in package.ours}
    return [
        found
        for kind in reversed(ORDER)
        for found in api.of_kind(kind, labels=_LABELS)
        if path(found) not in kept
    ]


def uninstall(api: Api, *, force: bool) -> Json:
    """Take everything out that a bundle brought in; return what was removed. Nothing there is no error.

    The pods go first and with their namespace, so that until they are gone every limit holds for them.

    Raises:
        IllegalState: engines of workspaces are running, and not ``force``.
        StillPending: the namespace has not gone within the budget.
    """
    if not force:
        _refuse_running(api)
    found = [each for kind in reversed(ORDER) for each in api.of_kind(kind, labels=_LABELS)]
    removed = []
    for kind in ("Deployment", "StatefulSet", "Namespace"):
        removed += [title(each) for each in found if each["kind"] == kind and api.remove(each)]
    api.wait_until_gone(_SPACE)
    removed += [
        title(each)
        for each in found
        if not kind_of(each).namespaced and each["kind"] != "Namespace"
        if api.remove(each)
    ]
    return {"removed": removed}


def halt(api: Api) -> None:
    """Take the agents out, so that nobody puts back what is taken away after them; all else stays.

    Raises:
        StillPending: a pod of theirs has not gone within the budget.
    """
    for kind in ORDER:
        if kind.name in {"Deployment", "StatefulSet"}:
            for each in api.of_kind(kind, labels=_LABELS):
                api.remove(each)
    # Of whatever else is there, such as somebody's pod for debugging, the end would be waited for in vain.
    while any((each.get("status") or {}).get("phase") not in _FINISHED for each in api.items(_PODS, _OURS)):
        api.budget.wait(_PAUSE, "the agents are still ending")


def lay_down(api: Api) -> None:
    """Take everything out but what the cell remembers itself by: an installation goes on with it.

    Raises:
        StillPending: a pod has not gone within the budget.
    """
    halt(api)
    for kind in reversed(ORDER):
        if kind.name not in MEMORY:
            for each in api.of_kind(kind, labels=_LABELS):
                api.remove(each)


def _refuse_running(api: Api) -> None:
    spaces = api.items("/api/v1/namespaces", {"labelSelector": WORKSPACE_LABEL})
    names = [each["metadata"]["name"] for each in spaces]
    running = [name for name in names if api.items(f"/api/v1/namespaces/{name}/pods", {"limit": "1"})]
    if running:
        raise IllegalState(
            f"{len(running)} workspaces are running in the cell: {', '.join(running[:5])}",
            hint="suspend or terminate them first",
        )
