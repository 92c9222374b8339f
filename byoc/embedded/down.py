"""`byoc down`: end an instance and prove that nothing of it is left.

Also what cleans up after a supervisor that was killed: whatever still runs on the folder's data is
found by its pid file and by what it was started with, and stopped in order.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc.embedded import layout, processes, registry
from byoc.embedded.lock import hold, is_held
from byoc.embedded.places import Places
from byoc.embedded.processes import Identity
from byoc.errors import Failed

_GRACE: Final = 90.0
"""Seconds the supervisor gets; it gives its agent 60."""
_CHILD_GRACE: Final = 20.0
_POLL: Final = 0.02


@dataclass(frozen=True, slots=True)
class Stopped:
    """What `down` did.

    Args:
        data: the instance's folder.
        processes: names of those that ran and are gone.
        deleted: whether the folder was deleted too.
    """

    data: Path
    processes: tuple[str, ...]
    deleted: bool


def down(data: Path, *, delete_data: bool = False, environment: Mapping[str, str]) -> Stopped:
    """Stop the instance on ``data``; without one there is nothing to do, which is no error.

    Raises:
        PreconditionFailed: ``delete_data``, and the folder is not an instance's.
        Failed: something still runs; the message names it.
    """
    places = Places(data.expanduser().absolute())
    found = layout.read(places) if delete_data else None
    running = _running(places)
    _stop(places, running)
    left = _running(places)
    if left:
        raise Failed(f"still running: {processes.as_text(left)}", hint="run `byoc down` again")
    registry.unregister(places.data, environment)
    if found is not None:
        with hold(places):
            _delete(places)
    return Stopped(places.data, tuple(running), deleted=found is not None)


def _running(places: Places) -> dict[str, Identity]:
    members = {name: who for name, who in processes.read_pids(places).items() if processes.is_alive(who)}
    engines = {f"engine {name}": who for name, who in processes.engines(places).items()}
    return members | engines


def _stop(places: Places, running: Mapping[str, Identity]) -> None:
    # The supervisor stops its children in the right order; only what it leaves is stopped here.
    if "supervisor" in running:
        processes.stop([running["supervisor"]], grace=_GRACE)
    _wait_for_lock(places)
    for name in ("agent", "gateway", "controlplane"):
        if name in running:
            processes.stop([running[name]], grace=_CHILD_GRACE)
    processes.stop(processes.engines(places).values(), grace=_CHILD_GRACE)


def _wait_for_lock(places: Places) -> None:
    # A supervisor that has only just begun holds the lock before its pid is written.
    end = time.monotonic() + _CHILD_GRACE
    while is_held(places) and time.monotonic() < end:
        holder = processes.identify(int(places.lock.read_text().strip() or 0))
        if holder is not None:
            processes.stop([holder], grace=_GRACE)
        time.sleep(_POLL)


def _delete(places: Places) -> None:
    # The layout goes last: as long as it is there, the folder is known to be ours.
    for entry in places.data.iterdir():
        if entry != places.layout and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
    for entry in places.data.iterdir():
        if entry != places.layout:
            entry.unlink()
    places.layout.unlink()
    places.data.rmdir()
