"""One supervised process: started, watched, and started again when it dies.

Used by the supervisor. A child gets two descriptors: the lifeline, which ends with the supervisor
however that dies, and a pipe on which it says once that it serves. Nothing secret is in its
arguments or its environment.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from byoc.clock import Clock
from byoc.embedded import processes
from byoc.embedded.processes import Identity
from byoc.errors import Failed

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
_STEADY: Final = 10.0
"""Seconds a process must live for its earlier deaths to be forgotten."""
_ATTEMPTS: Final = 4
"""Deaths before the first readiness after which the start is given up."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a child runs.

    Args:
        name: of the process: its log and its line in the status.
        command: the program and its arguments; two options for the descriptors are added.
        environment: whole.
        log: where its output goes.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path


def pause(deaths: int) -> float:
    """Return how many seconds to wait before the start after ``deaths`` deaths in a row."""
    return float(min(_FIRST_PAUSE * 2 ** max(deaths - 1, 0), _LONGEST_PAUSE))


@dataclass
class Child:
    """A process that is kept running.

    Args:
        program: what it runs.
        lifeline: the reading end that the child inherits.
        clock: for backoff.
        on_start: told each time that a new process runs.
    """

    program: Program
    lifeline: int
    clock: Clock
    on_start: Callable[[], None]
    identity: Identity | None = None
    starts: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    _began: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _process: asyncio.subprocess.Process | None = None
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep the process running; once begun, nothing more is done."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_running(), name=self.program.name)
            self._began.set()

    async def ready(self) -> dict[str, Any]:
        """Return what the process announced first."""
        await self._ready.wait()
        return self.facts

    async def gave_up(self) -> None:
        """Wait for ever, unless the process dies again and again before it is ready.

        Raises:
            Failed: it did; the message has the last line of its log.
        """
        await self._began.wait()
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self, grace: float) -> None:
        """End the process: SIGTERM, then after ``grace`` seconds SIGKILL. It is not started again."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Failed):
                await self._task
        process = self._process
        if process is None or process.returncode is not None:
            return
        _signal(process.terminate)
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            _signal(process.kill)
            await process.wait()

    async def _keep_running(self) -> None:
        deaths = 0
        while True:
            began = self.clock.monotonic()
            code = await self._run_once()
            deaths = 1 if self.clock.monotonic() - began > _STEADY else deaths + 1
            if not self._ready.is_set() and deaths >= _ATTEMPTS:
                message = f"{self.program.name} does not start (exit {code}): {last_line(self.program.log)}"
                raise Failed(message, hint=f"see {self.program.log}")
            await self.clock.sleep(pause(deaths))

    async def _run_once(self) -> int:
        announced, announce = os.pipe()
        try:
            self._process = await self._spawn(announce)
        finally:
            os.close(announce)
        self.identity = processes.identify(self._process.pid)
        self.starts += 1
        self.on_start()
        reading = asyncio.create_task(self._read_announcement(announced))
        try:
            return await self._process.wait()
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _spawn(self, announce: int) -> asyncio.subprocess.Process:
        descriptors = ("--lifeline", str(self.lifeline), "--ready-fd", str(announce))
        with self.program.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self.program.command,
                *descriptors,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.program.environment),
                pass_fds=(self.lifeline, announce),
                # Ctrl-C at a terminal reaches the supervisor alone, which then stops children in order.
                start_new_session=True,
            )

    async def _read_announcement(self, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            line = await reader.readline()
        finally:
            transport.close()
        if line:
            self.facts = json.loads(line)
            self._ready.set()


def _signal(send: Callable[[], None]) -> None:
    with contextlib.suppress(ProcessLookupError):
        send()


def last_line(log: Path, *, most: int = 300) -> str:
    """Return the last line of a log that says what is wrong, not what to do, cut to ``most`` characters."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "it wrote no log"
    said = (line.strip() for line in reversed(lines))
    wrong = (line.removeprefix("error: ")[:most] for line in said if line and not line.startswith("hint:"))
    return next(wrong, "it wrote no log")
