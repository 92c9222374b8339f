"""A whole cell process against a real gateway on loopback, and a Control Plane that signs for real."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from byoc.clock import SystemClock
from byoc.dataplane.agent import Outside, run
from byoc.dataplane.settings import AgentSettings
from byoc.errors import ByocError
from byoc.ids import new_id
from byoc.model.report import CellReport, WorkspaceReport
from byoc.model.spec import GroupSpec, Spec
from byoc.nimbus import http
from byoc.nimbus.client import TunnelClient
from byoc.nimbus.handshake import Role
from byoc.nimbus.serve import GatewaySettings, serve
from byoc.nimbus.stream import Stream
from byoc.testing.provider import MemoryProvider, Signed
from byoc.testing.runtime import MemoryRuntime
from byoc.wire.cell import ANSWER_HEADER, Enrolled, Enrolment, ReportAnswer, decode, encode
from byoc.wire.certificates import make_authority, make_server_certificate
from byoc.wire.keys import PublicKey, decode_bytes
from byoc.wire.sealing import seal
from byoc.wire.tokens import (
    check_answer,
    check_enrolment,
    check_login,
    issue_controlplane_login,
    issue_enrolment,
    open_report,
)

CELL = "99999999-9999-4999-8999-999999999999"
ORGANIZATION = "88888888-8888-4888-8888-888888888888"


@dataclass
class ControlPlane:
    """Enrols, lets in, takes reports, delivers; everything checked as the real one does."""

    provider: MemoryProvider
    client: TunnelClient | None = None
    cell_key: PublicKey | None = None
    sealing_key: dict[str, str] = field(default_factory=dict)
    held: dict[str, Spec] = field(default_factory=dict)
    reports: list[CellReport] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refuse_enrolment: bool = False
    root_shown: dict[str, str] | None = None

    @property
    def view(self) -> dict[str, WorkspaceReport]:
        """The newest word on each workspace."""
        return {w.id: w for report in self.reports for w in report.workspaces}

    async def login(self, challenge: bytes, gateway: str) -> dict[str, Any]:
        token = issue_controlplane_login(
            self.provider.signing,
            issuer="controlplane",
            challenge=challenge,
            audience=gateway,
            now=self.provider.clock.now(),
            jti=new_id(),
            key_set=self.provider.key_set(),
        )
        return {"token": token}

    async def serve(self, stream: Stream) -> None:
        await http.serve(stream, self.app)

    async def app(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        body = (await receive())["body"]
        self.asked.append(f"{scope['method']} {scope['path']}")
        status, answer = self.answer(scope["path"], body)
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body", "body": answer})

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        match path:
            case "/cell/v1/enrol":
                return self.enrol(decode(Enrolment, json.loads(body)))
            case "/cell/v1/login":
                return self.let_in(json.loads(body))
            case "/cell/v1/report":
                return self.take(body.decode())
            case "/cell/v1/keys":
                return 200, self.provider.key_set().encode()
            case _:
                return 200, b"{}"

    def token(self, thumbprint: str) -> str:
        now = self.provider.clock.now()
        return issue_enrolment(
            self.provider.signing,
            organization=ORGANIZATION,
            cell=CELL,
            thumbprint=thumbprint,
            now=now,
            jti=new_id(),
        )

    def enrol(self, asked: Enrolment) -> tuple[int, bytes]:
        key = PublicKey.from_jwk(asked.signing_key)
        keys = {self.provider.signing.kid: self.provider.signing.public}
        try:
            check_enrolment(asked.token, keys, thumbprint=key.kid, now=self.provider.clock.now())
        except ByocError as error:
            return 401, json.dumps({"detail": error.message}).encode()
        if self.refuse_enrolment:
            return 403, b'{"detail": "the cell is contested"}'
        self.cell_key, self.sealing_key = key, asked.sealing_key
        root = self.root_shown or self.provider.root.public.jwk()
        enrolled = Enrolled(CELL, ORGANIZATION, root, self.provider.key_set())  # type: ignore[arg-type]
        return 200, json.dumps(encode(enrolled)).encode()

    def let_in(self, login: dict[str, str]) -> tuple[int, bytes]:
        assert self.cell_key is not None
        challenge = decode_bytes(login["challenge"])
        keys = {self.cell_key.kid: self.cell_key}
        now = self.provider.clock.now()
        cell = check_login(login["token"], keys, challenge=challenge, audience=login["gateway"], now=now)
        return 200, json.dumps({"cellID": cell, "epoch": len(self.asked)}).encode()

    def take(self, text: str) -> tuple[int, bytes]:
        assert self.cell_key is not None
        report = decode(CellReport, open_report(text, {self.cell_key.kid: self.cell_key}))
        self.reports.append(report)
        answer = ReportAnswer(self.provider.receipt(report, text), False, self.provider.version)
        return 200, json.dumps(encode(answer)).encode()

    async def deliver(self, spec: Spec, *, password: str | None = None) -> http.HttpResponse:
        sealed = None
        if password is not None and isinstance(spec, GroupSpec):
            version = spec.password_version
            sealed = seal(self.sealing_key, password, cell=CELL, group=spec.id, version=version)
        signed = self.provider.delivery(spec, self.held.get(spec.id), sealed=sealed)
        answer = await self.send(signed)
        if answer.status == 200:
            self.held[spec.id] = spec
        return answer

    async def send(self, signed: Signed) -> http.HttpResponse:
        """Ask the cell, and believe nothing that it has not signed."""
        assert self.client is not None
        assert self.cell_key is not None
        headers = (("authorization", f"Bearer {signed.token}"),)
        asked = http.HttpRequest(signed.method, signed.target, headers, signed.body)
        answer = await self.client.request(f"cell/{CELL}", asked, timeout=10)
        jti = json.loads(decode_bytes(signed.token.split(".")[1]))["jti"]
        keys = {self.cell_key.kid: self.cell_key}
        signature = answer.headers[ANSWER_HEADER]
        check_answer(signature, keys, jti=jti, status=answer.status, body=answer.body)
        return answer


@dataclass
class Site:
    """One folder with a gateway and a cell in it, either of which can be away."""

    data: Path
    controlplane: ControlPlane
    runtime: MemoryRuntime
    port: int = 0

    def __post_init__(self) -> None:
        clock = self.controlplane.provider.clock
        folder = self.data / "gateway"
        folder.mkdir(parents=True)
        authority = make_authority(name="test", now=clock.now())
        server = make_server_certificate(authority, now=clock.now())
        files = {"ca.crt": authority.certificate, "tls.crt": server.certificate, "tls.key": server.key}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / "root.json").write_text(json.dumps(self.controlplane.provider.root.public.jwk()))

    @property
    def cell(self) -> Path:
        return self.data / "cell"

    def standing(self) -> tuple[str, str]:
        file = self.cell / "status.json"
        value = json.loads(file.read_text()) if file.exists() else {}
        return value.get("phase", ""), value.get("reason", "")

    def hand_over(self) -> None:
        """Give the cell its token and the root key, past the tunnel."""
        thumbprint = (self.cell / "thumbprint").read_text().strip()
        value = {
            "token": self.controlplane.token(thumbprint),
            "rootKey": self.controlplane.provider.root.public.jwk(),
        }
        (self.cell / "enrolment.json").write_text(json.dumps(value))

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[None]:
        """A gateway with the Control Plane behind it."""
        stop, ready = asyncio.Event(), asyncio.Event()

        def on_ready(port: int) -> None:
            self.port = port
            ready.set()

        serving = asyncio.create_task(serve(GatewaySettings(self.data, self.port), stop, on_ready=on_ready))
        async with asyncio.timeout(10):
            await ready.wait()
        services = dict.fromkeys(("login", "cell:", "enrol"), self.controlplane.serve)
        client = self.controlplane.client = TunnelClient(
            f"wss://127.0.0.1:{self.port}/nimbus/v1",
            role=Role.CONTROLPLANE,
            login=self.controlplane.login,
            services=services,
            clock=SystemClock(),
            rng=Random(1),  # noqa: S311 - jitter is no secret
            ca=self.data / "gateway" / "ca.crt",
        )
        dialling = asyncio.create_task(client.run())
        try:
            await client.wait_connected(timeout=10)
            yield
        finally:
            await self.logged_out()
            dialling.cancel()
            await asyncio.gather(dialling, return_exceptions=True)
            stop.set()
            with suppress(ByocError):
                await serving

    async def logged_out(self) -> None:
        """Wait until the gateway has told of every session that ended: its stop waits for that."""
        asked = self.controlplane.asked
        with suppress(TimeoutError):
            await self.until(
                lambda: asked.count("POST /cell/v1/logout") == asked.count("POST /cell/v1/login"), 1
            )

    @asynccontextmanager
    async def agent(self, *, stop_engines: bool = True, kill: bool = False) -> AsyncIterator[None]:
        """The cell's process; ``kill`` leaves it as kill -9 does, as far as one process can."""
        url = f"wss://127.0.0.1:{self.port or 1}/nimbus/v1"
        ca = self.data / "gateway" / "ca.crt"
        settings = AgentSettings(self.data, url, ca, stop_engines)
        stop, ready = asyncio.Event(), asyncio.Event()
        outside = Outside(rng=Random(2))  # noqa: S311 - jitter is no secret
        task = asyncio.create_task(run(settings, self.runtime, stop, lambda _facts: ready.set(), outside))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        try:
            yield
        finally:
            if kill:
                task.cancel()
            stop.set()
            await asyncio.gather(task, return_exceptions=kill)

    async def until(self, condition: Any, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)

    async def enrolled(self) -> None:
        await self.until((self.cell / "thumbprint").exists)
        self.hand_over()
        await self.until(lambda: bool(self.controlplane.reports))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    clock = SystemClock()
    return Site(tmp_path, ControlPlane(MemoryProvider(clock, CELL)), MemoryRuntime(clock))
