"""One agent with many workspaces, over an API server in memory: what it takes, and how it blocks its loop.

Run by ``benchmarks/kubernetes.py`` as a process of its own: ``many.py COUNT`` prints one JSON object. The
workspaces are suspended, so that no engine is needed; all that the agent holds of them is there.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psutil
from lightkube import KubeConfig

from byoc import log
from byoc.clock import SystemClock
from byoc.dataplane.files import FileStorage
from byoc.dataplane.kubernetes import manifests
from byoc.dataplane.kubernetes.chosen import chosen
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import Json, kind_of
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.passwords import Password
from byoc.dataplane.policy import PolicyFile
from byoc.dataplane.reconcile import Reconciler
from byoc.dataplane.runtime import Action, Doors, Limits, Secrets
from byoc.dataplane.state import CellState
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.spec import Desired, GroupSpec, WorkspaceSpec

SETTINGS = ClusterSettings()
TICK = 0.002
CHANGES = 20
QUIET_SECONDS = 5.0
CONFIG = {
    "clusters": [{"name": "c", "cluster": {"server": "https://memory.invalid"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "c",
}


class _News(httpx2.AsyncByteStream):
    """One watch."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.lines.get()


class MemoryApi(httpx2.AsyncBaseTransport):
    """Lists, gives, merges and tells what it holds; nothing else of an API server."""

    def __init__(self) -> None:
        self.held: dict[str, dict[tuple[str, str], Json]] = {}
        self.watches: dict[str, list[_News]] = {}
        self.version = 0

    def put(self, plural: str, manifest: Json) -> Json:
        """Take in an object as it is, or over the one of its name."""
        self.version += 1
        metadata = manifest["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        before = self.held.setdefault(plural, {}).get(key, {"metadata": {"uid": str(self.version)}})
        said = {**before["metadata"], **metadata, "resourceVersion": str(self.version), "generation": 1}
        said["creationTimestamp"] = "2026-01-01T00:00:00Z"
        found = self.held[plural][key] = {**before, **manifest, "metadata": said}
        line = json.dumps({"type": "MODIFIED", "object": found}).encode() + b"\n"
        for watch in self.watches.get(plural, []):
            watch.lines.put_nowait(line)
        return found

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        parts = request.url.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        match parts:
            case ["namespaces", namespace, _, *_]:
                parts = parts[2:]
        plural = parts[0]
        if request.method in {"PATCH", "POST"}:
            return httpx2.Response(200, json=self.put(plural, json.loads(await request.aread())))
        if len(parts) > 1:
            found = self.held.get(plural, {}).get((namespace, parts[1]))
            missing = {"kind": "Status", "apiVersion": "v1", "code": 404, "message": "not found"}
            return httpx2.Response(200, json=found) if found else httpx2.Response(404, json=missing)
        if request.url.params.get("watch"):
            self.watches.setdefault(plural, []).append(news := _News())
            return httpx2.Response(200, stream=news)
        items = list(self.held.get(plural, {}).values())
        return httpx2.Response(200, json={"metadata": {"resourceVersion": str(self.version)}, "items": items})


def specs(count: int) -> list[WorkspaceSpec]:
    """Return suspended workspaces."""
    made = WorkspaceSpec(WorkspaceID(""), GroupID(new_id()), 1, "w", "S-00", desired=Desired.SUSPENDED)
    return [replace(made, id=WorkspaceID(new_id())) for _ in range(count)]


def fill(api: MemoryApi, wanted: list[WorkspaceSpec]) -> None:
    """Put in all that the cluster holds of the workspaces."""
    engine = chosen(SETTINGS)
    for spec in wanted:
        limits = Limits.wanted(spec)
        intended = Intended(spec.id, spec.group_id, limits, Doors(), engine.disk_gib(limits), kept=True)
        around = [manifests.space(intended), manifests.binding(intended), *engine.claims(intended)]
        secret = engine.secret(intended, manifests.Secrets("", "", "", ""))
        for each in [*around, *engine.watched(intended), secret]:
            api.put(kind_of(each).plural, each)


class Ticker:
    """How late the loop is with what it should do at once, in milliseconds."""

    def __init__(self) -> None:
        self.worst = 0.0

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            self.worst = max(self.worst, (time.perf_counter() - due) * 1000)

    def taken(self) -> float:
        """Return the worst since last asked."""
        worst, self.worst = self.worst, 0.0
        return worst


def resident() -> int:
    """Return the memory that this process has, in bytes."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


async def main(count: int, folder: Path) -> dict[str, Any]:
    """Return what was measured."""
    clock, bare = SystemClock(), resident()
    api, wanted = MemoryApi(), specs(count)
    fill(api, wanted)
    ledger = Ledger(folder / "ledger", clock, new_id)
    ledger.open()
    state = CellState.open(FileStorage(folder), ledger, new_id, lambda: None)
    group = GroupSpec(wanted[0].group_id, 1, "sales", password_version=1)
    state.passwords.put(group.id, Password(1, "Tr0ub4dor&3-benchmark"))
    state.desired.put_group(group)
    with_api = resident()
    for each in wanted:
        state.desired.put_workspace(each)
    cluster = Cluster(KubeConfig.from_dict(CONFIG), clock, transport=api)
    runtime = KubernetesRuntime(cluster, SETTINGS, clock)
    reconciler = Reconciler(state, runtime, clock, PolicyFile(folder).current)
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    await asyncio.sleep(QUIET_SECONDS)
    idle = ticker.taken()
    began = time.perf_counter()
    working = asyncio.create_task(reconciler.run())
    await reconciler.looked.wait()
    started, starting = time.perf_counter() - began, ticker.taken()
    await asyncio.sleep(QUIET_SECONDS)
    quiet, memory = ticker.taken(), bare + resident() - with_api
    took = []
    for number, each in enumerate((wanted * CHANGES)[:CHANGES]):
        began = time.perf_counter()
        await runtime.act(each, Action.MEND, Secrets(), Doors((f"10.0.0.{number}",)))
        took.append((time.perf_counter() - began) * 1000)
    changing = ticker.taken()
    for task in (working, ticking):
        task.cancel()
    await asyncio.gather(working, ticking, return_exceptions=True)
    await runtime.close(stop_engines=False)
    return {
        "memory": memory / 2**20, "start": started, "change": sorted(took)[len(took) // 2],
        "idle": idle, "starting": starting, "quiet": quiet, "changing": changing,
    }  # fmt: skip


if __name__ == "__main__":
    log.configure("error", component="benchmark")
    # In memory where there is such a place: in a cluster the state is no files.
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of our own in it
    with tempfile.TemporaryDirectory(prefix="byoc-bench-", dir=shared) as place:
        json.dump(asyncio.run(main(int(sys.argv[1]), Path(place))), sys.stdout)
