"""Which SQL engine this machine has: MariaDB 10.6 or newer, never a ``mysqld`` of unknown kind.

Used by the local runtime, by ``byoc engine`` and by ``byoc up``. Looks on PATH, in the places where
packages put servers that are not meant to be typed, in Homebrew's folders, and in our own cache, in
this order. Nothing is changed here; getting an engine is ``install``'s part.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc import log
from byoc.homes import base

MINIMUM: Final = (10, 6)
PROGRAM: Final = "mariadbd"
CACHED_ROOT: Final = "root"
"""The folder of a cached engine that packages were unpacked into, as if it were ``/``."""

_FOLDERS: Final = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/local/libexec",
    "/opt/homebrew/bin",
    "/opt/homebrew/sbin",
    "/opt/homebrew/opt/mariadb/bin",
    "/usr/local/bin",
    "/usr/local/opt/mariadb/bin",
)
_SHARES: Final = ("share/mysql", "share/mariadb")
_SCRIPTS: Final = ("mariadb_system_tables.sql", "mysql_system_tables.sql")
_VERSION: Final = re.compile(r"Ver (\d+)\.(\d+)\.(\d+)\S*MariaDB")
_SECONDS: Final = 10
_LOG: Final = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """One usable server program.

    Attributes:
        version: as ``10.11.6``.
        share: folder of the SQL that makes system tables; also messages and character sets.
        libraries: folders with the libraries of an unpacked engine; empty for an installed one.
        root: the folder an unpacked engine lives in; None for an installed one.
    """

    program: Path
    version: str
    share: Path
    libraries: tuple[Path, ...] = ()
    root: Path | None = None

    @property
    def path(self) -> Path:
        """The server program."""
        return self.program

    @property
    def messages(self) -> Path:
        """Folder of the messages, one folder a language below it."""
        return self.share

    @property
    def charsets(self) -> Path:
        """Folder of the character sets."""
        return self.share / "charsets"

    @property
    def number(self) -> tuple[int, ...]:
        """The version, to be compared."""
        return tuple(int(part) for part in self.version.split("."))


def find(environment: Mapping[str, str]) -> Engine | None:
    """Return the first usable engine; None where there is none. Runs ``mariadbd --version``."""
    for program in candidates(environment):
        engine = look_at(program)
        if engine is not None:
            return engine
    return next(iter(cached(environment)), None)


def candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield every installed program to look at, each once, in order."""
    seen = set()
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    for folder in (*folders, *_FOLDERS):
        program = Path(folder) / PROGRAM
        if program.is_absolute() and program not in seen and os.access(program, os.X_OK):
            seen.add(program)
            yield program


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of engines that we fetched."""
    return base(environment, "XDG_CACHE_HOME", ".cache") / "byoc" / "engine"


def cached(environment: Mapping[str, str]) -> list[Engine]:
    """Return the engines in our cache, newest first. A folder whose name begins with a dot is unfinished."""
    folder = cache_folder(environment)
    if not folder.is_dir():
        return []
    finished = (each for each in folder.iterdir() if not each.name.startswith("."))
    found = (unpacked(each / CACHED_ROOT) for each in finished)
    return sorted((engine for engine in found if engine), key=lambda engine: engine.number, reverse=True)


def unpacked(root: Path) -> Engine | None:
    """Look at an engine whose packages were unpacked below ``root``."""
    program = root / "usr" / "sbin" / PROGRAM
    libraries = tuple(sorted({each.parent for each in root.glob("**/*.so*")}))
    return look_at(program, root=root, libraries=libraries) if os.access(program, os.X_OK) else None


def look_at(program: Path, *, root: Path | None = None, libraries: tuple[Path, ...] = ()) -> Engine | None:
    """Return the engine behind ``program``; None if it is none of ours, with the reason in the log."""
    version = _version(program, libraries)
    if version is None or version[:2] < MINIMUM:
        _LOG.info("engine passed over", program=str(program), version=version and ".".join(map(str, version)))
        return None
    share = _share(program)
    if share is None:
        _LOG.warning("engine without its SQL scripts passed over", program=str(program))
        return None
    return Engine(program, ".".join(map(str, version)), share, libraries, root)


def is_older(version: str, other: str) -> bool:
    """Whether ``version`` is of an older series than ``other``: 10.6.9 than 10.11.2, but not 10.11.1."""
    series = [tuple(int(part) for part in text.split(".")[:2]) for text in (version, other)]
    return series[0] < series[1]


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Read what ``mariadbd --version`` prints; None for anything that is not MariaDB."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def process_environment(libraries: tuple[Path, ...]) -> dict[str, str]:
    """Return what an engine's process is told: none of our settings, none of our secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ", "TMPDIR") if name in os.environ}
    if libraries:
        kept["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
    return kept


def _version(program: Path, libraries: tuple[Path, ...]) -> tuple[int, int, int] | None:
    try:
        answer = subprocess.run(
            [program, "--no-defaults", "--version"],
            env=process_environment(libraries),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _LOG.warning("engine does not run", program=str(program), error=str(error))
        return None
    return parse_version(answer.stdout)


def _share(program: Path) -> Path | None:
    for prefix in (program.parent.parent, program.resolve().parent.parent):
        for name in _SHARES:
            folder = prefix / name
            if any((folder / script).is_file() for script in _SCRIPTS):
                return folder
    return None
