"""One life of a cell's state: its incarnation, and numbers of reports that never go back.

Used by whoever numbers reports. The invariant: within one incarnation no number is used
twice, whatever crashes; numbers may be left out. A state that was restored from a copy cannot
keep that promise by itself, so whoever finds out begins a new incarnation.
"""

import uuid
from dataclasses import dataclass
from typing import Final, TypeVar

from byoc.dataplane import storage
from byoc.dataplane.storage import NAMED_BY_ID, Shelf, Storage
from byoc.ids import NewID

INCARNATION: Final = "incarnation"
SEQ: Final = "seq"
BLOCK: Final = 1000
"""How many numbers one write reserves; a crash skips at most as many."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Reserved:
    up_to: int


@dataclass(frozen=True, slots=True)
class _Incarnation:
    incarnation: str
    epoch: int = 0


class Life:
    """Incarnation and report numbers of one state; an empty one begins a new life.

    Args:
        epoch: of the term in which this agent leads; 0 where there is one agent.

    Attributes:
        began_in: epoch of the term in which the incarnation began.

    Raises:
        StateBroken: the state has lost one of its two records, or one cannot be read.
        Unwritable: a new life cannot be written down.
    """

    def __init__(self, kept: Storage, new_id: NewID, epoch: int = 0) -> None:
        self._kept = kept
        self._epoch = epoch
        self._new_id = new_id
        where = kept.where(Shelf.LIFE, INCARNATION)
        if kept.read(Shelf.LIFE, INCARNATION) is None:
            # Only a state without objects may begin a life: else a lost record would hide a lost state.
            # Passwords are kept apart from it, and outlive a state that was lost whole.
            if any(next(kept.each(shelf), None) for shelf in sorted(NAMED_BY_ID - {Shelf.PASSWORDS})):
                raise storage.broken(where, "is missing, but the state is not new")
            storage.put(kept, Shelf.LIFE, SEQ, _Reserved(0))
            storage.put(kept, Shelf.LIFE, INCARNATION, _Incarnation(new_id(), epoch))
        held = self._read(INCARNATION, _Incarnation)
        self.incarnation, self.began_in = held.incarnation, held.epoch
        if not _is_uuid(self.incarnation):
            raise storage.broken(where, "holds no UUID")
        self._reserved = self._read(SEQ, _Reserved).up_to
        self._seq = self._reserved

    def _read(self, name: str, kind: type[T]) -> T:
        found = storage.get(self._kept, Shelf.LIFE, name, kind)
        if found is None:
            raise storage.broken(self._kept.where(Shelf.LIFE, name), "is missing")
        return found

    def another(self) -> str:
        """Return a name for an incarnation that never was."""
        return self._new_id()

    def begin(self, incarnation: str) -> None:
        """End this incarnation and begin ``incarnation``; numbers go on from where they are.

        Raises:
            Unwritable: the old one goes on.
        """
        storage.put(self._kept, Shelf.LIFE, INCARNATION, _Incarnation(incarnation, self._epoch))
        self.incarnation, self.began_in = incarnation, self._epoch

    def next_seq(self) -> int:
        """Return the next number, counting from 1 in a new life.

        Raises:
            Unwritable: no further number could be reserved.
        """
        if self._seq >= self._reserved:
            storage.put(self._kept, Shelf.LIFE, SEQ, _Reserved(self._seq + BLOCK))
            self._reserved = self._seq + BLOCK
        self._seq += 1
        return self._seq


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
