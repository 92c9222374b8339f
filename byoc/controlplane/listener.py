"""The socket under the HTTP app: uvicorn, started and stopped by an event instead of signals.

Called by ``byoc.controlplane.serve``. The socket is bound before anything else starts, so a
taken port is said at once; at the stop, event streams are ended first and open requests get
``drain`` seconds.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Generator
from typing import Final

import uvicorn

from byoc.controlplane.app import ControlPlaneApp
from byoc.controlplane.lines import Line
from byoc.errors import PreconditionFailed
from byoc.nimbus.transport import MAX_MESSAGE

_KEEP_ALIVE: Final = 75
"""Seconds that an idle connection stays open: clients poll every 20 s and reuse theirs."""
_BACKLOG: Final = 1024


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        PreconditionFailed: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, or asyncio does not turn off Nagle's algorithm, and each answer waits 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        hint = "choose another with `--port`, or stop what uses it"
        raise PreconditionFailed(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error
    bound.setblocking(False)
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the address of a socket made by ``bind``, as clients write it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Listener:
    """Serves one app on one socket, which it owns."""

    def __init__(self, app: ControlPlaneApp, bound: socket.socket, *, drain: float) -> None:
        self._app = app
        self._bound = bound
        self._server = _Server(
            uvicorn.Config(
                app.asgi,
                http=Line,
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE,
                ws_ping_interval=None,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=math.ceil(drain),
            )
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then end what is open."""
        watching = asyncio.ensure_future(self._watch(stop))
        try:
            await self._server.serve(sockets=[self._bound])
        finally:
            watching.cancel()
            self._app.close()
            self._bound.close()

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._app.close()
        self._server.should_exit = True


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # The process's entry point owns the signals; it sets ``stop``.
        yield
