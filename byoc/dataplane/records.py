"""Reading and writing the cell's small state files, one JSON object each.

Used by what the agent keeps on disk. The invariant: a file that cannot be understood is never
dropped, overwritten or skipped; the agent refuses to start and names it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from byoc import durable
from byoc.errors import Failed, UsageError
from byoc.ids import parse_id
from byoc.wire.cell import decode, encode

T = TypeVar("T")


class StateBroken(Failed):
    """A file of the cell's state is unknown or cannot be read; nothing was touched."""

    code = "state_broken"


def broken(path: Path, why: str) -> StateBroken:
    """Return the error that names ``path``."""
    hint = "restore the file from a backup, or move the whole state folder away and resync the cell"
    return StateBroken(f"the cell's state file {path} {why}", hint=hint)


def read(path: Path, kind: type[T]) -> T:
    """Read one record.

    Raises:
        StateBroken: it is missing, unreadable, no JSON, or not a ``kind``.
    """
    try:
        return decode(kind, json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise broken(path, "is missing") from error
    except OSError as error:
        raise broken(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise broken(path, "is not JSON") from error
    except UsageError as error:
        raise broken(path, f"is not understood: {error.message}") from error


def write(path: Path, record: object) -> None:
    """Store one record, fsynced.

    Raises:
        Unwritable: disk full or no permission; the old record is still there.
    """
    durable.write_file(path, json.dumps(encode(record), separators=(",", ":")) + "\n")


def each(folder: Path, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Yield (id, record) for every ``<id>.json`` of ``folder``, made if it is missing.

    Writes that were cut short are passed over: they were never acknowledged.

    Raises:
        StateBroken: there is a file that does not belong here, or a record cannot be read.
    """
    durable.make_folder(folder)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") and path.name.endswith(".tmp"):
            continue
        if path.suffix != ".json" or not _is_id(path.stem):
            raise broken(path, "is not one that the cell writes")
        yield path.stem, read(path, kind)


def _is_id(text: str) -> bool:
    try:
        return parse_id(text, "id") == text
    except UsageError:
        return False
