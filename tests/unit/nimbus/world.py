"""A gateway with whoever dialled it, over lines in memory and in virtual time."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from byoc.errors import NotAuthenticated, Unreachable
from byoc.nimbus import http
from byoc.nimbus.admission import Limits
from byoc.nimbus.client import TunnelClient
from byoc.nimbus.connection import Connection, Handler
from byoc.nimbus.dialling import Busy
from byoc.nimbus.gateway import Gateway
from byoc.nimbus.handshake import Role
from byoc.nimbus.stream import Stream
from byoc.nimbus.transport import Transport
from byoc.testing.clock import ManualClock
from byoc.testing.transport import Line, memory_pair
from byoc.wire.keys import encode_bytes


def verify(login: Mapping[str, Any], challenge: bytes) -> str:
    """Stand-in for the token check: the token is the name and the challenge."""
    name, _, answered = str(login["token"]).partition(" ")
    if answered != encode_bytes(challenge):
        raise NotAuthenticated("the token is not about this challenge")
    return name


async def answer(send: http.Send, status: int, value: Any = None) -> None:
    await send({"type": "http.response.start", "status": status})
    await send({"type": "http.response.body", "body": json.dumps(value).encode() if value else b""})


@dataclass
class World:
    """A gateway with whoever dialled it, over lines in memory."""

    limits: Limits = field(default_factory=Limits)
    clock: ManualClock = field(default_factory=ManualClock)
    verdicts: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    epochs: int = 0
    ids: int = 0
    down: bool = False
    rng: Random = field(default_factory=lambda: Random(7))  # noqa: S311 - jitter is no secret

    def __post_init__(self) -> None:
        self.gateway = Gateway(
            name="gateway-1",
            verify_controlplane=verify,
            clock=self.clock,
            new_id=self.new_id,
            random_bytes=self.rng.randbytes,
            limits=self.limits,
            on_known=self.known.append,
        )

    def new_id(self) -> str:
        self.ids += 1
        return f"session-{self.ids}"

    def spawn(self, work: Awaitable[None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def dial_as(self, name: str) -> Callable[[], Awaitable[Transport]]:
        async def dial() -> Transport:
            if self.down:
                raise Unreachable("connection refused")
            if not self.gateway.admits():
                raise Busy("503", retry_after=5)
            one, other = memory_pair(clock=self.clock)
            self.lines.setdefault(name, []).append(one.line)
            self.spawn(self.gateway.attach(one))
            return other

        return dial

    def client(
        self, name: str, role: Role, services: Mapping[str, Handler], token: str | None = None
    ) -> TunnelClient:
        async def login(challenge: bytes, gateway: str) -> Mapping[str, Any]:
            assert gateway == "gateway-1"
            return {"token": token or f"{name} {encode_bytes(challenge)}", "specVersion": 1}

        client = TunnelClient(
            "memory",
            role=role,
            login=login,
            services=services,
            clock=self.clock,
            rng=self.rng,
            dial=self.dial_as(name),
        )
        self.spawn(client.run())
        return client

    async def controlplane(self, name: str = "controlplane") -> TunnelClient:
        services = dict.fromkeys(("login", "cell:", "enrol"), self.app_handler)
        client = self.client(name, Role.CONTROLPLANE, services)
        await self.settle()
        assert client.connected
        return client

    async def cell(self, name: str, handler: Handler | None = None) -> TunnelClient:
        client = self.client(name, Role.CELL, {"cell": handler or self.app_handler})
        await self.settle()
        return client

    async def app_handler(self, stream: Stream) -> None:
        await http.serve(stream, self.app, state={"service": stream.service})

    async def app(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        body = (await receive())["body"]
        value = json.loads(body) if body else None
        self.asked.append((f"{scope['state']['service']} {scope['path']}", value))
        if scope["path"] != "/cell/v1/login":
            await answer(send, 200, {"service": scope["state"]["service"]})
            return
        cell, _, answered = value["token"].partition(" ")
        self.epochs += 1
        status = self.verdicts.get(cell, 200 if answered == value["challenge"] else 401)
        await answer(send, status, {"cellID": cell, "epoch": self.epochs} if status == 200 else None)

    async def settle(self, seconds: float = 0) -> None:
        for _ in range(6):
            await self.clock.elapse(0)
        if seconds:
            await self.clock.elapse(seconds)
            await self.settle()

    def logins(self, cell: str) -> list[Any]:
        return [
            value
            for path, value in self.asked
            if path == "login /cell/v1/login" and value["token"].startswith(cell)
        ]

    async def knock(self) -> Connection:
        """Connect without logging in."""
        connection = Connection(await self.dial_as("stranger")(), first_id=2, clock=self.clock)
        self.spawn(connection.run(self.app_handler))
        await self.settle()
        return connection

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
