"""One container of a pod kept running: pulled, started, probed, started again later each time.

Used by ``life``, which says what the container is run in and writes the status that is built here.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.emulated.machines.container import Box, Container
from tests.emulated.machines.content import Missing
from tests.emulated.machines.images import NoSuchImage
from tests.emulated.machines.probes import answers

Json = dict[str, Any]

FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 5.0
_QUIET: Final = 10.0
_EAGER: Final = 0.1
"""Seconds between probes until the first success; a machine would wait the probe's whole period."""

Packed = Callable[[Json], Awaitable[tuple[Box, list[str]] | None]]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Keep:
    """One container and what its pod says of it.

    Args:
        prepares: it is run before the pod's own containers, to its end.
        pack: returns what to run the container in; None for one that is only held ready.
        told: called when something changed.
        awake: waits for as long as the machine's kubelet does not run.
    """

    spec: Json
    words: Path
    pack: Packed
    told: Callable[[], Awaitable[None]]
    awake: Callable[[], Awaitable[None]]
    address: str
    prepares: bool = False
    container: Container | None = None
    state: Json = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last: Json = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    number: str = ""

    @property
    def said(self) -> Path:
        """The file in which the container may leave a message of its own."""
        return self.words.with_suffix(".said")

    def status(self) -> Json:
        """Return the container's part of the pod's status."""
        return {
            "name": self.spec["name"],
            "image": self.spec["image"],
            "imageID": self.spec["image"],
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "containerID": f"process://{self.number}",
            "allocatedResources": self.spec.get("resources", {}).get("requests"),
            "resources": self.spec.get("resources") or {},
            "state": {"waiting": None, "running": None, "terminated": None, **self.state},
            "lastState": {"terminated": self.last or None},
        }

    async def once(self) -> int:
        """Run it to its end; return with what it ended."""
        box = await self._packed()
        if box is None:
            return await self._held()
        container = self.container = await Container.start(*box, self.words)
        self.number = f"{self.address}-{self.restarts}-{container.pid}"
        await self._now({"running": {"startedAt": now()}})
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch(container))
            await container.process.wait()
            watching.cancel()
        await self.awake()
        await container.kill()
        return await self._ended(container)

    async def forever(self, *, always: bool) -> int:
        """Run it again whenever it ends; where not ``always``, only until it ends well."""
        delay = FIRST_DELAY
        while True:
            began = time.monotonic()
            code = await self.once()
            if code == 0 and not always:
                return code
            delay = FIRST_DELAY if time.monotonic() - began > _QUIET else delay
            await self._now({"waiting": {"reason": "CrashLoopBackOff", "message": f"back-off {delay}s"}})
            await asyncio.sleep(delay)
            await self.awake()
            delay = min(delay * 2, LONGEST_DELAY)
            self.restarts += 1

    async def _held(self) -> int:
        """Be ready without a process; what only prepares has done so at once."""
        if self.prepares:
            await self._now({"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": now()}})
            return 0
        self.ready = self.started = True
        await self._now({"running": {"startedAt": now()}})
        await asyncio.Event().wait()
        return 0

    async def _packed(self) -> tuple[Box, list[str]] | None:
        delay = FIRST_DELAY
        while True:
            try:
                return await self.pack(self.spec)
            except Missing as missing:
                await self._now(
                    {"waiting": {"reason": "CreateContainerConfigError", "message": str(missing)}}
                )
            except NoSuchImage as failed:
                reason = "ErrImagePull" if delay == FIRST_DELAY else "ImagePullBackOff"
                await self._now({"waiting": {"reason": reason, "message": str(failed)}})
            await asyncio.sleep(delay)
            await self.awake()
            delay = min(delay * 2, LONGEST_DELAY)

    async def _now(self, state: Json) -> None:
        self.state = state
        await self.told()

    async def _ended(self, container: Container) -> int:
        code = container.process.returncode or 0
        shown = 128 - code if code < 0 else code
        ended = {"exitCode": shown, "finishedAt": now(), "reason": "Completed" if not shown else "Error"}
        asked = self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if said := self.said.read_text("utf-8") if self.said.exists() else "":
            ended["message"] = said
        elif asked and shown:
            ended["message"] = container.last_words()
        self.ready = self.started = False
        self.last = ended
        await self._now({"terminated": ended})
        return shown

    async def _watch(self, container: Container) -> None:
        """Probe the container for as long as it runs."""
        startup, liveness = self.spec.get("startupProbe"), self.spec.get("livenessProbe")
        if startup and not await self._answered(container, startup):
            await self._unwell(container)
            return
        self.started = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self._readiness(container, self.spec.get("readinessProbe")))
            if liveness:
                group.create_task(self._liveness(container, liveness))

    async def _answered(self, container: Container, probe: Json) -> bool:
        """Whether a start-up probe succeeded in the time it has."""
        ends = time.monotonic() + probe.get("failureThreshold", 3) * probe.get("periodSeconds", 10)
        while time.monotonic() < ends:
            await self.awake()
            if await answers(container, self.spec, probe, self.address):
                return True
            await asyncio.sleep(_EAGER)
        return False

    async def _readiness(self, container: Container, probe: Json | None) -> None:
        if probe is None:
            self.ready = True
            await self.told()
            return
        failures = 0
        while True:
            await self.awake()
            well = await answers(container, self.spec, probe, self.address)
            failures = 0 if well else failures + 1
            ready = well or (self.ready and failures < probe.get("failureThreshold", 3))
            if ready is not self.ready:
                self.ready = ready
                await self.told()
            await asyncio.sleep(probe.get("periodSeconds", 10) if ready else _EAGER)

    async def _liveness(self, container: Container, probe: Json) -> None:
        failures = 0
        while failures < probe.get("failureThreshold", 3):
            await asyncio.sleep(probe.get("periodSeconds", 10))
            await self.awake()
            well = await answers(container, self.spec, probe, self.address)
            failures = 0 if well else failures + 1
        await self._unwell(container)

    async def _unwell(self, container: Container) -> None:
        with contextlib.suppress(ProcessLookupError):
            await container.end(5)
