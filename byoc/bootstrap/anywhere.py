"""A cell in a cluster that is there already: looked over, installed and taken out, from a kubeconfig.

Used by ``byoc cell install`` and ``byoc cell destroy --context``. The client's objects are applied by the
installer's own code, which the function in a VPC runs too. The invariants: what is missing is said before
anything is made; an installation may be repeated; a removal takes what the cell has made, by the API
server's word on who made it and not by its name alone, and leaves nothing of that, or names what it left.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from byoc.bootstrap.keeping import refuse_forgetting, retain
from byoc.cell.incluster import (
    AGENT,
    BUNDLE_LABEL,
    INSTALLED,
    NAMESPACE,
    STORAGE_CLASS,
    WORKSPACE_LABEL,
    WORKSPACE_PREFIX,
)
from byoc.cell.installer.api import Api
from byoc.cell.installer.handler import run
from byoc.cell.installer.install import MEMORY, halt, lay_down
from byoc.cell.installer.kinds import ORDER, title
from byoc.cell.installer.package import Package
from byoc.errors import Conflict, Forbidden, IllegalState, PreconditionFailed

Json = dict[str, Any]
OpenApi = Callable[[], Api]
"""Opens the cluster's API with a budget of its own; closed by whoever opened it."""

OLDEST: Final = 30
"""Minor version 1.30 of Kubernetes brought the admission policies that hold the agent at home."""
_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_REVIEW: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_NEEDED: Final = (
    ("", "namespaces", "create"),
    ("rbac.authorization.k8s.io", "clusterroles", "create"),
    # Else the API server refuses to make roles with more rights than whoever makes them has.
    ("rbac.authorization.k8s.io", "clusterroles", "escalate"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", "create"),
    ("storage.k8s.io", "storageclasses", "create"),
    ("apps", "statefulsets", "create"),
)
_PAUSE: Final = 0.5
_SLOW: Final = ("pods", "persistentvolumeclaims")
_MEMORY: Final = f"Namespace {NAMESPACE}"
_MERGE: Final = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a cluster is like.

    Attributes:
        kubernetes: its minor version, such as ``1.34``.
        api: addresses and ports at which pods reach its API.
        storage: the storage class to be like.
        region: where its machines say they are; empty where they do not.
    """

    kubernetes: str
    api: tuple[tuple[str, int], ...]
    storage: Mapping[str, Any]
    region: str


def look(api: Api, *, cell: str, storage_class: str = "") -> Seen:
    """Look a cluster over, before anything is made in it.

    Raises:
        PreconditionFailed: it lacks something that a cell needs; the message says what.
        Forbidden: whoever asks may not install.
        Conflict: another cell is installed in it.
    """
    version = _version(api)
    _check_rights(api)
    _check_free(api, cell)
    region = _check_machines(api)
    return Seen(version, _api_addresses(api), _storage(api, storage_class), region)


def _version(api: Api) -> str:
    said = api.read("/version")
    found = re.fullmatch(r"(\d+)\D*\.(\d+)\D*", f"{said.get('major', '')}.{said.get('minor', '')}")
    if found is None:
        raise PreconditionFailed("the cluster does not say which version of Kubernetes it is")
    if (int(found[1]), int(found[2])) < (1, OLDEST):
        raise PreconditionFailed(
            f"the cluster runs Kubernetes {found[1]}.{found[2]}; a cell needs 1.{OLDEST} or newer",
            hint="upgrade the cluster",
        )
    return f"{found[1]}.{found[2]}"


def _check_rights(api: Api) -> None:
    for group, resource, verb in _NEEDED:
        wanted = {"group": group, "resource": resource, "verb": verb}
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        if not api.ask(_REVIEW, asked).get("status", {}).get("allowed"):
            raise Forbidden(
                f"this context may not {verb} {resource}", hint="take one that administers the cluster"
            )


def _check_free(api: Api, cell: str) -> None:
    metadata = {"name": INSTALLED, "namespace": NAMESPACE}
    mark = api.get({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    there = ((mark or {}).get("data") or {}).get("cell", cell)
    if there != cell:
        raise Conflict(
            f"cell {there} is installed in this cluster",
            hint=f"byoc cell destroy {there} --context …, or another cluster",
        )


def _check_machines(api: Api) -> str:
    ready = [each for each in api.items("/api/v1/nodes", {}) if _is_ready(each)]
    if not ready:
        raise PreconditionFailed("the cluster has no machine that is ready", hint="kubectl get nodes")
    labels = ready[0]["metadata"].get("labels") or {}
    return str(labels.get("topology.kubernetes.io/region", ""))


def _is_ready(node: Json) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not node.get("spec", {}).get("unschedulable")


def _api_addresses(api: Api) -> tuple[tuple[str, int], ...]:
    """Return where pods reach the API: by its Service's address, and by its own."""
    service = api.read("/api/v1/namespaces/default/services/kubernetes").get("spec", {})
    found = {(str(service.get("clusterIP", "")), int(each["port"])) for each in service.get("ports") or []}
    slices = api.items(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        {"labelSelector": "kubernetes.io/service-name=kubernetes"},
    )
    for each in slices:
        for port in each.get("ports") or []:
            for end in each.get("endpoints") or []:
                found |= {(address, int(port["port"])) for address in end.get("addresses") or []}
    usable = sorted(pair for pair in found if re.fullmatch(r"[\d.]+", pair[0]))
    if not usable:
        raise PreconditionFailed("the cluster's API has no IPv4 address within the cluster")
    return tuple(usable)


def _storage(api: Api, wanted: str) -> Json:
    classes = api.items("/apis/storage.k8s.io/v1/storageclasses", {})
    names = sorted(each["metadata"]["name"] for each in classes)
    if wanted:
        chosen = [each for each in classes if each["metadata"]["name"] == wanted]
    else:
        chosen = [each for each in classes if _annotation(each, _DEFAULT_CLASS) == "true"]
    if not chosen:
        what = f"no storage class `{wanted}`" if wanted else "no default storage class"
        raise PreconditionFailed(
            f"the cluster has {what}", hint=f"--storage-class, one of: {', '.join(names) or 'none is there'}"
        )
    return chosen[0]


def _annotation(found: Json, name: str) -> str:
    return str((found["metadata"].get("annotations") or {}).get(name, ""))


class Direct:
    """The installer, run here and not in a function: what ``byoc.bootstrap.join`` asks.

    Args:
        package: the bundle of the cell.
    """

    def __init__(self, open_api: OpenApi, package: Package) -> None:
        self._open = open_api
        self._package = package

    async def call(self, op: str, **values: Any) -> dict[str, Any]:
        """Do one op and return its answer; off the loop, because it waits for the network."""
        return await asyncio.to_thread(self._call, op, values)

    async def install(self) -> dict[str, Any]:
        """Bring the objects in."""
        return await self.call("install", bundle=self._package.digest, cell=self._package.cell)

    def _call(self, op: str, values: Mapping[str, Any]) -> dict[str, Any]:
        with closing(self._open()) as api:
            return run({"op": op, **values}, self._package, api)


# --- taking it out --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Removed:
    """What is there of a cell after a removal.

    Attributes:
        left: what should be gone.
        kept: what stays on purpose: volumes, and what the cell remembers itself by.
    """

    left: list[str]
    kept: list[str]


def remove(open_api: OpenApi, *, cell: str, keep_data: bool, force: bool) -> Removed:
    """Take a cell out of its cluster, workspaces included.

    With ``keep_data`` another installation of the same cell in this cluster goes on with what is kept: it
    has the same keys, and its workspaces come back on their volumes.

    Raises:
        Conflict: another cell is installed there.
        IllegalState: engines are running, and not ``force``; or, with ``keep_data``, something could not
            be kept.
        StillPending: something has not gone within the budget; it may be repeated.
    """
    with closing(open_api()) as api:
        _check_free(api, cell)
        owned = _owned(api)
        if keep_data:
            refuse_forgetting(_spaces(api))
        if not force:
            _refuse_running(api, owned.spaces)
        # Else they would put back what is taken away here.
        halt(api)
    with closing(open_api()) as api:
        if keep_data:
            # Once more: until they were taken out, agents may have detached something.
            refuse_forgetting(_spaces(api))
            retain(api, _volumes(api, owned))
        else:
            for volume in _volumes(api, owned):
                api.change(f"/api/v1/persistentvolumes/{volume['metadata']['name']}", _MERGE)
        _stop_engines(api, owned.spaces)
        for name in owned.spaces:
            api.delete(f"/api/v1/namespaces/{name}")
        for name in owned.spaces:
            api.wait_until_gone({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    with closing(open_api()) as api:
        if keep_data:
            lay_down(api)
        else:
            run({"op": "uninstall", "force": True}, Package.of(cell, "[]"), api)
        kept = [_volume_title(each) for each in _volumes(api, owned)] if keep_data else []
        return Removed(_left(api, owned, keep_data=keep_data), [*kept, *([_MEMORY] if keep_data else [])])


@dataclass(frozen=True, slots=True)
class _Owned:
    """What in a cluster is the cell's.

    Attributes:
        spaces: namespaces of its workspaces.
        classes: its storage classes.
    """

    spaces: tuple[str, ...]
    classes: frozenset[str]


def _spaces(api: Api) -> list[Json]:
    return api.items("/api/v1/namespaces", {"labelSelector": WORKSPACE_LABEL})


def _owned(api: Api) -> _Owned:
    spaces = _spaces(api)
    strangers = [each["metadata"]["name"] for each in spaces if not _made_by_agent(each)]
    if strangers:
        raise Conflict(
            f"no agent made what is labelled as a workspace's: {', '.join(strangers[:5])}",
            hint=f"nothing is removed; take the label {WORKSPACE_LABEL} away or delete it by hand",
        )
    classes = api.items("/apis/storage.k8s.io/v1/storageclasses", {"labelSelector": BUNDLE_LABEL})
    return _Owned(
        tuple(each["metadata"]["name"] for each in spaces),
        # Volumes outlive the class too: a removal that kept them has taken it away.
        frozenset({STORAGE_CLASS, *(each["metadata"]["name"] for each in classes)}),
    )


def _made_by_agent(space: Json) -> bool:
    """Whether the API server says that the agent gave the namespace its label, and the label fits."""
    metadata = space["metadata"]
    if metadata["name"] != f"{WORKSPACE_PREFIX}{metadata['labels'][WORKSPACE_LABEL]}":
        return False
    return any(
        entry.get("manager") == AGENT
        and f"f:{WORKSPACE_LABEL}" in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:labels", {})
        for entry in metadata.get("managedFields") or []
    )


def _refuse_running(api: Api, names: tuple[str, ...]) -> None:
    running = [name for name in names if api.items(f"/api/v1/namespaces/{name}/pods", {"limit": "1"})]
    if running:
        raise IllegalState(
            f"{len(running)} workspaces are running in the cell: {', '.join(running[:5])}",
            hint="suspend or terminate them first, or add --force",
        )


def _stop_engines(api: Api, names: tuple[str, ...]) -> None:
    """End engines and their claims first: a namespace that ends waits long for what it still finds in it."""
    for name in names:
        # An operator first: it would bring back all the rest.
        for plural in ("deployments", "statefulsets"):
            api.delete(f"/apis/apps/v1/namespaces/{name}/{plural}")
        api.delete(f"/api/v1/namespaces/{name}/persistentvolumeclaims")
    for name in names:
        while any(api.items(f"/api/v1/namespaces/{name}/{each}", {"limit": "1"}) for each in _SLOW):
            api.budget.wait(_PAUSE, f"engines in {name} are still ending")


def _volume_title(volume: Json) -> str:
    return f"PersistentVolume {volume['metadata']['name']}"


def _volumes(api: Api, owned: _Owned) -> list[Json]:
    """Return the volumes that the cell has, those of workspaces included that went before it."""
    there = {each["metadata"]["name"] for each in api.items("/api/v1/namespaces", {})} - {*owned.spaces}
    found = []
    for each in api.items("/api/v1/persistentvolumes", {}):
        spec = each.get("spec", {})
        space = str((spec.get("claimRef") or {}).get("namespace", ""))
        gone = space.startswith(WORKSPACE_PREFIX) and space not in there
        if space in {NAMESPACE, *owned.spaces} or (gone and spec.get("storageClassName") in owned.classes):
            found.append(each)
    return found


def _left(api: Api, owned: _Owned, *, keep_data: bool) -> list[str]:
    """Return what of a cell is still in the cluster; volumes that were to be kept are meant to be."""
    kinds = [kind for kind in ORDER if not (keep_data and kind.name in MEMORY)]
    left = [title(each) for kind in kinds for each in api.of_kind(kind, labels=BUNDLE_LABEL)]
    left += [f"Namespace {each['metadata']['name']}" for each in _spaces(api)]
    if not keep_data:
        wait = 0.5
        while (volumes := _volumes(api, owned)) and wait < api.budget.left:
            # Volumes go a moment after what claimed them.
            api.budget.wait(wait, "volumes are still being removed")
        left += [_volume_title(each) for each in volumes]
    return left
