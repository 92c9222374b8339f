"""Tunnels and streams that end in every way leave nothing on the gateway; its long form is nightly."""

import asyncio
from pathlib import Path
from random import Random

from tests.integration.nimbus.conftest import Site
from tests.integration.nimbus.leaks import gateway_of, open_and_end

AT_ONCE = 10
STREAMS = 5
OF_A_TUNNEL = 60
"""Blocks of memory that a tunnel which is gone may seem to hold; one that is there holds several hundred."""


async def test_a_few_tunnels_and_streams_that_end_in_any_way_leave_nothing_behind(tmp_path: Path) -> None:
    site, rng = Site(tmp_path), Random(11)  # noqa: S311 - chance, not a secret
    async with gateway_of(site) as gateway:
        controlplane = site.controlplane()
        await controlplane.wait_connected(timeout=60)
        # The first ones load code and fill caches.
        await open_and_end(site, controlplane, rng, tunnels=AT_ONCE, streams=STREAMS)
        before, tasks = await gateway.at_rest(), len(asyncio.all_tasks())
        for _ in range(2):
            await open_and_end(site, controlplane, rng, tunnels=AT_ONCE, streams=STREAMS)
        after = await gateway.back_to(before)
        assert after.files <= before.files
        assert after.tasks <= before.tasks
        assert after.blocks - before.blocks < 2 * AT_ONCE * OF_A_TUNNEL
        assert len(asyncio.all_tasks()) <= tasks
        await site.close()
