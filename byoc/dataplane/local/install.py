"""Getting MariaDB onto a machine that has none: ``byoc engine install``.

Deciding how (:func:`decide`) is apart from doing it. As root on Debian and Ubuntu the
distribution's own package is installed: the bare server, no service, no system user. Without
root the same packages, with what they need and this machine lacks, are fetched by the machine's
own apt with lists of ours, and unpacked into the cache. Elsewhere the line to run is the answer.

Whatever is killed can be run again: a download goes on where it was, and an engine in the cache
has its name only when it is whole and has run.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from byoc.dataplane.local.engine import CACHED_ROOT, MINIMUM, Engine, cache_folder, find, unpacked
from byoc.errors import PreconditionFailed, Unwritable

__all__ = ["Machine", "Way", "decide", "find", "install"]

Report = Callable[[str], None]

_PACKAGE: Final = "mariadb-server-core"
_PACKAGES: Final = (_PACKAGE, f"{_PACKAGE}-10.11", f"{_PACKAGE}-10.6")
"""Newer releases have the first; Ubuntu 22.04 has the last."""
_LINES: Final = {
    "fedora": "sudo dnf install mariadb-server",
    "rhel": "sudo dnf install mariadb-server",
    "centos": "sudo dnf install mariadb-server",
    "suse": "sudo zypper install mariadb",
    "arch": "sudo pacman -S mariadb",
    "alpine": "sudo apk add mariadb",
}
_MACOS: Final = "brew install mariadb"
_CANDIDATE: Final = re.compile(r"^(\S+):\n.*\n\s+Candidate: (?:\d+:)?(\d+)\.(\d+)", re.MULTILINE)
_UNWANTED: Final = ("DEP-11", "DEP-11-icons-small", "DEP-11-icons", "CNF", "Contents-deb")
_NEEDED: Final = "MariaDB {}.{} or newer".format(*MINIMUM)


class Way(StrEnum):
    """How the engine is got."""

    APT = "apt"
    UNPACK = "unpack"


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides.

    Attributes:
        system: ``Linux``, ``Darwin``.
        families: names of the distribution and of those it is like.
    """

    system: str
    families: frozenset[str]
    has_apt: bool
    is_root: bool


def install(environment: Mapping[str, str], report: Report) -> Engine:
    """Return the engine of this machine, got now if there was none. ``report`` takes lines of progress.

    The output of apt goes to stderr.

    Raises:
        PreconditionFailed: it cannot be had here; the hint is the line to run.
        Unwritable: the cache cannot be written.
    """
    found = find(environment)
    if found is not None:
        report(f"MariaDB {found.version} is here: {found.program}")
        return found
    if decide(look(environment)) is Way.APT:
        install_by_apt(environment, report)
    else:
        with _locked(cache_folder(environment)) as folder:
            unpack(folder, environment, report)
    found = find(environment)
    if found is None:
        raise PreconditionFailed(f"the packages of this machine hold no {_NEEDED}")
    return found


def decide(machine: Machine) -> Way:
    """Return how to get the engine.

    Raises:
        PreconditionFailed: not by us; the hint is the line to run.
    """
    if machine.has_apt:
        return Way.APT if machine.is_root else Way.UNPACK
    message = f"no SQL engine on this machine; byoc needs {_NEEDED}"
    if machine.system == "Darwin":
        raise PreconditionFailed(message, hint=_MACOS)
    lines = (line for family, line in _LINES.items() if family in machine.families)
    hint = next(lines, "install MariaDB with this system's packages, so that `mariadbd` is on PATH")
    raise PreconditionFailed(message, hint=hint)


def look(environment: Mapping[str, str]) -> Machine:
    """Return what this machine is."""
    path = environment.get("PATH", os.defpath)
    has_apt = all(shutil.which(name, path=path) for name in ("apt-get", "apt-cache", "dpkg-deb"))
    return Machine(platform.system(), _families(), has_apt, os.geteuid() == 0)


def install_by_apt(environment: Mapping[str, str], report: Report) -> None:
    """Install the distribution's package; its lists are renewed only if they do not serve.

    Raises:
        PreconditionFailed: apt could not.
    """
    apt = _Apt(environment, ())
    for renewed in (False, True):
        if renewed:
            report("renewing the package lists")
            apt.get("update")
        package = choose_package(apt.policy())
        if package is None:
            continue
        report(f"installing {package}")
        if apt.get("install", "--yes", "--no-install-recommends", package):
            return
    raise PreconditionFailed(f"apt-get could not install {_NEEDED}", hint="see its words above")


