"""Runs a Control Plane: the Management API on its port, and the fleet behind it.

Called by ``byoc controlplane serve`` through ``serve``. The order is the invariant: the port is
bound before the database is opened, readiness is said once requests are answered, and at the
stop first callers are let go, then gateways, then the database.
"""

import asyncio
import gc
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from byoc import __version__, log
from byoc.clock import Clock, SystemClock
from byoc.controlplane.api.service import Overview
from byoc.controlplane.app import build
from byoc.controlplane.listener import Listener, bind, url_of
from byoc.controlplane.metrics import Metrics
from byoc.controlplane.plane import ControlPlane, open_control_plane
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.errors import ByocError

OnReady = Callable[[Mapping[str, object]], None]
LEAST_DISK: Final = 16 * 2**20
"""Bytes that must be free for the database to be called writable."""
_WRITE_SECONDS: Final = 5.0
_LOG: Final = log.get(__name__)


async def serve(
    settings: ControlPlaneSettings,
    stop: asyncio.Event,
    *,
    on_ready: OnReady | None = None,
    clock: Clock | None = None,
) -> None:
    """Run until ``stop`` is set, then end in order.

    Args:
        settings: where and how.
        stop: set by whoever wants the end.
        on_ready: called once with ``port`` and ``url`` when requests are answered.
        clock: the machine's, unless a test brings its own.

    Raises:
        PreconditionFailed: the port is taken, or there is no Control Plane in the folder.
        DataInUse: its database is of a newer byoc.
    """
    clock = clock or SystemClock()
    bound = bind(settings.host, settings.port)
    plane = _opened(settings, bound, clock)
    url, port = url_of(bound), bound.getsockname()[1]
    listener = _listener(settings, plane, bound, clock)
    background = asyncio.create_task(plane.run())
    listening = asyncio.create_task(listener.run(stop))
    try:
        _settle()
        _LOG.info("control plane listens", url=url)
        if on_ready is not None:
            on_ready({"port": port, "url": url})
        await asyncio.wait((background, listening), return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await listening
        await plane.gateways.drain()
    finally:
        # Also when this task is cancelled: the fleet has stopped before its database goes.
        outcomes = await _end(listening, background)
        await plane.close()
    _LOG.info("control plane stopped")
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise _first(outcome)


def _settle() -> None:
    """Take what was made at the start out of garbage collection: it lives as long as the process.

    Else each full collection walks all of it, and every caller waits 60 ms for that.
    """
    gc.collect()
    gc.freeze()


def _opened(settings: ControlPlaneSettings, bound: socket.socket, clock: Clock) -> ControlPlane:
    try:
        return open_control_plane(settings, clock=clock)
    except BaseException:
        bound.close()
        raise


def _listener(
    settings: ControlPlaneSettings, plane: ControlPlane, bound: socket.socket, clock: Clock
) -> Listener:
    metrics = Metrics(__version__)
    metrics.add("fleet", lambda: asdict(plane.counters))
    instance = WholeInstance(plane, settings.data)
    app = build(settings, plane.fleet, instance, version=__version__, clock=clock, metrics=metrics)
    return Listener(app, bound, drain=settings.drain)


async def _end(*tasks: asyncio.Task[None]) -> list[BaseException | None]:
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def _first(failure: Exception) -> Exception:
    """Return what went wrong first, without the group that tasks wrap around it."""
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    return failure


class WholeInstance:
    """What the process says of itself: the plane's word, and whether the database takes writes."""

    def __init__(self, plane: ControlPlane, data: Path) -> None:
        self._plane = plane
        self._data = data

    async def overview(self) -> Overview:
        """Return what there is."""
        return await self._plane.overview()

    async def unready(self) -> dict[str, str]:
        """Return what is not ready and why."""
        reasons = await self._plane.unready()
        broken = await self._store()
        return {"store": broken, **reasons} if broken else reasons

    async def _store(self) -> str:
        free = shutil.disk_usage(self._data).free
        if free < LEAST_DISK:
            return f"the disk is full: {free // 2**20} MiB are free"
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._plane.store.write(lambda _: None)
        except ByocError as error:
            return error.message
        except TimeoutError:
            return "the database is held by another process"
        return ""
