"""The seam under the cell's memory: records by shelf and name, kept where a crash does not reach them.

Two implementations answer to one contract suite: files (``byoc.dataplane.files``) and objects of a
cluster (``byoc.dataplane.kubernetes.objects``). Used by everything the agent remembers. The
invariants: when :meth:`Storage.change` has returned, the change survives kill -9; when it has raised,
whoever called goes on as if nothing had changed; what is not understood is never dropped. Where two
agents share a storage, the one that no longer leads can change nothing.
"""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Protocol, TypeVar

from byoc.errors import Failed, Unwritable, UsageError
from byoc.ids import parse_id
from byoc.wire.cell import decode, encode

T = TypeVar("T")


class Shelf(StrEnum):
    """What is kept, by kind."""

    GROUPS = "groups"
    WORKSPACES = "workspaces"
    TOMBSTONES = "tombstones"
    INTERVALS = "intervals"
    PASSWORDS = "passwords"
    LIFE = "life"
    """Incarnation, report numbers, and until when engines were seen to run."""
    SELF = "self"
    """Who the cell is, and the Control Plane's keys that it pins."""
    KEYS = "keys"
    """The cell's own key pairs."""
    REPLAYS = "replays"
    """Requests that were seen lately; kept here only where two agents must know of them."""


NAMED_BY_ID = frozenset({Shelf.GROUPS, Shelf.WORKSPACES, Shelf.TOMBSTONES, Shelf.INTERVALS, Shelf.PASSWORDS})
"""Shelves whose records are named by UUIDs; the others hold a few names of our own."""


class StateBroken(Failed):
    """A record of the cell's state is unknown or cannot be read; nothing was touched."""

    code = "state_broken"


class Deposed(Unwritable):
    """Another agent leads: this one can store nothing any more, and must not act."""

    code = "deposed"


class Storage(Protocol):
    """Records, each a JSON text."""

    def each(self, shelf: Shelf) -> Iterator[tuple[str, bytes]]:
        """Yield every record of ``shelf`` by name, in order of names.

        Raises:
            StateBroken: there is something that does not belong here, or that cannot be read.
        """
        ...

    def read(self, shelf: Shelf, name: str) -> bytes | None:
        """Return one record; None where there is none.

        Raises:
            StateBroken: it cannot be read.
            Unwritable: it cannot be read now.
        """
        ...

    def change(self, shelf: Shelf, changes: Mapping[str, bytes | None]) -> None:
        """Store records, or remove those that are None; each by itself, on a shelf that was read before.

        Raises:
            Unwritable: disk full, no permission, the cluster's API away: try again later.
            Deposed: another agent leads.
        """
        ...

    def where(self, shelf: Shelf, name: str) -> str:
        """Say where a record is kept, for an error that a person reads."""
        ...


def broken(where: object, why: str) -> StateBroken:
    """Return the error that names the record at ``where``."""
    hint = "restore it from a backup, or move the whole state away and resync the cell"
    return StateBroken(f"the cell's state at {where} {why}", hint=hint)


def is_id(text: str) -> bool:
    """Whether ``text`` is a UUID as we write them."""
    try:
        return parse_id(text, "id") == text
    except UsageError:
        return False


def write_record(record: object) -> bytes:
    """Return the text under which ``record`` is kept."""
    return json.dumps(encode(record), separators=(",", ":")).encode() + b"\n"


def read_record(text: bytes, kind: type[T], where: object) -> T:
    """Return the record that ``text`` holds.

    Raises:
        StateBroken: it is no JSON, or not a ``kind``.
    """
    try:
        return decode(kind, json.loads(text))
    except ValueError as error:
        raise broken(where, "is not JSON") from error
    except UsageError as error:
        raise broken(where, f"is not understood: {error.message}") from error


def load(storage: Storage, shelf: Shelf, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Yield every record of a shelf.

    Raises:
        StateBroken: one of them cannot be understood.
    """
    for name, text in storage.each(shelf):
        yield name, read_record(text, kind, storage.where(shelf, name))


def get(storage: Storage, shelf: Shelf, name: str, kind: type[T]) -> T | None:
    """Return one record; None where there is none.

    Raises:
        StateBroken: it cannot be understood.
    """
    text = storage.read(shelf, name)
    return None if text is None else read_record(text, kind, storage.where(shelf, name))


def put(storage: Storage, shelf: Shelf, name: str, record: object) -> None:
    """Store one record.

    Raises:
        Unwritable: the old one is still there.
    """
    storage.change(shelf, {name: write_record(record)})


def remove(storage: Storage, shelf: Shelf, name: str) -> None:
    """Remove one record; a missing one is no error.

    Raises:
        Unwritable: it is still there.
    """
    storage.change(shelf, {name: None})
