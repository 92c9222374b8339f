"""Carries calls out over HTTP, blocking or not. The only home of httpx2.

Errors of the library end here: what leaves is of our own tree. A key is never sent over
plain HTTP to another machine.
"""

import ipaddress
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx2

from byoc.client.answers import Answer, to_error
from byoc.client.calls import Call
from byoc.client.models import Event, decode
from byoc.client.retry import Attempt, Trouble, asked_pause, pause_before_next
from byoc.errors import ByocError, Failed, Unreachable, UsageError

T = TypeVar("T")

TIMEOUT: Final = 30.0
CONNECT_TIMEOUT: Final = 5.0
_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Cut(Exception):
    """A stream ended before its reader was done, and can be taken up again; stays in this package.

    Attributes:
        silent: nothing was lost, there was only nothing to say for a while.
    """

    def __init__(self, *, silent: bool) -> None:
        super().__init__("cut")
        self.silent = silent


def check_address(url: str) -> str:
    """Return the address of a Control Plane without a trailing slash.

    Raises:
        UsageError: it is no HTTP address, or plain HTTP to another machine.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"`{url[:100]}` is not an address") from error
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
        raise UsageError(f"`{url[:100]}` is not an address", hint="it looks like https://host:port")
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"a key is not sent over plain HTTP to `{host}`", hint="use https:// for other machines"
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _options(url: str, token: str, version: str) -> dict[str, Any]:
    headers = {"User-Agent": f"byoc/{version}", "Accept": "application/json, application/x-ndjson, */*"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return {
        "base_url": check_address(url),
        "headers": headers,
        "timeout": httpx2.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT),
        "follow_redirects": False,
        # Reading the certificates of the world takes 0.1 s; there is no TLS here to check with them.
        "verify": url.startswith("https:"),
        # A proxy for the world must not be asked for this very machine.
        "trust_env": not is_loopback(urlsplit(url).hostname or ""),
    }


def _request(call: Call[Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"method": call.method, "url": call.path}
    if call.query:
        options["params"] = dict(call.query)
    if call.body is not None:
        options["content"] = json.dumps(dict(call.body)).encode()
        options["headers"] = {"Content-Type": "application/json"}
    return options


def _answer(response: httpx2.Response, body: bytes) -> Answer:
    return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)


def _trouble(error: Exception) -> Trouble:
    return Trouble.NOT_SENT if isinstance(error, _NOT_SENT) else Trouble.ANSWER_LOST


def _translate(error: Exception, url: str) -> ByocError:
    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return UsageError(f"`{url[:100]}` is not an address")
    if isinstance(error, _NOT_SENT):
        return Unreachable(f"cannot reach the control plane at {url}", hint="is it running? `byoc status`")
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(f"the control plane at {url} did not answer in time")
    if isinstance(error, httpx2.DecodingError):
        return Failed(f"the answer of {url} cannot be decoded")
    return Unreachable(f"the connection to the control plane at {url} was lost")


def _finish(call: Call[T], answer: Answer) -> T:
    if not answer.ok:
        raise to_error(answer)
    return call.read(answer)


def _again(call: Call[Any], number: int, answer: Answer, chance: float) -> float | None:
    asked = asked_pause(answer.headers.get("retry-after"))
    attempt = Attempt(number, call.method, Trouble.ANSWERED, answer.status, asked)
    return None if answer.ok else pause_before_next(attempt, chance)


def read_event(line: str) -> Event:
    """Read one line of the event stream.

    Raises:
        Cut: a cut has left half a line; the event comes again, whole.
    """
    try:
        value = json.loads(line)
    except ValueError as error:
        raise Cut(silent=False) from error
    return decode(Event, value)


def lost(error: Cut | Unreachable) -> Unreachable:
    """Say in our own tree that a stream nobody follows was cut."""
    return error if isinstance(error, Unreachable) else Unreachable("the stream of events was cut")


class SyncHTTP:
    """The blocking carrier."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        version: str,
        chance: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self._chance = chance
        self._sleep = sleep
        self._client = httpx2.Client(transport=transport, **_options(url, token, version))

    def send(self, call: Call[T]) -> T:
        """Carry ``call`` out, trying again where that is safe.

        Raises:
            ByocError: what the answer says, or :class:`Unreachable`.
        """
        number = 1
        while True:
            try:
                response = self._client.request(**_request(call))
                answer = _answer(response, response.content)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                attempt = Attempt(number, call.method, _trouble(error))
                pause = pause_before_next(attempt, self._chance())
                if pause is None:
                    raise _translate(error, self.url) from error
            else:
                pause = _again(call, number, answer, self._chance())
                if pause is None:
                    return _finish(call, answer)
            self._sleep(pause)
            number += 1

    @contextmanager
    def lines(self, path: str, query: Mapping[str, str], *, silence: float) -> Iterator[Iterator[str]]:
        """Open a stream of lines.

        Args:
            path: where it is.
            query: its parameters.
            silence: seconds without a byte after which it counts as cut.

        Raises:
            Cut: it ended early or fell silent.
            ByocError: it was not opened.
        """
        timeout = httpx2.Timeout(silence, connect=CONNECT_TIMEOUT)
        try:
            with self._client.stream("GET", path, params=dict(query), timeout=timeout) as response:
                if response.status_code != 200:  # noqa: PLR2004 - as in Answer.ok
                    raise to_error(_answer(response, response.read()))
                yield response.iter_lines()
        except httpx2.HTTPError as error:
            raise Cut(silent=isinstance(error, httpx2.ReadTimeout)) from error

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


class AsyncHTTP:
    """The carrier for an event loop."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        version: str,
        chance: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._chance = chance
        self._sleep = sleep
        self._client = httpx2.AsyncClient(transport=transport, **_options(url, token, version))

    async def send(self, call: Call[T]) -> T:
        """Carry ``call`` out, trying again where that is safe.

        Raises:
            ByocError: what the answer says, or :class:`Unreachable`.
        """
        number = 1
        while True:
            try:
                response = await self._client.request(**_request(call))
                answer = _answer(response, response.content)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                attempt = Attempt(number, call.method, _trouble(error))
                pause = pause_before_next(attempt, self._chance())
                if pause is None:
                    raise _translate(error, self.url) from error
            else:
                pause = _again(call, number, answer, self._chance())
                if pause is None:
                    return _finish(call, answer)
            await self._sleep(pause)
            number += 1

    @asynccontextmanager
    async def lines(
        self, path: str, query: Mapping[str, str], *, silence: float
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Open a stream of lines, as :meth:`SyncHTTP.lines` does."""
        timeout = httpx2.Timeout(silence, connect=CONNECT_TIMEOUT)
        try:
            async with self._client.stream("GET", path, params=dict(query), timeout=timeout) as response:
                if response.status_code != 200:  # noqa: PLR2004 - as in Answer.ok
                    raise to_error(_answer(response, await response.aread()))
                yield response.aiter_lines()
        except httpx2.HTTPError as error:
            raise Cut(silent=isinstance(error, httpx2.ReadTimeout)) from error

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()
