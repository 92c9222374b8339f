"""Copies of the ledger for a bucket that nobody in the cell can take anything out of again.

Run by ``byoc agent ship-ledger``, a process of its own beside the agent, and looked after by the agent,
which raises the alarm when the copies fall behind. What goes there, all below the chain's name::

    000000000001-000000000120.jsonl     the very lines of these records
    receipts/000000000117.jws           the newest receipt at the time
    pinned-<hash>.json                  the public keys that receipts are checked with

The invariants: an object holds whole records and is never written again; what it will hold is on disk
before it is sent, so a shipper that was killed at any point sends the very same object; nothing is left
out between two objects.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from byoc import durable, log
from byoc.clock import Clock, parse_stamp, stamp
from byoc.dataplane.ledger_files import LEDGER, RECEIPTS, files, read_line, tail
from byoc.dataplane.ledger_verify import read_lines
from byoc.errors import BadToken, Failed, NotFound, Unreachable
from byoc.wire.canonical import canonical, sha256

SHIPPED: Final = "shipped.json"
"""In the ledger's folder: how far the copies are."""
EVERY_SECONDS: Final = 20.0
LATE: Final = timedelta(seconds=60)
_FULL: Final = 4 * 1024 * 1024
_LOOK_BACK: Final = 256 * 1024
_LOG: Final = log.get(__name__)


class Copies(Protocol):
    """Where the copies go."""

    def put(self, key: str, body: bytes) -> None:
        """Add an object; one of that name that is there already stays as it is.

        Raises:
            Unreachable: it could not be added now.
        """
        ...


