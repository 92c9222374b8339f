"""The cell of one machine as a process: the agent over local engines.

``byoc agent run`` runs :func:`serve`. Everything it reads is in ``DIR/cell``.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from byoc.clock import Clock, SystemClock
from byoc.dataplane import agent
from byoc.dataplane.local.runtime import LocalRuntime
from byoc.dataplane.settings import AgentSettings


async def serve(
    data: Path,
    stop: asyncio.Event,
    *,
    on_ready: agent.Announce,
    environment: Mapping[str, str],
    stop_engines: bool = True,
    clock: Clock | None = None,
) -> None:
    """Be the cell in ``data`` until ``stop`` is set.

    Args:
        data: the instance's folder.
        stop: set by whoever wants the end.
        on_ready: called once the cell reconciles; the tunnel may come later.
        environment: says where to look for the SQL engine.
        stop_engines: end the engines too, cleanly; else they go on, for the next agent to adopt.
        clock: the machine's, unless a test brings its own.

    Raises:
        PreconditionFailed: there is no configuration.
        DataInUse, Failed, Unwritable: see :func:`byoc.dataplane.agent.run`.
    """
    settings = AgentSettings.load(data, stop_engines=stop_engines)
    clock = clock or SystemClock()
    runtime = LocalRuntime(settings.cell, clock, environment)
    await agent.run(settings, runtime, stop, on_ready, agent.Outside(clock=clock))
