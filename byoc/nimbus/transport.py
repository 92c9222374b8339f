"""What carries a tunnel's bytes: a protocol of three verbs, and the websocket over TLS 1.3.

``connection`` drives any :class:`Transport`; ``byoc.testing.transport`` is the twin in
memory; ``dialling`` is the client's side. What the websockets library raises ends as ``Unreachable``.
Message boundaries mean nothing, a transport is a line of bytes.
"""

import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol, TypedDict

from websockets.asyncio.connection import Connection as WebSocket
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from byoc.errors import Failed, PreconditionFailed, Unreachable
from byoc.nimbus.doorway import Doorway, Strangers, name_of, open_doorway

PATH: Final = "/nimbus/v1"
SUBPROTOCOL: Final = Subprotocol("nimbus.v1")
MAX_MESSAGE: Final = 1024 * 1024
"""Bytes of one websocket message at most: a batch and its control frames fit many times."""
_NOT_SENT: Final = 128 * 1024
OPEN_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0
_QUIET: Final = logging.getLogger("byoc.nimbus.websockets")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


class Line(TypedDict):
    """How every websocket of ours is set, at both of its ends."""

    subprotocols: list[Subprotocol]
    compression: None
    open_timeout: float
    close_timeout: float
    ping_interval: None
    max_size: int
    max_queue: int
    write_limit: int
    logger: logging.Logger


LINE: Final = Line(
    subprotocols=[SUBPROTOCOL],
    # What is inside is encrypted or small, and a bomb must not be unpacked.
    compression=None,
    open_timeout=OPEN_SECONDS,
    close_timeout=CLOSE_SECONDS,
    # A tunnel has pings of its own.
    ping_interval=None,
    max_size=MAX_MESSAGE,
    max_queue=16,
    write_limit=64 * 1024,
    logger=_QUIET,
)


class Transport(Protocol):
    """A line of bytes to one peer."""

    their_clock: datetime | None
    """What time it was at the other end when the line was opened; None where it was not told."""

    @property
    def peer(self) -> str:
        """The other end's address, for logs."""
        ...

    async def send(self, data: bytes) -> None:
        """Hand ``data`` on, waiting while the other end does not take it.

        Raises:
            Unreachable: the line is closed or broken.
        """
        ...

    async def recv(self) -> bytes:
        """Return the next bytes, at least one.

        Raises:
            Unreachable: the line is closed or broken, by whichever end.
        """
        ...

    async def close(self) -> None:
        """Close the line; harmless when it is closed already."""
        ...


class WebSocketTransport:
    """A tunnel inside a websocket.

    Attributes:
        their_clock: what time it was at the other end when the line was opened; None where unknown.
    """

    def __init__(self, websocket: WebSocket, *, their_clock: datetime | None = None) -> None:
        self._websocket = websocket
        self.their_clock = their_clock
        self._peer = name_of(websocket.remote_address)
        _keep_kernel_buffer_small(websocket)

    @property
    def peer(self) -> str:
        """The other end's address."""
        return self._peer

    async def send(self, data: bytes) -> None:
        """Send one binary message; returns once the write buffer has room again."""
        try:
            await self._websocket.send(data)
        except (ConnectionClosed, OSError) as error:
            raise Unreachable(f"the line to {self._peer} is closed") from error

    async def recv(self) -> bytes:
        """Return the next message that is not empty."""
        try:
            while not (data := await self._websocket.recv(decode=False)):
                continue
        except (ConnectionClosed, OSError) as error:
            raise Unreachable(f"the line to {self._peer} is closed") from error
        return data

    async def close(self) -> None:
        """Close with the websocket's own handshake, which waits a second at most."""
        with contextlib.suppress(ConnectionClosed, OSError):
            await self._websocket.close()


def _keep_kernel_buffer_small(websocket: WebSocket) -> None:
    # Unsent bytes in the kernel cannot be overtaken by control frames.
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    plain = websocket.transport.get_extra_info("socket")
    if option is not None and plain is not None:
        with contextlib.suppress(OSError):
            plain.setsockopt(socket.IPPROTO_TCP, option, _NOT_SENT)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return TLS 1.3 settings of the gateway.

    Raises:
        PreconditionFailed: the files are missing or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Nobody who dials resumes a session, so tickets would be work and bytes for nothing.
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        message = f"the gateway's certificate cannot be used: {certificate}, {key}"
        raise PreconditionFailed(message) from error
    return context


@asynccontextmanager
async def listening(
    handler: Callable[[Transport], Awaitable[None]],
    *,
    host: str,
    port: int,
    context: ssl.SSLContext,
    admits: Callable[[], bool],
    strangers: Strangers,
) -> AsyncIterator[int]:
    """Accept tunnels while the body runs; yields the port, which differs where ``port`` is 0.

    Args:
        handler: runs one tunnel to its end.
        host: the address to listen on.
        port: the port, 0 for any.
        context: TLS settings, see ``server_context``.
        admits: whether another peer may come in now; others are answered 503.
        strangers: where everybody waits who connects; the handler takes out whom it knows.

    Raises:
        PreconditionFailed: the port is taken.
    """

    async def handle(websocket: ServerConnection) -> None:
        await handler(WebSocketTransport(websocket))

    def check(connection: ServerConnection, request: Request) -> Response | None:
        if request.path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "nothing here\n")
        if not admits():
            response = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many logins under way\n")
            response.headers["Retry-After"] = "5"
            return response
        return None

    doorway = _open(host, port, strangers)
    server = await _listen(handle, check, doorway=doorway, context=context)
    try:
        yield next(iter(server.sockets)).getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def _open(host: str, port: int, strangers: Strangers) -> Doorway:
    try:
        return open_doorway(host, port, strangers)
    except PermissionError as error:
        raise PreconditionFailed(f"port {port} may not be opened by this user") from error
    except OSError as error:
        raise PreconditionFailed(f"port {port} on {host} cannot be opened: {error.strerror}") from error


async def _listen(
    handle: Callable[[ServerConnection], Awaitable[None]],
    check: Callable[[ServerConnection, Request], Response | None],
    *,
    doorway: Doorway,
    context: ssl.SSLContext,
) -> Server:
    try:
        return await serve(
            handle,
            sock=doorway,
            ssl=context,
            ssl_handshake_timeout=OPEN_SECONDS,
            process_request=check,
            server_header=None,
            **LINE,
        )
    except ValueError as error:
        doorway.close()
        raise Failed(f"the gateway cannot listen: {error}") from error
