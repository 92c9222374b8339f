"""A storm over a cell in a cluster: its loop, engines and control plane are real, and everything may break.

Used by ``tests/nightly``, for seconds over a few workspaces or longer over many. A seed gives a like storm.
What is looked at afterwards is what a customer would: his rows, his volumes, what runs, and how much the cell
asks of the API server once nothing happens any more.
"""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx2
from lightkube import KubeConfig

from byoc import sql
from byoc.clock import SystemClock
from byoc.dataplane.files import FileStorage
from byoc.dataplane.kubernetes.client import Cluster, Traffic
from byoc.dataplane.kubernetes.names import POD, namespace
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.passwords import Password
from byoc.dataplane.reconcile import Reconciler
from byoc.dataplane.state import CellState
from byoc.errors import ByocError
from byoc.ids import WorkspaceID, new_id
from byoc.model.report import Phase
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.cell import GROUP, ORDERS, following
from tests.emulated.machines.world import ZONES
from tests.kubernetes.cell import AGENT_USER, SETTINGS, Cell

Json = dict[str, Any]

PASSWORD: Final = "as long as the storm"
_GOAL: Final = {Desired.RUNNING: Phase.RUNNING, Desired.SUSPENDED: Phase.SUSPENDED}
MOST_A_MINUTE: Final = 300
MOST_A_DEED: Final = 60
_PATIENCE: Final = 3
_MOST_GUSTS: Final = 8
_LOOK_SECONDS: Final = 0.5


class Rough(httpx2.AsyncBaseTransport):
    """A network and an API server that are slow, busy and forgetful, once in a while, while ``blowing``."""

    def __init__(self, authority: str, dice: random.Random) -> None:
        context = ssl.create_default_context(cadata=authority)
        self._inner = httpx2.AsyncHTTPTransport(verify=context)
        self._dice = dice
        self.blowing = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        thrown = self._dice.random() if self.blowing else 1.0
        if thrown < 0.02:
            await asyncio.sleep(self._dice.uniform(0.2, 1.0))
        elif thrown < 0.04:
            return _refusal(request, 429, "TooManyRequests")
        elif thrown < 0.06 and request.method in {"PATCH", "PUT"}:
            return _refusal(request, 409, "Conflict")
        elif thrown < 0.08:
            return _refusal(request, 503, "ServiceUnavailable")
        elif thrown < 0.2 and request.url.params.get("watch"):
            return _refusal(request, 410, "Expired")
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _refusal(request: httpx2.Request, code: int, reason: str) -> httpx2.Response:
    status = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason}
    return httpx2.Response(code, json=status | {"message": reason}, request=request)


