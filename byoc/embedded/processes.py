"""Processes by identity: a pid and the time it started, so that a reused pid is never mistaken.

Used to know what an earlier supervisor left, to stop it, and to prove that nothing is left.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from byoc.embedded.files import read_json, write_json
from byoc.embedded.places import Places

_SAME_START: Final = 0.02
"""Seconds by which two readings of one start time may differ: they pass through decimal text."""

_POLL: Final = 0.01
_KILL_GRACE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, for good.

    Args:
        pid: its number.
        started: seconds since the epoch, as the kernel tells.
    """

    pid: int
    started: float


def identify(pid: int) -> Identity | None:
    """Return who has ``pid`` now; None if nobody has."""
    try:
        return Identity(pid, psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def is_alive(who: Identity) -> bool:
    """Return whether that very process still runs; a zombie does not."""
    return _process(who) is not None


def _process(who: Identity) -> psutil.Process | None:
    try:
        process = psutil.Process(who.pid)
        if abs(process.create_time() - who.started) > _SAME_START:
            return None
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.Error:
        return None


def resident(who: Identity) -> int:
    """Return the bytes of memory the process holds; 0 if it is gone."""
    process = _process(who)
    try:
        return int(process.memory_info().rss) if process is not None else 0
    except psutil.Error:
        return 0


def stop(whos: Iterable[Identity], *, grace: float) -> list[Identity]:
    """End processes: SIGTERM, then after ``grace`` seconds SIGKILL; return those that needed the latter."""
    alive = {who: process for who in whos if (process := _process(who)) is not None}
    for process in alive.values():
        _signal(process, "terminate")
    stubborn = _wait(alive, grace)
    for who in stubborn:
        _signal(alive[who], "kill")
    _wait(stubborn, _KILL_GRACE)
    return stubborn


def _wait(whos: Iterable[Identity], seconds: float) -> list[Identity]:
    """Return who is left after ``seconds``, or nobody as soon as nobody is.

    Not psutil's own wait: a zombie whose parent is slow to collect it is gone for us.
    """
    end = time.monotonic() + seconds
    while (left := [who for who in whos if is_alive(who)]) and time.monotonic() < end:
        time.sleep(_POLL)
    return left


def _signal(process: psutil.Process, how: str) -> None:
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        return


def write_pids(places: Places, members: Mapping[str, Identity]) -> None:
    """Keep who runs, by name."""
    write_json(places.pids, {name: {"pid": who.pid, "started": who.started} for name, who in members.items()})


def read_pids(places: Places) -> dict[str, Identity]:
    """Return who was written last; some may be gone."""
    found = {}
    for name, value in (read_json(places.pids) or {}).items():
        try:
            found[name] = Identity(int(value["pid"]), float(value["started"]))
        except (KeyError, TypeError, ValueError):
            continue
    return found


def engines(places: Places) -> dict[str, Identity]:
    """Return the SQL engines that run on this instance's volumes, by workspace.

    Found by what they were started with, not by files, so that one which nobody remembers is found too.
    """
    found = {}
    root = str(places.volumes) + "/"
    for process in psutil.process_iter(["pid", "name", "cmdline", "create_time", "status"]):
        facts = process.info
        if facts["status"] == psutil.STATUS_ZOMBIE or not str(facts["name"]).startswith(("maria", "mysqld")):
            continue
        for argument in facts["cmdline"] or ():
            _, _, value = argument.partition("=")
            if value.startswith(root):
                workspace = Path(value).relative_to(places.volumes).parts[0]
                found[workspace] = Identity(facts["pid"], facts["create_time"])
    return found


def who_listens(port: int) -> str:
    """Return the name and pid of the process that listens on ``port``; empty where that is not to be seen."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            local = tuple(connection.laddr)
            if connection.status == psutil.CONN_LISTEN and local[1:2] == (port,) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""


def as_text(members: Mapping[str, Identity]) -> str:
    """Return names and pids on one line, for messages."""
    return json.dumps({name: who.pid for name, who in members.items()})
