"""A websocket of the API as a line of bytes, so that it carries streams as a tunnel does.

Used by the routes for forwarded services. Message boundaries mean nothing.
"""

import contextlib
from datetime import datetime
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from byoc.errors import Unreachable

SUBPROTOCOL: Final = "nimbus.v1"


class SocketTransport:
    """See ``byoc.nimbus.transport.Transport``."""

    their_clock: datetime | None = None

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    @property
    def peer(self) -> str:
        """The other end's address."""
        client = self._websocket.client
        return f"{client.host}:{client.port}" if client is not None else "unknown"

    async def send(self, data: bytes) -> None:
        """Send one message; returns once there is room again.

        Raises:
            Unreachable: the line is closed.
        """
        try:
            await self._websocket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise Unreachable("the caller has gone") from error

    async def recv(self) -> bytes:
        """Return the next message that is not empty.

        Raises:
            Unreachable: the line is closed, or carries text.
        """
        try:
            while not (data := await self._websocket.receive_bytes()):
                continue
        except (WebSocketDisconnect, RuntimeError, KeyError) as error:
            raise Unreachable("the caller has gone") from error
        return data

    async def close(self) -> None:
        """Close the line; harmless when it is closed."""
        if self._websocket.client_state is not WebSocketState.DISCONNECTED:
            with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):
                await self._websocket.close()
