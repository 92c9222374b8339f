"""The cell's memory as a dictionary: a twin of ``byoc.dataplane.storage.Storage`` that fails as scripted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from byoc.dataplane.storage import NAMED_BY_ID, Shelf, broken, is_id


class Killed(Exception):
    """The process that wrote is no more; what it had written is there."""


@dataclass
class MemoryStorage:
    """Records that are there as long as the object is.

    Attributes:
        kept: the records.
        writes: how many there were.
        fails_with: what the next change raises, once.
        fails_after: how many records of that change are written all the same.
    """

    kept: dict[Shelf, dict[str, bytes]] = field(default_factory=dict)
    writes: int = 0
    fails_with: Exception | None = None
    fails_after: int = 0

    def each(self, shelf: Shelf) -> Iterator[tuple[str, bytes]]:
        """Yield every record of a shelf."""
        for name, text in sorted(self.kept.get(shelf, {}).items()):
            if shelf in NAMED_BY_ID and not is_id(name):
                raise broken(self.where(shelf, name), "is not one that the cell writes")
            yield name, text

    def read(self, shelf: Shelf, name: str) -> bytes | None:
        """Return one record; None where there is none."""
        return self.kept.get(shelf, {}).get(name)

    def change(self, shelf: Shelf, changes: Mapping[str, bytes | None]) -> None:
        """Store or remove records, or as many of them as the script lets."""
        failure, self.fails_with = self.fails_with, None
        held = self.kept.setdefault(shelf, {})
        for done, (name, text) in enumerate(changes.items()):
            if failure is not None and done == self.fails_after:
                break
            self.writes += 1
            if text is None:
                held.pop(name, None)
            else:
                held[name] = text
        if failure is not None:
            raise failure

    def where(self, shelf: Shelf, name: str) -> str:
        """Return shelf and name of a record."""
        return f"{shelf}/{name}"
