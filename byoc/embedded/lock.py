"""One supervisor per data folder, for as long as it lives.

The kernel releases the lock with the process, however it dies, so a lock is never stale.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from byoc.durable import PRIVATE, is_locked, make_folder
from byoc.embedded.places import Places
from byoc.errors import DataInUse, PreconditionFailed


@contextmanager
def hold(places: Places) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        DataInUse: another instance holds it; the message names its pid.
        PreconditionFailed: somebody else may change what is in the folder.
    """
    _check_ours(places.data)
    make_folder(places.run)
    for folder in (places.run, places.log):
        _check_ours(folder)
    # Not inheritable, as all descriptors Python opens: a child that stays must not keep the lock.
    descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT, PRIVATE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{places.data} is in use by the instance with pid {_holder(descriptor)}"
            raise DataInUse(message, hint=f"stop it with `byoc down --data {places.data}`") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_private(owner: int, mode: int, *, me: int) -> bool:
    """Return whether nobody but ``me`` and root may change what is in a folder; groups are trusted."""
    return owner in {me, 0} and not mode & stat.S_IWOTH


def _check_ours(folder: Path) -> None:
    """Refuse a folder that somebody else laid out: its owner could swap keys, logs and pids."""
    try:
        facts = folder.stat()
    except OSError:
        return
    if not is_private(facts.st_uid, facts.st_mode, me=os.geteuid()):
        message = f"{folder} belongs to somebody else, or anybody may write there"
        raise PreconditionFailed(message, hint="name a folder of your own with --data")


def is_held(places: Places) -> bool:
    """Return whether an instance holds the folder now."""
    return is_locked(places.lock)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
