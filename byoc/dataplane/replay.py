"""The requests that were seen lately, so that none of them acts twice.

Used by the guard alone. The invariants: once :meth:`Replays.remember` has returned, that
request is refused for the next 120 seconds, also by an agent that was restarted in between
and whatever the wall clock does; a request's token lives 60 seconds, so that is enough. A wall
clock that is set back makes old tokens young again: so the newest ids stay known for longer, and
nothing is let in that was issued no later than one that is known no more. And
where what was kept was lost or restored from an older copy, which nobody can see by looking at it:
for its first 120 seconds an agent takes no token that was issued before it began. Whoever
sends one signs anew.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from byoc.clock import Clock, parse_stamp
from byoc.dataplane.ledger_files import tail
from byoc.errors import TooManyRequests, Unwritable
from byoc.wire.canonical import sha256

KEEP_SECONDS: Final = 120.0
MAX_KEPT: Final = 100_000
"""Requests remembered at most: more in two minutes are refused, none is forgotten early."""
SPARE: Final = 2048
"""Requests that stay known beyond their two minutes, for a wall clock that is set back."""
LOOK_BACK: Final = 1024 * 1024
"""Bytes of the ledger's end that are always looked at, however old they say they are."""
_KEEP: Final = timedelta(seconds=KEEP_SECONDS)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


class Seen(Protocol):
    """Where the ids of requests are kept: hashes, 64 hexadecimal digits each."""

    def load(self) -> Iterable[str]:
        """Return what was kept, oldest first.

        Raises:
            Unwritable: it cannot be read now.
        """
        ...

    def add(self, name: str, kept: Iterable[str]) -> None:
        """Keep ``name`` too; of the others, only ``kept`` are still needed.

        Raises:
            Unwritable: it could not be stored.
        """
        ...


class InLedger:
    """The ledger in ``folder``: what let a request in put its id there, on disk, before it acted."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    def load(self) -> Iterable[str]:
        """Return the requests of the last 120 seconds, by the ledger's own newest time or by ours."""
        size, now = LOOK_BACK, self._clock.now()
        while True:
            try:
                lines, whole = tail(self._folder, size)
            except OSError as error:
                raise Unwritable(f"cannot read the ledger in {self._folder}: {error.strerror}") from error
            records = [record for record in map(_read, lines) if record is not None]
            if whole or not records or _at(records[0]) < min(now, _at(records[-1])) - _KEEP:
                ids = [str(record["jti"]) for record in records if record.get("jti")]
                return [_name(jti) for jti in ids[-MAX_KEPT:]]
            size *= 4

    def add(self, name: str, kept: Iterable[str]) -> None:
        """Do nothing: it is there."""


class Replays:
    """The ids that are kept, and the same in memory."""

    def __init__(self, store: Seen, clock: Clock, *, limit: int = MAX_KEPT, spare: int = SPARE) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        self._spare = spare
        # Tokens are issued in whole seconds.
        self._began = clock.now().replace(microsecond=0)
        self._began_at = clock.monotonic()
        self._kept: OrderedDict[str, _Kept] = OrderedDict(
            (name, _Kept(self._began_at, self._began)) for name in store.load()
        )
        self._forgotten = _EARLIEST

    def __len__(self) -> int:
        return len(self._kept)

    def seen(self, jti: str, issued_at: datetime) -> bool:
        """Whether this request was remembered in the last 120 seconds, or might have been at any time."""
        self._forget(self._spare)
        young = self._clock.monotonic() - self._began_at < KEEP_SECONDS
        unknown = (young and issued_at < self._began) or issued_at <= self._forgotten
        return unknown or _name(jti) in self._kept

    def remember(self, jti: str, issued_at: datetime) -> None:
        """Store the request's id.

        Raises:
            TooManyRequests: more requests in two minutes than are remembered.
            Unwritable: it could not be stored; the request must not act.
        """
        self._forget(min(self._spare, self._limit - 1))
        if len(self._kept) >= self._limit:
            raise TooManyRequests("too many requests in the last two minutes")
        name = _name(jti)
        self._store.add(name, self._recent())
        self._kept[name] = _Kept(self._clock.monotonic(), issued_at)

    def forget(self, jti: str) -> None:
        """Let this request be sent again: it has not acted."""
        self._kept.pop(_name(jti), None)

    def _recent(self) -> Iterator[str]:
        horizon = self._clock.monotonic() - KEEP_SECONDS
        return (name for name, kept in self._kept.items() if kept.at >= horizon)

    def _forget(self, spare: int) -> None:
        # Monotonic time: a wall clock that is set forth and back must not bring a request back to life.
        horizon = self._clock.monotonic() - KEEP_SECONDS
        while len(self._kept) > spare and next(iter(self._kept.values())).at < horizon:
            _, kept = self._kept.popitem(last=False)
            self._forgotten = max(self._forgotten, kept.issued_at)


@dataclass(frozen=True, slots=True)
class _Kept:
    """When a request came, in monotonic time, and when its token was issued, as the issuer says."""

    at: float
    issued_at: datetime


def _name(jti: str) -> str:
    return sha256(jti.encode())


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _at(record: dict[str, Any]) -> datetime:
    try:
        return parse_stamp(str(record.get("at")))
    except ValueError:
        # A time that says nothing ends no search.
        return _LATEST
