"""A whole cluster: a real control plane, and machines in three zones whose pods are real processes.

Made once a session by a fixture of each tier that needs it; its methods are called from tests, whatever
loop they run in. What happens here happens in a thread of its own, so a busy test stops no heartbeat.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.emulated.machines.api import Api, Json
from tests.emulated.machines.cloud import DRIVER, Cloud
from tests.emulated.machines.images import Images, engine
from tests.emulated.machines.keeping import Keep
from tests.emulated.machines.machine import NODES, Machine
from tests.emulated.machines.telling import Telling
from tests.kubernetes.plane import Plane

T = TypeVar("T")

ZONES: Final = ("us-east-1a", "us-east-1b", "us-east-1c")
STORAGE_CLASS: Final = "byoc-gp3"
_CLASSES: Final = "/apis/storage.k8s.io/v1/storageclasses"
_KINDS: Final = {"ConfigMap": "/api/v1/configmaps", "Secret": "/api/v1/secrets"}
_WAIT: Final = 120.0
_RESERVED: Final = 1
"""The port at a network's first address that is held by who has taken the network."""


class World:
    """The cluster.

    Attributes:
        images: what pods' images are here; may be changed at any time.
        machines: by name; ``a1``, ``a2`` are in the first zone, and so on.
    """

    def __init__(self, plane: Plane, folder: Path) -> None:
        self.plane = plane
        folder.mkdir(parents=True, exist_ok=True)
        self.images = Images(engine(folder))
        self.machines: dict[str, Machine] = {}
        self._folder = folder
        self._known: dict[tuple[str, str, str], Json] = {}
        self._network, self._numbers = _network(), count(2)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="world", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self._telling = Telling(self.containers, folder)
        (folder / "disks").mkdir()

    # --- for tests ---------------------------------------------------------------------------

    @property
    def cloud(self) -> Cloud:
        """The disks: which there are, which were deleted, what went wrong with them."""
        return self._cloud

    @property
    def faults(self) -> list[str]:
        """What may never happen and did: two engines on one disk, or a part of this world that ended."""
        ended = [each for each in self._tasks if each.done() and not each.cancelled()]
        return [*self._cloud.faults, *(f"ended: {each.exception()!r}" for each in ended)]

    def offer_storage(self) -> None:
        """Bring the storage class back where a cell took it away that had brought it."""
        self._do(self._api.create(_CLASSES, _storage_class()))

    def add_machine(self, name: str, zone: str) -> None:
        """Rent one more machine."""
        self._do(self._add(name, zone))

    def lose_power(self, *names: str) -> None:
        """End machines at once, with all that runs on them; their Nodes stay, and go stale."""
        for name in names:
            self._do(self.machines[name].lose_power())

    def switch_on(self, *names: str) -> None:
        """Boot machines that had lost their power."""
        for name in names:
            self._do(self._boot(self.machines[name]))

    def freeze(self, *names: str, pods: bool = False) -> None:
        """Stop kubelets, as if nobody reached them any more; with ``pods``, every process on the machines."""
        for name in names:
            self._do(self.machines[name].freeze(pods=pods))

    def thaw(self, *names: str) -> None:
        """Let frozen machines go on."""
        for name in names:
            self._do(self._wake(self.machines[name]))

    def remove(self, name: str) -> None:
        """End a machine for good: its power goes, and the cloud takes its Node away."""
        self.lose_power(name)
        del self.machines[name]
        self._do(self._api.delete(f"{NODES}/{name}"))

    def in_zone(self, zone: str) -> list[str]:
        """Return the names of a zone's machines."""
        return [each.name for each in self.machines.values() if each.zone == zone]

    def containers(self, namespace: str, pod: str) -> dict[str, Keep]:
        """Return the containers of the pod that runs now, by name; empty where none does."""
        for machine in self.machines.values():
            for life in machine.lives.values():
                metadata = life.pod["metadata"]
                if (metadata["namespace"], metadata["name"]) == (namespace, pod):
                    return life.containers
        return {}

    def kill_process(self, namespace: str, pod: str, container: str = "engine") -> int:
        """End a container's process as a crash would; return its number."""
        number = self.crash(namespace, pod, container)
        assert number, f"{pod} of {namespace} has no {container} that runs"
        return number

    def crash(self, namespace: str, pod: str, container: str = "engine") -> int:
        """The same if it runs just now; else return 0."""
        return self._do(self._crash(namespace, pod, container))

    def employ(self, work: Callable[[Api], Coroutine[Any, Any, None]]) -> None:
        """Let something else that plays a controller work here, until the end."""

        async def begin() -> None:
            self._tasks.append(asyncio.create_task(work(self._api)))

        self._do(begin())

    def api(self, user: str) -> Api:
        """Return a client that asks in the stead of ``user``."""
        return Api(self.plane.url, self.plane.authority, self.plane.tokens["admin"], user)

    # --- how it runs -------------------------------------------------------------------------

    def start(self, per_zone: int) -> None:
        self._thread.start()
        self._do(self._start(per_zone))

    def stop(self) -> None:
        try:
            self._do(self._stop())
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._network[1].close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        waiting: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return waiting.result(_WAIT)

    async def _start(self, per_zone: int) -> None:
        self._api = Api(self.plane.url, self.plane.authority, self.plane.tokens["admin"])
        self._cloud = Cloud(self._api, self._folder / "disks", self._pulled)
        await self._telling.begin()
        await self._api.create(
            "/apis/storage.k8s.io/v1/csidrivers",
            {"metadata": {"name": DRIVER}, "spec": {"attachRequired": True, "podInfoOnMount": False}},
        )
        await self._api.create(_CLASSES, _storage_class())
        follows = [
            self._api.serve(NODES, self._node),
            self._api.serve("/api/v1/pods", self._pod),
            self._cloud.run(),
            *(self._api.serve(_KINDS[kind], partial(self._object, kind)) for kind in _KINDS),
        ]
        self._tasks = [asyncio.create_task(each) for each in follows]
        for zone in ZONES:
            for number in range(1, per_zone + 1):
                await self._add(f"{zone[-1]}{number}", zone)

    async def _stop(self) -> None:
        """End everything, and only then say what went wrong."""
        self._telling.end()
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        ended += await asyncio.gather(
            *(each.lose_power() for each in self.machines.values()), return_exceptions=True
        )
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._api.close()
        await self._loop.shutdown_asyncgens()
        for each in ended:
            if isinstance(each, Exception):
                raise each

    async def _add(self, name: str, zone: str) -> None:
        made = Machine(
            name,
            zone,
            self._api,
            self._cloud,
            self.images,
            self._known,
            self._folder / name,
            lambda: f"{self._network[0]}.{divmod(number := next(self._numbers), 254)[0]}.{number % 254 + 1}",
            ("127.0.0.1", self.plane.port),
            self._telling.port,
        )
        self.machines[name] = made
        await self._boot(made)

    async def _boot(self, machine: Machine) -> None:
        await machine.switch_on()
        await self._tell(machine)

    async def _wake(self, machine: Machine) -> None:
        await machine.thaw()
        await self._tell(machine)

    async def _tell(self, machine: Machine) -> None:
        """Tell a machine all that it missed."""
        node = await self._api.get(f"{NODES}/{machine.name}")
        if node is not None:
            machine.node_seen(node)
        listed = await self._api.ask("GET", f"/api/v1/pods?fieldSelector=spec.nodeName%3D{machine.name}")
        for pod in listed["items"]:
            await machine.pod_seen("MODIFIED", pod)

    async def _crash(self, namespace: str, pod: str, container: str) -> int:
        keep = self.containers(namespace, pod).get(container)
        if keep is None or keep.container is None or not keep.container.running:
            return 0
        await keep.container.kill()
        return keep.container.pid

    async def _node(self, what: str, node: Json) -> None:
        machine = self.machines.get(node["metadata"]["name"])
        if machine is not None and what != "DELETED":
            machine.node_seen(node)

    async def _pod(self, what: str, pod: Json) -> None:
        machine = self.machines.get(pod["spec"].get("nodeName") or "")
        if machine is not None and machine.powered:
            await machine.pod_seen(what, pod)

    async def _object(self, kind: str, what: str, each: Json) -> None:
        key = (kind, each["metadata"]["namespace"], each["metadata"]["name"])
        if what == "DELETED":
            self._known.pop(key, None)
            return
        self._known[key] = each
        for machine in list(self.machines.values()):
            for life in list(machine.lives.values()):
                if life.pod["metadata"]["namespace"] == key[1]:
                    await life.refresh()

    async def _pulled(self, machine: str, handle: str) -> None:
        found = self.machines.get(machine)
        if found is not None:
            await found.pull(handle)


def _network() -> tuple[str, socket.socket]:
    """Take 127.N, as nobody else on this machine has done: other sessions run engines too."""
    for number in range(64, 255):
        holder = socket.socket()
        try:
            holder.bind((f"127.{number}.0.1", _RESERVED))
        except OSError:
            holder.close()
            continue
        return f"127.{number}", holder
    raise AssertionError("every loopback network is taken")


def _storage_class() -> Json:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": DRIVER,
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


@contextlib.contextmanager
def running_world(plane: Plane, folder: Path, *, per_zone: int = 2) -> Iterator[World]:
    """Run the machines of ``plane`` while inside."""
    world = World(plane, folder)
    world.start(per_zone)
    try:
        yield world
    finally:
        world.stop()
