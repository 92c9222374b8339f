"""A cell's cluster as its agent finds it: the agent's account with the rights of the bundle, no more."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightkube import KubeConfig

from byoc.cell.admission import NAME, admission
from byoc.cell.incluster import AGENT, LICENCE, NAMESPACE
from byoc.cell.installer.kinds import path
from byoc.cell.priority import priority
from byoc.cell.rights import rights
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes.cache import Cache
from byoc.dataplane.kubernetes.chosen import chosen
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.removal import remove
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.kubernetes.settings import DETACH, SINGLESTORE, ClusterSettings
from tests.emulated.machines.world import World
from tests.emulated.singlestore.operator import CRD, Operator, program
from tests.kubernetes.plane import Plane

Json = dict[str, Any]

AGENT_USER = f"system:serviceaccount:{NAMESPACE}:{AGENT}"
MEMORY = 600 * 2**20
DOMAIN = "cell.byoc.internal"
_TRIES = 10
"""How often workspaces are told to go while none does."""
DIGEST = "sha256:" + 64 * "0"
OPERATED = ClusterSettings(
    engine=SINGLESTORE,
    domain=DOMAIN,
    image=f"registry.invalid/singlestore/node:8.9.3@{DIGEST}",
    operator_image=f"registry.invalid/singlestore/operator:4.81.0@{DIGEST}",
    memory_bytes=MEMORY,
    size_divisor=128,
)
"""Of a cell whose workspaces have an operator."""
ROLE = "arn:aws:iam::123456789012:role/byoc-main-engine"
BOTTOMLESS = replace(OPERATED, bucket="kept", region="eu-central-1", role=ROLE, suspend=DETACH)
"""The same, and its workspaces are suspended without volumes."""
SETTINGS = ClusterSettings(domain=DOMAIN, memory_bytes=MEMORY, size_divisor=128)


class Cell:
    """One cell.

    Attributes:
        settings: which engine it has, and how big.
    """

    def __init__(self, plane: Plane, world: World, settings: ClusterSettings = SETTINGS) -> None:
        self.plane = plane
        self.world = world
        self.settings = settings

    def cluster(self, user: str = AGENT_USER, valid: Callable[[], bool] = lambda: True) -> Cluster:
        """Return a client, by default the agent's."""
        return Cluster(KubeConfig.from_dict(self.plane.kubeconfig(user)), SystemClock(), valid=valid)

    def runtime(self, settings: ClusterSettings | None = None) -> KubernetesRuntime:
        """Return the runtime as a new agent finds it."""
        return KubernetesRuntime(self.cluster(), settings or self.settings, SystemClock())

    @contextlib.asynccontextmanager
    async def tended(self, runtime: KubernetesRuntime) -> AsyncIterator[KubernetesRuntime]:
        """Lend a runtime for a test, and leave nothing behind."""
        yield runtime
        await runtime.close(stop_engines=False)
        await self.clear()

    async def clear(self) -> None:
        """Take every workspace out."""
        clock, cluster = SystemClock(), self.cluster("admin")
        cache = Cache(cluster, chosen(self.settings), clock, lambda _: None)
        following = asyncio.create_task(cache.run())
        await cache.ready()
        tries = _TRIES
        while tries and (left := list(cache.views)):
            await asyncio.gather(*(remove(cluster, cache, each, clock) for each in left))
            tries = _TRIES if len(cache.views) < len(left) else tries - 1
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await cluster.close()
        assert cache.views == {}, sorted(cache.views)[:5]
        assert self.world.faults == [], self.world.faults


@contextlib.contextmanager
def installed(plane: Plane, world: World, settings: ClusterSettings = SETTINGS) -> Iterator[Cell]:
    """Install what the agent needs to be there; its own pods are not part of these tests."""
    world.offer_storage()
    for manifest in (_namespace(), *needed()):
        put(plane, manifest)
    if settings.engine == SINGLESTORE:
        # Whoever emptied the agents' namespace took it away.
        put_licence(plane)
    _until_enforced(plane)
    yield Cell(plane, world, settings)


def needed() -> list[Json]:
    """Return what `installed` makes beside the namespace: of the bundle, but without its label."""
    return [*rights(), *priority(), *admission()]


def licensed(plane: Plane, world: World, folder: Path) -> Operator:
    """Bring in what the vendor and the customer bring: the kind of object, the image, a licence."""
    defined = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    status, answer = plane.ask("admin", "POST", defined, CRD)
    assert status == 201, answer
    world.images.programs["singlestore/node"] = program(
        world.images.engine, folder / "node", folder / "buckets"
    )
    made = Operator(world.api, folder / "buckets")
    world.employ(made.run)
    return made


def put_licence(plane: Plane) -> None:
    """Give the cell its licence."""
    metadata = {"name": LICENCE, "namespace": NAMESPACE}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"licence": "ours"}}
    put(plane, secret)


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
