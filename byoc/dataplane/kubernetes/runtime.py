"""The cluster's runtime: each workspace is a namespace with a MariaDB engine in one pod.

Made by the agent that leads, used by the reconciler through the ``Runtime`` seam. What is, it reads from
a cache that watches keep current, and from the engine itself; so while nothing happens, nothing is asked
of the API server. Ready means three things together: the controller has seen the newest, the pod is
ready, and ``SELECT 1`` was answered over TLS by the engine that is meant.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from lightkube import KubeConfig

from byoc import __version__, log
from byoc.clock import Clock
from byoc.dataplane.kubernetes import door, kinds, names, sizing
from byoc.dataplane.kubernetes.adoption import adopt, exists
from byoc.dataplane.kubernetes.authority import Authority
from byoc.dataplane.kubernetes.away import Away, Trying, standing
from byoc.dataplane.kubernetes.cache import Cache, View
from byoc.dataplane.kubernetes.chosen import chosen
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.door import Door
from byoc.dataplane.kubernetes.engines import CannotStart
from byoc.dataplane.kubernetes.following import Following
from byoc.dataplane.kubernetes.growth import Growth, Volumes
from byoc.dataplane.kubernetes.making import Making
from byoc.dataplane.kubernetes.measured import committed, outdated, samples
from byoc.dataplane.kubernetes.owned import what_answers
from byoc.dataplane.kubernetes.removal import remove
from byoc.dataplane.kubernetes.settings import DETACH, ClusterSettings
from byoc.dataplane.kubernetes.tending import Tending
from byoc.dataplane.runtime import Action, Doors, Limits, Observation, Process, Secrets
from byoc.dataplane.threads import Threads
from byoc.errors import ByocError, NotAuthenticated
from byoc.ids import WorkspaceID
from byoc.model.metrics import Sample
from byoc.model.report import CellFacts, Reason
from byoc.model.spec import SPEC_VERSION, WorkspaceSpec

_THREADS: Final = 24
_WAIT_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.05
_STOP_SECONDS: Final = 10.0
"""For one try at a stop; the plan tries again for as long as the pod is there."""
_LOG_LINES: Final = 1000
_LOG: Final = log.get(__name__)

Shape = tuple[object, ...]


@dataclass
class _Held:
    """One workspace between calls."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    following: Following = field(default_factory=Following)
    growth: Growth = field(default_factory=Growth)
    trying: Trying = field(default_factory=Trying)
    generation: int = 0
    shape: Shape = ()


def open_runtime(
    config: KubeConfig,
    valid: Callable[[], bool],
    clock: Clock,
    settings: ClusterSettings | None = None,
) -> "KubernetesRuntime":
    """Return the runtime of a cluster; ``valid`` says before each write whether we still may."""
    return KubernetesRuntime(Cluster(config, clock, valid=valid), settings or ClusterSettings(), clock)


