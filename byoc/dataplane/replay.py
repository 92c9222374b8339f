"""The requests that were seen lately, so that none of them acts twice.

Used by the guard alone. The invariants: once :meth:`Replays.remember` has returned, that
request is refused for the next 120 seconds, also by an agent that was restarted in between
and whatever the wall clock does; a request's token lives 60 seconds, so that is enough. And
where the file was lost or restored from an older copy, which nobody can see by looking at it:
for its first 120 seconds an agent takes no token that was issued before it began. Whoever
sends one signs anew.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from byoc import durable
from byoc.clock import Clock
from byoc.errors import TooManyRequests, Unwritable
from byoc.wire.canonical import sha256

FILE: Final = "replays"
KEEP_SECONDS: Final = 120.0
MAX_KEPT: Final = 100_000
"""Requests remembered at most: more in two minutes are refused, none is forgotten early."""
_SLACK: Final = 1024
"""Lines that may stand in the file beyond those still needed."""
_LINE: Final = 65


class Seen(Protocol):
    """Where the ids of requests are kept: hashes, 64 hexadecimal digits each."""

    def load(self) -> Iterable[str]:
        """Return what was kept, oldest first.

        Raises:
            Unwritable: it cannot be read now.
        """
        ...

    def add(self, name: str, kept: Collection[str]) -> None:
        """Keep ``name`` too; of the others, only ``kept`` are still needed.

        Raises:
            Unwritable: it could not be stored.
        """
        ...


class ReplayFile:
    """A file, one id a line."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lines = 0

    def load(self) -> Iterable[str]:
        """Return the whole lines; what a crash cut short is taken out."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise Unwritable(f"cannot read {self._path}: {error.strerror}") from error
        lines = content.decode("ascii", "replace").split("\n")
        found = [line for line in lines if len(line) == _LINE - 1]
        # A line that a crash cut short must not grow together with the next one.
        self._compact(found)
        return found

    def add(self, name: str, kept: Collection[str]) -> None:
        """Append a line; the file is written anew once most of it is past."""
        if self._lines > 2 * len(kept) + _SLACK:
            self._compact(kept)
        durable.append(self._path, name.encode() + b"\n")
        self._lines += 1

    def _compact(self, kept: Collection[str]) -> None:
        durable.write_file(self._path, "".join(f"{name}\n" for name in kept))
        self._lines = len(kept)


class Replays:
    """The ids that are kept, and the same in memory."""

    def __init__(self, store: Seen, clock: Clock, *, limit: int = MAX_KEPT) -> None:
        self._store = store
        self._clock = clock
        self._limit = limit
        # Tokens are issued in whole seconds.
        self._began = clock.now().replace(microsecond=0)
        self._began_at = clock.monotonic()
        self._kept: OrderedDict[str, float] = OrderedDict((name, self._began_at) for name in store.load())

    def __len__(self) -> int:
        return len(self._kept)

    def seen(self, jti: str, issued_at: datetime) -> bool:
        """Whether this request was remembered in the last 120 seconds, or might have been."""
        self._forget()
        young = self._clock.monotonic() - self._began_at < KEEP_SECONDS
        return (young and issued_at < self._began) or sha256(jti.encode()) in self._kept

    def remember(self, jti: str) -> None:
        """Store the request's id.

        Raises:
            TooManyRequests: more requests in two minutes than are remembered.
            Unwritable: it could not be stored; the request must not act.
        """
        self._forget()
        if len(self._kept) >= self._limit:
            raise TooManyRequests("too many requests in the last two minutes")
        name = sha256(jti.encode())
        self._store.add(name, self._kept)
        self._kept[name] = self._clock.monotonic()

    def _forget(self) -> None:
        # Monotonic time: a wall clock that is set forth and back must not bring a request back to life.
        horizon = self._clock.monotonic() - KEEP_SECONDS
        while self._kept and next(iter(self._kept.values())) < horizon:
            self._kept.popitem(last=False)
