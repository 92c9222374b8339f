"""The cell's own record of every request and decision: append-only, chained, receipted.

Written by the guard and the agent. A line of ``ledger.jsonl`` is the canonical JSON of a
record with its hash put before the closing brace::

    {"at":…,"kind":"received",…,"prev":<hash of the record before>,"seq":7,"hash":<SHA-256 of the rest>}

The invariants: a record is on disk when its method returns; the chain never forks; a line
that a crash cut short is removed and named by a ``torn`` record; when the disk is full the
method raises, nothing is left of the record, and the next one tries anew. ``receipts.jsonl``
holds the Control Plane's signatures under heads of the chain.
Reading and verifying is ``byoc.dataplane.ledger_verify``.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from byoc import durable
from byoc.clock import Clock, stamp
from byoc.dataplane.receipts import Receipts
from byoc.errors import LedgerBroken, Unwritable
from byoc.model.report import LedgerHead
from byoc.wire.canonical import canonical, sha256

LEDGER: Final = "ledger.jsonl"
RECEIPTS: Final = "receipts.jsonl"
GENESIS: Final = "0" * 64
"""What the first record of a chain names as the hash before it."""
_SEAL: Final = b',"hash":"'
_SEAL_LENGTH: Final = len(_SEAL) + 64 + len(b'"}')
_BLOCK: Final = 64 * 1024
_OWN: Final = frozenset({"seq", "prev", "at", "kind", "hash"})


def write_line(record: dict[str, Any]) -> tuple[bytes, str]:
    """Return the line of a record, newline included, and its hash."""
    body = canonical(record)
    name = sha256(body)
    return body[:-1] + _SEAL + name.encode() + b'"}\n', name


def read_line(line: bytes) -> tuple[dict[str, Any], str] | None:
    """Return the record of a line without its newline, and its hash; None if the hash is not its own."""
    if len(line) <= _SEAL_LENGTH or line[-_SEAL_LENGTH : -_SEAL_LENGTH + len(_SEAL)] != _SEAL:
        return None
    body = line[:-_SEAL_LENGTH] + b"}"
    name = sha256(body)
    if line[-66:] != name.encode() + b'"}':
        return None
    try:
        record = json.loads(body)
    except ValueError:
        return None
    return (record, name) if isinstance(record, dict) else None


class Ledger:
    """One chain in one folder, written by one process.

    ``new_chain`` names a chain that has no record yet. Opening does no more than look at the
    end; a folder that cannot be used is an error of the first record, not of the constructor.
    """

    def __init__(self, folder: Path, clock: Clock, new_chain: Callable[[], str]) -> None:
        self._folder = folder
        self._path = folder / LEDGER
        self._clock = clock
        self._new_chain = new_chain
        self._descriptor: int | None = None
        self._chain = ""
        self._seq = 0
        self._hash = GENESIS
        self._receipts = Receipts(folder / RECEIPTS)

    def open(self) -> None:
        """Make the folder and the chain if need be, and heal a torn end. Called by every record too.

        Raises:
            Unwritable: disk full, no permission.
            LedgerBroken: the last line is whole but not what was written there.
        """
        if self._descriptor is not None and self._still_there(self._descriptor):
            return
        moved = self._seq > 0
        self.close()
        durable.make_folder(self._folder)
        new = not self._path.exists()
        try:
            self._descriptor = os.open(
                self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, durable.PRIVATE
            )
            if new:
                durable.sync_folder(self._folder)
            self._find_end(self._descriptor, moved=moved)
        except OSError as error:
            self.close()
            raise Unwritable(f"cannot write {self._path}: {error.strerror}") from error
        except (LedgerBroken, Unwritable):
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file; the next record opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def head(self) -> LedgerHead | None:
        """Return where the chain ends; None while it has no record."""
        return LedgerHead(self._chain, self._seq, self._hash) if self._seq else None

    def record(self, kind: str, **fields: Any) -> int:
        """Append a record and return its number; it is on disk then.

        ``fields``: JSON values, no secrets. Names that every record has are reserved.

        Raises:
            Unwritable, LedgerBroken: as for :meth:`open`; nothing was recorded.
            ValueError: a field has a reserved name.
        """
        if _OWN & fields.keys():
            raise ValueError(f"reserved names in a ledger record: {sorted(_OWN & fields.keys())}")
        self.open()
        return self._append(kind, fields)

    def _append(self, kind: str, fields: dict[str, Any]) -> int:
        if self._descriptor is None:
            raise Unwritable(f"the ledger is closed: {self._path}")
        own = {"seq": self._seq + 1, "prev": self._hash, "at": stamp(self._clock.now()), "kind": kind}
        line, name = write_line(fields | own)
        try:
            durable.append_to(self._descriptor, line)
        except OSError as error:
            # Whatever is at the end now, it is looked at anew before the next record.
            self.close()
            hint = "free some disk space in the cell"
            raise Unwritable(f"cannot write {self._path}: {error.strerror}", hint=hint) from error
        self._seq += 1
        self._hash = name
        return self._seq

    def _still_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(descriptor))
        except OSError:
            return False

    def _find_end(self, descriptor: int, *, moved: bool) -> None:
        last, torn = _tail(descriptor)
        if torn:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(torn))
        if moved:
            self._go_on(last)
        elif last is None:
            self._start()
        else:
            self._resume(last)
        if torn:
            self._append("torn", {"bytes": len(torn), "sha256": sha256(torn)})

    def _go_on(self, last: bytes | None) -> None:
        """The file was replaced under a running agent: keep to the chain it remembers, and say so."""
        found = read_line(last) if last is not None else None
        if found is None or found[1] != self._hash:
            self._append("moved", {"chain": self._chain})

    def _start(self) -> None:
        self._chain = self._new_chain()
        self._append("chain", {"chain": self._chain})

    def _resume(self, last: bytes) -> None:
        found = read_line(last)
        first = self._first()
        if found is None or not isinstance(found[0].get("seq"), int) or first is None:
            raise LedgerBroken(
                f"the ledger does not end with a record: {self._path}",
                hint="look at it with `byoc ledger verify`; move it away to begin a new chain",
            )
        self._chain = first
        self._seq = found[0]["seq"]
        self._hash = found[1]

    def _first(self) -> str | None:
        with self._path.open("rb") as stream:
            found = read_line(stream.readline().rstrip(b"\n"))
        chain = found[0].get("chain") if found else None
        return chain if isinstance(chain, str) else None

    def add_receipt(self, receipt: str) -> None:
        """Keep a receipt that has been checked; see :class:`byoc.dataplane.receipts.Receipts`.

        Raises:
            BadToken: it is no token.
            Unwritable: it could not be stored.
        """
        self._receipts.add(receipt)


def _tail(descriptor: int) -> tuple[bytes | None, bytes]:
    """Return the last whole line (None if there is none) and the torn bytes after it."""
    end = os.fstat(descriptor).st_size
    content = b""
    while end > 0 and content.count(b"\n") < 2:  # noqa: PLR2004 - the last line lies between two
        start = max(0, end - _BLOCK)
        content = os.pread(descriptor, end - start, start) + content
        end = start
    lines: Sequence[bytes] = content.split(b"\n")
    whole = lines[:-1]
    return (whole[-1] if whole else None), lines[-1]
