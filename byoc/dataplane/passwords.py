"""Admin passwords of groups, kept in the cell and nowhere else.

The Cell API stores them before it acknowledges a change; the reconciler hands them to
engines. The invariant: files of mode 0600 in a folder of mode 0700, never in memory for
longer than a call, never in a spec, a report or a log.
"""

from dataclasses import dataclass, field
from pathlib import Path

from byoc import durable
from byoc.dataplane import records
from byoc.ids import GroupID


@dataclass(frozen=True, slots=True)
class Password:
    """One group's admin password."""

    version: int
    password: str = field(repr=False)


class Passwords:
    """The folder of passwords.

    Raises:
        StateBroken: a file is unknown or cannot be read.
        Unwritable: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._versions = {GroupID(name): held.version for name, held in records.each(folder, Password)}

    def version(self, group: GroupID) -> int:
        """The version held of a group's password; 0 for none."""
        return self._versions.get(group, 0)

    def get(self, group: GroupID) -> Password | None:
        """The newest password held of a group.

        Raises:
            StateBroken: its file has gone bad since the start.
        """
        return records.read(self._path(group), Password) if group in self._versions else None

    def put(self, group: GroupID, password: Password) -> None:
        """Store a password; an older version than the one held is left out.

        Raises:
            Unwritable: the old one is still there.
        """
        if password.version < self.version(group):
            return
        records.write(self._path(group), password)
        self._versions[group] = password.version

    def remove(self, group: GroupID) -> None:
        """Forget a group's password.

        Raises:
            Unwritable: it is still there.
        """
        durable.remove(self._path(group))
        self._versions.pop(group, None)

    def _path(self, group: GroupID) -> Path:
        return self._folder / f"{group}.json"
