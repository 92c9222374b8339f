"""The local runtime: each workspace is one MariaDB process of this machine.

Made by ``byoc agent run``, used by the reconciler through the ``Runtime`` seam. Engines outlive
the agent: the next one finds them by what is in their volumes. Files and sockets are touched in
threads; what happens to one workspace happens one thing at a time.
"""

import asyncio
import errno
import ipaddress
import secrets as random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from byoc import __version__, durable, log
from byoc.clock import Clock
from byoc.dataplane.engine_sql import Answer
from byoc.dataplane.local import command, gauge, process, template, volume
from byoc.dataplane.local.engine import Engine, find, is_older
from byoc.dataplane.local.limits import memory, variables
from byoc.dataplane.local.probe import Door, ask, set_admin_password, set_variables
from byoc.dataplane.local.upgrade import bring_up_to_date, find_tool
from byoc.dataplane.local.verdict import why_it_ended
from byoc.dataplane.local.volume import Record, Run, Volume
from byoc.dataplane.runtime import Action, Doors, Failures, Limits, Observation, Process, Secrets
from byoc.dataplane.threads import Threads
from byoc.errors import ByocError, EngineFailed, Failed, NotAuthenticated, PreconditionFailed
from byoc.ids import WorkspaceID
from byoc.model.metrics import Sample
from byoc.model.report import CellFacts, Reason
from byoc.model.spec import SPEC_VERSION, WorkspaceSpec

PORTS: Final = range(21000, 31000)
"""Below the ports that systems hand out by themselves, so that a suspended workspace keeps its own."""
UNRESPONSIVE_AFTER: Final = 15.0
"""Seconds without an answer from an engine that had answered."""
STARTING_AT_MOST: Final = 600.0
"""Seconds for a start: recovery after a crash may be long."""
_STOP_SECONDS: Final = 30.0
_STOP_SECONDS_UNRESPONSIVE: Final = 2.0
_POLL_SECONDS: Final = 0.01
_WAIT_SECONDS: Final = 1.0
_WATCH_SECONDS: Final = 0.2
_THREADS: Final = 24
_LOG_BYTES: Final = 64 * 1024
_VARIABLES: Final = tuple(variables(Limits("S-00")))
_LOG: Final = log.get(__name__)


@dataclass
class _Held:
    """What is remembered of one workspace between calls; all of it can be lost."""

    volume: Volume
    run: Run | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    failures: Failures = field(default_factory=Failures)
    restart_needed: bool = False
    stopping: bool = False
    ended: bool = False
    """The end of ``run`` has been counted."""
    told: bool = False
    """The end of ``run`` has been yielded by ``watch``."""
    answered: float | None = None
    """Monotonic time of the last answer, or of when we began to look."""
    answer: Answer = field(default_factory=Answer)


