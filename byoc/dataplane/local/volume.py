"""One workspace's folder: ``volumes/<workspaceID>/`` and everything in it.

::

    volume.json   port, internal password, version of the admin password that is in force (0600)
    run.json      the engine that was started last: process, limits; gone once it was stopped as asked
    data/         the engine's own
    engine.log    the engine's own words
    init.sql      makes our accounts at each start; hashes only
    tmp/ empty/   temporary tables; the folder that SQL may read files from: nothing

The engine writes ``data``, ``tmp``, ``empty`` and its log; what we remember of it is out of its reach.
The invariant: a folder with an id as its name is a whole volume. One in the making, or on its way
out, has a name that begins with a dot, and is cleared away at the next start.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from byoc import durable
from byoc.dataplane import records
from byoc.dataplane.local import command, copying
from byoc.dataplane.local.confine import Reach
from byoc.dataplane.runtime import Limits
from byoc.dataplane.storage import StateBroken
from byoc.errors import Unwritable, UsageError
from byoc.ids import WorkspaceID, parse_id

_LONGEST_SOCKET: Final = 100
"""Bytes; the system's own limit is 107 on Linux and 103 on macOS."""
_LONGEST_LOG: Final = 8 * 2**20
_MAKING: Final = ".creating-"
_REMOVING: Final = ".removing-"