class KubernetesRuntime:
    """Workspaces in a cluster.

    Args:
        cluster: closed with the runtime.
    """

    def __init__(self, cluster: Cluster, settings: ClusterSettings, clock: Clock) -> None:
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._engines = chosen(settings)
        self._cache = Cache(cluster, self._engines, clock, self._changed)
        self._tending = Tending(cluster, clock, settings.patience_seconds)
        self._volumes = Volumes(cluster, settings, clock)
        self._held: dict[WorkspaceID, _Held] = {}
        self._rung: asyncio.Queue[WorkspaceID] = asyncio.Queue()
        self._threads = Threads(_THREADS, "engines")
        self._following: asyncio.Task[None] | None = None
        self._succeeding: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._authority: Authority | None = None

    # --- the seam ------------------------------------------------------------------------

    async def observe(self, workspace: WorkspaceID) -> Observation:
        """Return what is true of ``workspace`` now."""
        await self._open()
        view, held = self._cache.view(workspace), self._held.get(workspace)
        if view.empty and (held is None or not held.following.failures.last):
            self._held.pop(workspace, None)
            return Observation()
        held = self._of(workspace)
        await self._look(workspace, held)
        seen = self._describe(workspace, held)
        held.shape = self._shape(workspace, held)
        return seen

    async def act(
        self, spec: WorkspaceSpec, action: Action, secrets: Secrets, doors: Doors = Doors()
    ) -> None:
        """Carry out one action."""
        await self._open()
        if action not in {Action.CREATE_VOLUME, Action.START} and self._cache.view(spec.id).empty:
            self._held.pop(spec.id, None)
            return
        held = self._of(spec.id)
        held.generation = spec.generation
        async with held.lock:
            await self._act(held, spec, action, secrets, doors)
            held.shape = self._shape(spec.id, held)
        if action is Action.REMOVE and self._cache.view(spec.id).empty:
            self._held.pop(spec.id, None)

    async def watch(self) -> AsyncIterator[WorkspaceID]:
        """Yield the id of each workspace that was changed from outside."""
        await self._open()
        while True:
            yield await self._rung.get()

    async def list(self) -> list[WorkspaceID]:
        """Return every workspace that has a volume here."""
        await self._open()
        return sorted(name for name, view in self._cache.views.items() if exists(view) or view.volumes)

    def fits(self, limits: Limits, *, committed_bytes: int) -> bool:
        """Whether the cell may have ``limits`` beside ``committed_bytes`` of others."""
        if self._settings.memory_bytes is None:
            return True
        wanted = sizing.nominal_memory(limits, self._settings.size_divisor)
        return committed_bytes + wanted <= self._settings.memory_bytes

    def has_room(self, workspace: WorkspaceID, limits: Limits) -> bool:
        """Whether the cell may have a workspace of ``limits`` beside the others."""
        return self.fits(limits, committed_bytes=self._beside(workspace))

    def facts(self) -> CellFacts:
        """Engine, the version that its image names, what the cell may have, and its machines."""
        most = self._settings.memory_bytes or 0
        told = self._authority.told if self._authority is not None else ()
        engine, version = self._engines.name, self._engines.version
        zones = self._tending.zones(self._settings.node_selector)
        return CellFacts(engine, version, __version__, SPEC_VERSION, most, authorities=told, zones=zones)

    async def logs(self, workspace: WorkspaceID) -> str:
        """Return the end of the engine's own log."""
        await self._open()
        pod = self._cache.view(workspace).pod
        if pod is None:
            return ""
        place = names.namespace(workspace)
        return await self._cluster.log(place, pod.name, self._engines.container, _LOG_LINES)

    async def metrics(self, workspace: WorkspaceID) -> tuple[Sample, ...]:
        """Return what the engine counts now."""
        await self._open()
        view, held = self._cache.view(workspace), self._of(workspace)
        limits = self._engines.in_force(view, held.following.answer)
        if not self._is_ready(view, held.following) or view.pod is None or limits is None:
            return ()
        try:
            counted = await self._engines.count(self._making, self._door(workspace, view.pod.address))
        except ByocError:
            return ()
        return samples(view, limits, counted, self._settings.size_divisor)

    async def stored_bytes(self, workspace: WorkspaceID) -> int:
        """Return the size of the workspace's disk."""
        await self._open()
        claim = self._cache.view(workspace).claim
        return claim.disk_gib * 2**30 if claim else 0

    async def owns(self, address: str, port: int) -> str:
        """Ask the cluster what is there."""
        return await what_answers(self._cluster, address, port)

    async def close(self, *, stop_engines: bool) -> None:
        """Let go; engines go on unless they are to be stopped."""
        if stop_engines:
            await self._open()
            await asyncio.gather(*(self._end(name) for name in list(self._cache.views)))
        tasks = [each for each in (self._following, self._succeeding) if each is not None]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cluster.close()
        await self._threads.close()
        self._engines.close()

    # --- opening -------------------------------------------------------------------------

    async def _open(self) -> None:
        if self._authority is not None and self._follows:
            return
        async with self._opening:
            if not self._follows:
                self._following = asyncio.create_task(self._follow())
            if self._authority is not None:
                return
            await self._cache.ready()
            await self._tending.ready()
            self._authority = await Authority.open(self._cluster, self._settings, self._clock)
            self._succeeding = asyncio.create_task(self._authority.run(self._shown))

    @property
    def _follows(self) -> bool:
        return self._following is not None and not self._following.done()

    async def _follow(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._cache.run())
                tasks.create_task(self._tending.run())
        except Exception as error:  # noqa: BLE001 - whatever it is: the next look begins it anew
            _LOG.error("the cluster is not followed any more", error=repr(error)[:500])

    def _shown(self) -> tuple[bytes, ...]:
        """The certificates of all engines that are to run; nothing for one that has shown none."""
        running = [name for name, view in self._cache.views.items() if view.wanted]
        return tuple(
            self._held[name].following.certificate if name in self._held else b"" for name in running
        )

    def _of(self, workspace: WorkspaceID) -> _Held:
        held = self._held.get(workspace)
        if held is None:
            held = self._held[workspace] = _Held()
            held.following.answered = held.growth.measured = self._clock.monotonic()
        return held

    def _changed(self, workspace: WorkspaceID) -> None:
        """Something of a workspace changed in the cluster: ring if it means anything."""
        held = self._held.get(workspace)
        if held is None or held.lock.locked():
            return
        shape = self._shape(workspace, held)
        if shape != held.shape:
            held.shape = shape
            self._rung.put_nowait(workspace)

    def _shape(self, workspace: WorkspaceID, held: _Held) -> Shape:
        """What a plan could be changed by; how engines answer is not part of it."""
        view, now = self._cache.view(workspace), self._clock.monotonic()
        self._follow_run(view, held)
        process = held.following.process(view, now)
        alive = Process.RUNNING if process in _ALIVE else process
        return exists(view), alive, view.empty, self._amiss(view), self._waiting_for(view, held.following)

    def _follow_run(self, view: View, held: _Held) -> None:
        at, now = self._clock.now(), self._clock.monotonic()
        held.following.look(view, held.generation, at, now, rolling=self._engines.rolling(view))

    def _amiss(self, view: View) -> bool:
        return self._cache.amiss(view) or self._engines.lacks(view)

    # --- observing -----------------------------------------------------------------------

    async def _look(self, workspace: WorkspaceID, held: _Held) -> None:
        view, following = self._cache.view(workspace), held.following
        self._follow_run(view, held)
        pod = view.pod
        if following.moving or following.ended or pod is None or not _runs(view):
            return
        run = pod.run
        try:
            heard = await self._engines.ask(self._making, workspace, self._door(workspace, pod.address))
        except ByocError:
            return
        # Whatever was heard of an engine that was replaced meanwhile says nothing of the new one.
        if following.run == run:
            following.heard(heard.answer, heard.certificate, self._clock.now(), self._clock.monotonic())
            if self._stands(following):
                following.renewed = False
            elif following.renewed:
                await self._renew(self._door(workspace, pod.address))
            if held.growth.due(self._clock.monotonic()) and view.claim is not None:
                asked = partial(self._threads.do, partial(door.held, self._door(workspace, pod.address)))
                await self._volumes.measure(view.claim, held.growth, asked)

    def _describe(self, workspace: WorkspaceID, held: _Held) -> Observation:
        view, following = self._cache.view(workspace), held.following
        process = following.process(view, self._clock.monotonic())
        waiting = self._waiting_for(view, following)
        if process is Process.UNRESPONSIVE and waiting is not None:
            # Its machine is not heard of either: there is nobody who could restart it.
            process = Process.STARTING
        alive, ready = process in _ALIVE, self._is_ready(view, following)
        intended = view.intended
        there = exists(view)
        return Observation(
            exists=there,
            process=process,
            sql_ready=ready,
            limits=self._engines.in_force(view, following.answer) if alive else None,
            restart_needed=alive and following.restart_needed,
            password_version=view.claim.password_version if view.claim is not None else 0,
            endpoint=names.endpoint(workspace, self._settings) if there else None,
            started_at=view.pod.running_since if view.pod is not None and alive else None,
            connections=following.answer.connections if ready else 0,
            queries=following.answer.queries if ready else 0,
            failures=following.failures,
            doors=intended.doors if intended is not None and there else None,
            amiss=ready and (self._amiss(view) or not self._certified(following)),
            waiting_for=waiting if alive and not ready else None,
            remains=not there and not view.empty,
            outdated=ready and outdated(view, self._engines),
            room=self._volumes.room(view, held.growth, following.failures, ready=ready),
            databases=standing(
                view, held.trying, self._clock.monotonic(), chosen=self._settings.suspend == DETACH
            ),
        )

    def _waiting_for(self, view: View, following: Following) -> Reason | None:
        missed = self._tending.missed(view.pod.node) if view.pod is not None and view.pod.node else None
        waited = self._clock.monotonic() - following.answered
        found = missed or self._engines.waiting_for(view, self._clock.now(), waited)
        if found is not Reason.WAITING_FOR_MACHINE or view.pod is None:
            return found
        return (
            Reason.NO_MACHINE_LARGE_ENOUGH if self._tending.outgrown(view.pod, self._clock.now()) else found
        )

    def _is_ready(self, view: View, following: Following) -> bool:
        return (
            following.process(view, self._clock.monotonic()) is Process.RUNNING
            and self._engines.whole(view)
            and _runs(view)
            and view.pod is not None
            and view.pod.ready
            and view.pod.run == following.run
        )

    def _certified(self, following: Following) -> bool:
        """Whether the engine's certificate stands, or a new one is on its way."""
        return following.renewed or self._stands(following)

    def _stands(self, following: Following) -> bool:
        assert self._authority is not None  # noqa: S101 - every call opens first
        return not following.certificate or self._authority.stands(following.certificate)

    # --- acting --------------------------------------------------------------------------

    async def _act(
        self, held: _Held, spec: WorkspaceSpec, action: Action, secrets: Secrets, doors: Doors
    ) -> None:
        match action:
            case Action.CREATE_VOLUME:
                await self._create(spec, doors)
            case Action.WAIT_FOR_SQL:
                await self._wait(held, spec.id)
            case Action.SET_PASSWORD:
                await self._set_password(held, spec, secrets)
            case Action.MEND:
                await self._making.mend(self._making.intended(spec, doors))
                held.following.renewed = True
            case Action.STOP | Action.REMOVE:
                await (self._stop if action is Action.STOP else self._remove)(held, spec.id)
            case Action.DETACH | Action.RELEASE | Action.ATTACH:
                await self._move_databases(held, spec, doors, action)
            case _:
                change = {
                    Action.START: self._start,
                    Action.RESIZE_ONLINE: self._resize,
                    Action.RESTART: self._restart,
                    Action.UPGRADE: self._upgrade,
                    Action.GROW: self._grow,
                }
                await change[action](held, spec, doors)

    async def _create(self, spec: WorkspaceSpec, doors: Doors) -> None:
        if not exists(self._cache.view(spec.id)):
            await self._making.volume(self._making.intended(spec, doors))

    async def _remove(self, held: _Held, workspace: WorkspaceID) -> None:
        held.following.moving = True
        await remove(self._cluster, self._cache, workspace, self._clock)
        held.following.stopped()

    async def _start(self, held: _Held, spec: WorkspaceSpec, doors: Doors) -> None:
        housing = self._making.intended(spec, doors, upgraded=True)
        if self._away is not None and not await self._away.house(housing):
            return
        await adopt(self._making, housing)
        view, following = self._cache.view(spec.id), held.following
        if self._engines.lost(view):
            self._failed(held, spec, Reason.VOLUME_MISSING)
            return
        if following.process(view, self._clock.monotonic()) in _ALIVE and view.wanted:
            return
        if not self.fits(Limits.wanted(spec), committed_bytes=self._beside(spec.id)):
            self._failed(held, spec, Reason.MEMORY_SHORT)
            return
        if view.pod is not None and view.pod.ended is not None:
            # The kubelet would wait longer each time; when to try again is for the plan to say.
            await self._cluster.delete(kinds.POD, view.pod.name, names.namespace(spec.id))
            await self._until_gone(spec.id, view.pod.uid, _STOP_SECONDS)
        following.moving = False
        following.begin(self._clock.monotonic())
        try:
            intended = self._making.intended(spec, doors, upgraded=True)
            await self._making.engine(replace(intended, running=True))
        except CannotStart as error:
            self._failed(held, spec, error.reason)

    async def _move_databases(self, held: _Held, spec: WorkspaceSpec, doors: Doors, action: Action) -> None:
        view = self._cache.view(spec.id)
        if self._away is None:
            return
        if action is Action.RELEASE:
            await self._away.release(spec.id)
        elif view.pod is not None and _runs(view):
            door, intended = self._door(spec.id, view.pod.address), self._making.intended(spec, doors)
            attaching = action is Action.ATTACH
            await self._away.move(intended, door, held.trying, attaching=attaching)

    async def _wait(self, held: _Held, workspace: WorkspaceID) -> None:
        ends = self._clock.monotonic() + _WAIT_SECONDS
        while self._clock.monotonic() < ends:
            view = self._cache.view(workspace)
            if held.following.ended or not (view.wanted or view.runs):
                return
            if not view.wanted:
                # It was told to stop, and is started again once it has.
                await self._cache.news(workspace, _WAIT_SECONDS)
                continue
            # What it answered a moment ago still counts: only the pod was not ready yet.
            if not self._is_ready(view, held.following):
                await self._look(workspace, held)
            if self._is_ready(self._cache.view(workspace), held.following):
                return
            await self._cache.news(workspace, _POLL_SECONDS if _runs(view) else _WAIT_SECONDS)

    async def _set_password(self, held: _Held, spec: WorkspaceSpec, secrets: Secrets) -> None:
        view = self._cache.view(spec.id)
        if view.claim is None or view.pod is None or not _runs(view):
            return
        if secrets.password_version <= view.claim.password_version:
            return
        first = view.claim.password_version == 0
        door = self._door(spec.id, view.pod.address)
        intended = view.intended
        if intended is None:
            return
        # Meanwhile: an engine that answers has a volume that is never to be initialised again.
        proving = self._making.prove_kept(replace(intended, kept=True)) if first else asyncio.sleep(0)
        meanwhile = asyncio.ensure_future(proving)
        try:
            done = await self._engines.set_password(
                self._making, intended, door, secrets.password, first=first
            )
            await meanwhile
        except NotAuthenticated:
            # Somebody took away the rights of our account; a start makes it anew.
            await self._end_pod(held, spec.id)
            return
        finally:
            meanwhile.cancel()
            await asyncio.gather(meanwhile, return_exceptions=True)
        if not done:
            return
        said = {"metadata": {"annotations": {names.PASSWORD_VERSION: str(secrets.password_version)}}}
        place = names.namespace(spec.id)
        changed = await self._cluster.merge(kinds.CLAIM, view.claim.name, said, place)
        self._cache.note(kinds.CLAIM, changed)

    async def _resize(self, held: _Held, spec: WorkspaceSpec, doors: Doors) -> None:
        view, wanted = self._cache.view(spec.id), Limits.wanted(spec)
        if view.pod is None or not _runs(view):
            return
        if not self.fits(wanted, committed_bytes=self._beside(spec.id)):
            self._failed(held, spec, Reason.MEMORY_SHORT)
            return
        intended = self._making.intended(spec, doors)
        await self._making.engine(intended)
        self._follow_run(self._cache.view(spec.id), held)
        door = self._door(spec.id, view.pod.address)
        held.following.restart_needed = not await self._engines.resize(self._making, intended, door)

    async def _grow(self, held: _Held, spec: WorkspaceSpec, doors: Doors) -> None:
        view = self._cache.view(spec.id)
        ready = self._is_ready(view, held.following)
        intended = self._making.intended(spec, doors)
        failures = held.following.failures
        await self._volumes.grow(self._making, intended, view, held.growth, failures, ready=ready)

    async def _restart(self, held: _Held, spec: WorkspaceSpec, doors: Doors) -> None:
        following, view = held.following, self._cache.view(spec.id)
        hung = following.process(view, self._clock.monotonic()) is Process.UNRESPONSIVE
        before = following.failures
        await self._making.engine(self._making.intended(spec, doors))
        await self._end_pod(held, spec.id, grace=2 if hung else None)
        if hung:
            following.hung(before, spec.generation, self._clock.now())

    async def _upgrade(self, held: _Held, spec: WorkspaceSpec, doors: Doors) -> None:
        await self._making.engine(self._making.intended(spec, doors, upgraded=True))
        self._follow_run(self._cache.view(spec.id), held)
        if self._engines.rolls:
            await self._making.until(spec.id, _STOP_SECONDS, lambda view: not self._engines.rolling(view))
        else:
            await self._end_pod(held, spec.id)

    async def _end_pod(self, held: _Held, workspace: WorkspaceID, *, grace: int | None = None) -> None:
        """Have the controller replace the pod."""
        pod = self._cache.view(workspace).pod
        held.following.moving = True
        try:
            if pod is not None:
                await self._cluster.delete(kinds.POD, pod.name, names.namespace(workspace), grace=grace)
                await self._until_gone(workspace, pod.uid, _STOP_SECONDS)
        finally:
            held.following.moving = False
            held.following.begin(self._clock.monotonic())

    async def _stop(self, held: _Held, workspace: WorkspaceID) -> None:
        view = self._cache.view(workspace)
        intended = view.intended
        if intended is None or not (view.wanted or view.sets or view.pods):
            return
        held.following.moving = True
        try:
            if view.wanted or intended.running:
                await self._making.stopped(replace(intended, running=False))
            await self._making.until(workspace, _STOP_SECONDS, lambda seen: not seen.runs)
        finally:
            # Where the controller was not told, the engine runs on, and the next intent may want it to.
            view = self._cache.view(workspace)
            held.following.moving = view.runs and not view.wanted
        if not view.runs:
            held.following.stopped()

    async def _end(self, workspace: WorkspaceID) -> None:
        held = self._of(workspace)
        async with held.lock:
            await self._stop(held, workspace)

    async def _until_gone(self, workspace: WorkspaceID, uid: str, seconds: float) -> None:
        """Wait until the pod ``uid`` is gone."""
        await self._making.until(workspace, seconds, lambda view: view.pod is None or view.pod.uid != uid)

    # --- small things --------------------------------------------------------------------

    @property
    def _making(self) -> Making:
        assert self._authority is not None  # noqa: S101 - every call opens first
        off = self._threads.do
        return Making(self._cluster, self._cache, self._authority, self._engines, self._clock, off)

    @property
    def _away(self) -> Away | None:
        detaching = self._engines.detaching
        return Away(self._making, detaching, self._clock) if detaching is not None else None

    def _door(self, workspace: WorkspaceID, address: str) -> Door:
        assert self._authority is not None  # noqa: S101 - every call opens first
        name = names.within_cluster(workspace, "ddl")
        return Door(address, name, self._authority.certificate, self._authority.password(workspace))

    async def _renew(self, door: Door) -> None:
        try:
            await self._engines.renew(self._making, door)
        except ByocError as error:
            _LOG.info("certificate not taken yet", error=error.message)

    def _beside(self, workspace: WorkspaceID) -> int:
        return committed(self._cache.views, workspace, self._settings.size_divisor)

    def _failed(self, held: _Held, spec: WorkspaceSpec, reason: Reason) -> None:
        failures = held.following.failures
        held.following.failures = failures.failed(spec.generation, reason, self._clock.now())
        _LOG.warning("action failed", workspace=spec.id, reason=reason)


_ALIVE: Final = frozenset({Process.STARTING, Process.RUNNING, Process.UNRESPONSIVE})


def _runs(view: View) -> bool:
    pod = view.pod
    return pod is not None and bool(pod.address) and pod.running_since is not None and not pod.deleting
