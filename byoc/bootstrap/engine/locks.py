"""Locks of a stack: who holds it, and whether the holder is still alive.

Pulumi's own backends for folders and buckets put one JSON file per lock below
``.pulumi/locks/organization/<project>/<stack>/`` and never look whether its writer lives; its
``cancel`` removes every lock unseen. So each run of ours reads the locks first: a dead process
of this machine is unlocked, anything else is refused with a name and a time. The stack is
opened by :mod:`byoc.bootstrap.engine.stack` only.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc.bootstrap.engine.objects import Objects
from byoc.errors import PreconditionFailed

Alive = Callable[[int], bool]
"""Whether the process of that id on this machine is an engine at work."""

ENGINE: Final = "pulumi"


@dataclass(frozen=True)
class Lock:
    """One lock as its holder wrote it; ``since`` is the holder's own stamp, RFC 3339."""

    key: str
    pid: int
    username: str
    hostname: str
    since: str

    @property
    def holder(self) -> str:
        """Who holds it, for a person."""
        return f"{self.username}@{self.hostname} (process {self.pid}) since {self.since}"


def folder(project: str, stack: str) -> str:
    """Prefix of the keys of this stack's locks."""
    return f".pulumi/locks/organization/{project}/{stack}/"


def parse(key: str, data: bytes) -> Lock:
    """Read one lock file; what is missing or torn in it shows as unknown, never as an error."""
    try:
        facts = json.loads(data)
    except ValueError:
        facts = {}
    if not isinstance(facts, dict):
        facts = {}
    pid = facts.get("pid")
    return Lock(
        key=key,
        pid=pid if isinstance(pid, int) else 0,
        username=str(facts.get("username") or "unknown"),
        hostname=str(facts.get("hostname") or "unknown"),
        since=str(facts.get("timestamp") or "an unknown time"),
    )


def dead(lock: Lock, hostname: str, alive: Alive) -> bool:
    """Whether the holder certainly is no more: a process of this machine that does not run."""
    return lock.hostname == hostname and lock.pid > 0 and not alive(lock.pid)


def held(objects: Objects, project: str, stack: str) -> list[Lock]:
    """Every lock of the stack, as stored."""
    found = []
    for key in objects.keys(folder(project, stack)):
        # A folder backend writes `.attrs` files beside its objects; they are no locks.
        data = objects.read(key) if key.endswith(".json") else None
        if data is not None:
            found.append(parse(key, data))
    return found


def clear(objects: Objects, project: str, stack: str, *, hostname: str, alive: Alive) -> list[Lock]:
    """Remove the locks of dead processes of this machine and return them.

    Raises:
        PreconditionFailed: a living process, or one of another machine, holds the stack.
    """
    locks = held(objects, project, stack)
    others = [lock for lock in locks if not dead(lock, hostname, alive)]
    if others:
        raise refusal(stack, others)
    for lock in locks:
        objects.delete(lock.key)
    return locks


def refusal(stack: str, locks: Iterable[Lock]) -> PreconditionFailed:
    """The error that says who holds ``stack``."""
    holders = ", ".join(lock.holder for lock in locks)
    return PreconditionFailed(
        f"{stack} is locked by {holders}",
        hint="wait for that run to end; where it is certain that it died, repair with --unlock",
    )


def engine_runs(pid: int, processes: Path = Path("/proc")) -> bool:
    """Whether ``pid`` lives and, where this machine tells names, is the engine.

    The name matters after a reboot: ids are given again, and a lock must not outlive its holder
    because a shell got its number.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        return (processes / str(pid) / "comm").read_text().strip() == ENGINE
    except OSError:
        return not processes.is_dir()
