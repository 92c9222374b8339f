"""The store on SQLite: one writer, group commit, readers that never wait for it.

Statements run on the event loop's own thread: they are lookups in memory, about 20 µs each,
and handing each to another thread costs ten times that. What can take long has a thread: the
fsync of a commit, and scans. The invariants:

- A change that waits while another commits joins the next commit, so that many share one
  fsync; each is a savepoint of its own, and its failure undoes it alone.
- Nobody is told "done" before the commit that holds it is on disk (WAL, synchronous=FULL).
- A reader sees everything that anybody was told is done.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from byoc import durable, log
from byoc.errors import Conflict, Unreachable, Unwritable
from byoc.store.schema import migrate
from byoc.store.seam import Listener
from byoc.store.transaction import Transaction

T = TypeVar("T")

MOST_AT_ONCE: Final = 32
"""Changes that share one commit at most, so that other work gets its turn."""
_BUSY_SECONDS: Final = 10
_LOG: Final = log.get(__name__)


@dataclass(slots=True)
class _Waiting:
    change: Callable[[Transaction], Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


def url_of(path: Path) -> str:
    """Return the address of a database file."""
    return f"sqlite:///{path}"


def open_store(path: Path) -> "SqliteStore":
    """Open the database at ``path``, making or migrating it where needed; readable by its owner only.

    Raises:
        DataInUse: it is of a newer schema; nothing was touched.
        PreconditionFailed: it is no database.
        Unwritable: its folder is not there or not writable.
    """
    if not path.exists():
        durable.append(path, b"")
    migrate(url_of(path))
    return SqliteStore(path)


class SqliteStore:
    """See :class:`byoc.store.seam.Store`. Used from one event loop."""

    def __init__(self, path: Path) -> None:
        options = {"check_same_thread": False, "timeout": _BUSY_SECONDS}
        self._engine = create_engine(
            url_of(path), poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=options
        )
        self._writer = _Line(self._engine.connect())
        self._reader = _Line(self._engine.connect())
        self._scanner = _Line(self._engine.connect())
        self._writing = ThreadPoolExecutor(1, "store-commit")
        self._scanning = ThreadPoolExecutor(1, "store-scan")
        self._queue: deque[_Waiting] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._listeners: list[Listener] = []
        self.commits = 0
        """How many commits there were; fewer than changes when they share."""

    def listen(self, listener: Listener, /) -> None:
        """Have ``listener`` called after every commit."""
        self._listeners.append(listener)

    async def read(self, look: Callable[[Transaction], T], /) -> T:
        """Run ``look`` over one picture."""
        return self._reader.look(look)

    async def scan(self, look: Callable[[Transaction], T], /) -> T:
        """Run ``look`` over one picture, beside everything else."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._scanning, self._scanner.look, look)

    async def write(self, change: Callable[[Transaction], T], /) -> T:
        """Run ``change`` as one transaction and return its result once it is durable."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(change, done))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        return await done

    async def close(self) -> None:
        """Commit what waits and let the file go."""
        if self._draining is not None:
            await self._draining
        for thread in (self._writing, self._scanning):
            await asyncio.to_thread(thread.shutdown)
        for line in (self._writer, self._reader, self._scanner):
            line.close()
        self._engine.dispose()

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), MOST_AT_ONCE))]
                try:
                    await self._commit(batch)
                except BaseException as error:
                    for waiting in batch:
                        if not waiting.done.done():
                            waiting.done.set_exception(_translate(error))
                    if not isinstance(error, Exception):
                        raise
        finally:
            self._draining = None

    async def _commit(self, batch: list[_Waiting]) -> None:
        line, loop = self._writer, asyncio.get_running_loop()
        if not line.begin_at_once():
            await loop.run_in_executor(self._writing, line.begin)
        topics: set[str] = set()
        try:
            for waiting in batch:
                topics |= line.run(waiting)
            await loop.run_in_executor(self._writing, line.commit)
        except BaseException:
            line.roll_back()
            raise
        self.commits += 1
        for waiting in batch:
            _resolve(waiting)
        if topics:
            for listener in self._listeners:
                listener(frozenset(topics))


class _Line:
    """One connection, its transaction object, and the statements that SQLAlchemy must not make."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)  # noqa: S101 - what its dialect connects with
        self._raw = raw
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            raw.execute(f"PRAGMA {pragma}").close()
        self._transaction = Transaction(connection)

    def look(self, look: Callable[[Transaction], T]) -> T:
        self._raw.execute("BEGIN")
        try:
            return look(self._transaction)
        except DBAPIError as error:
            raise _translate(error) from error
        finally:
            self.roll_back()

    def begin_at_once(self) -> bool:
        """Take the write lock unless another process has it."""
        try:
            self._raw.execute("PRAGMA busy_timeout=0").close()
            self._raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True

    def begin(self) -> None:
        self._raw.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}").close()
        self._raw.execute("BEGIN IMMEDIATE")

    def run(self, waiting: _Waiting) -> set[str]:
        """Run one change; its failure is kept for its caller unless it is the database's."""
        self._transaction.topics = set()
        self._raw.execute("SAVEPOINT change")
        try:
            waiting.result = waiting.change(self._transaction)
        except DBAPIError as error:
            if not isinstance(error, IntegrityError):
                raise
            waiting.error = _translate(error)
        except Exception as error:  # noqa: BLE001 - it is its caller's
            waiting.error = error
        if waiting.error is not None:
            self._raw.execute("ROLLBACK TO change")
            self._transaction.topics = set()
        self._raw.execute("RELEASE change")
        return self._transaction.topics

    def commit(self) -> None:
        self._raw.execute("COMMIT")

    def roll_back(self) -> None:
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


def _resolve(waiting: _Waiting) -> None:
    if waiting.done.done():
        return
    if waiting.error is not None:
        waiting.done.set_exception(waiting.error)
    else:
        waiting.done.set_result(waiting.result)


def _translate(error: BaseException) -> BaseException:
    if isinstance(error, IntegrityError):
        return Conflict("it was changed at the same time by somebody else", hint="look, and try again")
    if not isinstance(error, DBAPIError | sqlite3.Error):
        return error if isinstance(error, Exception) else Unreachable("the store is closing")
    said = error.orig if isinstance(error, DBAPIError) else error
    _LOG.error("store failed", error=str(said))
    return Unwritable(f"the control plane's database cannot be used: {said}", hint="is its disk full?")
