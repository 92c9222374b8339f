"""Keeping an engine's hands off the rest of the machine, where Linux lets us (Landlock).

``admin`` has neither FILE nor SUPER, but whoever may make users can make one that has. So the
engine's process itself is confined: it writes its own data only, and reads its volume, the system's
programs and libraries, and a handful of files that the C library wants. Newer kernels also keep it
from calling out over TCP and from sending signals to processes of others. Without Landlock (an older
kernel, another system) engines run unconfined; ``available`` says which.

A restriction holds for one thread and what it starts, for ever. So each engine is started from a
thread of its own that ends right after.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar

T = TypeVar("T")

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVILEGES: Final = 38
_OLDEST: Final = 2
"""The first version that allows renames between folders, as RENAME TABLE needs."""
_TRUNCATE_SINCE: Final = 3
_CONNECT_SINCE: Final = 4
_SCOPE_SINCE: Final = 6
_CONNECT_TCP: Final = 1 << 1
_SCOPES: Final = 1 << 0 | 1 << 1
"""Abstract Unix sockets, and signals: both end at what was started in the same confinement."""
_MAKE_SOCKET: Final = 1 << 9
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READ: Final = _EXECUTE | _READ_FILE | _READ_FOLDER
_ON_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_ALL: Final = (1 << 14) - 1

_READABLE: Final = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix", "/sys"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ssl", "/etc/crypto-policies"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime", "/etc/timezone"),
    *("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/gai.conf"),
    *("/proc/sys", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/mounts"),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
)
_WRITABLE: Final = ("/dev/null",)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a confined engine may touch beside the system's own files; folders with all in them.

    Attributes:
        sockets: folders in which it may make sockets, and nothing else.
    """

    readable: Iterable[Path] = ()
    writable: Iterable[Path] = ()
    sockets: Iterable[Path] = ()


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


@cache
def version() -> int:
    """Return which version of Landlock the kernel offers; 0 for none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(_call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG)), 0)


def available() -> bool:
    """Whether engines are confined on this machine."""
    return version() >= _OLDEST


def run(start: Callable[[], T], reach: Reach) -> T:
    """Call ``start`` from a thread that can touch nothing beyond ``reach``, and return what it returns.

    Raises:
        OSError: the kernel refused, or ``start`` raised it.
    """
    if not available():
        return start()
    outcome: list[T] = []
    trouble: list[BaseException] = []

    def confined() -> None:
        try:
            _restrict(reach)
            outcome.append(start())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            trouble.append(error)

    thread = Thread(target=confined, name="start-engine")
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return outcome[0]


def _handled() -> _Ruleset:
    known = version()
    return _Ruleset(
        files=_ALL | (_TRUNCATE if known >= _TRUNCATE_SINCE else 0),
        # No rule ever allows a connection, so none is made.
        network=_CONNECT_TCP if known >= _CONNECT_SINCE else 0,
        scopes=_SCOPES if known >= _SCOPE_SINCE else 0,
    )


def _restrict(reach: Reach) -> None:
    handled = _handled()
    # What an older kernel does not know of is zero, and a longer structure of zeros is taken.
    size = ctypes.c_size_t(ctypes.sizeof(handled))
    rules = _checked(_CREATE_RULESET, ctypes.byref(handled), size, ctypes.c_uint32(0))
    try:
        for path in (*map(Path, _READABLE), *reach.readable):
            _allow(rules, path, _READ)
        for path in (*map(Path, _WRITABLE), *reach.writable):
            _allow(rules, path, int(handled.files))
        for path in reach.sockets:
            _allow(rules, path, _MAKE_SOCKET)
        if _libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            raise _last_error()
        _checked(_RESTRICT_SELF, rules, ctypes.c_uint32(0))
    finally:
        os.close(rules)


def _allow(rules: int, path: Path, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What is not there needs no rule.
    try:
        allowed = access if path.is_dir() else access & _ON_FILES
        rule = _PathBeneath(allowed, descriptor)
        _checked(_ADD_RULE, rules, ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _checked(number: int, *arguments: object) -> int:
    answer = _call(number, *arguments)
    if answer < 0:
        raise _last_error()
    return answer


def _call(number: int, *arguments: object) -> int:
    return int(_libc().syscall(ctypes.c_long(number), *arguments))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _last_error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"cannot confine the engine: {os.strerror(code)}")
