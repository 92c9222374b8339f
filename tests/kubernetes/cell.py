"""A cell's cluster as its agent finds it: the agent's account with the rights of the bundle, no more."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from lightkube import KubeConfig

from byoc.cell.admission import NAME, admission
from byoc.cell.incluster import AGENT, NAMESPACE
from byoc.cell.installer.kinds import path
from byoc.cell.priority import priority
from byoc.cell.rights import rights
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes.cache import Cache
from byoc.dataplane.kubernetes.chosen import chosen
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.removal import remove
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.kubernetes.settings import ClusterSettings
from tests.emulated.machines.world import World
from tests.kubernetes.plane import Plane

Json = dict[str, Any]

AGENT_USER = f"system:serviceaccount:{NAMESPACE}:{AGENT}"
MEMORY = 600 * 2**20
DOMAIN = "cell.byoc.internal"
_TRIES = 10
SETTINGS = ClusterSettings(domain=DOMAIN, memory_bytes=MEMORY, size_divisor=128)


class Cell:
    """One cell.

    Args:
        objects: what an installer has brought in; all of it is made by the administrator.
    """

    def __init__(self, plane: Plane, world: World) -> None:
        self.plane = plane
        self.world = world

    def cluster(self, user: str = AGENT_USER, valid: Callable[[], bool] = lambda: True) -> Cluster:
        """Return a client, by default the agent's."""
        return Cluster(KubeConfig.from_dict(self.plane.kubeconfig(user)), SystemClock(), valid=valid)

    def runtime(self, settings: ClusterSettings = SETTINGS) -> KubernetesRuntime:
        """Return the runtime as a new agent finds it."""
        return KubernetesRuntime(self.cluster(), settings, SystemClock())

    async def clear(self) -> None:
        """Take every workspace out."""
        clock, cluster = SystemClock(), self.cluster("admin")
        cache = Cache(cluster, chosen(SETTINGS), clock, lambda _: None)
        following = asyncio.create_task(cache.run())
        await cache.ready()
        for _ in range(_TRIES):
            left = list(cache.views)
            await asyncio.gather(*(remove(cluster, cache, each, clock) for each in left))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await cluster.close()
        assert cache.views == {}
        assert self.world.faults == []


@contextlib.contextmanager
def installed(plane: Plane, world: World) -> Iterator[Cell]:
    """Install what the agent needs to be there; its own pods are not part of these tests."""
    for manifest in (_namespace(), *rights(), *priority(), *admission()):
        put(plane, manifest)
    _until_enforced(plane)
    yield Cell(plane, world)


def _namespace() -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def put(plane: Plane, manifest: Json) -> None:
    """Make an object of the bundle as the administrator."""
    asked = f"{path(manifest)}?fieldManager=installer&force=true"
    status, answer = plane.ask("admin", "PATCH", asked, manifest, kind="application/apply-patch+yaml")
    assert status in {200, 201}, answer


def _until_enforced(plane: Plane) -> None:
    """Wait until the API server holds the agent to the admission policy: it takes a moment."""
    asked = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "not-a-workspace"}}
    ends = time.monotonic() + 30
    while True:
        status, answer = plane.ask(AGENT_USER, "POST", "/api/v1/namespaces?dryRun=All", asked)
        if NAME in str(answer.get("message", "")):
            return
        assert time.monotonic() < ends, (status, answer)
        time.sleep(0.1)
