"""One supervisor per data folder, for as long as it lives.

The kernel releases the lock with the process, however it dies, so a lock is never stale.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from byoc.durable import PRIVATE, make_folder
from byoc.embedded.places import Places
from byoc.errors import DataInUse


@contextmanager
def hold(places: Places) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        DataInUse: another instance holds it; the message names its pid.
    """
    make_folder(places.run)
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


def is_held(places: Places) -> bool:
    """Return whether an instance holds the folder now."""
    try:
        descriptor = os.open(places.lock, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
