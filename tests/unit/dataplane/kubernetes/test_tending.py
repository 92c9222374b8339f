"""Machines whose Nodes nobody understands: named once, and no end of the look at all the others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import structlog
from lightkube import KubeConfig

from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.tending import AUTOSCALER_SECONDS, Tending
from byoc.dataplane.kubernetes.views import Pod
from byoc.model.report import Reason
from byoc.testing.clock import ManualClock
from tests.unit.dataplane.kubernetes.test_capacity import OURS, STRANGE, node
from tests.unit.dataplane.kubernetes.test_client import CONFIG

Json = dict[str, Any]
HOSTILE = {name: each for name, each in STRANGE.items() if name != "no metadata"}


@dataclass
class Nodes:
    """An API server that lists nodes, tells of changes, and takes what is said of one."""

    listed: list[Json]
    changes: asyncio.Queue[Json] = field(default_factory=asyncio.Queue)
    said: list[str] = field(default_factory=list)

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PATCH":
            self.said.append(request.url.path.rpartition("/")[2])
            return httpx2.Response(200, json=self.listed[0])
        if request.url.params.get("watch"):
            return httpx2.Response(200, content=self._told())
        return httpx2.Response(200, json={"metadata": {"resourceVersion": "1"}, "items": self.listed})

    async def _told(self) -> AsyncIterator[bytes]:
        while True:
            yield json.dumps(await self.changes.get()).encode() + b"\n"


@asynccontextmanager
async def tended(nodes: Nodes, clock: ManualClock) -> AsyncIterator[Tending]:
    cluster = Cluster(KubeConfig.from_dict(CONFIG), clock, transport=httpx2.MockTransport(nodes))
    tending = Tending(cluster, clock, 300.0)
    running = asyncio.create_task(tending.run())
    await tending.ready()
    await clock.elapse(1)
    yield tending
    assert not running.done(), running.exception()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await cluster.close()


def numbered(found: Json, name: str) -> Json:
    return {**found, "metadata": {**found["metadata"], "name": name, "resourceVersion": "2"}}


def named(found: Json) -> Json:
    """Return an object as a watch tells it."""
    return {"kind": "Node", "apiVersion": "v1", **found}


@pytest.mark.parametrize("found", [pytest.param(each, id=name) for name, each in HOSTILE.items()])
async def test_a_machine_that_nobody_understands_is_skipped_and_named_once(found: Json) -> None:
    clock, nodes = ManualClock(), Nodes([numbered(node("well", "a"), "well"), numbered(found, "strange")])
    with structlog.testing.capture_logs() as told:
        async with tended(nodes, clock) as tending:
            assert [(each.name, each.machines) for each in tending.zones(OURS)] == [("a", 1)]
            assert tending.missed("strange") is None
            assert tending.missed("well") is None
            assert tending.missed("gone") is Reason.MACHINE_LOST
            for _ in range(3):
                nodes.changes.put_nowait({"type": "MODIFIED", "object": named(numbered(found, "strange"))})
                await clock.elapse(1)
            nodes.changes.put_nowait(
                {"type": "MODIFIED", "object": named(numbered(node("x", "a"), "strange"))}
            )
            await clock.elapse(1)
            assert [each.machines for each in tending.zones(OURS)] == [2]
            nodes.changes.put_nowait({"type": "MODIFIED", "object": named(numbered(found, "strange"))})
            await clock.elapse(1)
            assert [each.machines for each in tending.zones(OURS)] == [1]
    said = [each["machine"] for each in told if each["event"] == "a machine is not understood"]
    assert said == ["strange", "strange"]


async def test_beside_one_that_nobody_understands_a_silent_machine_is_given_up_all_the_same() -> None:
    clock = ManualClock()
    silent = numbered(node("silent", "a", ready="Unknown"), "silent")
    nodes = Nodes([silent, numbered(node("well", "a"), "well")])
    nodes.listed += [numbered(each, f"strange-{at}") for at, each in enumerate(HOSTILE.values())]
    async with tended(nodes, clock):
        assert set(nodes.said) == {"silent"}


async def test_a_size_that_only_a_machine_that_nobody_understands_has_is_outgrown() -> None:
    clock = ManualClock()
    found = {
        "metadata": {
            "name": "node-0",
            "uid": "u",
            "resourceVersion": "1",
            "creationTimestamp": clock.now().isoformat(),
        },
        "spec": {"containers": [{"resources": {"requests": {"cpu": "1k"}, "limits": {"memory": "1.5Gi"}}}]},
    }
    pod = Pod.read(found)
    assert pod.asks == (1_000_000, 3 * 2**29)
    strange = [numbered(each, f"strange-{at}") for at, each in enumerate(HOSTILE.values())]
    async with tended(Nodes([numbered(node("well", "a"), "well"), *strange]), clock) as tending:
        assert not tending.outgrown(pod, clock.now())
        await clock.elapse(AUTOSCALER_SECONDS)
        assert tending.outgrown(pod, clock.now())
    large = numbered(node("large", "a"), "large")
    large["status"]["allocatable"]["cpu"] = "1k"
    async with tended(Nodes([large, *strange]), clock) as tending:
        assert not tending.outgrown(pod, clock.now())
