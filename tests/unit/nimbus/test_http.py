import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc.errors import Unreachable, UsageError
from byoc.nimbus import http
from byoc.nimbus.connection import Connection
from byoc.nimbus.http import MAX_BODY, REQUEST_SECONDS, HttpRequest, HttpResponse, Room
from byoc.nimbus.stream import Stream
from byoc.testing.clock import ManualClock
from byoc.testing.transport import Line, memory_pair

Ask = Callable[[Stream, ManualClock, Line], Awaitable[Any]]


async def over(handler: Callable[[Stream], Awaitable[None]], ask: Ask) -> Any:
    """Open a stream that ``handler`` serves and have ``ask`` use it."""
    clock = ManualClock()
    one, other = memory_pair(clock=clock)
    gateway = Connection(one, first_id=1, clock=clock)
    peer = Connection(other, first_id=2, clock=clock)
    peer.allow_streams()

    async def accepts(stream: Stream) -> None:
        await stream.accept()
        await handler(stream)

    runs = [asyncio.create_task(gateway.run(accepts)), asyncio.create_task(peer.run(accepts))]
    try:
        return await ask(await gateway.open("cell", timeout=5), clock, one.line)
    finally:
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)


async def app(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
    """Answer with what was asked, as JSON."""
    message = await receive()
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "state": scope["state"],
        "body": message["body"].decode("latin-1"),
    }
    headers = [(b"Content-Type", b"application/json"), (b"X-Two", b"a"), (b"x-two", b"b")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode(), "more_body": True})
    await send({"type": "http.response.body"})


def serving(one: http.ASGIApp, **state: Any) -> Callable[[Stream], Awaitable[None]]:
    async def handler(stream: Stream) -> None:
        await http.serve(stream, one, state=state)

    return handler


def asking(request: HttpRequest, timeout: float = 10) -> Ask:
    async def ask(stream: Stream, clock: ManualClock, line: Line) -> HttpResponse:
        return await http.request(stream, request, timeout=timeout)

    return ask


def saying(raw: bytes) -> Ask:
    async def ask(stream: Stream, clock: ManualClock, line: Line) -> bytes:
        await stream.write(raw)
        await stream.close_write()
        answer = b""
        while data := await stream.read():
            answer += data
        return answer

    return ask


def answering(raw: bytes) -> Callable[[Stream], Awaitable[None]]:
    async def handler(stream: Stream) -> None:
        while await stream.read():
            pass
        await stream.write(raw)
        await stream.close_write()

    return handler


async def test_a_request_reaches_the_app_and_its_answer_comes_back() -> None:
    request = HttpRequest("PUT", "/cell/v1/a%20b?x=1", (("Authorization", "Bearer t"),), b"body")
    answer = await over(serving(app, peer="gateway"), asking(request))
    told = json.loads(answer.body)
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-two"] == "a, b"
    assert (told["method"], told["path"], told["query"]) == ("PUT", "/cell/v1/a b", "x=1")
    assert told["headers"]["authorization"] == "Bearer t"
    assert told["state"] == {"peer": "gateway"}
    assert told["body"] == "body"


@settings(max_examples=20)
@given(body=st.binary(max_size=200_000))
def test_any_body_arrives_as_it_was(body: bytes) -> None:
    answer = asyncio.run(over(serving(app), asking(HttpRequest("POST", "/", (), body))))
    assert json.loads(answer.body)["body"] == body.decode("latin-1")


async def test_a_body_of_the_greatest_size_passes_both_ways() -> None:
    async def mirror(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})

    body = b"x" * MAX_BODY
    answer = await over(serving(mirror), asking(HttpRequest("POST", "/", (), body)))
    assert answer.body == body


async def test_a_body_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(UsageError, match="too large"):
        await over(serving(app), asking(HttpRequest("POST", "/", (), b"x" * (MAX_BODY + 1))))


async def test_a_body_that_is_too_large_is_not_read_and_the_sender_is_told() -> None:
    length = MAX_BODY * 2
    head = f"POST / HTTP/1.1\r\nhost: cell\r\ncontent-length: {length}\r\n\r\n".encode()

    async def ask(stream: Stream, clock: ManualClock, line: Line) -> bytes:
        with pytest.raises(Unreachable):
            await stream.write(head + bytes(length))
        return await stream.read()

    assert (await over(serving(app), ask)).startswith(b"HTTP/1.1 413")


async def test_many_bodies_of_one_asker_take_no_more_than_its_room() -> None:
    """A gateway has no key, but it can open streams and send bodies that are checked at their end."""
    room = Room(1000)
    raw = b"POST / HTTP/1.1\r\nhost: cell\r\ncontent-length: 600\r\n\r\n" + bytes(600)

    async def shared(stream: Stream) -> None:
        await http.serve(stream, app, room=room)

    async def full(stream: Stream) -> None:
        with room.share() as take:
            assert take(500)
            await shared(stream)

    assert (await over(full, saying(raw))).startswith(b"HTTP/1.1 503")
    for _ in range(3):
        assert (await over(shared, saying(raw))).startswith(b"HTTP/1.1 201")


