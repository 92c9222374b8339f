"""Sessions with engines that are kept between two questions, so that not each of them pays for a new one.

Used by an engine's kind, from threads. The invariants: a session is used by one thread at a time; whatever
goes wrong on a kept one is tried on a new one before it counts; and none is kept for longer than
:data:`LIFE_SECONDS`, so an engine that lets nobody in any more is found out.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from byoc import sql
from byoc.dataplane.kubernetes.door import Door
from byoc.errors import ByocError

T = TypeVar("T")

LIFE_SECONDS: Final = 60.0
_SWEEP_SECONDS: Final = 10.0


class Sessions:
    """The free sessions, by door.

    Args:
        connect: opens one.
        now: seconds of a clock that only rises.
    """

    def __init__(
        self, connect: Callable[[Door], sql.Session], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._now = now
        self._free: dict[Door, tuple[sql.Session, float]] = {}
        self._lock = threading.Lock()
        self._sweep_at = now()
        self._closed = False

    def use(self, door: Door, work: Callable[[sql.Session], T]) -> T:
        """Do ``work``, which may be repeated, on a session.

        Raises:
            Unreachable, NotAuthenticated, TooManyRequests, UsageError: there is none, or it failed.
        """
        found = self._take(door)
        if found is not None:
            session, opened = found
            try:
                done = work(session)
            except ByocError:
                session.close()
            else:
                self._put(door, session, opened)
                return done
        opened, session = self._now(), self._connect(door)
        try:
            done = work(session)
        except BaseException:
            session.close()
            raise
        self._put(door, session, opened)
        return done

    def drop(self, door: Door) -> None:
        """Let the session behind a door go: the next one is new."""
        found = self._take(door)
        if found is not None:
            found[0].close()

    def close(self) -> None:
        """Let all go; none is kept any more."""
        self._closed = True
        self._sweep(before=None)

    def _take(self, door: Door) -> tuple[sql.Session, float] | None:
        now = self._now()
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            self._sweep(before=now - LIFE_SECONDS)
        with self._lock:
            return self._free.pop(door, None)

    def _put(self, door: Door, session: sql.Session, opened: float) -> None:
        with self._lock:
            if not self._closed and door not in self._free and self._now() - opened < LIFE_SECONDS:
                self._free[door] = (session, opened)
                return
        session.close()

    def _sweep(self, *, before: float | None) -> None:
        with self._lock:
            past = [door for door, (_, opened) in self._free.items() if before is None or opened <= before]
            gone = [self._free.pop(door)[0] for door in past]
        for session in gone:
            session.close()
