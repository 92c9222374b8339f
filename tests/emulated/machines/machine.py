"""One machine: its Node, its heartbeats, and the pods on it; can lose its power or its kubelet."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from byoc.cell.incluster import GROUP_LABEL, WORKSPACE_GROUP
from tests.emulated.machines.api import Api, Refused
from tests.emulated.machines.cloud import DRIVER, ZONE, Cloud
from tests.emulated.machines.content import Known
from tests.emulated.machines.images import Images
from tests.emulated.machines.life import Life

Json = dict[str, Any]

NODES: Final = "/api/v1/nodes"
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_CSI: Final = "/apis/storage.k8s.io/v1/csinodes"
_BEAT: Final = 1.0
_ATTACHED: Final = f"kubernetes.io/csi/{DRIVER}^"
_SIZE: Final = {"cpu": "192", "memory": "1536Gi", "pods": "250", "ephemeral-storage": "100Gi"}


class Machine:
    """One machine.

    Args:
        folder: for what pods have on it.
        address: gives each pod an address.
        server: host and port of the API server, as pods are told.
        kubelet: port at which the API server reaches the machine's kubelet.
        fault: told of what may never happen.
    """

    def __init__(
        self,
        name: str,
        zone: str,
        api: Api,
        cloud: Cloud,
        images: Images,
        known: Known,
        folder: Path,
        address: Callable[[], str],
        server: tuple[str, int],
        kubelet: int,
    ) -> None:
        self.name = name
        self.zone = zone
        self.api = api
        self.cloud = cloud
        self.images = images
        self.known = known
        self.server = server
        self._kubelet = kubelet
        self.attached: set[str] = set()
        self.lives: dict[str, Life] = {}
        self.powered = False
        self._folder = folder
        self._address = address
        self._awake = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._ending: dict[str, asyncio.Task[None]] = {}

    @property
    def frozen(self) -> bool:
        return self.powered and not self._awake.is_set()

    # --- the machine itself ------------------------------------------------------------------

    async def switch_on(self) -> None:
        """Boot: register where there is no Node, and begin to beat."""
        labels = {
            ZONE: self.zone,
            "topology.kubernetes.io/region": self.zone[:-1],
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            GROUP_LABEL: WORKSPACE_GROUP,
        }
        metadata = {
            "name": self.name,
            "labels": labels,
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        }
        spec = {"providerID": f"aws:///{self.zone}/i-{self.name}"}
        await self.api.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})
        driver = {
            "name": DRIVER,
            "nodeID": f"i-{self.name}",
            "topologyKeys": [ZONE],
            "allocatable": {"count": 200},
        }
        csi = {"metadata": {"name": self.name}, "spec": {"drivers": [driver]}}
        await self.api.create(_CSI, {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", **csi})
        self.powered = True
        self._awake.set()
        await self._report()
        self._beating = asyncio.create_task(self._beat())

    async def lose_power(self) -> None:
        """End everything on the machine at once; nobody is told."""
        self.powered = False
        self._awake.clear()
        if self._beating is not None:
            self._beating.cancel()
        for task in self._ending.values():
            task.cancel()
        lives, self.lives, self._ending = list(self.lives.values()), {}, {}
        await asyncio.gather(*(each.die() for each in lives))

    async def freeze(self, *, pods: bool) -> None:
        """Stop the kubelet where it is; with ``pods``, their processes too."""
        self._awake.clear()
        if pods:
            self._signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        """Let everything go on; what the API server has forgotten meanwhile is ended first."""
        for uid, life in list(self.lives.items()):
            found = await self.api.get(life.path)
            if found is None or found["metadata"]["uid"] != uid:
                await self._drop(uid)
        self._signal(signal.SIGCONT)
        self._awake.set()

    def _signal(self, number: int) -> None:
        for each in self.lives.values():
            each.signal(number)

    async def _beat(self) -> None:
        while True:
            await self.awake()
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": stamp}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
            body = {**lease, "metadata": {"name": self.name}}
            with contextlib.suppress(Refused):
                if await self.api.patch(f"{_LEASES}/{self.name}", body) is None:
                    await self.api.create(_LEASES, body)
                node = await self.api.get(f"{NODES}/{self.name}")
                if node is not None and not _ready(node):
                    await self._report()
            await asyncio.sleep(_BEAT)

    async def _report(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is ready",
            "lastHeartbeatTime": stamp,
            "lastTransitionTime": stamp,
        }
        status = {
            "capacity": _SIZE,
            "allocatable": _SIZE,
            "conditions": [ready],
            # After a boot none: what a dead machine used, a living one does not.
            "volumesInUse": self._used_volumes(),
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._kubelet}},
            "nodeInfo": {
                "kubeletVersion": "v1.36.1",
                "osImage": "Amazon Linux 2023",
                "containerRuntimeVersion": "processes://1",
                "kernelVersion": "6.1",
                "architecture": "amd64",
                "operatingSystem": "linux",
                "machineID": self.name,
                "systemUUID": self.name,
                "bootID": self.name,
                "kubeProxyVersion": "",
            },
        }
        await self.api.patch(f"{NODES}/{self.name}/status", {"status": status})

    # --- what its pods ask for ---------------------------------------------------------------

    async def awake(self) -> None:
        await self._awake.wait()

    async def use(self, life: Life, handles: set[str]) -> None:
        if handles:
            await self._in_use()

    async def leave(self, life: Life) -> None:
        if self.lives.get(life.uid) is life:
            del self.lives[life.uid]
        if life.handles:
            await self._in_use()

    async def _in_use(self) -> None:
        await self.api.patch(
            f"{NODES}/{self.name}/status", {"status": {"volumesInUse": self._used_volumes()}}
        )

    def _used_volumes(self) -> list[str]:
        return sorted({_ATTACHED + each for life in self.lives.values() for each in life.handles})

    # --- what it is told ---------------------------------------------------------------------

    def node_seen(self, node: Json) -> None:
        attached = (node.get("status") or {}).get("volumesAttached") or []
        self.attached = {each["name"].removeprefix(_ATTACHED) for each in attached}

    async def pod_seen(self, what: str, pod: Json) -> None:
        """Do what the pod's object says; nothing while the kubelet does not run."""
        if not self._awake.is_set():
            return
        uid, phase = pod["metadata"]["uid"], (pod.get("status") or {}).get("phase")
        life = self.lives.get(uid)
        if what == "DELETED":
            await self._drop(uid)
        elif pod["metadata"].get("deletionTimestamp"):
            self._end(uid, pod)
        elif life is not None:
            await life.changed(pod)
        elif phase not in {"Succeeded", "Failed"}:
            folder = self._folder / f"{pod['metadata']['name']}-{uid}"
            life = Life(self, pod, folder, self._address())
            self.lives[uid] = life
            life.start()

    def _end(self, uid: str, pod: Json) -> None:
        if uid in self._ending:
            return
        life, seconds = self.lives.get(uid), pod["metadata"].get("deletionGracePeriodSeconds", 30)
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        work = life.stop(seconds) if life is not None else self.api.delete(path, uid=uid, at_once=True)
        self._ending[uid] = asyncio.create_task(work)
        self._ending[uid].add_done_callback(lambda _: self._ending.pop(uid, None))

    async def _drop(self, uid: str) -> None:
        """End a pod whose object is gone."""
        life = self.lives.pop(uid, None)
        if life is not None:
            await life.die()
            if life.handles and self.powered:
                await self._in_use()

    async def pull(self, handle: str) -> None:
        """Lose a disk: whoever works on it ends, as a process does whose disk is gone."""
        for life in self.lives.values():
            if handle in life.handles:
                life.signal(signal.SIGKILL)


def _ready(node: Json) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
