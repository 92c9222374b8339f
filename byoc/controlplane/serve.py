"""The Control Plane as a process: the Management API on a port, the tunnels behind it, and their end.

``byoc controlplane serve`` runs :func:`serve`. The order matters: a taken port is said before
anything else happens; at the stop, requests end first, then the tunnels, and the database last.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from byoc import __version__, log
from byoc.clock import Clock, SystemClock
from byoc.controlplane.app import build
from byoc.controlplane.counted import Counted
from byoc.controlplane.listener import Listener, bind, url_of
from byoc.controlplane.metrics import Metrics
from byoc.controlplane.plane import ControlPlane, open_control_plane
from byoc.controlplane.settings import ControlPlaneSettings


async def serve(
    settings: ControlPlaneSettings,
    stop: asyncio.Event,
    *,
    on_ready: Callable[[Mapping[str, object]], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Run the Control Plane until ``stop`` is set.

    ``on_ready``: called with {url, port} once requests are answered.

    Raises:
        PreconditionFailed: the port is taken, or ``controlplane init`` was never run.
        DataInUse: the database is of a newer byoc.
    """
    clock = clock or SystemClock()
    bound = bind(settings.host, settings.port)
    try:
        plane = open_control_plane(settings, clock=clock)
    except BaseException:
        bound.close()
        raise
    metrics = Metrics(__version__)
    metrics.add(Counted(plane.counters))
    app = build(settings, plane.fleet, plane, version=__version__, clock=clock, metrics=metrics)
    listener = Listener(app, bound, drain=settings.drain)
    background = asyncio.create_task(_run(plane, stop))
    url = url_of(bound)
    log.get(__name__).info("control plane serves", url=url)
    if on_ready is not None:
        on_ready({"url": url, "port": bound.getsockname()[1]})
    try:
        await listener.run(stop)
    finally:
        await plane.gateways.drain()
        background.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await background
        await plane.close()


async def _run(plane: ControlPlane, stop: asyncio.Event) -> None:
    """Run what is in the background; its failure ends the process, whose supervisor starts it again."""
    try:
        await plane.run()
    except* Exception as failed:
        log.get(__name__).error("background work failed", error=repr(failed.exceptions))
        stop.set()
        raise
