"""`byoc status`: what of an instance runs now, read from the machine and not from what anybody claims."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from byoc.embedded import processes, registry
from byoc.embedded.places import Places
from byoc.embedded.processes import Identity


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process.

    Args:
        name: ``supervisor``, ``controlplane``, ``gateway``, ``agent``, or a workspace's id for its engine.
        pid: its number.
        alive: whether it runs.
        resident: bytes of memory it holds.
        seconds: since it started.
        workspace: for an engine, what its workspace is called; empty where the cell has not said.
    """

    name: str
    pid: int
    alive: bool
    resident: int
    seconds: float
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """One instance.

    Args:
        data: its folder.
        running: whether a supervisor answers for it.
        url: of the Management API; empty if it does not run.
        gateway: the gateway's URL; empty if it does not run.
        cell_id: of the local cell; empty if it does not run.
        processes: its own.
        engines: the SQL servers of its workspaces.
    """

    data: Path
    running: bool
    url: str
    gateway: str
    cell_id: str
    processes: tuple[ProcessStatus, ...]
    engines: tuple[ProcessStatus, ...]


def status(data: Path, *, environment: Mapping[str, str]) -> Status:
    """Return what runs on ``data``; of a folder that holds no instance, nothing does."""
    places = Places(data.expanduser().absolute())
    known = [found for found in registry.instances(environment) if found.data == places.data]
    members = processes.read_pids(places)
    return Status(
        data=places.data,
        running="supervisor" in members and processes.is_alive(members["supervisor"]),
        url=known[0].url if known else "",
        gateway=known[0].gateway if known else "",
        cell_id=known[0].cell_id if known else "",
        processes=tuple(_look(name, who) for name, who in members.items()),
        engines=tuple(
            _look(name, who, _called(places, name)) for name, who in processes.engines(places).items()
        ),
    )


def _called(places: Places, workspace: str) -> str:
    try:
        held = json.loads((places.workspaces / f"{workspace}.json").read_text(encoding="utf-8"))
        return str(held["spec"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _look(name: str, who: Identity, workspace: str = "") -> ProcessStatus:
    alive = processes.is_alive(who)
    seconds = max(0.0, time.time() - who.started) if alive else 0.0
    return ProcessStatus(name, who.pid, alive, processes.resident(who), seconds, workspace)
