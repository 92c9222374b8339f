"""One pod on one machine: from the moment it is assigned to its last status.

Its containers are real, its status is what is true of them. It starts when its volumes are attached to the
machine, and takes its name off the API server only when its processes have ended and its volumes are free.
"""

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from tests.emulated.machines.api import STRATEGIC, Api
from tests.emulated.machines.cloud import Cloud
from tests.emulated.machines.container import Box, Mount
from tests.emulated.machines.content import Known, Missing, environment, files, filled
from tests.emulated.machines.images import Images, Program
from tests.emulated.machines.keeping import Keep, now
from tests.emulated.pods import publish

Json = dict[str, Any]

_RETRY: Final = 0.1
_MESSAGE: Final = "/dev/termination-log"
"""The place that nobody chose; the folder is this machine's here."""


class Place(Protocol):
    """The machine that a pod is on."""

    name: str
    api: Api
    cloud: Cloud
    images: Images
    known: Known
    attached: set[str]
    server: tuple[str, int]

    async def awake(self) -> None: ...
    async def use(self, life: "Life", handles: set[str]) -> None: ...
    async def leave(self, life: "Life") -> None: ...


class Life:
    """One pod.

    Args:
        folder: for what the pod has on this machine and loses with it.
    """

    def __init__(self, place: Place, pod: Json, folder: Path, address: str) -> None:
        self.pod = pod
        self.address = address
        self.handles: set[str] = set()
        self._place = place
        self._folder = folder
        self._since = now()
        self._mounted: dict[str, Path] = {}
        self._laying = threading.Lock()
        self._token = b""
        self._said: Json = {}
        self._phase = "Pending"
        self._housed = False
        self._task: asyncio.Task[None] | None = None
        pod["status"] = {**(pod.get("status") or {}), "podIP": address}
        spec = pod["spec"]
        self._first = [self._keep(each, first=True) for each in spec.get("initContainers") or []]
        self._keeps = [self._keep(each) for each in spec["containers"]]
        folder.mkdir(parents=True)

    @property
    def uid(self) -> str:
        return str(self.pod["metadata"]["uid"])

    @property
    def path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    @property
    def running(self) -> bool:
        """Whether any process of it runs."""
        found = (each.container for each in self.containers.values())
        return any(each is not None and each.running for each in found)

    @property
    def containers(self) -> dict[str, Keep]:
        return {each.spec["name"]: each for each in (*self._first, *self._keeps)}

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._place.cloud.faults.append(f"{self.path} is left alone: {task.exception()!r}")

    async def stop(self, seconds: float) -> None:
        """End the pod as it was asked to be, and take it off the API server."""
        await self._cancel()
        running = [each.container for each in self.containers.values() if each.container is not None]
        await asyncio.gather(*(each.end(seconds) for each in running))
        await self._place.leave(self)
        self._forget()
        await self._place.awake()
        await self._place.api.delete(self.path, uid=self.uid, at_once=True)

    async def die(self) -> None:
        """End everything at once and say nothing: the power is gone, or the pod's object is."""
        await self._cancel()
        for each in self.containers.values():
            if each.container is not None:
                await each.container.kill()
        self._forget()

    def signal(self, number: int) -> None:
        for each in self.containers.values():
            if each.container is not None and each.container.running:
                each.container.signal(number)

    async def changed(self, pod: Json) -> None:
        """Take in what may change of a running pod: how much it may use, what it is labelled with."""
        self.pod["metadata"] = pod["metadata"]
        found = {each["name"]: each for each in pod["spec"]["containers"]}
        for each in self._keeps:
            each.spec["resources"] = found[each.spec["name"]].get("resources") or {}
        if self._said and _ready(pod["status"]) != _ready(self._said):
            # Somebody else said otherwise, as the node controller does of a silent machine's pods.
            self._said = {}
        await self._tell()

    async def refresh(self) -> None:
        """Bring changed ConfigMaps and Secrets into the volumes that show them."""
        for each in self.pod["spec"].get("volumes") or []:
            if each["name"] in self._mounted:
                with contextlib.suppress(Missing):
                    await asyncio.to_thread(self._publish, each)

    def _forget(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _keep(self, spec: Json, *, first: bool = False) -> Keep:
        words = self._folder / f"{spec['name']}.log"
        prepares = first and spec.get("restartPolicy") != "Always"
        return Keep(spec, words, self._pack, self._tell, self._place.awake, self.address, prepares)

    # --- from start to end -----------------------------------------------------------------

    async def _run(self) -> None:
        await self._tell()
        await self._volumes()
        async with asyncio.TaskGroup() as sidecars:
            for each in self._first:
                if each.spec.get("restartPolicy") == "Always":
                    sidecars.create_task(each.forever(always=True))
                else:
                    await each.forever(always=False)
                    each.ready = True
            self._phase = "Running"
            await self._contain()
            for task in list(sidecars._tasks):  # the group has no other way to end what never ends
                task.cancel()

    async def _contain(self) -> None:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        if policy == "Never":
            codes = await asyncio.gather(*(each.once() for each in self._keeps))
        else:
            always = policy == "Always"
            codes = await asyncio.gather(*(each.forever(always=always) for each in self._keeps))
        self._phase = "Failed" if any(codes) else "Succeeded"
        await self._tell()

    async def _volumes(self) -> None:
        """Wait for the claims, then for their disks at this machine; then lay out everything else."""
        handles = {}
        for each in self.pod["spec"].get("volumes") or []:
            if "persistentVolumeClaim" in each:
                handles[each["name"]] = await self._handle(each["persistentVolumeClaim"]["claimName"])
        self.handles = set(handles.values())
        await self._place.use(self, self.handles)
        while not self.handles <= self._place.attached:
            await asyncio.sleep(_RETRY)
            await self._place.awake()
        for name, handle in handles.items():
            self._mounted[name] = self._place.cloud.path(handle)
        await self._ask_token()
        group = (self.pod["spec"].get("securityContext") or {}).get("fsGroup")
        for path in self._mounted.values():
            await asyncio.to_thread(_given_to, path, group)
        self._housed = True

    async def _handle(self, claim: str) -> str:
        space = self.pod["metadata"]["namespace"]
        while True:
            found = await self._place.api.get(f"/api/v1/namespaces/{space}/persistentvolumeclaims/{claim}")
            name = found and found["spec"].get("volumeName")
            if found and name and (found.get("status") or {}).get("phase") == "Bound":
                volume = await self._place.api.get(f"/api/v1/persistentvolumes/{name}")
                if volume is not None:
                    return str(volume["spec"]["csi"]["volumeHandle"])
            await asyncio.sleep(_RETRY)
            await self._place.awake()

    async def _ask_token(self) -> None:
        wanted = [
            each["serviceAccountToken"]
            for volume in self.pod["spec"].get("volumes") or []
            for each in (volume.get("projected") or {}).get("sources") or []
            if "serviceAccountToken" in each
        ]
        if not wanted:
            return
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        audience = wanted[0].get("audience")
        path = (
            f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{spec['serviceAccountName']}/token"
        )
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        asked = {
            "audiences": [audience] if audience else [],
            "expirationSeconds": 3600,
            "boundObjectRef": bound,
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": asked}
        answer = await self._place.api.create(path, body)
        self._token = b"" if answer is None else answer["status"]["token"].encode()

    # --- what a container is run in --------------------------------------------------------

    async def _pack(self, spec: Json) -> tuple[Box, list[str]] | None:
        names = {each["name"] for each in self.pod["spec"]["containers"]}
        before = spec["name"] not in names and "engine" in names
        program = self._place.images.pull(spec, of_engine=before or spec["name"] == "engine")
        if program is None:
            return None
        while not self.handles <= self._place.attached:  # taken away meanwhile: nothing may start without it
            await asyncio.sleep(_RETRY)
        for handle in self.handles:
            self._place.cloud.opened(handle, self)
        host, port = self._place.server
        values = {
            "HOSTNAME": self.pod["metadata"]["name"],
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": str(port),
            **program.environment,
            **environment(self._place.known, self.pod, spec),
        }
        mounts = await asyncio.to_thread(self._mounts, spec, program)
        words = [filled(each, values) for each in _command(spec, program)]
        context = {**(self.pod["spec"].get("securityContext") or {}), **(spec.get("securityContext") or {})}
        user = context.get("runAsUser")
        group = context.get("runAsGroup", context.get("fsGroup", user))
        return Box(
            folder=self._folder / f"{spec['name']}.root",
            mounts=mounts,
            environment=values,
            closed=bool(context.get("readOnlyRootFilesystem")),
            user=None if user is None else (user, group),
            work=spec.get("workingDir", "/"),
        ), words

    def _mounts(self, spec: Json, program: Program) -> list[Mount]:
        volumes = {each["name"]: each for each in self.pod["spec"].get("volumes") or []}
        found = [*program.mounts, *self._message(spec)]
        for each in spec.get("volumeMounts") or []:
            name = each["name"]
            if name not in self._mounted:
                self._publish(volumes[name])
            source = self._mounted[name]
            if each.get("subPath"):
                source = source / each["subPath"]
                if not source.exists() and _is_folder(volumes[name]):
                    source.mkdir(parents=True)
                    _given_to(source, (self.pod["spec"].get("securityContext") or {}).get("fsGroup"))
            shown = bool(each.get("readOnly")) or not _is_folder(volumes[name])
            found.append(Mount(source, each["mountPath"], read_only=shown))
        return found

    def _message(self, spec: Json) -> list[Mount]:
        """Lay out an empty file for what the container says of its end, where it names a place of its own."""
        target = spec.get("terminationMessagePath", _MESSAGE)
        if target == _MESSAGE:
            return []
        place = self.containers[spec["name"]].said
        place.write_bytes(b"")
        place.chmod(0o666)
        return [Mount(place, target)]

    def _publish(self, volume: Json) -> None:
        """Lay out a volume that is made here, or bring what changed into it; its containers share it."""
        with self._laying:
            self._lay_out(volume)

    def _lay_out(self, volume: Json) -> None:
        place = self._folder / "volumes" / volume["name"]
        group = (self.pod["spec"].get("securityContext") or {}).get("fsGroup")
        found = files(self._place.known, self.pod, volume, lambda: self._token)
        if volume["name"] not in self._mounted:
            place.mkdir(parents=True)
            if found is None:
                _given_to(place, group)
        elif found is None or _shown(place) == found.files:
            return
        if found is not None:
            publish(place, found.files)
            newest = place / (place / "..data").readlink()
            for each in newest.iterdir():
                each.chmod(found.mode | (0o040 if group is not None else 0))
                _given_to(each, group)
        self._mounted[volume["name"]] = place

    # --- what is told ----------------------------------------------------------------------

    async def _tell(self) -> None:
        status = self._status()
        if status != self._said:
            await self._place.awake()
            self._said = status
            # A machine that was away gives its pods other addresses; one family has one.
            only = [{"$patch": "replace"}, *status["podIPs"]]
            body = {"metadata": {"uid": self.uid}, "status": {**status, "podIPs": only}}
            await self._place.api.patch(f"{self.path}/status", body, STRATEGIC)

    def _status(self) -> Json:
        begun = self._phase != "Pending"
        ready = begun and self._phase == "Running" and all(each.ready for each in self._keeps)
        facts = {
            "Initialized": begun,
            "PodReadyToStartContainers": self._housed,
            "ContainersReady": ready,
            "Ready": ready,
        }
        return {
            "phase": self._phase,
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "hostIP": "127.0.0.1",
            "startTime": self._since,
            "conditions": [
                {"type": name, "status": str(fact), "lastTransitionTime": self._changed(name, fact)}
                for name, fact in facts.items()
            ],
            "containerStatuses": [each.status() for each in self._keeps],
            **({"initContainerStatuses": [each.status() for each in self._first]} if self._first else {}),
        }

    def _changed(self, name: str, fact: bool) -> str:
        for each in self._said.get("conditions") or []:
            if each["type"] == name and each["status"] == str(fact):
                return str(each["lastTransitionTime"])
        return now()


def _ready(status: Json) -> bool:
    found = status.get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found)


def _command(spec: Json, program: Program) -> list[str]:
    return [*(spec.get("command") or program.entrypoint), *(spec.get("args") or [])]


def _is_folder(volume: Mapping[str, Any]) -> bool:
    return "persistentVolumeClaim" in volume or "emptyDir" in volume


def _shown(folder: Path) -> dict[str, bytes]:
    data = folder / "..data"
    return {each.name: each.read_bytes() for each in data.iterdir()} if data.exists() else {}


def _given_to(path: Path, group: int | None) -> None:
    """Let ``group`` have it, as a machine does with the volumes of a pod with ``fsGroup``."""
    if os.geteuid():
        return
    if group is None:
        path.chmod(0o777) if path.is_dir() else None
        return
    if path.is_dir() and path.stat().st_gid == group:
        return
    for each in (path, *path.rglob("*")):
        if not each.is_symlink():
            os.chown(each, -1, group)
            each.chmod(each.stat().st_mode | (0o2070 if each.is_dir() else 0o040))
