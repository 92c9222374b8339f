"""The Control Plane without its HTTP face: store, keys, fleet, tunnels, and what runs in the background.

Opened by ``byoc.controlplane.serve`` and by tests. Everything here may die at any moment: what
matters is in the store.
"""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from byoc.clock import Clock, SystemClock
from byoc.controlplane.api.service import Overview
from byoc.controlplane.cells import CellsApp
from byoc.controlplane.fleet.courier import Counters, Courier, Link
from byoc.controlplane.fleet.dispatch import Dispatcher
from byoc.controlplane.fleet.expiry import Expiry
from byoc.controlplane.fleet.ingest import Ingest
from byoc.controlplane.fleet.retention import AUDIT, HISTORY, Retention
from byoc.controlplane.fleet.service import Fleet
from byoc.controlplane.fleet.start import DATABASE
from byoc.controlplane.gateways import Dialling, Gateways
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.errors import PreconditionFailed
from byoc.ids import NewID, new_id
from byoc.store.seam import Store
from byoc.store.sqlite import open_store


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Everything put together.

    Attributes:
        fleet: what the API calls.
        counters: plain numbers for the metrics.
        cells: the app that answers cells, through the tunnel.
    """

    store: Store
    fleet: Fleet
    dispatcher: Dispatcher
    expiry: Expiry
    retention: Retention
    gateways: Gateways
    cells: CellsApp
    counters: Counters

    async def run(self) -> None:
        """Keep the tunnels up, deliver, expire and forget until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.gateways.run(self.cells))
            group.create_task(self.dispatcher.run())
            group.create_task(self.expiry.run())
            group.create_task(self.retention.run())

    async def overview(self) -> Overview:
        """Return what there is."""
        return await self.fleet.overview()

    async def unready(self) -> dict[str, str]:
        """Return what is not ready and why."""
        return self.gateways.unready()

    async def close(self) -> None:
        """Commit what waits and let the database go; the last thing of all."""
        await self.store.close()


def assemble(
    store: Store,
    keys: ControlPlaneKeys,
    gateways: Gateways,
    clock: Clock,
    *,
    rng: Random,
    link: Link | None = None,
    make_id: NewID = new_id,
    interval: float = 5.0,
    history: timedelta = HISTORY,
    audit: timedelta = AUDIT,
) -> ControlPlane:
    """Put a Control Plane together.

    ``link``: another way to the cells than the gateways; a test's.
    """
    counters = Counters()
    courier = Courier(link or gateways, store, keys, clock, make_id, counters)
    ingest = Ingest(store, keys, clock, counters)
    return ControlPlane(
        store=store,
        fleet=Fleet(store, keys, courier, clock, make_id),
        dispatcher=Dispatcher(store, courier, clock, counters, rng=rng, interval=interval),
        expiry=Expiry(store, clock),
        retention=Retention(store, clock, history, audit),
        gateways=gateways,
        cells=CellsApp(store, keys, ingest, clock, counters),
        counters=counters,
    )


def open_control_plane(
    settings: ControlPlaneSettings, *, clock: Clock | None = None, make_id: NewID = new_id
) -> ControlPlane:
    """Open the Control Plane in ``settings.data``.

    Raises:
        PreconditionFailed: ``controlplane init`` was never run there.
        DataInUse: its database is of a newer byoc.
    """
    clock = clock or SystemClock()
    folder = settings.data / "controlplane"
    if not (folder / DATABASE).exists():
        raise PreconditionFailed(
            f"there is no control plane in {settings.data}", hint="`byoc controlplane init` makes one"
        )
    keys = ControlPlaneKeys.load(folder)
    store = open_store(folder / DATABASE)
    rng = Random(secrets.randbits(64))  # noqa: S311 - jitter
    where = Dialling(settings.gateways, settings.gateway_ca, settings.reconnect_cap)
    gateways = Gateways(where, store, keys, clock, new_id=make_id, rng=rng)
    return assemble(
        store,
        keys,
        gateways,
        clock,
        make_id=make_id,
        rng=rng,
        interval=settings.dispatch_interval,
        history=timedelta(days=settings.history_days),
        audit=timedelta(days=settings.audit_days),
    )
