"""The cell's own record of every request and decision: append-only, chained, receipted.

Written by the guard and the agent; the lines and files are those of ``byoc.dataplane.ledger_files``.

The invariants: a record is on disk when :meth:`Ledger.record` returns, or :meth:`Ledger.committed`
for its number; records that wait at the same time share one fsync; the chain never forks; a line
that a crash cut short is removed and named by a ``torn`` record; when the disk is full the
method raises, nothing is left of the record, and the next one tries anew. ``receipts.jsonl``
holds the Control Plane's signatures under heads of the chain.
Reading and verifying is ``byoc.dataplane.ledger_verify``.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from byoc import durable
from byoc.clock import Clock, stamp
from byoc.dataplane.ledger_files import (
    FULL,
    GENESIS,
    LEDGER,
    RECEIPTS,
    closed,
    closed_name,
    files,
    read_line,
    write_line,
)
from byoc.dataplane.receipts import Receipts
from byoc.errors import LedgerBroken, Unwritable
from byoc.model.report import LedgerHead
from byoc.wire.canonical import sha256

_BLOCK: Final = 64 * 1024
_OWN: Final = frozenset({"seq", "prev", "at", "kind", "hash"})

Lost = Callable[[], None]
"""Called when a record that was written did not reach the disk after all."""


@dataclass(frozen=True, slots=True)
class Written:
    """A record that is in the file. ``batch`` is done once it is on disk with all that go there together."""

    seq: int
    batch: asyncio.Future[None] | None


@dataclass(frozen=True, slots=True)
class _End:
    """Where the chain ends, and how many bytes of the file that takes."""

    seq: int = 0
    hash: str = GENESIS
    size: int = 0


class Ledger:
    """One chain in one folder, written by one process.

    ``new_chain`` names a chain that has no record yet; ``full`` is the size from which on a file is
    closed. Opening does no more than look at the end; a folder that cannot be used is an error of
    the first record, not of the constructor.
    """

    def __init__(self, folder: Path, clock: Clock, new_chain: Callable[[], str], *, full: int = FULL) -> None:
        self._folder = folder
        self._path = folder / LEDGER
        self._clock = clock
        self._new_chain = new_chain
        self._full = full
        self._descriptor: int | None = None
        self._chain = ""
        self._end = _End()
        self._durable = _End()
        self._batch: asyncio.Future[None] | None = None
        self._losses: list[Lost] = []
        self._uncut: os.stat_result | None = None
        self._receipts = Receipts(folder / RECEIPTS)

    def open(self) -> None:
        """Make the folder and the chain if need be, and heal a torn end. Called by every record too.

        Raises:
            Unwritable: disk full, no permission.
            LedgerBroken: the last line is whole but not what was written there.
        """
        if self._descriptor is not None and self._still_there(self._descriptor):
            return
        moved = self._end.seq > 0
        self.close()
        durable.make_folder(self._folder)
        try:
            self._open_file()
            self._find_end(moved=moved)
        except OSError as error:
            self._let_go()
            raise Unwritable(f"cannot write {self._path}: {error.strerror}") from error
        except (LedgerBroken, Unwritable):
            self._let_go()
            raise

    def _open_file(self) -> None:
        new = not self._path.exists()
        self._descriptor = os.open(
            self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, durable.PRIVATE
        )
        if new:
            durable.sync_folder(self._folder)

    def close(self) -> None:
        """Put on disk what is written, and let go of the file; the next record opens it again."""
        with suppress(Unwritable):
            self._commit()
        self._let_go()

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def head(self) -> LedgerHead | None:
        """Return where the chain ends on disk; None while it has no record."""
        end = self._durable
        return LedgerHead(self._chain, end.seq, end.hash) if end.seq else None

    def record(self, kind: str, **fields: Any) -> int:
        """Append a record and return its number; it is on disk then, with all that was written before.

        ``fields``: JSON values, no secrets. Names that every record has are reserved.

        Raises:
            Unwritable, LedgerBroken: as for :meth:`open`; nothing was recorded.
            ValueError: a field has a reserved name.
        """
        seq = self._write(kind, fields)
        self._commit()
        return seq

    def write(self, kind: str, fields: dict[str, Any], *, lost: Lost | None = None) -> Written:
        """Append a record that reaches the disk at the end of this turn of the loop.

        A process that is killed keeps it. ``lost`` is called if the disk refuses it after all.

        Raises:
            Unwritable, LedgerBroken, ValueError: as for :meth:`record`; nothing was recorded.
        """
        seq = self._write(kind, fields)
        if lost is not None:
            self._losses.append(lost)
        return Written(seq, self._commit_soon())

    async def committed(self, written: Written) -> None:
        """Return once a record is on disk; all who wait share one fsync.

        Raises:
            Unwritable: it did not get there, and is not in the ledger.
        """
        if written.batch is not None:
            await asyncio.shield(written.batch)

    def add_receipt(self, receipt: str) -> None:
        """Keep a receipt that has been checked; see :class:`byoc.dataplane.receipts.Receipts`.

        Raises:
            BadToken: it is no token.
            Unwritable: it could not be stored.
        """
        self._receipts.add(receipt)

    # --- writing -------------------------------------------------------------------------

    def _write(self, kind: str, fields: dict[str, Any]) -> int:
        if _OWN & fields.keys():
            raise ValueError(f"reserved names in a ledger record: {sorted(_OWN & fields.keys())}")
        self.open()
        if self._end.size >= self._full:
            self._begin_file()
        return self._append(kind, fields)

    def _append(self, kind: str, fields: dict[str, Any]) -> int:
        if self._descriptor is None:
            raise Unwritable(f"the ledger is closed: {self._path}")
        end = self._end
        own = {"seq": end.seq + 1, "prev": end.hash, "at": stamp(self._clock.now()), "kind": kind}
        line, name = write_line(fields | own)
        try:
            durable.append_to(self._descriptor, line, sync=False)
        except OSError as error:
            # What others wrote before may still fit.
            with suppress(Unwritable):
                self._commit()
            raise self._give_up(error) from error
        self._end = _End(end.seq + 1, name, end.size + len(line))
        return self._end.seq

    def _begin_file(self) -> None:
        """Close the file, which is full, and go on in the next one."""
        self._commit()
        with self._path.open("rb") as stream:
            found = read_line(stream.readline().rstrip(b"\n"))
        if self._descriptor is None or found is None:
            raise LedgerBroken(f"the ledger does not begin with a record: {self._path}")
        try:
            self._path.rename(self._folder / closed_name(int(found[0]["seq"])))
            self._let_go()
            self._open_file()
        except OSError as error:
            raise self._give_up(error) from error
        except Unwritable:
            self._let_go()
            raise
        self._end = self._durable = _End(self._end.seq, self._end.hash)

    def _commit_soon(self) -> asyncio.Future[None] | None:
        """Have all that is written this turn put on disk at its end; without a loop, at once."""
        if self._batch is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                self._commit_now()
                return None
            self._batch = loop.create_future()
            loop.call_soon(self._commit_now)
        return self._batch

    def _commit_now(self) -> None:
        # Whoever waits is told by the batch.
        with suppress(Unwritable):
            self._commit()

    def _commit(self) -> None:
        if self._descriptor is None or self._durable.seq == self._end.seq:
            return
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._give_up(error) from error
        self._durable = self._end
        self._losses.clear()
        batch, self._batch = self._batch, None
        if batch is not None:
            batch.set_result(None)

    def _give_up(self, error: OSError) -> Unwritable:
        """Leave nothing of what is not on disk; the end is looked at anew before the next record."""
        hint = "free some disk space in the cell"
        said = Unwritable(f"cannot write {self._path}: {error.strerror}", hint=hint)
        if self._descriptor is not None and self._durable.seq < self._end.seq:
            try:
                os.ftruncate(self._descriptor, self._durable.size)
            except OSError:
                self._uncut = os.fstat(self._descriptor)
        self._end = self._durable
        self._let_go()
        losses, self._losses = self._losses, []
        for lost in losses:
            lost()
        batch, self._batch = self._batch, None
        if batch is not None:
            batch.set_exception(said)
            # Whoever waited may have gone away meanwhile; that is no fault to be logged.
            batch.exception()
        return said

    # --- finding the end -----------------------------------------------------------------

    def _still_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(descriptor))
        except OSError:
            return False

    def _find_end(self, *, moved: bool) -> None:
        assert self._descriptor is not None  # noqa: S101 - it was opened just before
        if self._uncut is not None and os.path.samestat(self._uncut, os.fstat(self._descriptor)):
            # A disk that took neither the record nor its removal: the chain must not go on beside it.
            os.ftruncate(self._descriptor, self._durable.size)
        self._uncut = None
        last, torn = _tail(self._descriptor)
        size = os.fstat(self._descriptor).st_size - len(torn)
        if torn:
            os.ftruncate(self._descriptor, size)
        if last is None:
            last = self._last_closed()
        if moved:
            self._go_on(last, size)
        elif last is None:
            self._start()
        else:
            self._resume(last, size)
        if torn:
            self._append("torn", {"bytes": len(torn), "sha256": sha256(torn)})
        self._commit()

    def _last_closed(self) -> bytes | None:
        full = closed(self._folder)
        if not full:
            return None
        with full[-1].open("rb") as stream:
            last, _ = _tail(stream.fileno())
        return last

    def _go_on(self, last: bytes | None, size: int) -> None:
        """The file was replaced under a running agent: keep to the chain it remembers, and say so."""
        found = read_line(last) if last is not None else None
        self._end = self._durable = _End(self._end.seq, self._end.hash, size)
        if found is None or found[1] != self._end.hash:
            self._append("moved", {"chain": self._chain})

    def _start(self) -> None:
        self._chain = self._new_chain()
        self._append("chain", {"chain": self._chain})

    def _resume(self, last: bytes, size: int) -> None:
        found = read_line(last)
        first = self._first()
        if found is None or not isinstance(found[0].get("seq"), int) or first is None:
            raise LedgerBroken(
                f"the ledger does not end with a record: {self._path}",
                hint="look at it with `byoc ledger verify`; move it away to begin a new chain",
            )
        self._chain = first
        self._end = self._durable = _End(found[0]["seq"], found[1], size)

    def _first(self) -> str | None:
        with files(self._folder)[0].open("rb") as stream:
            found = read_line(stream.readline().rstrip(b"\n"))
        chain = found[0].get("chain") if found else None
        return chain if isinstance(chain, str) else None


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
