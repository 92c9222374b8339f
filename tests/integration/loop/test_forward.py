"""A service of the cell on a port of the operator's machine: command, control plane, gateway and agent."""

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.sync.client import connect

from byoc.dataplane.ledger_verify import read_records
from byoc.testing.instance import Instance, eventually

CHUNK = b"0123456789abcdef" * 4096
CHUNKS = 80


class Echo(socketserver.BaseRequestHandler):
    """Answers what it is told, and says goodbye once the other end has finished."""

    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b"bye")


async def count(request: Request) -> Response:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return Response(str(size))


async def stream(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(CHUNKS):
            yield CHUNK

    return StreamingResponse(pieces(), media_type="application/octet-stream")


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text.upper())


APP = Starlette(
    routes=[
        Route("/count", count, methods=["POST"]),
        Route("/stream", stream),
        WebSocketRoute("/talk", talk),
    ]
)


@contextmanager
def echoing() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving() -> Iterator[int]:
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(APP, ws="websockets-sansio", log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


@dataclass
class Cell:
    """An instance whose cell names services, and the command that opens them."""

    instance: Instance

    @property
    def folder(self) -> Path:
        return self.instance.data / "cell"

    def say(self, *allow: str, **services: str) -> None:
        """Write the customer's policy."""
        named = "".join(f'{name} = {{ to = "{to}" }}\n' for name, to in services.items())
        text = f"allow = {json.dumps(['workspace.*', 'group.*', *allow])}\n[services]\n{named}"
        (self.folder / "policy.toml").write_text(text)

    def command(self, *words: str) -> subprocess.Popen[str]:
        line = self.instance.line
        environment = os.environ | {"BYOC_URL": line["url"], "BYOC_TOKEN": line["token"]}
        return subprocess.Popen(
            [sys.executable, "-m", "byoc", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        with self.command(*words) as process:
            out, err = process.communicate(timeout=60)
            return process.returncode, out, err

    @contextmanager
    def forward(self, service: str, *options: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
        words = ("cell", "forward", self.instance.line["cellID"], service, "0", "-o", "json", *options)
        with self.command(*words) as process:
            try:
                assert process.stdout is not None
                assert process.stderr is not None
                said = process.stdout.readline()
                assert said, process.stderr.read()
                yield int(json.loads(said)["address"].rpartition(":")[2]), process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                process.communicate(timeout=60)

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in read_records(self.folder / "ledger") if record["kind"] == kind]


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    with Instance(tmp_path_factory.mktemp("forward") / "data") as instance:
        yield Cell(instance)


def test_nothing_is_forwarded_unless_the_policy_says_so(cell: Cell) -> None:
    with echoing() as port:
        code, _, err = cell.run("cell", "forward", cell.instance.line["cellID"], "echo", "0")
        assert (code, "policy-allow" in err) == (7, True)
        cell.say("service.open", other=f"127.0.0.1:{port}")
        code, _, err = cell.run("cell", "forward", cell.instance.line["cellID"], "echo", "0")
        assert (code, "service-unnamed" in err) == (7, True)


def test_a_tcp_service_is_there_and_what_it_carried_is_on_record(cell: Cell) -> None:
    with echoing() as port:
        cell.say("service.open", echo=f"127.0.0.1:{port}")
        with cell.forward("echo") as (local, process):
            with socket.create_connection(("127.0.0.1", local)) as connection:
                connection.sendall(b"hello")
                assert connection.recv(100) == b"hello"
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(100) == b"bye"
                assert connection.recv(100) == b""
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
    opened = cell.records("service-opened")[-1]
    assert (opened["service"], opened["addresses"]) == ("echo", ["127.0.0.1"])
    assert opened["sub"]

    def ended() -> list[dict[str, Any]]:
        return [each for each in cell.records("service-ended") if each["forward"] == opened["forward"]]

    last = eventually("the end is on record", ended, seconds=10)[0]
    carried = (last["reason"], last["connections"], last["toService"], last["fromService"])
    assert carried == ("closed", 1, 5, 8)
    events = cell.instance.ask("GET", f"/byoc/v1/cells/{cell.instance.line['cellID']}/events")
    assert "service-opened" in [event["kind"] for event in events]


def test_http_is_carried_with_streaming_bodies_and_websockets_at_once(cell: Cell) -> None:
    with serving() as port:
        cell.say("service.open", web=f"localhost:{port}")
        with cell.forward("web") as (local, _):
            url = f"http://127.0.0.1:{local}"
            # A reader that takes nothing must hold up nobody: it has its own credit.
            stalled = urllib.request.urlopen(f"{url}/stream", timeout=30)
            with connect(f"ws://127.0.0.1:{local}/talk") as websocket:
                for word in ("one", "two"):
                    websocket.send(word)
                    assert websocket.recv(timeout=30) == word.upper()
                body = CHUNK * CHUNKS
                asked = urllib.request.Request(f"{url}/count", data=iter([body]), method="POST")
                with urllib.request.urlopen(asked, timeout=30) as answer:
                    assert answer.read() == str(len(body)).encode()
                websocket.send("three")
                assert websocket.recv(timeout=30) == "THREE"
            with stalled:
                assert stalled.read() == CHUNK * CHUNKS


def test_the_kill_switch_cuts_what_is_open_and_counts_it(cell: Cell) -> None:
    with echoing() as port:
        cell.say("service.open", echo=f"127.0.0.1:{port}")
        with cell.forward("echo") as (local, process):
            with socket.create_connection(("127.0.0.1", local)) as connection:
                connection.sendall(b"hello")
                assert connection.recv(100) == b"hello"
                status = json.loads(cell.run("access", "status", "--dir", str(cell.folder), "-o", "json")[1])
                assert status["cell"]["forwards"] == 1
                directory = ("--dir", str(cell.folder))
                assert cell.run("access", "revoke", "--reason", "drill", *directory)[0] == 0
                assert connection.recv(100) == b""
            assert process.wait(timeout=60) in {6, 7}
            status = json.loads(cell.run("access", "status", *directory, "-o", "json")[1])
            assert (status["cell"]["forwards"], status["cell"]["streams"]) == (0, 0)
            assert cell.run("access", "restore", *directory)[0] == 0
    assert cell.records("service-ended")[-1]["reason"] == "access-revoked"
    cell_path = f"/byoc/v1/cells/{cell.instance.line['cellID']}"
    eventually("the cell is back", lambda: cell.instance.ask("GET", cell_path)["connected"])


def test_an_engine_is_never_forwarded_whatever_the_policy_calls_it(cell: Cell) -> None:
    body = {"name": "sales", "regionID": cell.instance.line["cellID"], "firewallRanges": []}
    group = cell.instance.ask("POST", "/v1/workspaceGroups", body)["workspaceGroupID"]
    new = {"name": "orders", "workspaceGroupID": group, "size": "S-00"}
    workspace = cell.instance.ask("POST", "/v1/workspaces", new)["workspaceID"]
    endpoint = cell.instance.settled(workspace, "ACTIVE")["endpoint"]
    port = endpoint.rpartition(":")[2]
    for place in (endpoint, f"localhost:{port}", f"[::ffff:127.0.0.1]:{port}", f"0.0.0.0:{port}"):
        cell.say("service.open", web=place)
        code, _, err = cell.run("cell", "forward", cell.instance.line["cellID"], "web", "0")
        assert (code, "service-forbidden" in err) == (7, True), err


def test_a_port_that_is_taken_opens_nothing(cell: Cell) -> None:
    with echoing() as port:
        cell.say("service.open", echo=f"127.0.0.1:{port}")
        before = len(cell.records("service-opened"))
        code, _, _ = cell.run("cell", "forward", cell.instance.line["cellID"], "echo", str(port))
        assert (code, len(cell.records("service-opened"))) == (9, before)


def test_without_a_key_of_the_organization_there_is_no_line(cell: Cell) -> None:
    url = cell.instance.line["url"].rstrip("/").replace("http", "ws", 1)
    path = f"/byoc/v1/cells/{cell.instance.line['cellID']}/forwards/{cell.instance.line['cellID']}"
    with pytest.raises(Exception, match="401"):
        connect(url + path, additional_headers={"Authorization": "Bearer nobody"}).close()
