"""The socket under the API: ports, endless streams, the stop, callers who misbehave."""

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest

from byoc.controlplane import lines
from byoc.controlplane.listener import bind, url_of
from byoc.errors import PreconditionFailed

HTTP_ERROR = b"HTTP/1.1 4"
UNFINISHED = (
    "POST /v1/workspaces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 1000\r\n\r\nx"
)


async def test_a_taken_port_is_said_in_our_own_words() -> None:
    bound = bind("127.0.0.1", 0)
    try:
        with pytest.raises(PreconditionFailed, match="cannot listen on") as caught:
            bind("127.0.0.1", bound.getsockname()[1])
        assert "--port" in caught.value.hint
    finally:
        bound.close()


async def test_answers_do_not_wait_for_more_to_send(served: Any) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    took = []
    for _ in range(10):
        began = time.monotonic()
        writer.write(b"GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"missing or invalid API key")
        took.append(time.monotonic() - began)
    writer.close()
    assert sorted(took)[5] < 0.03


def test_the_address_is_written_as_clients_write_it() -> None:
    for host, start in (("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")):
        bound = bind(host, 0)
        try:
            assert url_of(bound).startswith(start)
        finally:
            bound.close()


def _client(served: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {served.key}"})


async def _workspace(client: httpx2.AsyncClient) -> str:
    body = {"name": "g", "firewallRanges": [], "provider": "AWS", "regionName": "local"}
    group = (await client.post("/v1/workspaceGroups", json=body)).json()["workspaceGroupID"]
    made = await client.post("/v1/workspaces", json={"name": "w", "workspaceGroupID": group})
    workspace: str = made.json()["workspaceID"]
    return workspace


async def test_a_followed_stream_is_live_and_ends_at_the_stop(served: Any) -> None:
    async with _client(served) as client:
        path = f"/byoc/v1/workspaces/{await _workspace(client)}/events?follow=true"
        async with client.stream("GET", path) as answer:
            states, blanks = [], 0
            async for line in answer.aiter_lines():
                if line:
                    states.append(json.loads(line)["state"])
                blanks += not line
                if states[-1:] == ["ACTIVE"] and blanks >= 1 and not served.stop.is_set():
                    began = time.monotonic()
                    served.stop.set()
            assert states == ["PENDING", "PENDING", "ACTIVE"]
            assert time.monotonic() - began < 2
    async with asyncio.timeout(5):
        await served.running


async def test_callers_who_go_away_leave_no_stream_open(served: Any) -> None:
    async with _client(served) as client:
        path = f"/byoc/v1/workspaces/{await _workspace(client)}/events?follow=true"
        for _ in range(3):
            async with client.stream("GET", path) as answer:
                await anext(answer.aiter_lines())
        async with asyncio.timeout(5):
            while "byoc_event_streams 0.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"GET /v1/workspaces/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/workspaces HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/workspaces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /%00%ff?a=%ff&%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_request_get_a_4xx(served: Any, raw: bytes) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    async with asyncio.timeout(5):
        assert (await reader.read(len(HTTP_ERROR))) == HTTP_ERROR
    writer.close()


async def _write_for_ever(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(10):
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)


@pytest.mark.parametrize("key", ["", "wrong"])
async def test_a_body_that_never_ends_is_cut_off(served: Any, key: str) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/workspaces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key or served.key}\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    with pytest.raises(OSError, match=r"reset|closed|lost|pipe"):
        await _write_for_ever(writer)
    assert not writer.transport.is_reading() or reader.at_eof() or reader.exception()
    async with _client(served) as client:
        assert (await client.get("/healthz")).status_code == 200


async def test_fifty_creates_at_once_are_all_answered(served: Any) -> None:
    async with _client(served) as client:
        body = {"firewallRanges": [], "provider": "AWS", "regionName": "local"}
        made = await asyncio.gather(
            *(client.post("/v1/workspaceGroups", json=body | {"name": f"g{n % 25}"}) for n in range(50))
        )
    assert sorted(answer.status_code for answer in made) == [200] * 25 + [409] * 25


async def _knock(served: Any, said: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    return reader, writer


@pytest.mark.parametrize("said", ["", "GET /v1/regions HTTP/1.1\r\nHost: x\r\nX-", UNFINISHED])
async def test_callers_who_never_end_their_request_keep_nobody_out(
    served: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST", 20)
    crowd = [await _knock(served, said.format(key=served.key).encode()) for _ in range(60)]
    async with _client(served) as client:
        assert (await client.get("/v1/regions")).status_code == 200
        path = f"/byoc/v1/workspaces/{await _workspace(client)}/events?follow=true"
        async with client.stream("GET", path) as answer:
            crowd += [await _knock(served, said.format(key=served.key).encode()) for _ in range(60)]
            assert await anext(answer.aiter_lines()), "a request under way is not cut off"
            assert (await client.get("/v1/regions")).status_code == 200
    await _until(lambda: sum(not reader.at_eof() for reader, _ in crowd) <= 20)
    for _, writer in crowd:
        writer.transport.abort()


@pytest.mark.parametrize("said", ["", "GET /v1/regions HTTP/1.1\r\nHost: x\r\nX-", UNFINISHED])
async def test_a_request_that_does_not_come_whole_in_time_ends_its_connection(
    served: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "REQUEST_SECONDS", 0.1)
    reader, writer = await _knock(served, said.format(key=served.key).encode())
    async with asyncio.timeout(5):
        await _until(reader.at_eof)
    writer.transport.abort()
    async with _client(served) as client:
        path = f"/byoc/v1/workspaces/{await _workspace(client)}/events?follow=true"
        async with client.stream("GET", path) as answer:
            seen = [line async for line, _ in _first(answer.aiter_lines(), blanks=2)]
    assert seen, "an answer may take as long as it likes"


async def _first(all_lines: Any, blanks: int) -> Any:
    async for line in all_lines:
        blanks -= not line
        yield line, blanks
        if not blanks:
            return


async def _until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)
