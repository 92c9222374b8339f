"""The cloud's disks: made where the pod is to run, attached to one machine at a time, grown, and deleted.

Plays what runs beside a CSI driver (provisioner, attacher, resizer); the controllers that decide what is
bound and attached are Kubernetes' own. A disk is a folder, and ``disks`` says where each is attached.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from tests.emulated.machines.api import MERGE, Api, Json

DRIVER: Final = "ebs.csi.aws.com"
ZONE: Final = "topology.kubernetes.io/zone"
_FINALIZER: Final = "external-attacher/ebs-csi-aws-com"
_SELECTED: Final = "volume.kubernetes.io/selected-node"
_PROVISIONER: Final = "volume.kubernetes.io/storage-provisioner"
VOLUMES: Final = "/api/v1/persistentvolumes"
_CLAIMS: Final = "/api/v1/persistentvolumeclaims"
_ATTACHMENTS: Final = "/apis/storage.k8s.io/v1/volumeattachments"

Pulled = Callable[[str, str], Awaitable[None]]


class User(Protocol):
    """A pod that works on a disk."""

    @property
    def uid(self) -> str: ...
    @property
    def running(self) -> bool: ...


class Cloud:
    """Every disk of the account.

    Args:
        folder: in which each disk is a folder, called by its handle.
        pulled: told machine and handle when a disk is about to be taken from a machine.

    Attributes:
        deleted: handles of disks that are no more.
        faults: what may never happen and did.
    """

    def __init__(self, api: Api, folder: Path, pulled: Pulled) -> None:
        self._api = api
        self._folder = folder
        self._pulled = pulled
        self._users: dict[str, User] = {}
        self.deleted: list[str] = []
        self.faults: list[str] = []
        self.resizing = True
        """Whether disks grow when asked to."""
        self.attaching = True
        """Whether disks are attached when asked to."""

    async def run(self) -> None:
        """Do the cloud's work, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._api.serve(_CLAIMS, self._provision))
            group.create_task(self._api.serve(VOLUMES, self._reclaim))
            group.create_task(self._api.serve(_ATTACHMENTS, self._attach))

    def path(self, handle: str) -> Path:
        return self._folder / handle

    @property
    def disks(self) -> set[str]:
        """Handles of every disk there is, and is paid for."""
        return {each.name for each in self._folder.iterdir()}

    def opened(self, handle: str, user: User) -> None:
        """Note who works on a disk; two at a time is what ruins it."""
        before = self._users.get(handle)
        if before is not None and before is not user and before.running:
            self.faults.append(f"{handle} opened by {user.uid} while {before.uid} works on it")
        self._users[handle] = user

    async def _provision(self, what: str, claim: Json) -> None:
        notes = claim["metadata"].get("annotations") or {}
        if what == "DELETED" or notes.get(_PROVISIONER) != DRIVER:
            return
        if claim["spec"].get("volumeName"):
            await self._grow(claim)
        elif _SELECTED in notes:
            await self._make(claim, notes[_SELECTED])

    async def _make(self, claim: Json, machine: str) -> None:
        node = await self._api.get(f"/api/v1/nodes/{machine}")
        name = claim["spec"]["storageClassName"]
        kind = await self._api.get(f"/apis/storage.k8s.io/v1/storageclasses/{name}")
        if node is None or kind is None:
            return
        uid = claim["metadata"]["uid"]
        handle = f"vol-{uid.replace('-', '')[:17]}"
        self.path(handle).mkdir(exist_ok=True)
        await self._api.create(VOLUMES, _volume(claim, kind, handle, node["metadata"]["labels"][ZONE]))

    async def _grow(self, claim: Json) -> None:
        wanted = claim["spec"]["resources"]["requests"]["storage"]
        has = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
        if not self.resizing or has is None or has == wanted:
            return
        size = {"storage": wanted}
        await self._api.patch(f"{VOLUMES}/{claim['spec']['volumeName']}", {"spec": {"capacity": size}})
        where = f"/api/v1/namespaces/{claim['metadata']['namespace']}/persistentvolumeclaims"
        await self._api.patch(
            f"{where}/{claim['metadata']['name']}/status", {"status": {"capacity": size}}, MERGE
        )

    async def _reclaim(self, what: str, volume: Json) -> None:
        spec, phase = volume["spec"], (volume.get("status") or {}).get("phase")
        ours = (spec.get("csi") or {}).get("driver") == DRIVER
        if what == "DELETED" or not ours or phase != "Released":
            return
        if spec["persistentVolumeReclaimPolicy"] == "Delete":
            handle = spec["csi"]["volumeHandle"]
            await asyncio.to_thread(shutil.rmtree, self.path(handle), ignore_errors=True)
            self.deleted.append(handle)
            await self._api.delete(f"{VOLUMES}/{volume['metadata']['name']}")

    async def _attach(self, what: str, each: Json) -> None:
        if what == "DELETED":
            return
        path = f"{_ATTACHMENTS}/{each['metadata']['name']}"
        if each["metadata"].get("deletionTimestamp"):
            await self._detach(each)
            await self._api.patch(path, {"metadata": {"finalizers": None}})
        elif not (each.get("status") or {}).get("attached"):
            await self._api.patch(path, {"metadata": {"finalizers": [_FINALIZER]}})
            while not self.attaching:
                await asyncio.sleep(0.1)
            await self._api.patch(f"{path}/status", {"status": {"attached": True}})

    async def _detach(self, attachment: Json) -> None:
        name = attachment["spec"]["source"]["persistentVolumeName"]
        volume = await self._api.get(f"{VOLUMES}/{name}")
        if volume is not None:
            await self._pulled(attachment["spec"]["nodeName"], volume["spec"]["csi"]["volumeHandle"])


def _volume(claim: Json, kind: Json, handle: str, zone: str) -> Json:
    inside = {"key": ZONE, "operator": "In", "values": [zone]}
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{metadata['uid']}",
            "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER},
        },
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": kind["reclaimPolicy"],
            "storageClassName": kind["metadata"]["name"],
            "csi": {"driver": DRIVER, "volumeHandle": handle},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [inside]}]}},
        },
    }
