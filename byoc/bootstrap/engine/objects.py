"""The objects of a state backend, as few verbs as locks, backups and kept outputs need.

The engine reads and writes its state by itself; what stands beside it is ours. A ``file://``
backend is :class:`FolderObjects`; for ``s3://`` bootstrap hands in an implementation over its
AWS client. Keys are relative to the backend's root, with ``/`` between their parts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from byoc import durable
from byoc.errors import UsageError


class Objects(Protocol):
    """Named bytes in the folder or bucket that holds the state.

    Every method raises an error of our tree where the account or the disk refuses.
    """

    def keys(self, prefix: str) -> Sequence[str]:
        """Names that begin with ``prefix``, in any order."""
        ...

    def read(self, key: str) -> bytes | None:
        """Content of ``key``; ``None`` where there is no such object."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Replace ``key`` as a whole."""
        ...

    def delete(self, key: str) -> None:
        """Remove ``key``; a missing one is no error."""
        ...


class FolderObjects:
    """Objects of a ``file://`` backend.

    Args:
        root: the folder that the backend's URL names.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, url: str) -> "FolderObjects":
        """Objects of the backend ``url``.

        Raises:
            UsageError: it is no ``file://`` URL of an absolute folder.
        """
        parts = urlsplit(url)
        if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
            raise UsageError(f"{url} is no folder for a state", hint="write file:///absolute/folder")
        return cls(Path(unquote(parts.path)))

    def keys(self, prefix: str) -> Sequence[str]:
        """Names of the files below the root that begin with ``prefix``."""
        folder = self.root / prefix.rpartition("/")[0]
        found = (path.relative_to(self.root).as_posix() for path in folder.rglob("*") if path.is_file())
        return [key for key in found if key.startswith(prefix)]

    def read(self, key: str) -> bytes | None:
        """Content of the file, ``None`` where there is none."""
        try:
            return (self.root / key).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, key: str, data: bytes) -> None:
        """Replace the file durably; nobody but its owner may read it."""
        path = self.root / key
        durable.make_folder(path.parent)
        durable.write_file(path, data)

    def delete(self, key: str) -> None:
        """Remove the file."""
        durable.remove(self.root / key)