@dataclass(frozen=True, slots=True)
class Record:
    """What a volume remembers, durably.

    Attributes:
        engine_version: the newest that was started on it.
        upgrade_from: the older one that wrote it, as long as its data is not brought up to date.
    """

    port: int
    engine_version: str
    internal_password: str = field(repr=False)
    password_version: int = 0
    upgrade_from: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """The engine that was started last.

    Attributes:
        pid: 0 until it is known; then the process has to be searched for.
        generation: that was being carried out.
        log_offset: where in ``engine.log`` its words begin.
        answered_at: when it first answered SQL.
    """

    generation: int
    limits: Limits
    started_at: datetime
    log_offset: int
    pid: int = 0
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Volume:
    """The folder of one workspace, which may or may not be there."""

    root: Path
    id: WorkspaceID

    @property
    def folder(self) -> Path:
        """The volume."""
        return self.root / self.id

    @property
    def data(self) -> Path:
        """The engine's data folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the engine says."""
        return self.folder / "engine.log"

    @property
    def exists(self) -> bool:
        """Whether there is a whole volume."""
        return self._record.is_file()

    @property
    def socket(self) -> Path:
        """The engine's socket: in the volume, or under a short name where that one is too long."""
        path = self.folder / "sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET:
            return path
        short = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"byoc-{os.geteuid()}" / f"{short}.sock"

    @property
    def reach(self) -> Reach:
        """What the engine may touch, once ``prepare`` has made it."""
        own = (self.data, self.folder / "tmp", self.folder / "empty", self.log)
        return Reach(readable=(self.folder,), writable=own, sockets=(self.socket.parent,))

    @property
    def _record(self) -> Path:
        return self.folder / "volume.json"

    @property
    def _run(self) -> Path:
        return self.folder / "run.json"

    def used_bytes(self) -> int:
        """Return how much of the disk the volume takes; holes in files take nothing."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                # An engine removes files while we look.
                with contextlib.suppress(FileNotFoundError):
                    total += (Path(folder) / name).lstat().st_blocks * 512
        return total

    def read(self) -> Record | None:
        """Return what the volume remembers; None where there is none.

        Raises:
            StateBroken: it cannot be understood.
        """
        return records.read(self._record, Record) if self._record.is_file() else None

    def write(self, record: Record) -> None:
        """Remember, durably.

        Raises:
            Unwritable: disk full, no permission.
        """
        records.write(self._record, record)

    def read_run(self) -> Run | None:
        """Return which engine was started last; None where none was, or it was stopped as asked.

        Raises:
            StateBroken: it cannot be understood.
        """
        return records.read(self._run, Run) if self._run.is_file() else None

    def write_run(self, run: Run) -> None:
        """Remember which engine runs.

        Raises:
            Unwritable: disk full, no permission.
        """
        records.write(self._run, run)

    def forget_run(self) -> None:
        """The engine was stopped as asked.

        Raises:
            Unwritable: no permission.
        """
        self.socket.unlink(missing_ok=True)
        durable.remove(self._run)

    def create(self, template: Path, record: Record) -> None:
        """Make the volume from ``template``; a whole one is left as it is.

        Raises:
            OSError, Unwritable: disk full, no permission; nothing of it counts then.
        """
        if self.exists:
            return
        unfinished = Volume(self.root, WorkspaceID(_MAKING + self.id))
        shutil.rmtree(unfinished.folder, ignore_errors=True)
        try:
            durable.make_folder(unfinished.folder)
            copying.copy(template, unfinished.data)
            unfinished.write(record)
            copying.sync(unfinished.folder)
            unfinished.folder.rename(self.folder)
        except (OSError, Unwritable):
            # A full disk is the likely cause: give back what was taken of it.
            shutil.rmtree(unfinished.folder, ignore_errors=True)
            raise
        durable.sync_folder(self.root)

    def prepare(self, record: Record) -> int:
        """Make ready for a start; returns where in the log its words will begin.

        Raises:
            OSError: disk full, no permission.
        """
        for name in ("tmp", "empty"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(mode=0o700)
        accounts = self.folder / "init.sql"
        accounts.touch(mode=0o600)
        accounts.write_text(command.accounts_sql(record.internal_password), "utf-8")
        _private_folder(self.socket.parent)
        self.socket.unlink(missing_ok=True)
        size = self.log.stat().st_size if self.log.is_file() else 0
        if size >= _LONGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
            size = 0
        self.log.touch(mode=0o600)
        return size

    def words(self, *, offset: int = 0, at_most: int) -> str:
        """Return the end of what the engine said after ``offset``, ``at_most`` bytes of it."""
        try:
            with self.log.open("rb") as said:
                size = said.seek(0, os.SEEK_END)
                said.seek(max(min(offset, size), size - at_most))
                return said.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def remove(self) -> None:
        """Remove everything; what is not there is no error.

        Raises:
            OSError, Unwritable: no permission.
        """
        self.socket.unlink(missing_ok=True)
        leaving = self.root / (_REMOVING + self.id)
        if self.folder.exists():
            shutil.rmtree(leaving, ignore_errors=True)
            self.folder.rename(leaving)
            durable.sync_folder(self.root)
        for folder in (leaving, self.root / (_MAKING + self.id)):
            if folder.exists():
                shutil.rmtree(folder)


def every(root: Path) -> list[Volume]:
    """Return the volumes below ``root``."""
    found = (Volume(root, WorkspaceID(each.name)) for each in root.iterdir() if _is_id(each.name))
    return [volume for volume in found if volume.exists]


def clear_leftovers(root: Path) -> None:
    """Remove what a kill left half made or half removed."""
    for each in root.iterdir():
        if each.name.startswith((_MAKING, _REMOVING)):
            shutil.rmtree(each, ignore_errors=True)


def taken_ports(root: Path) -> list[int]:
    """Return the ports that volumes below ``root`` have; one that cannot be read has none to tell."""
    found = []
    for each in every(root):
        with contextlib.suppress(StateBroken):
            record = each.read()
            if record is not None:
                found.append(record.port)
    return found


def choose_port(workspace: WorkspaceID, ports: range, taken: Iterable[int]) -> int | None:
    """Return a port that nobody has, the same for the same id where it can; None if all are taken."""
    first = int(hashlib.sha256(workspace.encode()).hexdigest(), 16) % len(ports)
    refused = set(taken)
    order = (ports[(first + step) % len(ports)] for step in range(len(ports)))
    return next((port for port in order if port not in refused and is_free(port)), None)


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((command.HOST, port))
        except OSError:
            return False
    return True


def _is_id(name: str) -> bool:
    try:
        return parse_id(name, "workspace") == name
    except UsageError:
        return False


def _private_folder(folder: Path) -> None:
    """Make a folder for sockets in a place that others write to, and trust it only if it is ours."""
    if folder.is_dir() and not folder.is_symlink() and folder.parent != Path(tempfile.gettempdir()):
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise PermissionError(13, "not a private folder of ours", str(folder))
