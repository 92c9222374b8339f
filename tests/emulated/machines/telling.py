"""What every kubelet serves the API server: the end of what a container has said. One server for all."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from byoc.wire.certificates import make_authority, make_server_certificate
from tests.emulated.machines.keeping import Keep

Find = Callable[[str, str], dict[str, Keep]]
"""The containers of a pod, by (namespace, name)."""
_PATIENCE: Final = 10.0


class Telling:
    """The server; ``port`` once it has begun."""

    def __init__(self, find: Find, folder: Path) -> None:
        self._find = find
        self._folder = folder
        self._server: asyncio.Server | None = None
        self.port = 0

    async def begin(self) -> None:
        now = datetime.now(UTC)
        pair = make_server_certificate(make_authority(name="kubelets", now=now), now=now)
        (self._folder / "kubelet.pem").write_bytes(pair.certificate + pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "kubelet.pem")
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    def end(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE)
            status, body = self._answer(head.split(b" ", 2)[1].decode())
            fields = f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close"
            writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    def _answer(self, target: str) -> tuple[str, bytes]:
        asked = urlsplit(target)
        what, _, rest = unquote(asked.path).strip("/").partition("/")
        namespace, pod, container = rest.split("/")
        kept = self._find(namespace, pod).get(container) if what == "containerLogs" else None
        if kept is None or not kept.words.exists():
            return "404 Not Found", b"no such container\n"
        lines = kept.words.read_bytes().splitlines(keepends=True)
        most = int(parse_qs(asked.query).get("tailLines", [str(len(lines))])[0])
        return "200 OK", b"".join(lines[len(lines) - min(most, len(lines)) :])
