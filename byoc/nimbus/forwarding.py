"""The operator's end of a forwarded service: a port of this machine that leads into a cell.

Used by ``byoc cell forward``. One websocket to the Control Plane carries a stream for each connection, and
one that holds the forward open; inside each is TLS with the cell. The invariants: when the forward ends, so
do the port and every connection, and the reason is known; a connection that reads slowly slows its own stream
alone; no redirection is followed, for it would be shown the key.
"""

import asyncio
import json
import socket
import ssl
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from byoc.clock import Clock
from byoc.errors import PreconditionFailed, Unreachable, UsageError
from byoc.nimbus import inner
from byoc.nimbus.connection import Connection
from byoc.nimbus.dialling import open_line
from byoc.nimbus.relay import splice
from byoc.nimbus.sockets import Bytes, TcpLine
from byoc.nimbus.stream import Stream
from byoc.nimbus.transport import CLOSE_SECONDS, Transport, WebSocketTransport

LOST: Final = "connection-lost"
"""Reason of an end that the cell could not tell."""
_LONGEST_WORD: Final = 4096
_FAILURES: Final = (
    OSError,
    EOFError,
    ImportError,
    ValueError,
    InvalidHandshake,
    InvalidURI,
    ConnectionClosed,
)


async def dial(url: str, path: str, token: str) -> Transport:
    """Open a line to the Control Plane at ``url`` (``http`` or ``https``).

    Raises:
        Unreachable: it cannot be reached, or does not take this line.
    """
    parts = urllib.parse.urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise UsageError(f"not the address of a control plane: {url}")
    target = urllib.parse.urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + path, "", ""))
    try:
        websocket = await open_line(target, headers={"Authorization": f"Bearer {token}"})
    except InvalidStatus as error:
        status = error.response.status_code
        hint = "what stands before the control plane must let websockets through"
        raise Unreachable(f"the control plane answered {status} to the forward's line", hint=hint) from error
    except _FAILURES as error:
        raise Unreachable(f"no line to {parts.netloc}: {type(error).__name__}") from error
    return WebSocketTransport(websocket)


def take_port(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; 0 takes any free port.

    Raises:
        PreconditionFailed: the port is taken, or the address is not this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not possible"
        message = f"cannot listen on {host}:{port}: {reason}"
        raise PreconditionFailed(message, hint="choose another port; 0 takes any that is free") from error


@dataclass(slots=True)
class Summary:
    """What a forward has carried, and why it ended."""

    connections: int = 0
    carried: Bytes = field(default_factory=Bytes)
    why: str = ""

    @property
    def to_service(self) -> int:
        """Bytes that went into the cell."""
        return self.carried.back

    @property
    def from_service(self) -> int:
        """Bytes that came out of it."""
        return self.carried.out


class LocalEnd:
    """A port of this machine, while the forward is open.

    Args:
        settings: TLS with the cell, see ``inner.context``.
        bound: a listening socket, which is closed at the end.
    """

    def __init__(
        self, transport: Transport, settings: ssl.SSLContext, bound: socket.socket, clock: Clock
    ) -> None:
        self._connection = Connection(transport, first_id=2, clock=clock)
        self._settings = settings
        self._bound = bound
        self._open: set[asyncio.Task[None]] = set()
        self.summary = Summary()
        self.ready = asyncio.Event()
        """Set once connections are taken."""

    async def run(self, stop: asyncio.Event) -> Summary:
        """Carry connections until ``stop`` is set or the forward ends.

        Raises:
            Unreachable: it was never open.
        """
        carrier = asyncio.create_task(self._connection.run(_refuse))
        try:
            self.summary.why = await self._forward(stop)
        finally:
            tasks = list(self._open)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._connection.close("the forward ends")
            await asyncio.gather(carrier, return_exceptions=True)
            self._bound.close()
        return self.summary

    async def _forward(self, stop: asyncio.Event) -> str:
        stream = await self._connection.open("hold", timeout=inner.HANDSHAKE_SECONDS)
        holding = await inner.agree(stream, self._settings, server=False)
        server = await asyncio.start_server(self._take, sock=self._bound)
        over = asyncio.create_task(_why(holding))
        stopped = asyncio.create_task(stop.wait())
        self.ready.set()
        try:
            await asyncio.wait({over, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                return over.result()
            # Told, so that the cell knows this end from one that broke off.
            with suppress(Unreachable):
                await holding.close_write()
                return await asyncio.wait_for(over, CLOSE_SECONDS)
        except TimeoutError:
            pass
        finally:
            server.close()
            for task in (over, stopped):
                task.cancel()
            await asyncio.gather(over, stopped, return_exceptions=True)
        return "closed"

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server runs this as a task
        self._open.add(task)
        self.summary.connections += 1
        mine = TcpLine(reader, writer, self.summary.carried)
        try:
            stream = await self._connection.open("line", timeout=inner.HANDSHAKE_SECONDS)
            async with stream:
                await splice(mine, await inner.agree(stream, self._settings, server=False))
        except (Unreachable, asyncio.CancelledError):
            # Cancelled: the forward is over, and this with it.
            await mine.reset("cut")
        finally:
            self._open.discard(task)
            await mine.close()


async def _refuse(stream: Stream) -> None:
    await stream.reject("unknown-service", "nothing is served here")


async def _why(holding: inner.Inner) -> str:
    """Return why the cell ended the forward, as it says at the end."""
    said = b""
    try:
        while data := await holding.read():
            said = (said + data)[-_LONGEST_WORD:]
        return str(json.loads(said)["reason"])
    except (Unreachable, ValueError, TypeError, KeyError):
        return LOST
