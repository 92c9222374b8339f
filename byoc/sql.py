"""SQL connections that we make ourselves: probes of the runtimes, and ``workspace connect``.

The one home of the driver. The invariant: nothing of it leaves this module, neither its
types nor its exceptions, and a password never stands in a statement or an error.

What goes wrong is one of: :class:`Unreachable` (nobody answers, or no longer),
:class:`NotAuthenticated`, :class:`TooManyRequests` (all connections are taken: the server
lives), :class:`UsageError` (the server understood and said no; its own words are the message).
"""

import contextlib
import hashlib
import re
import socket as socketlib
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

import pymysql
from pymysql.constants import CLIENT, CR, ER

from byoc.errors import ByocError, NotAuthenticated, TooManyRequests, Unreachable, UsageError

_KILLED: Final = 1927  # ER_CONNECTION_KILLED
_LOST: Final = frozenset(
    {CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_CONN_HOST_ERROR, CR.CR_CONNECTION_ERROR}
    | {ER.SERVER_SHUTDOWN, ER.NORMAL_SHUTDOWN, _KILLED}
)
_REFUSED: Final = frozenset({ER.ACCESS_DENIED_ERROR, 1698, 1524, 4151})  # plugin says no, is unknown, blocked
_QUOTES: Final = "'\"`"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_REVEALING: Final = (
    "mysql_clear_password",
    "dialog",
    "sha256_password",
    "caching_sha2_password",
    "mysql_old_password",
)
"""Ways to log in by which a server learns the password, or enough to find it out."""
_DASHES: Final = re.compile(r"--(\s|$)")


@dataclass(frozen=True, slots=True)
class Result:
    """What one statement answered.

    Attributes:
        columns: names; empty where the statement answers no rows.
        affected: rows changed, or rows answered.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    affected: int


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to believe that it is the server: whoever has a certificate of ``authority`` for ``name``."""

    authority: str = field(repr=False)
    name: str