@dataclass
class Agent:
    """The cell's loop, which can be killed and begun anew on the same state."""

    cell: Cell
    folder: Path
    dice: random.Random
    asked: Traffic = field(default_factory=Traffic)
    """Of the agents that were killed."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Agent"]:
        await self.begin()
        try:
            yield self
        finally:
            await self.end()

    async def begin(self) -> None:
        clock = SystemClock()
        self.rough = Rough(self.cell.plane.authority, self.dice)
        config = KubeConfig.from_dict(self.cell.plane.kubeconfig(AGENT_USER))
        self.cluster = Cluster(config, clock, transport=self.rough)
        settings = replace(SETTINGS, patience_seconds=_PATIENCE, memory_bytes=None)
        self.runtime = KubernetesRuntime(self.cluster, settings, clock)
        self.ledger = Ledger(self.folder / "ledger", clock, new_id)
        self.ledger.open()
        self.state = CellState.open(FileStorage(self.folder), self.ledger, new_id, lambda: None)
        self.reconciler = Reconciler(self.state, self.runtime, clock)
        self.task = asyncio.create_task(self.reconciler.run())

    def traffic(self) -> Traffic:
        """Return how much was asked of the API server by all agents so far."""
        now, before = self.cluster.traffic, self.asked
        return Traffic(before.reads + now.reads, before.writes + now.writes, before.watches + now.watches)

    async def end(self) -> None:
        self.asked = self.traffic()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.runtime.close(stop_engines=False)
        self.ledger.close()

    async def kill(self) -> None:
        """End the loop where it is; the next one finds what it wrote."""
        blowing = self.rough.blowing
        await self.end()
        await self.begin()
        self.rough.blowing = blowing

    def say(self, spec: WorkspaceSpec) -> None:
        """Store an intent as the Cell API does."""
        self.state.desired.put_workspace(spec)
        self.reconciler.wake(spec.id)

    def settled(self, specs: list[WorkspaceSpec]) -> bool:
        """Whether everything is as it should be."""
        views = self.state.views.now
        return all(each.id in views and views[each.id].phase is _GOAL[each.desired] for each in specs)


@dataclass
class Storm:
    """One storm over ``count`` workspaces, of which at most ``awake`` run at a time, for engines are real."""

    agent: Agent
    count: int
    awake: int
    dice: random.Random
    specs: dict[WorkspaceID, WorkspaceSpec] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    _server: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    """Held by who asks the API server as the administrator, and by who restarts it."""
    _agents: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    """Held by who tells the agent something, and by who kills it."""

    @property
    def cell(self) -> Cell:
        return self.agent.cell

    async def make(self, seconds: float) -> None:
        """Make the workspaces, each with a row that no other has."""
        self.agent.state.passwords.put(GROUP.id, Password(1, PASSWORD))
        self.agent.state.desired.put_group(GROUP)
        while len(self.specs) < self.count:
            await self._rest(seconds)
            numbers = range(len(self.specs), min(self.count, len(self.specs) + self.awake))
            fresh = [replace(ORDERS, id=WorkspaceID(new_id()), name=f"w{number}") for number in numbers]
            for spec in fresh:
                self._say(spec)
            await self.calm(seconds)
            for spec in fresh:
                await self._fill(spec.id)

    async def _fill(self, name: WorkspaceID) -> None:
        for statement in ("CREATE DATABASE kept", "CREATE TABLE kept.t (v VARCHAR(40))"):
            assert await self.ask(name, statement) is not None
        assert await self.ask(name, f"INSERT INTO kept.t VALUES ('{name}')") is not None

    async def blow(self, seconds: float) -> None:
        """Break something again and again: one large thing at a time, and beside it small ones."""
        self.agent.rough.blowing = True
        ends = time.monotonic() + seconds
        large = [self.lose_machine, self.freeze_zone, self.restart_server, self.kill_agent]
        small = [
            self.kill_engine, self.kill_engine, self.delete_pod, self.delete_object, self.change, self.change,
        ]  # fmt: skip
        async with asyncio.TaskGroup() as gusts:
            gusts.create_task(self._gust(large, ends))
            for _ in range(min(1 + self.count // 25, _MOST_GUSTS)):
                gusts.create_task(self._gust(small, ends))
        self.agent.rough.blowing = False

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator["Storm"]:
        """Do meanwhile what a kubelet does for the control plane."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            async with self._server:
                await asyncio.to_thread(self.cell.plane.revive)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _gust(self, deeds: list[Callable[[], Coroutine[Any, Any, None]]], ends: float) -> None:
        while time.monotonic() < ends:
            deed = self.dice.choice(deeds)
            self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1
            await deed()
            await asyncio.sleep(self.dice.uniform(0.1, 1.0))

    async def calm(self, seconds: float) -> None:
        """Wait until everything is as it should be."""
        ends = time.monotonic() + seconds
        while not self.agent.settled(list(self.specs.values())):
            views = self.agent.state.views.now
            assert time.monotonic() < ends, [(each.phase, each.reason) for each in views.values()]
            await asyncio.sleep(0.1)

    async def check(self, seconds: float) -> None:
        """Look for each workspace's row, those that run first; the others are resumed for it."""
        asleep = [name for name, spec in self.specs.items() if spec.desired is Desired.SUSPENDED]
        await self._check(self._running())
        for at in range(0, len(asleep), self.awake):
            some = asleep[at : at + self.awake]
            if len(self._running()) + len(some) > self.awake:
                await self._rest(seconds)
            for name in some:
                self._say(following(self.specs[name], desired=Desired.RUNNING))
            await self.calm(seconds)
            await self._check(some)

    async def _check(self, names: Iterable[WorkspaceID]) -> None:
        for name in names:
            assert await self.ask(name) == ((name,),)

    async def _rest(self, seconds: float) -> None:
        """Suspend what runs."""
        for name in self._running():
            self._say(following(self.specs[name], desired=Desired.SUSPENDED))
        await self.calm(seconds)

    def _running(self) -> list[WorkspaceID]:
        return [name for name, spec in self.specs.items() if spec.desired is Desired.RUNNING]

    async def idle(self, seconds: float) -> Traffic:
        """Return what is asked of the API server while nothing happens."""
        before = self.agent.traffic()
        await asyncio.sleep(seconds)
        now = self.agent.traffic()
        return Traffic(now.reads - before.reads, now.writes - before.writes, now.watches - before.watches)

    def disks(self) -> dict[WorkspaceID, str]:
        """Return the volume of each workspace."""
        found = self.cell.plane.ask("admin", "GET", "/api/v1/persistentvolumes")[1]["items"]
        handles = {
            each["spec"]["claimRef"]["namespace"]: each["spec"]["csi"]["volumeHandle"] for each in found
        }
        return {name: handles[namespace(name)] for name in self.specs}

    def engines(self) -> int:
        """Return how many engines there are in all workspaces' namespaces."""
        found = self.cell.plane.ask("admin", "GET", "/apis/apps/v1/statefulsets")[1]["items"]
        spaces = {namespace(name) for name in self.specs}
        return sum(each["metadata"]["namespace"] in spaces for each in found)

    async def ask(self, name: WorkspaceID, statement: str = "SELECT v FROM kept.t") -> Any:
        return await asyncio.to_thread(self._ask, name, statement)

    def _ask(self, name: WorkspaceID, statement: str) -> Any:
        found = self.cell.plane.ask("admin", "GET", f"{_place(name)}/pods/{POD}")[1]
        try:
            address = found["status"]["podIP"]
            with sql.connect(address, user="admin", password=PASSWORD, timeout=5) as session:
                return session.execute(statement).rows
        except (ByocError, KeyError):
            return None

    # --- what breaks ---------------------------------------------------------------------

    async def kill_engine(self) -> None:
        await asyncio.to_thread(self.cell.world.crash, namespace(self._any()), POD)

    async def delete_pod(self) -> None:
        await self._delete(f"{_place(self._any())}/pods/{POD}")

    async def delete_object(self) -> None:
        name = self._any()
        which = self.dice.choice(["statefulset", "service", "wall"])
        apps = f"/apis/apps/v1/namespaces/{namespace(name)}/statefulsets/engine"
        walls = f"/apis/networking.k8s.io/v1/namespaces/{namespace(name)}/networkpolicies/sql"
        paths = {"statefulset": apps, "service": f"{_place(name)}/services/svc-{name}-dml", "wall": walls}
        await self._delete(paths[which])

    async def lose_machine(self) -> None:
        machine = self.dice.choice(sorted(self.cell.world.machines))
        await asyncio.to_thread(self.cell.world.lose_power, machine)
        await asyncio.sleep(self.dice.uniform(0.5, 14))
        await asyncio.to_thread(self.cell.world.switch_on, machine)

    async def freeze_zone(self) -> None:
        machines = self.cell.world.in_zone(self.dice.choice(ZONES))
        await asyncio.to_thread(self.cell.world.freeze, *machines, pods=self.dice.random() < 0.5)
        await asyncio.sleep(self.dice.uniform(0.5, 12))
        await asyncio.to_thread(self.cell.world.thaw, *machines)

    async def restart_server(self) -> None:
        async with self._server:
            self.cell.plane.kill("kube-apiserver")
            await asyncio.to_thread(self.cell.plane.restart, "kube-apiserver")

    async def kill_agent(self) -> None:
        async with self._agents:
            await self.agent.kill()

    async def change(self) -> None:
        """Suspend what runs, resume what is suspended if there is room for it."""
        async with self._agents:
            spec = self.specs[self._any()]
            if spec.desired is Desired.RUNNING:
                self._say(following(spec, desired=Desired.SUSPENDED))
            elif len(self._running()) < self.awake:
                self._say(following(spec, desired=Desired.RUNNING))

    def _say(self, spec: WorkspaceSpec) -> None:
        self.specs[spec.id] = spec
        self.agent.say(spec)

    def _any(self) -> WorkspaceID:
        return self.dice.choice(sorted(self.specs))

    async def _delete(self, path: str) -> None:
        async with self._server:
            await asyncio.to_thread(self.cell.plane.ask, "admin", "DELETE", path)


