"""One life of a cell's state folder: its incarnation, and numbers of reports that never go back.

Used by whoever numbers reports. The invariant: within one incarnation no number is used
twice, whatever crashes; numbers may be left out. A folder that was restored from a copy cannot
keep that promise by itself, so whoever finds out begins a new incarnation.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc import durable
from byoc.dataplane import records
from byoc.ids import NewID

BLOCK: Final = 1000
"""How many numbers one write reserves; a crash skips at most as many."""


@dataclass(frozen=True, slots=True)
class _Reserved:
    up_to: int


@dataclass(frozen=True, slots=True)
class _Incarnation:
    incarnation: str


class Life:
    """Incarnation and report numbers of one state folder.

    Args:
        folder: the cell's ``state`` folder; made if it is missing, which begins a new life.

    Raises:
        StateBroken: the folder has lost one of its two files, or one cannot be read.
        Unwritable: a new life cannot be written down.
    """

    def __init__(self, folder: Path, new_id: NewID) -> None:
        self._seq_file = folder / "seq.json"
        self._file = file = folder / "incarnation.json"
        self._new_id = new_id
        durable.make_folder(folder)
        if not file.exists():
            # Only a folder without objects may begin a life: else a lost file would hide a lost state.
            if next(folder.glob("*/*.json"), None) is not None:
                raise records.broken(file, "is missing, but the folder is not new")
            records.write(self._seq_file, _Reserved(0))
            records.write(file, _Incarnation(new_id()))
        self.incarnation = records.read(file, _Incarnation).incarnation
        if not _is_uuid(self.incarnation):
            raise records.broken(file, "holds no UUID")
        self._reserved = records.read(self._seq_file, _Reserved).up_to
        self._seq = self._reserved

    def another(self) -> str:
        """Return a name for an incarnation that never was."""
        return self._new_id()

    def begin(self, incarnation: str) -> None:
        """End this incarnation and begin ``incarnation``; numbers go on from where they are.

        Raises:
            Unwritable: the old one goes on.
        """
        records.write(self._file, _Incarnation(incarnation))
        self.incarnation = incarnation

    def next_seq(self) -> int:
        """Return the next number, counting from 1 in a new folder.

        Raises:
            Unwritable: no further number could be reserved.
        """
        if self._seq >= self._reserved:
            records.write(self._seq_file, _Reserved(self._seq + BLOCK))
            self._reserved = self._seq + BLOCK
        self._seq += 1
        return self._seq


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