@dataclass(frozen=True, slots=True)
class Shipped:
    """How far the copies are. ``upto``: of the object under way; ``seq`` where none is."""

    chain: str
    seq: int = 0
    upto: int = 0
    at: str = ""

    @classmethod
    def read(cls, folder: Path) -> "Shipped | None":
        """Read it; None where nothing was shipped yet.

        Raises:
            Failed: the file is damaged.
        """
        path = folder / SHIPPED
        if not path.exists():
            return None
        try:
            value = json.loads(path.read_bytes())
            return cls(str(value["chain"]), int(value["seq"]), int(value["upto"]), str(value["at"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "remove it: what is there already is not sent twice"
            raise Failed(f"cannot be read: {path}", hint=hint) from error

    def store(self, folder: Path) -> None:
        """Put it on disk."""
        value = {"chain": self.chain, "seq": self.seq, "upto": self.upto, "at": self.at}
        durable.write_file(folder / SHIPPED, canonical(value) + b"\n")


class Shipper:
    """Ships one chain.

    Args:
        folder: the ledger's; ``cell`` above it holds the public keys.
        pause: waits a while; False ends the shipper, once all that is there has been sent.
    """

    def __init__(self, folder: Path, copies: Copies, clock: Clock, pause: Callable[[], bool]) -> None:
        self._folder = folder
        self._copies = copies
        self._clock = clock
        self._pause = pause
        self._done = Shipped("")
        self._batch: list[bytes] = []
        self._size = 0
        self._sent: set[str] = set()
        self._stopped = False

    def run(self) -> None:
        """Ship until ``pause`` says no. A ledger that is not there yet is waited for.

        Raises:
            Failed: what was shipped cannot be read.
            Unwritable: how far the copies are cannot be stored.
        """
        while not files(self._folder):
            if not self._pause():
                return
        for line in read_lines(self._folder, wait=self._at_end):
            self._take(line)
            if self._stopped:
                return
        if not self._stopped:
            self._send_rest()

    def _send_rest(self) -> None:
        """Send what was written while the last pause went on."""
        self._batch, self._size = [], 0
        for line in read_lines(self._folder):
            self._take(line)
            if self._stopped:
                return
        self._at_end()

    def _take(self, line: bytes) -> None:
        found = read_line(line)
        if found is None:
            # Damage is copied too: a proof of it is worth more than a copy without it.
            self._add(line)
            return
        record = found[0]
        if not self._done.chain:
            self._begin(str(record.get("chain", "")))
        seq = int(record["seq"])
        if seq <= self._done.seq:
            return
        self._add(line)
        if seq == self._done.upto or (self._done.upto <= self._done.seq and self._size >= _FULL):
            self._send(seq)

    def _add(self, line: bytes) -> None:
        self._batch.append(line + b"\n")
        self._size += len(line) + 1

    def _begin(self, chain: str) -> None:
        held = Shipped.read(self._folder)
        self._done = held if held is not None and held.chain == chain else Shipped(chain)

    def _at_end(self) -> bool:
        last = read_line(self._batch[-1][:-1]) if self._batch else None
        if last is not None:
            self._send(int(last[0]["seq"]))
        if not self._stopped:
            self._send_beside()
        return not self._stopped and self._pause()

    def _send(self, last: int) -> None:
        first = self._done.seq + 1
        # First what will be sent: whoever goes on after a crash sends the same.
        self._done = replace(self._done, upto=last)
        self._done.store(self._folder)
        if self._put(f"{self._done.chain}/{first:012d}-{last:012d}.jsonl", b"".join(self._batch)):
            self._done = replace(self._done, seq=last, at=stamp(self._clock.now()))
            self._done.store(self._folder)
            self._batch, self._size = [], 0

    def _send_beside(self) -> None:
        """Send the newest receipt and the public keys, if they are new."""
        chain, pinned = self._done.chain, self._folder.parent / "pinned.json"
        newest = _last_receipt(self._folder / RECEIPTS)
        if newest is not None:
            self._once(f"{chain}/receipts/{newest[0]:012d}.jws", newest[1])
        if pinned.exists():
            content = pinned.read_bytes()
            self._once(f"{chain}/pinned-{sha256(content)[:16]}.json", content)

    def _once(self, key: str, body: bytes) -> None:
        if key not in self._sent and not self._stopped and self._put(key, body):
            self._sent.add(key)

    def _put(self, key: str, body: bytes) -> bool:
        """Send until it is there; False where the shipper was stopped before."""
        while True:
            try:
                self._copies.put(key, body)
            except (Unreachable, NotFound) as error:
                _LOG.error("ledger not copied yet", key=key, error=error.message)
                if not self._pause():
                    self._stopped = True
                    return False
            else:
                _LOG.debug("copied", key=key)
                return True


def _last_receipt(path: Path) -> tuple[int, bytes] | None:
    from byoc.dataplane.receipts import read  # noqa: PLC0415 - only where there are receipts

    if not path.exists():
        return None
    lines = path.read_bytes().split()
    try:
        return (read(lines[-1].decode()).seq, lines[-1] + b"\n") if lines else None
    except (BadToken, UnicodeDecodeError):
        # It is being written.
        return None


def lay_out(objects: Iterable[tuple[str, bytes]], folder: Path) -> list[Path]:
    """Put copies back into folders as an agent has them, one for each chain; return these.

    ``objects``: by their names, in order. What two objects hold of one record is written once.
    """
    made: dict[str, Path] = {}
    last: dict[str, bytes] = {}
    for key, body in objects:
        chain, _, rest = key.partition("/")
        if not chain or Path(chain).name != chain or chain.startswith("."):
            continue
        place = made.setdefault(chain, folder / chain / "ledger")
        place.mkdir(parents=True, exist_ok=True)
        if rest.startswith("receipts/"):
            _append(place / RECEIPTS, body)
        elif rest.startswith("pinned-"):
            (place.parent / "pinned.json").write_bytes(body)
        else:
            _append(place / LEDGER, _new(body, last.get(chain, b"")))
            last[chain] = body.splitlines(keepends=True)[-1] if body else b""
    return list(made.values())


def _new(body: bytes, last: bytes) -> bytes:
    """Return what comes after line ``last``, if that is in ``body``."""
    before, found, after = body.partition(last) if last else (b"", b"", body)
    return after if found else before + after


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(content)


def behind(folder: Path, now: datetime) -> timedelta:
    """Return how old the oldest record is that has no copy yet; zero where all have one.

    Raises:
        Failed: what was shipped cannot be read.
        OSError: the ledger cannot be read.
    """
    held = Shipped.read(folder)
    lines, whole = tail(folder, _LOOK_BACK)
    if held is not None and whole and _chain(lines) not in {"", held.chain}:
        held = None
    for line in lines:
        record = _record(line)
        if record is not None and (held is None or record.get("seq", 0) > held.seq):
            return max(now - parse_stamp(str(record["at"])), timedelta())
    return timedelta()


def _chain(lines: list[bytes]) -> str:
    record = _record(lines[0]) if lines else None
    return str((record or {}).get("chain", ""))


def _record(line: bytes) -> dict[str, Any] | None:
    found = read_line(line)
    return found[0] if found is not None else None


class Watch:
    """The agent's eye on the copies: on record when they fall behind, and when they are there again."""

    def __init__(self, folder: Path, record: Callable[..., object], clock: Clock) -> None:
        self._folder = folder
        self._record = record
        self._clock = clock
        self.since: datetime | None = None
        """Since when nothing has been copied, while that is too long; None while the copies are in time."""

    @property
    def late(self) -> bool:
        """Whether the copies are behind."""
        return self.since is not None

    def look(self) -> None:
        """Look once.

        Raises:
            Unwritable, LedgerBroken: it could not be put on record; the next look tries again.
        """
        try:
            age = behind(self._folder, self._clock.now())
        except (Failed, OSError, ValueError) as error:
            _LOG.error("nobody knows how far the ledger's copies are", error=str(error))
            age = LATE * 2
        late = age > LATE
        if late == self.late:
            return
        self._record("copies", late=late, behind=int(age.total_seconds()))
        self.since = self._clock.now() - age if late else None
        if late:
            _LOG.error("alarm: the ledger's copies are late", seconds=int(age.total_seconds()))
