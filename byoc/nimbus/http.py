"""HTTP/1.1 inside a stream: one request, one answer, then the stream is over.

``request`` asks, ``serve`` answers with a plain ASGI app. Used by both planes and by the
gateway for its questions to the Control Plane. The one home of h11.

Invariants: bodies are bounded in both directions, alone and all of one asker together; every
wait for the peer has a limit, and a peer that does not speak HTTP gives an error and never a
hang. An app that has begun is not cancelled when the tunnel breaks: it ends, and its answer is
dropped.
"""

import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import h11

from byoc import log
from byoc.errors import Unreachable, UsageError
from byoc.nimbus.deadline import within
from byoc.nimbus.stream import Stream

MAX_BODY: Final = 8 * 1024 * 1024
"""Bytes of one body at most, in either direction."""
ROOM: Final = 2 * MAX_BODY
"""Bytes of all bodies of one asker at most, while they are read and answered."""
REQUEST_SECONDS: Final = 30.0
"""How long a peer may take to send its whole request."""
_MAX_HEAD: Final = 64 * 1024
_LOG: Final = log.get(__name__)
_OURS: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"host", b"date"})
_NO_BODY: Final = frozenset({204, 304})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request.

    Attributes:
        target: path and query, as signed.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def request(stream: Stream, asked: HttpRequest, *, timeout: float) -> HttpResponse:  # noqa: ASYNC109 - on the stream's clock
    """Send a request on a fresh stream and return the answer; the stream is over afterwards.

    Raises:
        UsageError: the request cannot be put into HTTP, or its body is too large.
        Unreachable: the stream broke, the answer is no HTTP, too large, or took more than
            ``timeout`` seconds. Nothing is known about what the other end did.
    """
    machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    async with stream:
        line = _encode_request(machine, asked)
        async with within(stream.clock, timeout, f"{asked.method} through the tunnel"):
            return await _exchange(stream, machine, line)


def _encode_request(machine: h11.Connection, asked: HttpRequest) -> bytes:
    if len(asked.body) > MAX_BODY:
        raise UsageError(f"a body of {len(asked.body)} bytes is too large, at most {MAX_BODY}")
    try:
        headers = _ours([(name.encode("ascii"), value.encode("latin-1")) for name, value in asked.headers])
        headers += [(b"host", b"cell"), (b"content-length", str(len(asked.body)).encode())]
        head = h11.Request(method=asked.method, target=asked.target, headers=headers)
        return b"".join(
            machine.send(event) or b"" for event in (head, h11.Data(data=asked.body), h11.EndOfMessage())
        )
    except (h11.LocalProtocolError, UnicodeEncodeError) as error:
        raise UsageError(f"not a request: {error}") from error


async def _exchange(stream: Stream, machine: h11.Connection, line: bytes) -> HttpResponse:
    try:
        await stream.write(line)
        await stream.close_write()
    except Unreachable:
        # The peer may have answered before it read everything; if not, reading says so.
        pass
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = await _next_event(stream, machine)
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise Unreachable(f"{stream.service}: the answer is larger than {MAX_BODY} bytes")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return HttpResponse(head.status_code, _joined(head), bytes(body))
        elif not isinstance(event, h11.InformationalResponse):
            raise Unreachable(f"{stream.service}: the other end closed without an answer")


async def _next_event(stream: Stream, machine: h11.Connection) -> Any:
    while True:
        try:
            event = machine.next_event()
            if event is not h11.NEED_DATA:
                return event
            machine.receive_data(await stream.read())
        except h11.RemoteProtocolError as error:
            raise Unreachable(f"{stream.service}: what came is not HTTP: {error}") from error


