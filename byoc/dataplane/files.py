"""The cell's memory as files: one small JSON file a record, written anew, fsynced and renamed.

The storage of a local cell. The invariants: a file that cannot be understood is never dropped,
overwritten or skipped; private keys are for their owner alone, or they are not used.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from byoc import durable
from byoc.dataplane.storage import NAMED_BY_ID, Shelf, broken, is_id
from byoc.errors import Failed

_FOLDERS: Final[Mapping[Shelf, str]] = {
    Shelf.GROUPS: "state/groups",
    Shelf.WORKSPACES: "state/workspaces",
    Shelf.TOMBSTONES: "state/tombstones",
    Shelf.INTERVALS: "state/intervals",
    Shelf.PASSWORDS: "secrets",
    Shelf.LIFE: "state",
    Shelf.SELF: ".",
    Shelf.KEYS: ".",
}
_FEW: Final[Mapping[Shelf, tuple[str, ...]]] = {
    Shelf.LIFE: ("heartbeat", "incarnation", "rates", "seq", "weighed"),
    Shelf.SELF: ("identity", "pinned", "thumbprint"),
    Shelf.KEYS: ("keys",),
}
_SHOWN: Final = "thumbprint"
"""The one file that is no JSON and that anybody may read."""


class FileStorage:
    """The files of one cell.

    Args:
        folder: the cell's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def each(self, shelf: Shelf) -> Iterator[tuple[str, bytes]]:
        """Yield every record; writes that were cut short are passed over: they were never acknowledged."""
        if shelf not in NAMED_BY_ID:
            for name in _FEW[shelf]:
                text = self.read(shelf, name)
                if text is not None:
                    yield name, text
            return
        folder = self._folder / _FOLDERS[shelf]
        durable.make_folder(folder)
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") and path.name.endswith(".tmp"):
                continue
            if path.suffix != ".json" or not is_id(path.stem):
                raise broken(path, "is not one that the cell writes")
            text = self.read(shelf, path.stem)
            if text is not None:
                yield path.stem, text

    def read(self, shelf: Shelf, name: str) -> bytes | None:
        """Return one record; None where there is none."""
        path = self.path(shelf, name)
        try:
            if shelf is Shelf.KEYS and path.stat().st_mode & 0o077:
                raise Failed(f"the cell's keys can be read by others: {path}", hint=f"chmod 600 {path}")
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise broken(path, f"cannot be read: {error.strerror}") from error

    def change(self, shelf: Shelf, changes: Mapping[str, bytes | None]) -> None:
        """Store or remove files."""
        if shelf not in NAMED_BY_ID:
            durable.make_folder(self._folder / _FOLDERS[shelf])
        for name, text in changes.items():
            path = self.path(shelf, name)
            if text is None:
                durable.remove(path)
            else:
                durable.write_file(path, text, mode=0o644 if name == _SHOWN else durable.PRIVATE)

    def where(self, shelf: Shelf, name: str) -> str:
        """Return the path of a record."""
        return str(self.path(shelf, name))

    def path(self, shelf: Shelf, name: str) -> Path:
        """Return the path of a record."""
        return self._folder / _FOLDERS[shelf] / (name if name == _SHOWN else f"{name}.json")
