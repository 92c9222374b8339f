"""Engines as processes: start one, know it again, end it, and never touch another's.

An engine outlives the agent that started it. It is known again by its command line, which names
the data folder of its volume; a process that only has the same number is not ours.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil

from byoc.dataplane.local import confine
from byoc.dataplane.local.confine import Reach
from byoc.dataplane.local.engine import PROGRAM, Engine, process_environment

_DEFAULT_SIGNALS: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Ignored by Python, and so by what it starts, unless said otherwise."""


def spawn(engine: Engine, command: list[str], reach: Reach) -> int:
    """Start an engine in a session of its own, so that no signal to us reaches it; return its number.

    ``reach``: what it may touch; its own program and files are added.

    Raises:
        OSError: it cannot be started.
    """
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]

    def start() -> int:
        return os.posix_spawn(
            engine.program,
            command,
            process_environment(engine.libraries),
            file_actions=null,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )

    own = [engine.share, engine.program.resolve().parent, *([engine.root] if engine.root else [])]
    return confine.run(start, replace(reach, readable=[*reach.readable, *own]))


def collect(pid: int) -> bool:
    """Return whether the child ``pid`` has ended, and collect it if so."""
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


def exists(pid: int) -> bool:
    """Whether there is a process ``pid``, of whatever kind: the cheapest of all looks."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_ours(pid: int, data: Path) -> bool:
    """Whether process ``pid`` lives and is an engine on the data folder ``data``."""
    return _ours(pid, data) is not None


def find(data: Path) -> int | None:
    """Search all processes for the engine on ``data``: for one whose start was not written down."""
    for process in psutil.process_iter(["pid"]):
        if _ours(process.pid, data) is not None:
            return int(process.pid)
    return None


def terminate(pid: int, data: Path) -> None:
    """Ask our engine to finish what it does and end; nothing happens to another process."""
    process = _ours(pid, data)
    if process is not None:
        _signal(process.terminate)


def kill(pid: int, data: Path) -> None:
    """End our engine at once; nothing happens to another process."""
    process = _ours(pid, data)
    if process is not None:
        _signal(process.kill)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used of the machine: processor seconds since its start, bytes of memory now."""

    cpu_seconds: float
    memory_bytes: int


def usage(pid: int, data: Path) -> Usage | None:
    """Return what our engine uses; None where it is not there."""
    process = _ours(pid, data)
    if process is None:
        return None
    try:
        with process.oneshot():
            times = process.cpu_times()
            return Usage(times.user + times.system, int(process.memory_info().rss))
    except psutil.Error:
        return None


def processors() -> int:
    """Return how many processors an engine may use: all of the machine's that we may."""
    return psutil.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of this machine, or of the control group we are in where that is less."""
    total = int(psutil.virtual_memory().total)
    try:
        allowed = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
    except OSError:
        return total
    return min(total, int(allowed)) if allowed.isdecimal() else total


def as_root() -> bool:
    """Whether engines run as root, which they must be told to want."""
    return os.geteuid() == 0


def _ours(pid: int, data: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        zombie = process.status() == psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return None
    named = bool(command) and Path(command[0]).name == PROGRAM and f"--datadir={data}" in command
    return process if named and not zombie else None


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.Error:
        return
