"""Workspaces in memory: the twin of the local runtime, obeying the same contract suite.

Given to a reconciler under test. Trouble comes on demand: :meth:`MemoryRuntime.fail`,
``crash``, ``hang``, ``lose_volume``. Nothing takes time by itself; what is stamped comes
from the clock given.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from byoc.clock import Clock
from byoc.dataplane.runtime import (
    Action,
    Databases,
    Doors,
    Failures,
    Limits,
    Observation,
    Process,
    Room,
    Secrets,
)
from byoc.ids import WorkspaceID
from byoc.model.metrics import Metric, Sample
from byoc.model.report import Authority, CellFacts, Reason, Zone
from byoc.model.size import SIZES
from byoc.model.spec import SPEC_VERSION, WorkspaceSpec

_FIRST_PORT = 23306
_GIB = 2**30


@dataclass
class _Workspace:
    seen: Observation = field(default_factory=Observation)
    generation: int = 0
    script: dict[Action, list[Reason]] = field(default_factory=dict)
    log: str = ""
    cores: float = 0.0
    cpu_seconds: float = 0.0
    counted_at: float = 0.0


class MemoryRuntime:
    """A runtime without an engine.

    Args:
        clock: stamps starts and failures.
        memory_bytes: of the pretended machine.
        online: whether limits can be changed without a restart.
        firewall: whether workspaces have doors.
        detaching: whether workspaces are suspended without volumes.

    Attributes:
        acts: every (workspace, action) that was carried out, in order.
        passwords: the admin password that each volume answers to.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        memory_bytes: int = 64 * _GIB,
        online: bool = True,
        firewall: bool = False,
        detaching: bool = False,
    ) -> None:
        self._clock = clock
        self._memory_bytes = memory_bytes
        self._online = online
        self._firewall = firewall
        self._databases = Databases(detachable=True) if detaching else None
        self._workspaces: dict[WorkspaceID, _Workspace] = {}
        self._ended: asyncio.Queue[WorkspaceID] = asyncio.Queue()
        self._ports = 0
        self.volume_bytes = 40 * 2**20
        self.acts: list[tuple[WorkspaceID, Action]] = []
        self.passwords: dict[WorkspaceID, str] = {}
        self.authorities: tuple[Authority, ...] = ()
        self.zones: tuple[Zone, ...] = ()

    async def observe(self, workspace: WorkspaceID) -> Observation:
        """Return what is true of ``workspace`` now."""
        held = self._workspaces.get(workspace)
        return held.seen if held is not None else Observation()

    async def act(
        self, spec: WorkspaceSpec, action: Action, secrets: Secrets, doors: Doors = Doors()
    ) -> None:
        """Carry out one action at once, or fail as scripted."""
        await asyncio.sleep(0)
        self.acts.append((spec.id, action))
        held = self._workspaces.setdefault(spec.id, _Workspace())
        held.generation = spec.generation
        scripted = held.script.get(action)
        if scripted:
            self._failed(held, scripted.pop(0))
            return
        self._carry_out(spec, held, action, secrets)
        if action in {Action.START, Action.MEND}:
            self._mend(held, doors)

    def _carry_out(self, spec: WorkspaceSpec, held: _Workspace, action: Action, secrets: Secrets) -> None:
        match action:
            case Action.CREATE_VOLUME:
                self._create(held)
            case Action.START:
                self._start(spec, held)
            case Action.WAIT_FOR_SQL:
                self._answer(held)
            case Action.SET_PASSWORD:
                self._set_password(spec.id, held, secrets)
            case Action.RESIZE_ONLINE:
                self._resize(spec, held)
            case Action.RESTART:
                self._stop(held)
                self._start(spec, held)
            case Action.STOP:
                self._stop(held)
            case Action.REMOVE:
                self._workspaces.pop(spec.id, None)
                self.passwords.pop(spec.id, None)
            case _:
                self._move(held, action)

    async def watch(self) -> AsyncIterator[WorkspaceID]:
        """Yield the id of each workspace that was crashed."""
        while True:
            yield await self._ended.get()

    async def list(self) -> list[WorkspaceID]:
        """Return every workspace that has a volume."""
        return [name for name, held in self._workspaces.items() if held.seen.exists]

    def fits(self, limits: Limits, *, committed_bytes: int) -> bool:
        """Whether the pretended machine has memory for ``limits``."""
        size = SIZES[limits.size].local_memory_bytes * limits.scale_factor
        return committed_bytes + size <= self._memory_bytes

    def has_room(self, workspace: WorkspaceID, limits: Limits) -> bool:
        """Whether the pretended machine has memory for ``limits`` beside the others."""
        others = [
            held.seen.limits
            for name, held in self._workspaces.items()
            if name != workspace and held.seen.limits is not None
        ]
        committed = sum(SIZES[other.size].local_memory_bytes * other.scale_factor for other in others)
        return self.fits(limits, committed_bytes=committed)

    def facts(self) -> CellFacts:
        """An engine called ``memory``."""
        told, zones = self.authorities, self.zones
        return CellFacts(
            "memory", "1.0", "0", SPEC_VERSION, self._memory_bytes, authorities=told, zones=zones
        )

    async def logs(self, workspace: WorkspaceID) -> str:
        """Return what :meth:`crash` was told the engine said."""
        held = self._workspaces.get(workspace)
        return held.log if held is not None else ""

    async def stored_bytes(self, workspace: WorkspaceID) -> int:
        """Return ``volume_bytes`` where there is a volume."""
        held = self._workspaces.get(workspace)
        if held is None or not held.seen.exists:
            return 0
        databases = held.seen.databases
        return 0 if databases is not None and databases.away and not databases.volumes else self.volume_bytes

    async def metrics(self, workspace: WorkspaceID) -> tuple[Sample, ...]:
        """Return values for every metric; those of use come from :meth:`use` and :meth:`work`."""
        held = self._workspaces.get(workspace)
        if held is None or not held.seen.sql_ready or held.seen.limits is None:
            return ()
        self._count(held)
        limits = held.seen.limits
        size, factor = SIZES[limits.size], limits.scale_factor
        values = dict.fromkeys(Metric, 0.0) | {
            Metric.CPU_USAGE_SECONDS_TOTAL: held.cpu_seconds,
            Metric.CPU_RESOURCE_LIMITS: float(size.vcpus * factor),
            Metric.MEM_TOTAL_B: float(size.local_memory_bytes * factor),
            Metric.DISK_TOTAL_B: float(self._memory_bytes),
            Metric.THREADS_CONNECTED: float(held.seen.connections),
            Metric.SUCCESSFUL_READ_QUERIES: float(held.seen.queries),
            Metric.MAX_CONNECTIONS: 64.0,
            Metric.MAX_CONNECTION_THREADS: 64.0,
        }
        return tuple(Sample(metric, value, f"node-{workspace}-0") for metric, value in values.items())

    async def owns(self, address: str, port: int) -> str:
        """Say so of the endpoint of every volume."""
        ends = {held.seen.endpoint for held in self._workspaces.values()}
        return "an engine" if f"{address}:{port}" in ends else ""

    async def close(self, *, stop_engines: bool) -> None:
        """Stop every pretended engine, if asked to."""
        if stop_engines:
            for held in self._workspaces.values():
                self._stop(held)

    # --- trouble on demand ---------------------------------------------------------------

    def fail(self, workspace: WorkspaceID, action: Action, reason: Reason, times: int = 1) -> None:
        """Let the next ``times`` tries of ``action`` fail with ``reason``."""
        held = self._workspaces.setdefault(workspace, _Workspace())
        held.script.setdefault(action, []).extend([reason] * times)

    def outdate(self, workspace: WorkspaceID) -> None:
        """Have the cell name a newer engine than the workspace has."""
        held = self._workspaces[workspace]
        held.seen = replace(held.seen, outdated=True)

    def crash(self, workspace: WorkspaceID, words: str = "") -> None:
        """End the engine as kill -9 does; ``words`` are its last ones."""
        held = self._workspaces[workspace]
        seen, now = held.seen, self._clock.now()
        if seen.process is Process.RUNNING and seen.started_at is not None:
            ran = (now - seen.started_at).total_seconds()
            failures = seen.failures.crashed(held.generation, Reason.ENGINE_EXITED, now, ran_seconds=ran)
        else:
            failures = seen.failures.failed(held.generation, Reason.ENGINE_CANNOT_START, now)
        held.log += words
        held.seen = replace(_stopped(seen), process=Process.EXITED, failures=failures)
        self._ended.put_nowait(workspace)

    def hang(self, workspace: WorkspaceID) -> None:
        """Let the engine live on without answering."""
        held = self._workspaces[workspace]
        held.seen = replace(held.seen, process=Process.UNRESPONSIVE, sql_ready=False)

    def meddle(self, workspace: WorkspaceID) -> None:
        """Let somebody change what belongs to the workspace."""
        held = self._workspaces[workspace]
        held.seen = replace(held.seen, amiss=True)

    def fill(self, workspace: WorkspaceID, room: Room | None) -> None:
        """Let the volume be nearly full."""
        held = self._workspaces[workspace]
        held.seen = replace(held.seen, room=room)

    def lose_volume(self, workspace: WorkspaceID) -> None:
        """Let the volume vanish, as a human with ``rm -r`` does."""
        self._workspaces.pop(workspace, None)

    def use(self, workspace: WorkspaceID, *, connections: int = 0, queries: int = 0) -> None:
        """Let somebody hold ``connections`` and ask ``queries`` more."""
        held = self._workspaces[workspace]
        held.seen = replace(held.seen, connections=connections, queries=held.seen.queries + queries)

    def work(self, workspace: WorkspaceID, cores: float) -> None:
        """Keep ``cores`` processors busy from now on."""
        held = self._workspaces[workspace]
        self._count(held)
        held.cores = cores

    def _count(self, held: _Workspace) -> None:
        now = self._clock.monotonic()
        limits = held.seen.limits
        if limits is not None:
            most = float(SIZES[limits.size].vcpus * limits.scale_factor)
            held.cpu_seconds += min(held.cores, most) * (now - held.counted_at)
        held.counted_at = now

    # --- what an engine does -------------------------------------------------------------

    def _failed(self, held: _Workspace, reason: Reason) -> None:
        failures = held.seen.failures.failed(held.generation, reason, self._clock.now())
        held.seen = replace(held.seen, failures=failures)

    def _create(self, held: _Workspace) -> None:
        if held.seen.exists:
            return
        endpoint = f"127.0.0.1:{_FIRST_PORT + self._ports}"
        self._ports += 1
        held.seen = Observation(
            exists=True, endpoint=endpoint, failures=held.seen.failures, databases=self._databases
        )

    def _move(self, held: _Workspace, action: Action) -> None:
        """Have volume, image or databases as asked, which in memory takes no time and is never refused."""
        databases = held.seen.databases
        if action in {Action.GROW, Action.UPGRADE}:
            grown = action is Action.GROW
            held.seen = replace(held.seen, room=None) if grown else replace(held.seen, outdated=False)
        if databases is None:
            return
        if action is Action.DETACH and held.seen.process is Process.RUNNING and databases.kept is None:
            databases = Databases(away=True, volumes=True, returning=True, attach=True)
        elif action is Action.RELEASE and databases.away:
            # The password lay on the volume.
            databases = replace(databases, volumes=False)
            held.seen = replace(held.seen, password_version=0)
        elif action is Action.ATTACH and held.seen.sql_ready:
            databases = Databases(detachable=True, returning=True, attached=2)
        held.seen = replace(held.seen, databases=databases)

    def keep_volumes(self, workspace: WorkspaceID, reason: Reason) -> None:
        """Let something speak against detaching, until the workspace runs again."""
        held = self._workspaces[workspace]
        held.seen = replace(held.seen, databases=Databases(kept=reason, returning=True, attach=True))

    def miss(self, workspace: WorkspaceID, count: int) -> None:
        """Let some of three databases not be attached."""
        held = self._workspaces[workspace]
        databases = Databases(
            detachable=True, returning=True, attach=False, attached=3 - count, missing=count
        )
        held.seen = replace(held.seen, databases=databases)

    def _start(self, spec: WorkspaceSpec, held: _Workspace) -> None:
        if held.seen.process not in {Process.ABSENT, Process.EXITED}:
            return
        if not held.seen.exists:
            self._failed(held, Reason.VOLUME_MISSING)
        elif not self.has_room(spec.id, Limits.wanted(spec)):
            self._failed(held, Reason.MEMORY_SHORT)
        else:
            held.seen = replace(
                held.seen,
                process=Process.STARTING,
                limits=Limits.wanted(spec),
                restart_needed=False,
                started_at=self._clock.now(),
                queries=0,
            )
            held.cpu_seconds, held.counted_at = 0.0, self._clock.monotonic()

    def _mend(self, held: _Workspace, doors: Doors) -> None:
        if held.seen.exists:
            held.seen = replace(held.seen, amiss=False, doors=doors if self._firewall else None)

    def _answer(self, held: _Workspace) -> None:
        if held.seen.process in {Process.STARTING, Process.RUNNING}:
            failures = held.seen.failures.answered()
            held.seen = replace(held.seen, process=Process.RUNNING, sql_ready=True, failures=failures)

    def _set_password(self, name: WorkspaceID, held: _Workspace, secrets: Secrets) -> None:
        if held.seen.sql_ready and secrets.password_version > held.seen.password_version:
            self.passwords[name] = secrets.password
            held.seen = replace(held.seen, password_version=secrets.password_version)

    def _resize(self, spec: WorkspaceSpec, held: _Workspace) -> None:
        if held.seen.process is not Process.RUNNING:
            return
        if not self.has_room(spec.id, Limits.wanted(spec)):
            self._failed(held, Reason.MEMORY_SHORT)
        elif self._online:
            held.seen = replace(held.seen, limits=Limits.wanted(spec), restart_needed=False)
        else:
            held.seen = replace(held.seen, restart_needed=True)

    def _stop(self, held: _Workspace) -> None:
        held.seen = replace(_stopped(held.seen), process=Process.ABSENT, failures=Failures())


def _stopped(seen: Observation) -> Observation:
    return replace(
        seen, sql_ready=False, limits=None, restart_needed=False, started_at=None, connections=0, queries=0
    )
