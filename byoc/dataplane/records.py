"""Small JSON files of the local runtime's own: what it notes beside a volume.

The invariant: a file that cannot be understood is never dropped, overwritten or skipped.
"""

from pathlib import Path
from typing import TypeVar

from byoc import durable
from byoc.dataplane.storage import broken, read_record, write_record

T = TypeVar("T")


def read(path: Path, kind: type[T]) -> T:
    """Read one record.

    Raises:
        StateBroken: it is missing, unreadable, no JSON, or not a ``kind``.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise broken(path, "is missing") from error
    except OSError as error:
        raise broken(path, f"cannot be read: {error.strerror}") from error
    return read_record(text, kind, path)


def write(path: Path, record: object) -> None:
    """Store one record, fsynced.

    Raises:
        Unwritable: disk full or no permission; the old record is still there.
    """
    durable.write_file(path, write_record(record))