def _joined(head: h11.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _ours(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in _OURS]


class Room:
    """What the bodies of one asker may take of our memory at once, over however many streams they come.

    An asker is checked by what it signed, and that covers the body: so bodies are held for peers
    that may turn out to be nobody.
    """

    def __init__(self, most: int = ROOM) -> None:
        self._free = most

    @contextmanager
    def share(self) -> Iterator[Callable[[int], bool]]:
        """Yield what takes more bytes and says whether there is room; all of them come back at the end."""
        taken = 0

        def take(size: int) -> bool:
            nonlocal taken
            if size > self._free:
                return False
            taken += size
            self._free -= size
            return True

        try:
            yield take
        finally:
            self._free += taken


async def serve(
    stream: Stream, app: ASGIApp, *, state: Mapping[str, Any] | None = None, room: Room | None = None
) -> None:
    """Read one request from an accepted stream, have ``app`` answer it, and finish.

    Args:
        stream: accepted already.
        app: a plain ASGI app; its answer is collected before it is sent.
        state: put into ``scope["state"]``, how the app learns who is at the other end.
        room: shared by all streams of one asker; its own by default.

    Raises:
        Unreachable: the stream broke.
    """
    machine = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
    with (room or Room()).share() as take:
        async with within(stream.clock, REQUEST_SECONDS, "reading a request"):
            asked = await _read_request(stream, machine, take)
        answer = asked if isinstance(asked, _Answer) else await _run(app, asked, state or {}, stream)
    await stream.write(_encode_answer(machine, answer))
    await stream.close_write()


@dataclass(slots=True)
class _Answer:
    status: int
    headers: Headers
    body: bytes
    complete: bool = False
    to_head: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    head: h11.Request
    body: bytes


def _plain(status: int, text: str) -> _Answer:
    return _Answer(status, [(b"content-type", b"text/plain")], f"{text}\n".encode(), complete=True)


async def _read_request(
    stream: Stream, machine: h11.Connection, take: Callable[[int], bool]
) -> "_Asked | _Answer":
    head: h11.Request | None = None
    body = bytearray()
    while True:
        try:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                machine.receive_data(await stream.read())
                continue
        except h11.RemoteProtocolError as error:
            return _plain(error.error_status_hint, f"not HTTP: {error}")
        if isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                return _plain(413, f"the body is larger than {MAX_BODY} bytes")
            if not take(len(event.data)):
                return _plain(503, "too much is being asked at once")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _Asked(head, bytes(body))
        else:
            raise Unreachable(f"{stream.service}: the other end closed without a request")


def _scope(asked: h11.Request, state: Mapping[str, Any]) -> Scope:
    raw_path, _, query = asked.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": asked.method.decode("ascii"),
        "scheme": "https",
        "path": urllib.parse.unquote(raw_path.decode("latin-1"), errors="replace"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [(bytes(name), bytes(value)) for name, value in asked.headers],
        "client": None,
        "server": None,
        "state": dict(state),
    }


async def _run(app: ASGIApp, asked: _Asked, state: Mapping[str, Any], stream: Stream) -> _Answer:
    answer = _Answer(0, [], b"", to_head=asked.head.method == b"HEAD")
    scope = _scope(asked.head, state)
    parts = bytearray()
    bodies = [asked.body]

    async def receive() -> MutableMapping[str, Any]:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await stream.wait_lost()
        return {"type": "http.disconnect"}

    async def send(event: MutableMapping[str, Any]) -> None:
        if event["type"] == "http.response.start":
            answer.status = event["status"]
            answer.headers = [(bytes(name), bytes(value)) for name, value in event.get("headers", ())]
        elif event["type"] == "http.response.body":
            parts.extend(event.get("body", b""))
            if len(parts) > MAX_BODY:
                raise UsageError(f"an answer larger than {MAX_BODY} bytes")
            answer.complete = not event.get("more_body", False)

    try:
        await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001 - a fault of the app is an answer, not the tunnel's end
        _LOG.error("request failed", service=stream.service, path=scope["path"], error=repr(error))
        return _plain(500, "internal error")
    if not answer.status or not answer.complete:
        _LOG.error("request without an answer", service=stream.service, path=scope["path"])
        return _plain(500, "internal error")
    answer.body = bytes(parts)
    return answer


def _encode_answer(machine: h11.Connection, answer: _Answer) -> bytes:
    headers = [*_ours(answer.headers), (b"connection", b"close")]
    if answer.status not in _NO_BODY:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    body = b"" if answer.status in _NO_BODY or answer.to_head else answer.body
    try:
        head = h11.Response(status_code=answer.status, headers=headers)
        events = (head, h11.Data(data=body), h11.EndOfMessage())
        return b"".join(machine.send(event) or b"" for event in events)
    except h11.LocalProtocolError as error:
        raise Unreachable(f"the answer cannot be put into HTTP: {error}") from error