async def test_an_answer_that_is_too_large_is_an_error_and_not_kept() -> None:
    raw = f"HTTP/1.1 200 OK\r\ncontent-length: {MAX_BODY * 2}\r\n\r\n".encode() + bytes(MAX_BODY * 2)
    with pytest.raises(Unreachable, match="the answer is larger"):
        await over(answering(raw), asking(HttpRequest("GET", "/")))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "closed without an answer|not HTTP"),
        (b"220 smtp ready\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "not HTTP"),
        (b"\x00" * 100, "not HTTP"),
    ],
)
async def test_an_answer_that_is_no_http_is_an_error(raw: bytes, why: str) -> None:
    with pytest.raises(Unreachable, match=why):
        await over(answering(raw), asking(HttpRequest("GET", "/")))


async def test_an_answer_that_does_not_come_runs_into_the_limit() -> None:
    async def silent(stream: Stream) -> None:
        await stream.wait_lost()

    async def ask(stream: Stream, clock: ManualClock, line: Line) -> None:
        asked = asyncio.create_task(http.request(stream, HttpRequest("GET", "/"), timeout=7))
        await clock.elapse(7)
        await asked

    with pytest.raises(Unreachable, match="GET through the tunnel took longer than 7 seconds"):
        await over(silent, ask)


async def test_a_cut_in_the_middle_of_a_request_is_unreachable() -> None:
    async def ask(stream: Stream, clock: ManualClock, line: Line) -> None:
        line.cut_after(20_000)
        await http.request(stream, HttpRequest("POST", "/", (), bytes(500_000)), timeout=7)

    with pytest.raises(Unreachable, match="broke off"):
        await over(serving(app), ask)


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 70_000])
async def test_a_request_that_is_no_http_is_answered_400(raw: bytes) -> None:
    assert (await over(serving(app), saying(raw))).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5, 6",
        b"Content-Length: +5",
        b"Transfer-Encoding: chunked, identity",
        b"X: a\r\n Authorization: Bearer folded",
        b"X : a",
        b"X: a\x00b",
    ],
)
async def test_a_head_that_two_readers_could_read_differently_reaches_no_app(head: bytes) -> None:
    """Smuggling needs two readers that disagree where a request ends, or who it is from."""
    asked: list[str] = []

    async def noting(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        body = (await receive())["body"]
        headers = [name for name, _ in scope["headers"]]
        asked.append(f"{headers.count(b'authorization')} {body!r}")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    raw = b"PUT /a HTTP/1.1\r\nHost: cell\r\n" + head + b"\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n"
    await over(serving(noting), saying(raw))
    # One stream carries one request: whatever is behind it is read by nobody.
    assert asked in ([], ["0 b''"])


async def test_half_a_request_is_given_up() -> None:
    async def ask(stream: Stream, clock: ManualClock, line: Line) -> None:
        await stream.write(b"GET / HTTP/1.1\r\n")
        await clock.elapse(REQUEST_SECONDS + 1)
        await stream.read()

    with pytest.raises(Unreachable, match="reset"):
        await over(serving(app), ask)


async def test_an_app_that_raises_answers_500_without_its_words() -> None:
    async def broken(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        raise KeyError("secret detail")

    answer = await over(serving(broken), asking(HttpRequest("GET", "/")))
    assert (answer.status, answer.body) == (500, b"internal error\n")


async def test_an_app_that_does_not_answer_is_500() -> None:
    async def mute(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    assert (await over(serving(mute), asking(HttpRequest("GET", "/")))).status == 500


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("DELETE", 204), ("GET", 304)])
async def test_answers_without_a_body(method: str, status: int) -> None:
    async def terse(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body", "body": b"text"})

    answer = await over(serving(terse), asking(HttpRequest(method, "/")))
    assert (answer.status, answer.body) == (status, b"")


async def test_the_app_learns_that_the_asker_is_gone() -> None:
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def patient(scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        await receive()
        told.set_result((await receive())["type"])

    async def ask(stream: Stream, clock: ManualClock, line: Line) -> str:
        await stream.write(b"GET / HTTP/1.1\r\nhost: cell\r\n\r\n")
        await stream.reset("cancelled")
        return await asyncio.wait_for(told, 5)

    assert await over(serving(patient), ask) == "http.disconnect"


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("GET", "/a b"),
        HttpRequest("G T", "/"),
        HttpRequest("GET", "/", (("bad name", "x"),)),
        HttpRequest("GET", "/", (("x", "a\r\nb: c"),)),
        HttpRequest("GET", "/", (("x", "\u2603"),)),
    ],
)
async def test_what_cannot_be_put_into_http_is_refused_before_it_is_sent(request_: HttpRequest) -> None:
    with pytest.raises(UsageError, match="not a request"):
        await over(serving(app), asking(request_))
