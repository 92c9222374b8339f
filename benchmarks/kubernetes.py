"""The figures of the Kubernetes cell: a real API server, scheduler and controllers on the same machine.

Needs ``scripts/tools plane`` and a MariaDB. Fifty workspaces a run are made as objects alone: a machine like
this runs no thousand engines. A few run for real, in pods that are processes.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from figures import Figure, middle
from lightkube import AsyncClient, KubeConfig, codecs

from byoc import log
from byoc.clock import SystemClock
from byoc.dataplane.files import FileStorage
from byoc.dataplane.kubernetes import manifests
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.passwords import Password
from byoc.dataplane.policy import PolicyFile
from byoc.dataplane.reconcile import Reconciler
from byoc.dataplane.runtime import Action, Doors, Secrets
from byoc.dataplane.state import CellState
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase
from byoc.model.spec import GroupSpec, WorkspaceSpec
from tests.emulated.machines.world import running_world
from tests.kubernetes.cell import AGENT_USER, SETTINGS, Cell, installed
from tests.kubernetes.plane import running

ROOT = Path(__file__).resolve().parents[1]
POLL = 0.001
AT_ONCE = 24
QUIET_SECONDS = 60.0
SETTLED_SECONDS = 5.0
WIDE = replace(SETTINGS, memory_bytes=None)


def measure(runs: int) -> list[Figure]:
    """Return every figure."""
    log.configure("error", component="benchmark")
    with _cell() as cell, tempfile.TemporaryDirectory(prefix="byoc-bench-") as folder:
        return [*asyncio.run(_measure(cell, Path(folder), runs)), *_many()]


@contextmanager
def _cell() -> Iterator[Cell]:
    built = subprocess.run(
        [ROOT / "scripts/tools", "plane"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True
    )
    users = {AGENT_USER: "system:serviceaccounts,system:serviceaccounts:byoc-system"}
    with (
        tempfile.TemporaryDirectory(prefix="byoc-plane-") as folder,
        running(Path(folder), Path(built.stdout.decode().strip()), users) as plane,
        running_world(plane, Path(folder) / "world", per_zone=1) as world,
        installed(plane, world) as cell,
    ):
        yield cell


async def _measure(cell: Cell, folder: Path, runs: int) -> list[Figure]:
    figures = [*await _latencies(cell, folder, min(runs, 8))]
    count = runs * 50
    figures += await _convergence(cell, count)
    await cell.clear()
    return figures


# --- what one workspace waits for --------------------------------------------------------


@dataclass
class _Site:
    """A cell's state and its reconciler over the cluster's runtime."""

    runtime: KubernetesRuntime
    cluster: Cluster
    state: CellState
    reconciler: Reconciler


def _site(cell: Cell, folder: Path) -> _Site:
    clock = SystemClock()
    cluster = cell.cluster()
    runtime = KubernetesRuntime(cluster, WIDE, clock)
    ledger = Ledger(folder / "ledger", clock, new_id)
    ledger.open()
    state = CellState.open(FileStorage(folder), ledger, new_id, lambda: None)
    return _Site(runtime, cluster, state, Reconciler(state, runtime, clock, PolicyFile(folder).current))


async def _latencies(cell: Cell, folder: Path, runs: int) -> list[Figure]:
    site = _site(cell, folder)
    group = GroupSpec(GroupID(new_id()), 1, "sales", password_version=1)
    site.state.passwords.put(group.id, Password(1, "Tr0ub4dor&3-benchmark"))
    site.state.desired.put_group(group)
    await site.runtime.list()
    working = asyncio.create_task(site.reconciler.run())
    rounds = [await _round(site, WorkspaceSpec(WorkspaceID(new_id()), group.id, 1, "w", "S-00"))
              for _ in range(runs)]  # fmt: skip
    before = replace(site.cluster.traffic)
    await asyncio.sleep(QUIET_SECONDS)
    after = replace(site.cluster.traffic)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await site.runtime.close(stop_engines=True)
    first, active = ([each[which] for each in rounds] for which in (0, 1))
    note = f"{runs} running workspaces, {QUIET_SECONDS:g} s"
    return [
        Figure("intent stored to first object applied", "ms", middle(first), goal=60),
        Figure("pod ready to ACTIVE", "ms", middle(active), goal=150),
        Figure("steady state: writes a minute", "", float(after.writes - before.writes), goal=0, note=note),
        Figure("steady state: requests a minute", "", float(after.reads - before.reads), goal=5, note=note),
        Figure(
            "steady state: watches renewed a minute", "", float(after.watches - before.watches), note=note
        ),
    ]


async def _round(site: _Site, spec: WorkspaceSpec) -> tuple[float, float]:
    """Milliseconds to the first object, and from the ready pod to a workspace that is ACTIVE."""
    began = time.perf_counter()
    site.state.desired.put_workspace(spec)
    site.reconciler.wake(spec.id)
    cache = site.runtime._cache
    while cache.view(spec.id).space is None:
        await asyncio.sleep(POLL)
    first = time.perf_counter()
    while (pod := cache.view(spec.id).pod) is None or not pod.ready:
        await asyncio.sleep(POLL)
    ready = time.perf_counter()
    while (view := site.state.views.now.get(spec.id)) is None or view.phase is not Phase.RUNNING:
        await asyncio.sleep(POLL)
    return (first - began) * 1000, (time.perf_counter() - ready) * 1000


# --- many ---------------------------------------------------------------------------------


async def _convergence(cell: Cell, count: int) -> list[Figure]:
    """Bring the objects of many workspaces in: by the runtime, and by a bare loop over the same objects."""
    specs = [WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "w", "S-00") for _ in range(count)]
    runtime = KubernetesRuntime(cell.cluster(), WIDE, SystemClock())
    await runtime.list()
    ours, changes = await _growing(runtime, specs)
    objects = [_objects(runtime, each) for each in specs]
    await runtime.close(stop_engines=False)
    restart = await _restart(cell, specs)
    await cell.clear()
    return [
        Figure(f"{count} workspaces from zero", "s", ours, goal=1.5, baseline=await _bare(cell, objects),
               judged="ratio", note="baseline: a bare loop of the library over the same objects"),
        Figure(f"restart to {count} observed", "s", restart, goal=10),
        *changes,
    ]  # fmt: skip


async def _growing(runtime: KubernetesRuntime, specs: list[WorkspaceSpec]) -> tuple[float, list[Figure]]:
    """Make all of them; returns the seconds, and what a change cost among the first ten, hundred, and all."""
    seconds, made, figures = 0.0, 0, []
    for many in sorted({min(len(specs), each) for each in (10, 100, len(specs))}):
        began = time.perf_counter()
        await _together(
            [runtime.act(each, Action.CREATE_VOLUME, Secrets(), Doors()) for each in specs[made:many]]
        )
        seconds += time.perf_counter() - began
        made = many
        figures.append(Figure(f"one change among {many}", "ms", await _change(runtime, specs[:made])))
    return seconds, figures


async def _restart(cell: Cell, specs: list[WorkspaceSpec]) -> float:
    """Return the seconds in which a new agent has seen them all."""
    again = KubernetesRuntime(cell.cluster(), WIDE, SystemClock())
    began = time.perf_counter()
    await again.list()
    await asyncio.gather(*(again.observe(each.id) for each in specs))
    took = time.perf_counter() - began
    await again.close(stop_engines=False)
    return took


async def _change(runtime: KubernetesRuntime, specs: list[WorkspaceSpec]) -> float:
    """Return the milliseconds that a change of the firewall costs, once what was made has settled."""
    await asyncio.sleep(SETTLED_SECONDS)
    took = []
    for number, each in enumerate(specs[-10:]):
        began = time.perf_counter()
        await runtime.act(each, Action.MEND, Secrets(), Doors((f"10.{len(specs) % 250}.0.{number}",)))
        took.append((time.perf_counter() - began) * 1000)
    return middle(took)


def _many() -> list[Figure]:
    """What the agent itself takes with up to a thousand workspaces, over an API server in memory."""
    figures = []
    for count in (10, 100, 1000):
        program = [sys.executable, str(Path(__file__).with_name("many.py")), str(count)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        answer = subprocess.run(program, stdout=subprocess.PIPE, env=environment, check=True).stdout
        found = json.loads(answer)
        figures.append(Figure(f"one change among {count}, API in memory", "ms", found["change"]))
    note = "baseline: the same loop with nothing to do"
    return [
        *figures,
        Figure(f"agent with {count} workspaces", "MB", found["memory"], goal=150),
        Figure(f"restart to {count} observed, API in memory", "s", found["start"], goal=10),
        *(
            Figure(f"{count}: loop blocked, {when}", "ms", found[when], baseline=found["idle"], note=note)
            for when in ("starting", "quiet", "changing")
        ),
    ]


def _objects(runtime: KubernetesRuntime, spec: WorkspaceSpec) -> list[Json]:
    intended = runtime._making.intended(spec, Doors())
    around = manifests.surroundings(intended, WIDE)
    return [
        manifests.space(intended), manifests.binding(intended), *around, manifests.claim(intended, WIDE)
    ]  # fmt: skip


async def _bare(cell: Cell, objects: list[list[Json]]) -> float:
    config = KubeConfig.from_dict(cell.plane.kubeconfig("admin"))
    client = AsyncClient(config, field_manager="bare", trust_env=False)
    made = [[codecs.from_dict(each) for each in mine] for mine in objects]

    async def one(mine: list[Any]) -> None:
        for each in mine:
            await client.apply(each)

    began = time.perf_counter()
    await _together([one(each) for each in made])
    took = time.perf_counter() - began
    await client.close()
    return took


async def _together(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(each: Coroutine[Any, Any, None]) -> None:
        async with turns:
            await each

    await asyncio.gather(*(one(each) for each in work))
