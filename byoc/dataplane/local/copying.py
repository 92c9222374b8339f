"""Copying a folder tree fast, and putting it on disk before anybody relies on it."""

import ctypes
import errno
import os
import shutil
from pathlib import Path
from typing import Final

_NOT_HERE: Final = frozenset({errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


def copy(source: Path, target: Path) -> None:
    """Copy a tree; where the file system can, the copy shares blocks with its source.

    Raises:
        OSError: disk full, no permission, ``target`` exists.
    """
    shutil.copytree(source, target, copy_function=_copy_file)


def sync(folder: Path) -> None:
    """Put everything below ``folder`` on disk.

    Raises:
        OSError: the disk fails.
    """
    sync_file_system = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if sync_file_system is None:
        _sync_each(folder)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if sync_file_system(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "cannot sync the file system")
    finally:
        os.close(descriptor)


def _copy_file(source: str, target: str) -> str:
    if not hasattr(os, "copy_file_range") or not _copy_by_kernel(source, target):
        shutil.copyfile(source, target)
    return target


def _copy_by_kernel(source: str, target: str) -> bool:
    """Copy within the kernel; False where the file system cannot."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        left = os.fstat(reading).st_size
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            while left:
                copied = os.copy_file_range(reading, writing, left)
                if copied == 0:
                    return False
                left -= copied
        except OSError as error:
            if error.errno in _NOT_HERE:
                return False
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    return True


def _sync_each(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for path in (Path(parent), *(Path(parent, name) for name in files)):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
