"""`byoc up`: start an instance here, or in a process of its own that outlives the command.

Called by the command line. What must be refused without touching anything is checked first, in the
caller's process; then the folder's lock is taken and the supervisor does the rest.
"""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Final

from byoc.clock import SystemClock
from byoc.embedded import detached, layout
from byoc.embedded.down import down
from byoc.embedded.engine import installed
from byoc.embedded.lock import hold
from byoc.embedded.options import Report, UpOptions
from byoc.embedded.places import Places
from byoc.embedded.supervisor import Ready, Supervisor

_LOGS_OF_OTHERS: Final = ("controlplane", "gateway", "agent")


class Running:
    """An instance that is ready.

    Args:
        ready: what is known of it.
        foreground: what keeps it running in this process; None if another process does.
    """

    def __init__(self, ready: Ready, foreground: "_Foreground | None" = None) -> None:
        self.ready = ready
        self._foreground = foreground

    def facts(self) -> dict[str, object]:
        """Return what a program needs to use the instance; holds the owner's key."""
        instance = self.ready.instance
        return {
            "url": instance.url,
            "token": self.ready.token,
            "organizationID": instance.organization_id,
            "cellID": instance.cell_id,
            "gateway": instance.gateway,
            "data": str(instance.data),
            "pids": self.ready.pids,
        }

    def wait(self) -> None:
        """Stay until SIGINT, SIGTERM or SIGHUP, then stop everything; returns at once if detached."""
        if self._foreground is not None:
            self._foreground.wait()


class _Foreground:
    """A supervisor in this process, its event loop, and the folder's lock."""

    def __init__(self, options: UpOptions, report: Report) -> None:
        self._options = options
        self._report = report
        self._kept = contextlib.ExitStack()

    def start(self) -> Ready:
        with contextlib.ExitStack() as stack:
            stack.enter_context(hold(Places(self._options.data)))
            runner = stack.enter_context(asyncio.Runner())
            ready = runner.run(self._start())
            self._runner = runner
            self._kept = stack.pop_all()
        return ready

    async def _start(self) -> Ready:
        self._supervisor = Supervisor(self._options, self._report, SystemClock())
        return await self._supervisor.start()

    def wait(self) -> None:
        with self._kept:
            self._runner.run(self._supervisor.watch())


def up(options: UpOptions, report: Report) -> Running:
    """Start the instance; return once it is ready.

    Args:
        options: what is asked for.
        report: told each step, in this thread.

    Raises:
        DataInUse: the folder is in use, or of a newer version; nothing was touched.
        PreconditionFailed: no engine, a port is taken, the folder holds something else.
        Cancelled: interrupted before it was ready; nothing is left running.
        Failed: a process does not start; the hint names its log.
    """
    options = replace(options, data=_absolute(options.data))
    places = Places(options.data)
    if options.reset:
        down(options.data, delete_data=True, environment=options.environment)
    found = layout.read(places)
    engine = installed(options.environment)
    if found is not None:
        layout.check(found, places)
        layout.check_engine(found, engine.version, places)
    if options.detach:
        return Running(detached.start(options, report))
    foreground = _Foreground(options, report)
    return Running(foreground.start(), foreground)


def _absolute(data: Path) -> Path:
    return data.expanduser().absolute()
