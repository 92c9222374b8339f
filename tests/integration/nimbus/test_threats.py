"""What a stranger on the gateway's port, or a gateway towards a cell, might try with the carriage itself."""

import asyncio
import ssl
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from byoc.nimbus.http import HttpRequest
from byoc.nimbus.transport import MAX_MESSAGE, PATH, SUBPROTOCOL

Site = Any


def url(site: Site) -> str:
    return f"wss://127.0.0.1:{site.port}{PATH}"


async def listen_to_the_end(line: ClientConnection) -> None:
    async with asyncio.timeout(20):
        while True:
            await line.recv()


async def still_works(site: Site) -> bool:
    controlplane, cell = site.controlplane(), site.cell("cell-a")
    await controlplane.wait_connected(timeout=20)
    await cell.wait_connected(timeout=20)
    answer = await controlplane.request("cell/cell-a", HttpRequest("POST", "/", (), b"x"), timeout=20)
    return bool(answer.body == b"x")


async def test_compression_is_never_agreed_on_so_nothing_can_grow_by_being_unpacked(site: Site) -> None:
    async with site.gateway():
        offered = [ClientPerMessageDeflateFactory()]
        context = ssl.create_default_context(cafile=str(site.ca))
        async with connect(url(site), ssl=context, extensions=offered, subprotocols=[SUBPROTOCOL]) as line:
            assert line.protocol.extensions == []
            assert line.response is not None
            assert "Sec-WebSocket-Extensions" not in line.response.headers


async def test_a_message_beyond_the_limit_ends_its_line_and_nothing_else(site: Site) -> None:
    async with site.gateway():
        context = ssl.create_default_context(cafile=str(site.ca))
        async with connect(url(site), ssl=context, subprotocols=[SUBPROTOCOL], compression=None) as line:
            await line.send(bytes(MAX_MESSAGE + 1))
            with pytest.raises(ConnectionClosed) as closed:
                await listen_to_the_end(line)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        assert await still_works(site)


@pytest.mark.parametrize(
    "text", ["a word", b"\xff" * 8, b"\x00\x00\x00\x00\x04\xff\xff\xff"], ids=["text", "noise", "long"]
)
async def test_what_is_no_frame_ends_its_line_and_nothing_else(site: Site, text: str | bytes) -> None:
    async with site.gateway():
        context = ssl.create_default_context(cafile=str(site.ca))
        async with connect(url(site), ssl=context, subprotocols=[SUBPROTOCOL], compression=None) as line:
            await line.send(text)
            with pytest.raises(ConnectionClosed):
                await listen_to_the_end(line)
        assert await still_works(site)