class Session:
    """One connection, in autocommit; a context manager that closes it."""

    def __init__(self, connection: "pymysql.Connection[Any]") -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye; a connection that is already lost is no error."""
        with contextlib.suppress(pymysql.err.Error, OSError):
            self._connection.close()

    @property
    def certificate(self) -> bytes | None:
        """What the server showed, DER; None where the connection is not encrypted."""
        line = self._connection._sock  # type: ignore[attr-defined]  # noqa: SLF001
        return line.getpeercert(binary_form=True) if isinstance(line, ssl.SSLSocket) else None

    def execute(self, statement: str, values: Sequence[object] = ()) -> Result:
        """Run one statement; each ``%s`` in it takes the next of ``values``, if any are given.

        Raises:
            Unreachable, NotAuthenticated, TooManyRequests, UsageError: see the module.
        """
        results = list(self._results(statement, values))
        return results[0]

    def run(self, text: str) -> Iterator[Result]:
        """Run the statements of ``text`` in turn and yield what each answers; the first error ends it.

        Raises:
            Unreachable, NotAuthenticated, TooManyRequests, UsageError: see the module.
        """
        for statement in split(text):
            yield from self._results(statement, ())

    def ping(self) -> None:
        """Return once the server has answered ``SELECT 1``.

        Raises:
            Unreachable, NotAuthenticated, TooManyRequests, UsageError: see the module.
        """
        self.execute("SELECT 1")

    def _results(self, statement: str, values: Sequence[object]) -> Iterator[Result]:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, tuple(values) or None)
                yield _result(cursor)
                while cursor.nextset():
                    # The last answer of a CALL is its status, which says nothing.
                    if cursor.description:
                        yield _result(cursor)
        except Exception as error:
            raise _translated(error) from error


class _Refusing:
    """What the driver asks when a server wants the password itself: whoever has taken the port would."""

    def __init__(self, _connection: object) -> None:
        pass

    def authenticate(self, _packet: object) -> None:
        raise pymysql.err.OperationalError(
            CR.CR_AUTH_PLUGIN_CANNOT_LOAD, "what answers asks for the password itself, which it is not given"
        )


def connect(
    host: str = "127.0.0.1",
    port: int = 3306,
    user: str = "admin",
    password: str = "",
    *,
    database: str | None = None,
    socket: str | None = None,
    tls: Tls | None = None,
    timeout: float = 10.0,
    answer_timeout: float | None = None,
) -> Session:
    """Open a session.

    With ``tls`` the connection is encrypted and the server proves its name, or there is none.
    ``socket`` is the path of a Unix socket; with it ``host`` and ``port`` do not count.
    ``timeout`` is in seconds and counts for the connection, ``answer_timeout`` for each
    answer; None waits for ever.

    Raises:
        Unreachable, NotAuthenticated, TooManyRequests, UsageError: see the module.
    """
    connection: pymysql.Connection[Any] = pymysql.Connection(
        # The driver compares this name with the certificate's; the connection itself is made by us.
        host=tls.name if tls is not None else host,
        port=port,
        user=user,
        # As bytes: the driver would encode text as Latin-1 and fail on the rest of the world.
        password=password.encode(),
        database=database,
        read_timeout=timeout,
        write_timeout=answer_timeout,
        **_HOW,
        **_encryption(tls, private=socket is not None or host in _LOOPBACK),
    )
    try:
        connection.connect(_dial(host, port, socket, timeout))
    except Exception as error:
        # Also what the driver stumbles over where something else than a SQL server answers.
        raise _translated(error) from error
    # The driver knows one timeout; a greeting that never comes must not be waited for like an answer.
    connection._read_timeout = answer_timeout  # type: ignore[attr-defined]  # noqa: SLF001
    return Session(connection)


_HOW: Final[dict[str, Any]] = {
    "charset": "utf8mb4",
    "autocommit": True,
    "client_flag": CLIENT.MULTI_RESULTS,
    "auth_plugin_map": dict.fromkeys(_REVEALING, _Refusing),
    "defer_connect": True,
}


def _encryption(tls: Tls | None, *, private: bool) -> dict[str, Any]:
    if tls is not None:
        return {"ssl": _context(tls.authority)}
    # Making a TLS context costs more than the whole of a local session.
    return {"ssl_disabled": private}


@lru_cache(maxsize=4)
def _context(authority: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _dial(host: str, port: int, path: str | None, timeout: float) -> socketlib.socket:
    # The driver leaves its socket open when it cannot connect.
    if path is None:
        line = socketlib.create_connection((host, port), timeout)
        line.setsockopt(socketlib.IPPROTO_TCP, socketlib.TCP_NODELAY, 1)
        return line
    line = socketlib.socket(socketlib.AF_UNIX, socketlib.SOCK_STREAM)
    try:
        line.settimeout(timeout)
        line.connect(path)
    except OSError:
        line.close()
        raise
    return line


def native_hash(password: str) -> str:
    """Return what an account of ``mysql_native_password`` stores, so that only this crosses a log."""
    inner = hashlib.sha1(password.encode()).digest()  # noqa: S324 - the protocol's own choice
    return "*" + hashlib.sha1(inner).hexdigest().upper()  # noqa: S324 - the protocol's own choice


def split(text: str) -> list[str]:
    """Cut ``text`` into statements, without their delimiter; empty ones and lone comments are left out.

    Quotes and comments are read as the server reads them, and ``DELIMITER`` as its own
    command-line client does, for routines with statements inside.
    """
    statements: list[str] = []
    delimiter = ";"
    position = start = 0
    said = False
    while position < len(text):
        if not said and (command := _delimiter_command(text, position)):
            delimiter, position = command
            start = position
            continue
        if text.startswith(delimiter, position):
            if said:
                statements.append(text[start:position].strip())
            position += len(delimiter)
            start, said = position, False
            continue
        end, counts = _skip(text, position)
        said = said or counts
        position = end
    if said:
        statements.append(text[start:].strip())
    return statements


def _result(cursor: "pymysql.cursors.Cursor") -> Result:
    columns = tuple(str(column[0]) for column in cursor.description or ())
    rows = tuple(tuple(row) for row in cursor.fetchall()) if columns else ()
    return Result(columns, rows, max(cursor.rowcount, 0))


def _skip(text: str, position: int) -> tuple[int, bool]:
    """Return where the token at ``position`` ends, and whether a server would act on it."""
    character = text[position]
    if character in _QUOTES:
        return _end_of_quoted(text, position), True
    if character == "#" or _DASHES.match(text, position):
        end = text.find("\n", position)
        return (len(text) if end < 0 else end + 1), False
    if text.startswith("/*", position):
        end = text.find("*/", position + 2)
        runs = text.startswith(("/*!", "/*M!"), position)
        return (len(text) if end < 0 else end + 2), runs
    return position + 1, not character.isspace()


def _end_of_quoted(text: str, position: int) -> int:
    quote = text[position]
    position += 1
    while position < len(text):
        if text[position] == "\\" and quote != "`":
            position += 2
        elif text[position] == quote:
            return position + 1
        else:
            position += 1
    return len(text)


def _delimiter_command(text: str, position: int) -> tuple[str, int] | None:
    """Read ``DELIMITER //`` at ``position``: the new delimiter, and where the next line begins."""
    word = "delimiter"
    if text[position : position + len(word)].lower() != word:
        return None
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    rest = text[position + len(word) : end]
    if not rest[:1].isspace() or not rest.strip():
        return None
    return rest.split()[0], end


def _unproved(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _translated(error: Exception) -> ByocError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    words = " ".join(str(error.args[1]).split()) if len(error.args) > 1 else ""
    if _unproved(error):
        return Unreachable(
            "what answers does not prove that it is the SQL server that is meant",
            hint="its certificate is of another authority or for another name: `byoc cell ca`",
        )
    if isinstance(error, OSError | pymysql.err.InterfaceError) or code in _LOST:
        return Unreachable("the SQL server does not answer", hint="see `byoc workspace show`")
    if not isinstance(error, pymysql.err.Error):
        return Unreachable(
            "what came cannot be understood as the answer of a SQL server", hint="see `byoc workspace show`"
        )
    if code in _REFUSED:
        return NotAuthenticated(words or "the SQL server refused the password")
    if code in {ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED}:
        return TooManyRequests("the SQL server has no free connection", hint="close some and try again")
    return UsageError(f"{words} (SQL error {code})" if words else f"the SQL server said no: {error}")
