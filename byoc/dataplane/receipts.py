"""The Control Plane's signatures under heads of the ledger: ``receipts.jsonl``, one JWS a line.

Written by the ledger, read by ``byoc.dataplane.ledger_verify``. A receipt proves everything up
to its record, so the newest one says all that an older one does, and most can go. The
invariants: the newest receipt of every chain is never dropped, nor the last one before a chain
went back, which is what shows that it did; a crash leaves the file as it was or as it should be.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc import durable
from byoc.errors import BadToken, Unwritable
from byoc.wire.jws import Kind, unverified

NEWEST: Final = 200
"""The newest receipts, all of which are kept: they name the line of an edit most closely."""
DAYS: Final = 400
"""Days of which the last receipt is kept beside them."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a receipt in the file says, unverified. ``day``: of its time, as ``2030-01-31``."""

    text: str
    chain: str
    seq: int
    hash: str
    day: str

    @property
    def head(self) -> tuple[str, int, str]:
        """The ledger head that it is for."""
        return self.chain, self.seq, self.hash


class Receipts:
    """The file. Reads it at the first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: tuple[str, int, str] | None = None
        self._lines = -1
        self._thin_at = 0

    def add(self, receipt: str) -> None:
        """Keep a receipt that has been checked; one for the same head as the last is not kept twice.

        Raises:
            BadToken: it is no receipt.
            Unwritable: it could not be stored.
        """
        new = read(receipt)
        if self._lines < 0:
            self._open()
        if new.head == self._last:
            return
        durable.append(self._path, receipt.encode() + b"\n")
        self._last = new.head
        self._lines += 1
        if self._lines > self._thin_at:
            # On a full disk all stays; it is tried again with the next one.
            with suppress(Unwritable):
                self._thin()

    def _open(self) -> None:
        found = _read_file(self._path)
        if self._path.exists() and self._path.read_bytes()[-1:] not in {b"", b"\n"}:
            # A line that a crash cut short must not grow together with the next one.
            durable.append(self._path, b"\n")
        self._last = found[-1].head if found else None
        self._lines = len(found)
        self._thin_at = len(thinned(found)) + NEWEST

    def _thin(self) -> None:
        kept = thinned(_read_file(self._path))
        durable.write_file(self._path, "".join(f"{one.text}\n" for one in kept))
        self._lines = len(kept)
        self._thin_at = len(kept) + NEWEST


def thinned(receipts: Sequence[Kept]) -> list[Kept]:
    """Return those to keep, in order: the newest, one a day, and whatever proves what no other does."""
    kept = []
    newer: dict[str, Kept] = {}
    days: dict[str, set[str]] = {}
    for age, one in enumerate(reversed(receipts)):
        after, seen = newer.get(one.chain), days.setdefault(one.chain, set())
        last_of_day = one.day not in seen and len(seen) < DAYS
        went_back = after is not None and after.seq <= one.seq
        if age < NEWEST or after is None or went_back or last_of_day:
            kept.append(one)
        seen.add(one.day)
        newer[one.chain] = one
    return kept[::-1]


def read(text: str) -> Kept:
    """Read a line of the file without asking who signed it.

    Raises:
        BadToken: it is no receipt.
    """
    said = unverified(Kind.RECEIPT, text)
    seq = said.get("seq")
    return Kept(
        text=text,
        chain=str(said.get("chain", "")),
        seq=seq if isinstance(seq, int) else 0,
        hash=str(said.get("hash", "")),
        day=str(said.get("at", ""))[:10],
    )


def _read_file(path: Path) -> list[Kept]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unwritable(f"cannot read {path}: {error.strerror}") from error
    found = []
    for line in lines:
        # What is no receipt, such as a line cut short, proves nothing.
        with suppress(BadToken):
            found.append(read(line.decode("ascii", "replace")))
    return found