class LocalRuntime:
    """Workspaces below ``folder / "volumes"``.

    Args:
        folder: the cell's folder; one agent at a time works on it.
        environment: says where to look for the engine.
        ports: from which each volume gets one for life.
        memory_bytes: of the machine; asked of it where it is not given.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        environment: Mapping[str, str],
        *,
        ports: range = PORTS,
        memory_bytes: int | None = None,
    ) -> None:
        self._volumes = folder.absolute() / "volumes"
        self._templates = folder.absolute() / "template"
        self._clock = clock
        self._environment = dict(environment)
        self._ports = ports
        self._engine = find(environment)
        self._memory = memory_bytes or process.memory_bytes()
        self._threads = Threads(_THREADS, "runtime")
        self._workspaces: dict[WorkspaceID, _Held] = {}
        self._children: set[int] = set()
        self._opened = False
        self._opening = asyncio.Lock()
        self._making = asyncio.Lock()

    # --- the seam ------------------------------------------------------------------------

    async def observe(self, workspace: WorkspaceID) -> Observation:
        """Return what is true of ``workspace`` now."""
        held = await self._held(workspace)
        record = await self._threads.do(held.volume.read)
        if held.run is not None and not held.stopping:
            await self._look(held, record)
        return self._describe(held, record)

    async def act(
        self,
        spec: WorkspaceSpec,
        action: Action,
        secrets: Secrets,
        doors: Doors = Doors(),  # noqa: ARG002 - engines listen on loopback only
    ) -> None:
        """Carry out one action."""
        held = await self._held(spec.id)
        async with held.lock:
            try:
                await self._act(held, spec, action, secrets)
            except (OSError, ByocError) as error:
                reason = _coded(error)
                if reason is None and isinstance(error, OSError):
                    raise Failed(f"cannot {action} workspace {spec.id}: {error.strerror or error}") from error
                if reason is None:
                    raise
                self._failed(held, spec, reason)
        if action is Action.REMOVE:
            self._workspaces.pop(spec.id, None)

    async def watch(self) -> AsyncIterator[WorkspaceID]:
        """Yield the id of each workspace whose process has ended."""
        await self._open()
        while True:
            for name, held in list(self._workspaces.items()):
                if held.run is None or held.stopping or held.told or self._seems_alive(held.run):
                    continue
                held.told = True
                yield name
            await self._clock.sleep(_WATCH_SECONDS)

    async def list(self) -> list[WorkspaceID]:
        """Return every workspace that has a volume here."""
        await self._open()
        return [each.id for each in await self._threads.do(volume.every, self._volumes)]

    def fits(self, limits: Limits, *, committed_bytes: int) -> bool:
        """Whether the machine has memory for ``limits`` beside ``committed_bytes`` of others."""
        return committed_bytes + memory(limits).total <= self._memory

    def has_room(self, workspace: WorkspaceID, limits: Limits) -> bool:
        """Whether the machine has memory for a workspace of ``limits`` beside the others."""
        held = self._workspaces.get(workspace)
        return self.fits(limits, committed_bytes=self._committed(held))

    def facts(self) -> CellFacts:
        """MariaDB, its version (empty while there is none), and the machine's memory."""
        found = self._engine.version if self._engine is not None else ""
        return CellFacts("MariaDB", found, __version__, SPEC_VERSION, self._memory)

    async def logs(self, workspace: WorkspaceID) -> str:
        """Return the end of the engine's own log."""
        words = Volume(self._volumes, workspace).words
        return await self._threads.do(words, at_most=_LOG_BYTES)

    async def metrics(self, workspace: WorkspaceID) -> tuple[Sample, ...]:
        """Return what the engine and the machine count now."""
        held = await self._held(workspace)
        run, record = held.run, await self._threads.do(held.volume.read)
        if run is None or record is None or held.stopping or self._process(held) is not Process.RUNNING:
            return ()
        return await self._threads.do(gauge.measure, held.volume, run, _door(held.volume, record))

    async def stored_bytes(self, workspace: WorkspaceID) -> int:
        """Return what the data folder takes on the machine's disk."""
        return await self._threads.do(Volume(self._volumes, workspace).used_bytes)

    async def owns(self, address: str, port: int) -> str:
        """Say so of every engine's port on this machine, whether the engine runs or not."""
        own = port in await self._threads.do(volume.taken_ports, self._volumes)
        return "an engine" if own and ipaddress.ip_address(address).is_loopback else ""

    async def close(self, *, stop_engines: bool) -> None:
        """Let go; engines go on unless they are to be stopped."""
        if stop_engines:
            await self._open()
            await asyncio.gather(*(self._stop_now(held) for held in self._workspaces.values()))
        await self._threads.close()

    # --- opening -------------------------------------------------------------------------

    async def _held(self, workspace: WorkspaceID) -> _Held:
        await self._open()
        return self._workspaces.setdefault(workspace, _Held(Volume(self._volumes, workspace)))

    async def _open(self) -> None:
        """Clear what a kill left, and know the engines that run. Once, and not before first use."""
        if self._opened:
            return
        async with self._opening:
            if not self._opened:
                await self._threads.do(self._adopt)
                self._opened = True

    def _adopt(self) -> None:
        durable.make_folder(self._volumes)
        volume.clear_leftovers(self._volumes)
        if process.as_root():
            _LOG.warning("engines run as root; an ordinary user is safer")
        for each in volume.every(self._volumes):
            try:
                run = each.read_run()
            except ByocError as error:
                _LOG.error("run file not understood", workspace=each.id, error=error.message)
                continue
            if run is not None:
                run = _find_process(each, run)
                self._workspaces[each.id] = _Held(each, run, answered=self._clock.monotonic())

    # --- observing -----------------------------------------------------------------------

    async def _look(self, held: _Held, record: Record | None) -> None:
        run = held.run
        if run is None or not await self._threads.do(self._alive, held):
            await self._threads.do(self._count_end, held)
            return
        answer = await self._threads.do(_ask, held.volume, record) if record is not None else None
        if answer is None and not await self._threads.do(self._alive, held):
            await self._threads.do(self._count_end, held)
        # Whatever was seen of an engine that was replaced meanwhile says nothing of the new one.
        if answer is None or held.run is not run:
            return
        held.answer, held.answered = answer, self._clock.monotonic()
        held.failures = held.failures.answered()
        if run.answered_at is None:
            held.run = replace(run, answered_at=self._clock.now())
            await self._threads.do(held.volume.write_run, held.run)

    def _describe(self, held: _Held, record: Record | None) -> Observation:
        now, run = self._process(held), held.run
        outdated = record is not None and record.upgrade_from != ""
        if outdated and now is Process.RUNNING:
            now = Process.STARTING
        ready = now is Process.RUNNING
        alive = now not in {Process.ABSENT, Process.EXITED}
        return Observation(
            exists=record is not None,
            process=now,
            sql_ready=ready,
            limits=_in_force(held.answer, run) if alive else None,
            restart_needed=alive and held.restart_needed,
            password_version=record.password_version if record else 0,
            endpoint=f"{command.HOST}:{record.port}" if record else None,
            started_at=run.started_at if run is not None and alive else None,
            connections=held.answer.connections if ready else 0,
            queries=held.answer.queries if ready else 0,
            failures=held.failures,
            waiting_for=Reason.UPGRADING_DATA if outdated and held.answered else None,
        )

    def _process(self, held: _Held) -> Process:
        if held.run is None:
            return Process.ABSENT
        if held.ended:
            return Process.EXITED
        silent = self._clock.monotonic() - (held.answered or 0.0)
        if held.run.answered_at is None:
            return Process.STARTING if silent < STARTING_AT_MOST else Process.UNRESPONSIVE
        return Process.RUNNING if silent < UNRESPONSIVE_AFTER else Process.UNRESPONSIVE

    def _alive(self, held: _Held) -> bool:
        run = held.run
        if run is None or held.ended:
            return False
        if run.pid not in self._children:
            return process.is_ours(run.pid, held.volume.data)
        # A child that was not collected lives, and its number is nobody else's. What it is called must not
        # be asked: for a moment after its start a program has no command line yet.
        if not process.collect(run.pid):
            return True
        self._children.discard(run.pid)
        return False

    def _seems_alive(self, run: Run) -> bool:
        """Like ``_alive``, at a cost that can be paid five times a second; it may miss a reused number."""
        if run.pid in self._children:
            return not process.collect(run.pid)
        return run.pid > 0 and process.exists(run.pid)

    def _count_end(self, held: _Held) -> None:
        """An engine ended without being asked to: say once what that was."""
        run = held.run
        if run is None or held.ended or held.stopping:
            return
        now = self._clock.now()
        reason = why_it_ended(held.volume.words(offset=run.log_offset, at_most=_LOG_BYTES))
        if run.answered_at is None:
            reason = reason or Reason.ENGINE_CANNOT_START
            held.failures = held.failures.failed(run.generation, reason, now)
        else:
            ran = (now - run.answered_at).total_seconds()
            reason = reason or Reason.ENGINE_EXITED
            held.failures = held.failures.crashed(run.generation, reason, now, ran_seconds=ran)
        held.ended = True
        _LOG.warning("engine ended", workspace=held.volume.id, reason=reason, pid=run.pid)

    # --- acting --------------------------------------------------------------------------

    async def _act(self, held: _Held, spec: WorkspaceSpec, action: Action, secrets: Secrets) -> None:
        match action:
            case Action.CREATE_VOLUME:
                await self._create(held)
            case Action.START:
                await self._start(held, spec)
            case Action.WAIT_FOR_SQL:
                await self._wait(held, spec)
            case Action.SET_PASSWORD:
                await self._set_password(held, spec, secrets)
            case Action.RESIZE_ONLINE:
                await self._resize(held, spec)
            case Action.RESTART:
                await self._restart(held, spec)
            case Action.MEND:
                pass  # Nothing of a workspace can be amiss here that an observation does not show itself.
            case Action.STOP:
                await self._stop(held)
            case Action.REMOVE:
                await self._stop(held, at_once=True)
                await self._threads.do(held.volume.remove)

    async def _create(self, held: _Held) -> None:
        if held.volume.exists:
            return
        engine = await self._need_engine()
        async with self._making:
            source = await self._threads.do(template.ensure, self._templates, engine)
            port = await self._threads.do(self._choose_port, held.volume.id)
            record = Record(port, engine.version, random.token_urlsafe(24))
            await self._threads.do(held.volume.create, source, record)

    async def _start(self, held: _Held, spec: WorkspaceSpec) -> None:
        if held.run is not None:
            if await self._threads.do(self._alive, held):
                return
            await self._threads.do(self._count_end, held)
        record = await self._threads.do(held.volume.read)
        if record is None:
            self._failed(held, spec, Reason.VOLUME_MISSING)
        elif not self.fits(Limits.wanted(spec), committed_bytes=self._committed(held)):
            self._failed(held, spec, Reason.MEMORY_SHORT)
        elif not volume.is_free(record.port):
            self._failed(held, spec, Reason.PORT_TAKEN)
        else:
            engine = await self._need_engine()
            if is_older(engine.version, record.engine_version):
                # One that opened it all the same would harm it: formats are only ever read by newer ones.
                self._failed(held, spec, Reason.ENGINE_TOO_OLD)
                return
            if is_older(record.engine_version, engine.version):
                written = record.upgrade_from or record.engine_version
                record = replace(record, engine_version=engine.version, upgrade_from=written)
            if record.upgrade_from and find_tool(engine, self._environment) is None:
                self._failed(held, spec, Reason.UPGRADE_TOOL_MISSING)
                return
            await self._threads.do(held.volume.write, record)
            await self._threads.do(self._launch, held, spec, engine, record)

    def _launch(self, held: _Held, spec: WorkspaceSpec, engine: Engine, record: Record) -> None:
        each = held.volume
        offset = each.prepare(record)
        run = Run(spec.generation, Limits.wanted(spec), self._clock.now(), offset)
        # Written first: an engine whose number was never written down is searched for.
        each.write_run(run)
        line = command.server(
            engine,
            each.folder,
            socket=each.socket,
            port=record.port,
            limits=run.limits,
            as_root=process.as_root(),
        )
        try:
            pid = process.spawn(engine, line, each.reach)
        except FileNotFoundError as error:
            self._engine = None
            raise _no_engine() from error
        self._children.add(pid)
        held.run, held.answer = replace(run, pid=pid), Answer()
        held.ended = held.told = held.restart_needed = False
        held.answered = self._clock.monotonic()
        each.write_run(held.run)

    async def _bring_up_to_date(self, held: _Held, spec: WorkspaceSpec, record: Record) -> None:
        """Let the engine's own tool follow, where an older series has written the data; may be repeated."""
        if not record.upgrade_from:
            return
        engine, each = await self._need_engine(), held.volume
        tool = find_tool(engine, self._environment)
        if tool is None:
            await self._stop(held)
            self._failed(held, spec, Reason.UPGRADE_TOOL_MISSING)
            return
        try:
            words, password = each.folder / "upgrade.log", record.internal_password
            await self._threads.do(bring_up_to_date, tool, engine, each.socket, password, words)
        except EngineFailed as error:
            _LOG.error("data not upgraded", workspace=each.id, error=error.message, hint=error.hint)
            await self._stop(held)
            self._failed(held, spec, Reason.DATA_NOT_UPGRADED)
            return
        await self._threads.do(each.write, replace(record, upgrade_from=""))

    async def _wait(self, held: _Held, spec: WorkspaceSpec) -> None:
        end = self._clock.monotonic() + _WAIT_SECONDS
        record = await self._threads.do(held.volume.read)
        while held.run is not None and record is not None and self._clock.monotonic() < end:
            if not await self._threads.do(self._alive, held):
                return
            if held.volume.socket.exists():
                before = held.answered
                await self._look(held, record)
                if held.answered != before:
                    await self._bring_up_to_date(held, spec, record)
                    return
            await self._clock.sleep(_POLL_SECONDS)

    async def _set_password(self, held: _Held, spec: WorkspaceSpec, secrets: Secrets) -> None:
        record = await self._threads.do(held.volume.read)
        if record is None or held.run is None or secrets.password_version <= record.password_version:
            return
        door = _door(held.volume, record)
        first = record.password_version == 0
        try:
            await self._threads.do(set_admin_password, door, secrets.password, first=first)
        except NotAuthenticated:
            # Somebody took away the rights of our account; a start makes it anew.
            await self._restart(held, spec)
            return
        await self._threads.do(held.volume.write, replace(record, password_version=secrets.password_version))

    async def _resize(self, held: _Held, spec: WorkspaceSpec) -> None:
        record, wanted = await self._threads.do(held.volume.read), Limits.wanted(spec)
        if record is None or held.run is None:
            return
        if not self.fits(wanted, committed_bytes=self._committed(held)):
            self._failed(held, spec, Reason.MEMORY_SHORT)
            return
        try:
            done = await self._threads.do(set_variables, _door(held.volume, record), variables(wanted))
        except NotAuthenticated:
            done = False
        held.restart_needed = not done
        if done:
            held.run = replace(held.run, limits=wanted, generation=spec.generation)
            await self._threads.do(held.volume.write_run, held.run)

    async def _restart(self, held: _Held, spec: WorkspaceSpec) -> None:
        hung = self._process(held) is Process.UNRESPONSIVE
        failures = held.failures
        await self._stop(held, hung=hung)
        if hung:
            now = self._clock.now()
            held.failures = failures.crashed(spec.generation, Reason.ENGINE_UNRESPONSIVE, now, ran_seconds=0)
        await self._start(held, spec)

    async def _stop_now(self, held: _Held) -> None:
        async with held.lock:
            await self._stop(held)

    async def _stop(self, held: _Held, *, hung: bool = False, at_once: bool = False) -> None:
        """End the engine, cleanly if it will; what it wrote is kept."""
        held.stopping = True
        try:
            if held.run is not None:
                patience = _STOP_SECONDS_UNRESPONSIVE if hung else _STOP_SECONDS
                await self._end_process(held, 0.0 if at_once else patience)
            await self._threads.do(held.volume.forget_run)
            held.run = None
            held.ended = held.told = held.restart_needed = False
            held.failures, held.answer = Failures(), Answer()
        finally:
            held.stopping = False

    async def _end_process(self, held: _Held, patience: float) -> None:
        run, data = held.run, held.volume.data
        if run is None:
            return
        if patience:
            await self._threads.do(process.terminate, run.pid, data)
        end = self._clock.monotonic() + patience
        while await self._threads.do(self._alive, held):
            if self._clock.monotonic() >= end:
                if patience:
                    _LOG.warning("engine did not stop in time and was killed", workspace=held.volume.id)
                await self._threads.do(process.kill, run.pid, data)
            await self._clock.sleep(_POLL_SECONDS)

    # --- small things --------------------------------------------------------------------

    async def _need_engine(self) -> Engine:
        if self._engine is None:
            self._engine = await self._threads.do(find, self._environment)
        if self._engine is None:
            raise _no_engine()
        return self._engine

    def _choose_port(self, workspace: WorkspaceID) -> int:
        port = volume.choose_port(workspace, self._ports, volume.taken_ports(self._volumes))
        if port is None:
            raise OSError(errno.EADDRINUSE, "no port is free")
        return port

    def _committed(self, held: _Held | None) -> int:
        others = (other.run for other in self._workspaces.values() if other is not held and not other.ended)
        return sum(memory(run.limits).total for run in others if run is not None)

    def _failed(self, held: _Held, spec: WorkspaceSpec, reason: Reason) -> None:
        held.failures = held.failures.failed(spec.generation, reason, self._clock.now())
        _LOG.warning("action failed", workspace=spec.id, reason=reason)


