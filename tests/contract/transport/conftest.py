"""The two ends of a line, by every implementation of the seam."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from byoc.nimbus.dialling import dialler
from byoc.nimbus.doorway import Strangers
from byoc.nimbus.transport import Transport, listening, server_context
from byoc.testing.transport import memory_pair
from byoc.wire.certificates import make_authority, make_server_certificate

Ends = tuple[Transport, Transport]


@asynccontextmanager
async def websocket_pair(folder: Path) -> AsyncIterator[Ends]:
    now = datetime.now(UTC)
    authority = make_authority(name="test", now=now)
    server = make_server_certificate(authority, now=now)
    (folder / "ca.crt").write_bytes(authority.certificate)
    (folder / "tls.crt").write_bytes(server.certificate)
    (folder / "tls.key").write_bytes(server.key)
    accepted: asyncio.Future[Transport] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def handler(transport: Transport) -> None:
        accepted.set_result(transport)
        await over.wait()

    context = server_context(folder / "tls.crt", folder / "tls.key")
    listener = listening(
        handler,
        host="127.0.0.1",
        port=0,
        context=context,
        admits=lambda: True,
        strangers=Strangers(8),
    )
    async with listener as port:
        dialled = await dialler(f"wss://127.0.0.1:{port}", ca=folder / "ca.crt")()
        try:
            yield dialled, await accepted
        finally:
            over.set()
            await dialled.close()


@pytest.fixture(params=["memory", "websocket"])
async def ends(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ends]:
    if request.param == "memory":
        yield memory_pair()
        return
    async with websocket_pair(tmp_path) as pair:
        yield pair
