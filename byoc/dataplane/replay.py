"""The requests that were seen lately, so that none of them acts twice.

Used by the guard alone. The invariants: once :meth:`Replays.remember` has returned, that
request is refused for the next 120 seconds, also by an agent that was restarted in between
and whatever the wall clock does; a request's token lives 60 seconds, so that is enough. And
where the file was lost or restored from an older copy, which nobody can see by looking at it:
for its first 120 seconds an agent takes no token that was issued before it began. Whoever
sends one signs anew.
"""

from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import Final

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


class Replays:
    """The file of request ids (hashed, one a line) and the same in memory."""

    def __init__(self, folder: Path, clock: Clock, *, limit: int = MAX_KEPT) -> None:
        self._path = folder / FILE
        self._clock = clock
        self._limit = limit
        # Tokens are issued in whole seconds.
        self._began = clock.now().replace(microsecond=0)
        self._began_at = clock.monotonic()
        self._lines = 0
        self._kept: OrderedDict[str, float] = OrderedDict()
        self._load()

    def __len__(self) -> int:
        return len(self._kept)

    def seen(self, jti: str, issued_at: datetime) -> bool:
        """Whether this request was remembered in the last 120 seconds, or might have been."""
        self._forget()
        young = self._clock.monotonic() - self._began_at < KEEP_SECONDS
        return (young and issued_at < self._began) or sha256(jti.encode()) in self._kept

    def remember(self, jti: str) -> None:
        """Put the request's id on disk.

        Raises:
            TooManyRequests: more requests in two minutes than are remembered.
            Unwritable: it could not be stored; the request must not act.
        """
        self._forget()
        if len(self._kept) >= self._limit:
            raise TooManyRequests("too many requests in the last two minutes")
        name = sha256(jti.encode())
        if self._lines > 2 * len(self._kept) + _SLACK:
            self._compact()
        durable.append(self._path, name.encode() + b"\n")
        self._lines += 1
        self._kept[name] = self._clock.monotonic()

    def _forget(self) -> None:
        # Monotonic time: a wall clock that is set forth and back must not bring a request back to life.
        horizon = self._clock.monotonic() - KEEP_SECONDS
        while self._kept and next(iter(self._kept.values())) < horizon:
            self._kept.popitem(last=False)

    def _load(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unwritable(f"cannot read {self._path}: {error.strerror}") from error
        now = self._clock.monotonic()
        lines = content.decode("ascii", "replace").split("\n")
        self._kept = OrderedDict((line, now) for line in lines if len(line) == _LINE - 1)
        # A line that a crash cut short must not grow together with the next one.
        self._compact()

    def _compact(self) -> None:
        durable.write_file(self._path, "".join(f"{name}\n" for name in self._kept))
        self._lines = len(self._kept)