def unpack(folder: Path, environment: Mapping[str, str], report: Report) -> None:
    """Fetch the packages and unpack them below ``folder``, whose lock the caller holds.

    Raises:
        PreconditionFailed: apt could not, or what it got does not run.
        OSError: disk full, no permission.
    """
    work = folder / ".download"
    state, kept = work / "state", work / "cache"
    for each in (state / "lists" / "partial", kept / "archives" / "partial"):
        each.mkdir(parents=True, exist_ok=True)
    apt = _Apt(environment, _private(state, kept))
    report("fetching package lists into the cache")
    if not apt.get("update"):
        raise PreconditionFailed("apt-get could not fetch the package lists", hint="see its words above")
    package = choose_package(apt.policy())
    if package is None:
        raise PreconditionFailed(f"the packages of this machine hold no {_NEEDED}")
    report(f"fetching {package} and what it needs")
    if not apt.get("install", "--yes", "--no-install-recommends", "--download-only", package):
        raise PreconditionFailed(f"apt-get could not fetch {package}", hint="see its words above")
    archives = sorted((kept / "archives").glob("*.deb"))
    engine = _unpack(archives, folder / ".unpacking")
    name = f"{engine.version}-{_digest(archives)}"
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / ".unpacking").rename(folder / name)
    shutil.rmtree(work)
    report(f"unpacked MariaDB {engine.version} into {folder / name}")


def choose_package(policy: str) -> str | None:
    """Return the package to take, from what ``apt-cache policy`` says; None if none is new enough."""
    found = {name: (int(major), int(minor)) for name, major, minor in _CANDIDATE.findall(policy)}
    return next((name for name in _PACKAGES if found.get(name, (0, 0)) >= MINIMUM), None)


class _Apt:
    """The machine's apt, told where to work."""

    def __init__(self, environment: Mapping[str, str], options: tuple[str, ...]) -> None:
        self._environment = dict(environment) | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        self._options = options

    def get(self, *arguments: str) -> bool:
        done = subprocess.run(
            ["apt-get", *self._options, *arguments],  # noqa: S607 - found on the caller's PATH
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=2,
            check=False,
        )
        return done.returncode == 0

    def policy(self) -> str:
        done = subprocess.run(
            ["apt-cache", *self._options, "policy", *_PACKAGES],  # noqa: S607 - as above
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        return done.stdout


def _private(state: Path, kept: Path) -> tuple[str, ...]:
    options = [f"Dir::State={state}", f"Dir::Cache={kept}", "Debug::NoLocking=true"]
    # As root apt would fetch as a user of its own, who cannot write here.
    options.append("APT::Sandbox::User=root")
    # Only lists of packages: descriptions and icons are half of what is fetched.
    options += ["Acquire::Languages=none"]
    options += [f"Acquire::IndexTargets::deb::{kind}::DefaultEnabled=false" for kind in _UNWANTED]
    return tuple(word for option in options for word in ("-o", option))


def _unpack(archives: list[Path], folder: Path) -> Engine:
    shutil.rmtree(folder, ignore_errors=True)
    root = folder / CACHED_ROOT
    root.mkdir(parents=True)
    for archive in archives:
        done = subprocess.run(
            ["dpkg-deb", "--extract", archive, root],  # noqa: S607 - found on the caller's PATH
            stdin=subprocess.DEVNULL,
            stdout=2,
            check=False,
        )
        if done.returncode != 0:
            archive.unlink()
            raise PreconditionFailed(
                f"{archive.name} cannot be unpacked", hint="run it again to fetch it anew"
            )
    engine = unpacked(root)
    if engine is None:
        raise PreconditionFailed("the unpacked engine does not run on this machine")
    return engine


def _digest(archives: list[Path]) -> str:
    """Name the content: the same packages have the same name."""
    total = hashlib.sha256()
    for archive in archives:
        total.update(archive.name.encode() + b"\0" + hashlib.sha256(archive.read_bytes()).digest())
    return total.hexdigest()[:12]


def _families() -> frozenset[str]:
    try:
        facts = platform.freedesktop_os_release()
    except OSError:
        return frozenset()
    return frozenset(f"{facts.get('ID', '')} {facts.get('ID_LIKE', '')}".split())


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    except OSError as error:
        raise Unwritable(f"cannot write {folder}: {error.strerror or error}") from error