def _ask(each: Volume, record: Record) -> Answer | None:
    try:
        return ask(_door(each, record), _VARIABLES)
    except ByocError:
        return None


def _door(each: Volume, record: Record) -> Door:
    return Door(each.socket, record.port, record.internal_password)


def _in_force(answer: Answer, run: Run | None) -> Limits | None:
    """The limits, if the engine's own variables still say so."""
    if run is None or (answer.variables is not None and answer.variables != variables(run.limits)):
        return None
    return run.limits


def _find_process(each: Volume, run: Run) -> Run:
    if run.pid != 0:
        return run
    return replace(run, pid=process.find(each.data) or 0)


def _no_engine() -> PreconditionFailed:
    return PreconditionFailed("no SQL engine on this machine", hint="byoc engine install")


def _coded(error: OSError | ByocError) -> Reason | None:
    """The reason code of trouble that the machine makes; None for any other."""
    if isinstance(error, PreconditionFailed):
        return Reason.ENGINE_MISSING
    if isinstance(error, EngineFailed):
        return Reason.ENGINE_CANNOT_START
    cause = error if isinstance(error, OSError) else error.__cause__
    match getattr(cause, "errno", None):
        case errno.ENOSPC | errno.EDQUOT:
            return Reason.DISK_FULL
        case errno.EADDRINUSE:
            return Reason.PORT_TAKEN
        case _:
            return None
