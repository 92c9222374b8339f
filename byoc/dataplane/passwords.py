"""Admin passwords of groups, kept in the cell and nowhere else.

The Cell API stores them before it acknowledges a change; the reconciler hands them to
engines. The invariant: in files of mode 0600, or in Secrets of the agents' namespace; never in
memory for longer than a call, never in a spec, a report or a log.
"""

from dataclasses import dataclass, field

from byoc.dataplane import storage
from byoc.dataplane.storage import Shelf, Storage, broken
from byoc.ids import GroupID


@dataclass(frozen=True, slots=True)
class Password:
    """One group's admin password."""

    version: int
    password: str = field(repr=False)


class Passwords:
    """The shelf of passwords.

    Raises:
        StateBroken: a record is unknown or cannot be read.
        Unwritable: they cannot be read now.
    """

    def __init__(self, kept: Storage) -> None:
        self._kept = kept
        held = storage.load(kept, Shelf.PASSWORDS, Password)
        self._versions = {GroupID(name): password.version for name, password in held}

    def version(self, group: GroupID) -> int:
        """The version held of a group's password; 0 for none."""
        return self._versions.get(group, 0)

    def get(self, group: GroupID) -> Password | None:
        """The newest password held of a group.

        Raises:
            StateBroken: its record has gone bad since the start.
            Unwritable: it cannot be read now.
        """
        if group not in self._versions:
            return None
        found = storage.get(self._kept, Shelf.PASSWORDS, group, Password)
        if found is None:
            raise broken(self._kept.where(Shelf.PASSWORDS, group), "is missing")
        return found

    def put(self, group: GroupID, password: Password) -> None:
        """Store a password; an older version than the one held is left out.

        Raises:
            Unwritable: the old one is still there.
        """
        if password.version < self.version(group):
            return
        storage.put(self._kept, Shelf.PASSWORDS, group, password)
        self._versions[group] = password.version

    def remove(self, group: GroupID) -> None:
        """Forget a group's password.

        Raises:
            Unwritable: it is still there.
        """
        storage.remove(self._kept, Shelf.PASSWORDS, group)
        self._versions.pop(group, None)
