"""A gateway on loopback with real TLS, real keys and real tokens, whoever dials it, and wires to cut."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from byoc.clock import SystemClock
from byoc.errors import ByocError
from byoc.ids import new_id
from byoc.nimbus import http
from byoc.nimbus.client import TunnelClient
from byoc.nimbus.connection import Handler
from byoc.nimbus.handshake import Role
from byoc.nimbus.serve import GatewaySettings, serve
from byoc.nimbus.stream import Stream
from byoc.wire.certificates import make_authority, make_server_certificate
from byoc.wire.keys import SigningKey, decode_bytes
from byoc.wire.keysets import certify_key_set_key, issue_key_set
from byoc.wire.tokens import check_login, claimed_cell, issue_controlplane_login, issue_login

NAMES = ("gateway.test",)


def now() -> datetime:
    return datetime.now(UTC)


class Provider:
    """The provider's keys: root, key-set key, signing key."""

    def __init__(self, version: int = 1) -> None:
        self.root, self.key_set_key, self.signing = (SigningKey.generate() for _ in range(3))
        self.version = version

    def key_set(self) -> str:
        certificate = certify_key_set_key(self.root, self.key_set_key.public, now=now())
        return issue_key_set(
            self.key_set_key, certificate, [self.signing.public], version=self.version, now=now()
        )


@dataclass
class Site:
    """One folder, one gateway port, and everything that was started against it."""

    data: Path
    provider: Provider = field(default_factory=Provider)
    cells: dict[str, SigningKey] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    port: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        folder = self.data / "gateway"
        folder.mkdir(parents=True)
        authority = make_authority(name="test", now=now())
        server = make_server_certificate(authority, names=NAMES, now=now())
        files = {"ca.crt": authority.certificate, "tls.crt": server.certificate, "tls.key": server.key}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / "root.json").write_text(json.dumps(self.provider.root.public.jwk()))

    @property
    def ca(self) -> Path:
        return self.data / "gateway" / "ca.crt"

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.port}/nimbus/v1"

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[None]:
        stop, ready = asyncio.Event(), asyncio.Event()

        def on_ready(port: int) -> None:
            self.port = port
            ready.set()

        running = asyncio.create_task(serve(GatewaySettings(self.data, self.port), stop, on_ready=on_ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            if running.done():
                running.result()
            yield
        finally:
            stop.set()
            with suppress(ByocError):
                await running

    def dial(
        self,
        role: Role,
        login: Any,
        services: Mapping[str, Handler],
        *,
        url: str = "",
        ca: Path | None = None,
    ) -> TunnelClient:
        client = TunnelClient(
            url or self.url,
            role=role,
            login=login,
            services=services,
            clock=SystemClock(),
            rng=Random(1),  # noqa: S311 - jitter is no secret
            ca=ca or self.ca,
        )
        self.tasks.append(asyncio.create_task(client.run()))
        return client

    def controlplane(self, provider: Provider | None = None) -> TunnelClient:
        services = dict.fromkeys(("login", "cell:", "enrol"), self.serve)
        return self.dial(Role.CONTROLPLANE, self.controlplane_login(provider), services)

    def controlplane_login(self, provider: Provider | None = None) -> Any:
        keys = provider or self.provider

        async def login(challenge: bytes, gateway: str) -> dict[str, Any]:
            token = issue_controlplane_login(
                keys.signing,
                issuer="controlplane-1",
                challenge=challenge,
                audience=gateway,
                now=now(),
                jti=new_id(),
                key_set=keys.key_set(),
            )
            return {"token": token}

        return login

    def cell(
        self, name: str, *, key: SigningKey | None = None, handler: Handler | None = None, url: str = ""
    ) -> TunnelClient:
        signing = key or self.cells.setdefault(name, SigningKey.generate())

        async def login(challenge: bytes, gateway: str) -> dict[str, Any]:
            return {
                "token": issue_login(
                    signing, cell=name, challenge=challenge, audience=gateway, now=now(), jti=new_id()
                )
            }

        return self.dial(Role.CELL, login, {"cell": handler or self.serve}, url=url)

    async def serve(self, stream: Stream) -> None:
        await http.serve(stream, self.app, state={"service": stream.service})

    async def app(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        body = (await receive())["body"]
        self.asked.append(f"{scope['state']['service']} {scope['method']} {scope['path']}")
        status, answer = 200, body
        if scope["path"] == "/cell/v1/login":
            status, answer = self.judge(json.loads(body))
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body", "body": answer})

    def judge(self, login: dict[str, str]) -> tuple[int, bytes]:
        cell = claimed_cell(login["token"])
        if cell in self.retired:
            return 403, b"the cell is retired"
        key = self.cells[cell].public
        challenge = decode_bytes(login["challenge"])
        try:
            check_login(
                login["token"], {key.kid: key}, challenge=challenge, audience=login["gateway"], now=now()
            )
        except ByocError as error:
            return 401, error.message.encode()
        return 200, json.dumps({"cellID": cell, "epoch": len(self.asked)}).encode()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    await made.close()


class Wire:
    """Forwards one port to another.

    Attributes:
        port: where to dial.
        passed: bytes forwarded so far.
        asked: what was asked of it as a proxy.
        wants: the Proxy-Authorization that it lets through; empty for any.
        answers: status line of its answer to a CONNECT.
        largest: bytes of one packet; larger ones are swallowed, as where the MTU shrinks on the way.
        delay: seconds that each packet takes.
        lose: whether this packet is lost; TCP sends it again after ``lost_seconds``, and all behind it wait.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.passed = 0
        self.asked: list[str] = []
        self.wants = ""
        self.answers = "200 OK"
        self.largest = 1 << 30
        self.delay = 0.0
        self.lose: Callable[[], bool] = lambda: False
        self.lost_seconds = 0.2
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break every connection at once, as a reset does."""
        for writer in list(self._writers):
            writer.transport.abort()

    def flow(self) -> None:
        """Forward again what was held back."""
        self._flowing.set()

    def stall(self) -> None:
        """Forward nothing any more and say nothing."""
        self._flowing.clear()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection both ways."""
        onward, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(onward, writer))
        finally:
            for end in (writer, back):
                self._writers.discard(end)
                end.close()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one CONNECT, whatever the name, and forward."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.splitlines()[0])
        answer = self.answers if self.wants in head else "407 Who asks"
        writer.write(f"HTTP/1.1 {answer}\r\n\r\n".encode())
        if answer == "200 OK":
            await self.carry(reader, writer)
        else:
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                if len(data) > self.largest:
                    await asyncio.Event().wait()
                if self.delay:
                    # Packets follow each other at that distance; they do not wait for one another.
                    data = await self._late(reader, data)
                if self.lose():
                    await asyncio.sleep(self.lost_seconds)
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
            writer.close()

    async def _late(self, reader: asyncio.StreamReader, data: bytes) -> bytes:
        """Return ``data`` and what has come behind it in the meantime: a line of that delay."""
        await asyncio.sleep(self.delay)
        more = bytes(reader._buffer)  # type: ignore[attr-defined]
        return data + (await reader.readexactly(len(more)) if more else b"")


@asynccontextmanager
async def _wire_to(target: int, *, proxy: bool = False) -> AsyncIterator[Wire]:
    """Listen on loopback and forward to ``target`` while the body runs."""
    made = Wire(target)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await (made.connect if proxy else made.carry)(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def wire_to() -> Callable[..., AbstractAsyncContextManager[Wire]]:
    return _wire_to
