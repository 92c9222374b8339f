"""Runs one instance: prepares its folder, starts its three processes, keeps them running, stops them.

Called by :mod:`byoc.embedded.up`, in the foreground or in a process of its own. The invariant: every
step may be the last before kill -9, and the next start goes on from there.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from byoc import durable
from byoc.clock import Clock
from byoc.embedded import identity, layout, ports, processes, programs, registry
from byoc.embedded.api import LocalApi
from byoc.embedded.child import Child, last_line
from byoc.embedded.files import write_json
from byoc.embedded.layout import Layout
from byoc.embedded.options import Report, Step, UpOptions
from byoc.embedded.places import Places
from byoc.embedded.registry import Instance
from byoc.errors import Cancelled, Failed

T = TypeVar("T")

_AGENT_GRACE: Final = 60.0
"""Seconds the agent gets to stop its engines: each writes what it holds in memory."""
_SERVER_GRACE: Final = 10.0
_JOIN_TIMEOUT: Final = 60.0
_POLL: Final = 0.02
STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Ready:
    """What is known once all is ready.

    Args:
        instance: as it is registered.
        token: the owner's Management API key.
        pids: of each process.
    """

    instance: Instance
    token: str
    pids: dict[str, int]


class Supervisor:
    """One running instance.

    Args:
        options: what was asked for.
        report: told each step.
        clock: for waits and stamps.
    """

    def __init__(self, options: UpOptions, report: Report, clock: Clock) -> None:
        self._options = options
        self._places = Places(options.data)
        self._report = report
        self._clock = clock
        self._began = clock.monotonic()
        self._children: dict[str, Child] = {}
        self._stop = asyncio.Event()
        self._lifeline = os.pipe()

    async def start(self) -> Ready:
        """Start everything; return once the cell is connected.

        Raises:
            Cancelled: a signal asked for the end meanwhile; nothing is left running.
            ByocError: something is missing; nothing is left running.
        """
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            loop.add_signal_handler(number, self._stop.set)
        try:
            return await self._unless_stopped(self._start())
        except BaseException:
            await self.stop()
            raise

    async def watch(self) -> None:
        """Keep everything running until a signal asks for the end; then stop it."""
        try:
            await self._stop.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop the cell first, so that its last report is heard, then the rest."""
        registry.unregister(self._places.data, self._options.environment)
        for name, grace in (
            ("agent", _AGENT_GRACE),
            ("gateway", _SERVER_GRACE),
            ("controlplane", _SERVER_GRACE),
        ):
            if name in self._children:
                await self._children[name].stop(grace)
        left = processes.engines(self._places)
        await asyncio.to_thread(processes.stop, left.values(), grace=_AGENT_GRACE)
        self._places.pids.unlink(missing_ok=True)
        for descriptor in self._lifeline:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    async def _start(self) -> Ready:
        left = await asyncio.to_thread(self._reap)
        if left:
            self._say("cleaned up", f"stopped what an earlier run left: {', '.join(left)}")
        current = self._open_folder()
        identity.make_gateway_certificate(self._places, self._clock.now())
        identity.point_cell_at_gateway(self._places, current.gateway_port)
        programs.open_logs(self._places)
        for name, program in programs.programs(self._places, current, self._options.environment).items():
            self._children[name] = Child(program, self._lifeline[0], self._clock, self._write_pids)
        if not self._places.identity.exists():
            # It makes its keys while the control plane makes its own.
            self._children["agent"].start()
        await self._initialise(current)
        self._children["controlplane"].start()
        self._children["gateway"].start()
        ready = await self._unless_dead(self._serve(current))
        registry.register(ready.instance, self._options.environment)
        return ready

    async def _serve(self, current: Layout) -> Ready:
        await self._children["gateway"].ready()
        # Only now: a cell that dialled before would wait before it dials again.
        self._children["agent"].start()
        await self._children["controlplane"].ready()
        url = f"http://127.0.0.1:{current.port}"
        self._say("control plane", f"{url}  data in {self._places.data}")
        self._say("gateway", f"127.0.0.1:{current.gateway_port}")
        token = self._places.owner_token.read_text(encoding="utf-8").strip()
        api = LocalApi(current.port, token)
        organization = await api.organization_id()
        cell = await self._join(api)
        self._say("cell local", "connected")
        supervisor = processes.identify(os.getpid())
        assert supervisor is not None  # noqa: S101 - this process runs
        instance = Instance(
            url, self._places.data, supervisor, organization, cell, programs.gateway_url(current.gateway_port)
        )
        return Ready(instance, token, {name: who.pid for name, who in self._members().items()})

    def _reap(self) -> list[str]:
        """Stop what an earlier supervisor left; engines stay, for the agent to adopt."""
        left = processes.read_pids(self._places)
        left.pop("supervisor", None)
        alive = {name: who for name, who in left.items() if processes.is_alive(who)}
        processes.stop(alive.values(), grace=_AGENT_GRACE)
        return list(alive)

    def _open_folder(self) -> Layout:
        found = layout.read(self._places)
        if found is not None:
            layout.check(found, self._places)
            layout.check_engine(found, self._engine_version(), self._places)
            if layout.is_older(found):
                kept = layout.back_up(self._places, found, _name(self._clock.now()))
                found = layout.migrate(self._places, found)
                self._say("migrated", f"data of an older version; a copy is in {kept}")
        else:
            # It may have been there, empty, with the mode its owner gives to folders.
            self._places.data.chmod(0o700)
        current = found or Layout()
        port = ports.api_port(self._options.port, current.port)
        chosen = replace(
            current,
            port=port,
            gateway_port=ports.gateway_port(current.gateway_port, port),
            engine_version=self._engine_version(),
        )
        if chosen != found:
            write_json(self._places.layout, layout.to_json(chosen))
        return chosen

    def _engine_version(self) -> str:
        from byoc.embedded.engine import installed  # noqa: PLC0415 - loads the local cell's code

        return installed(self._options.environment).version

    async def _initialise(self, current: Layout) -> None:
        if not self._places.owner_token.exists():
            log = self._places.log / "controlplane.log"
            with log.open("ab") as stream:
                process = await asyncio.create_subprocess_exec(
                    *programs.init_command(self._places),
                    stdin=asyncio.subprocess.DEVNULL,
                    # It may print the owner's key, which no log may hold.
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=stream,
                    env=programs.child_environment(self._options.environment, self._places, current),
                )
            if await process.wait() != 0:
                raise Failed(f"the control plane cannot be made: {last_line(log)}", hint=f"see {log}")
        identity.trust_root(self._places)

    async def _join(self, api: LocalApi) -> str:
        cell = await api.cell()
        try:
            async with asyncio.timeout(_JOIN_TIMEOUT):
                if not self._places.identity.exists():
                    await self._enrol(api, cell)
                while not await api.is_connected(cell):
                    await self._clock.sleep(_POLL)
                durable.remove(self._places.enrolment)
        except TimeoutError as error:
            message = "the local cell did not connect"
            raise Failed(message, hint=f"see {self._places.log / 'agent.log'}") from error
        return cell

    async def _enrol(self, api: LocalApi, cell: str) -> None:
        while not self._places.thumbprint.exists():
            await self._clock.sleep(_POLL)
        thumbprint = self._places.thumbprint.read_text(encoding="utf-8").strip()
        write_json(self._places.enrolment, await api.enrolment(cell, thumbprint))
        self._say("cell local", "enrolled")

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        stopping = asyncio.create_task(self._stop.wait())
        try:
            async with _cancelled_with(work) as task:
                await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not task.done():
                    raise Cancelled("stopped before it was ready; nothing is left running")
                return task.result()
        finally:
            stopping.cancel()

    async def _unless_dead(self, work: Coroutine[Any, Any, T]) -> T:
        dead = asyncio.create_task(self._first_to_give_up())
        try:
            async with _cancelled_with(work) as task:
                await asyncio.wait({task, dead}, return_when=asyncio.FIRST_COMPLETED)
                if not task.done():
                    dead.result()
                return await task
        finally:
            dead.cancel()

    async def _first_to_give_up(self) -> None:
        await asyncio.gather(*(child.gave_up() for child in self._children.values()))

    def _members(self) -> dict[str, processes.Identity]:
        own = processes.identify(os.getpid())
        members = {} if own is None else {"supervisor": own}
        return members | {name: child.identity for name, child in self._children.items() if child.identity}

    def _write_pids(self) -> None:
        processes.write_pids(self._places, self._members())

    def _say(self, name: str, detail: str) -> None:
        self._report(Step(name, detail, self._clock.monotonic() - self._began))


@contextlib.asynccontextmanager
async def _cancelled_with(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run ``work`` beside the block; it does not outlive it."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


def _name(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")
