"""Files that survive kill -9 and a power cut: whoever promises durability writes through here.

Used by the cell, the store's keys, the gateway and the command line. The invariant: when a
function returns, the bytes *and* the folder entry that names them are on disk; a reader sees
the old content or the new, never a mixture. A name beginning with a dot and ending in
``.tmp`` is a write that was cut short; the next write of the same file takes it over, and its
removal takes it along.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from byoc.errors import Unwritable

PRIVATE: Final = 0o600
"""Mode of a file that nobody but its owner may read."""


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        raise Unwritable(message, hint="free some disk space or check the folder's owner") from error


def write_file(path: Path, data: bytes | str, mode: int = PRIVATE) -> None:
    """Replace ``path`` by ``data`` atomically; text is written as UTF-8. The folder must exist.

    Raises:
        Unwritable: disk full, no permission, no folder. The old content is still there.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary = _temporary(path)
    with _translated(path):
        descriptor = _open_locked(temporary, mode)
        try:
            os.ftruncate(descriptor, 0)
            _write_all(descriptor, content)
            os.fsync(descriptor)
            temporary.replace(path)
        finally:
            os.close(descriptor)
        _sync_folder(path.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _open_locked(path: Path, mode: int) -> int:
    # The lock makes a second writer of the same file wait; by then the name may have moved on.
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _names(path, descriptor):
                os.fchmod(descriptor, mode)
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep every other process that asks for the same file waiting while the block runs.

    The kernel lets go with the process, however it dies. The file itself stays, and is empty.

    Raises:
        Unwritable: it cannot be made.
    """
    with _translated(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def append(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Add ``data`` at the end of ``path``, making the file with ``mode`` if it is missing.

    One writer at a time. A crash may leave a part of ``data`` at the end.

    Raises:
        Unwritable: disk full, no permission, no folder. What was written of ``data`` is cut off again.
    """
    with _translated(path):
        new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            append_to(descriptor, data)
        finally:
            os.close(descriptor)
        if new:
            _sync_folder(path.parent)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on a file; one that cannot be opened is held by nobody.

    Asked with a shared lock, so that two who ask do not take each other for the holder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def append_to(descriptor: int, data: bytes, *, sync: bool = True) -> None:
    """Add ``data`` to an open file and fsync it; what a full disk took of it is cut off again.

    ``sync``: False leaves the fsync to the caller, who has several to put on disk at once. Then
    the bytes outlive a kill of the process, but not yet the machine's end.

    Raises:
        OSError: it could not be written.
    """
    end = os.fstat(descriptor).st_size
    try:
        _write_all(descriptor, data)
        if sync:
            os.fsync(descriptor)
    except OSError:
        # Where even that fails, the first error is the one to tell.
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def remove(path: Path) -> None:
    """Remove a file so that it stays removed; a missing one is no error.

    Raises:
        Unwritable: no permission.
    """
    with _translated(path):
        _drop(_temporary(path))
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            _sync_folder(path.parent)


def _drop(temporary: Path) -> None:
    """Remove what a write left that was cut short; one that is under way is let be."""
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _names(temporary, descriptor):
            temporary.unlink()
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Make ``path`` and the folders above it that are missing, each with its name on disk.

    Raises:
        Unwritable: no permission, or a file is in the way.
    """
    with _translated(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode, exist_ok=True)
            _sync_folder(folder.parent)
        if not path.is_dir():
            raise NotADirectoryError(20, "a file is in the way")


def sync_folder(path: Path) -> None:
    """Put the names in folder ``path`` on disk: needed after a rename or a removal by other means.

    Raises:
        Unwritable: the folder is missing or the disk fails.
    """
    with _translated(path):
        _sync_folder(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