def _place(name: WorkspaceID) -> str:
    return f"/api/v1/namespaces/{namespace(name)}"


async def weather(
    cell: Cell,
    folder: Path,
    *,
    count: int,
    awake: int,
    seconds: float,
    patience: float,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Make workspaces, let a storm pass over them, and look whether anything is the worse for it.

    Args:
        awake: how many may run at a time; the others are suspended. An engine takes some 90 MB.
        seconds: how long things break.
        patience: seconds until all is as it should be.
    """
    dice = random.Random(seed)  # noqa: S311 - a storm that can be had again
    async with (
        Agent(cell, folder, dice).running() as agent,
        Storm(agent, count, awake, dice).supervised() as storm,
    ):
        await storm.make(patience)
        before = storm.disks()
        began, asked = time.monotonic(), agent.traffic()
        await storm.blow(seconds)
        await storm.calm(patience)
        minutes, now = (time.monotonic() - began) / 60, agent.traffic()
        requests = now.reads + now.writes + now.watches - asked.reads - asked.writes - asked.watches
        say(f"seed {seed}, {storm.done}: {requests / minutes:.0f} requests a minute for {count} workspaces")
        # A loop that runs hot asks hundreds of times a second.
        assert requests <= MOST_A_MINUTE * minutes + MOST_A_DEED * sum(storm.done.values())
        await storm.check(patience)
        assert storm.disks() == before
        assert storm.engines() == count
        assert cell.world.faults == []
        calm = await storm.idle(10)
        say(f"in 10 s of calm: {calm}")
        assert calm.writes == 0
        assert calm.reads <= 1
