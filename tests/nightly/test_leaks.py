"""A thousand tunnels and ten thousand streams, ended in every way there is, on one gateway's process.

Memory is counted from the end of the first round on: until then the allocator's arenas grow to what so many
tunnels at once need, and Python gives none of that back.
"""

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.integration.nimbus.conftest import Site
from tests.integration.nimbus.leaks import gateway_of, open_and_end

AT_ONCE = 50
STREAMS = 10
"""Of each tunnel."""
ROUNDS = (6, 7, 7)
"""Batches of each round: a thousand tunnels in all."""
MEGABYTE = 1024 * 1024


@pytest.mark.timeout(1800)
async def test_tunnels_and_streams_that_end_in_any_way_leave_nothing_behind(tmp_path: Path) -> None:
    site, rng = Site(tmp_path), Random(11)  # noqa: S311 - chance, not a secret
    assert sum(ROUNDS) * AT_ONCE == 1_000
    async with gateway_of(site) as gateway:
        controlplane = site.controlplane()
        await controlplane.wait_connected(timeout=60)
        first, tasks = None, 0
        for batches in ROUNDS:
            for _ in range(batches):
                await open_and_end(site, controlplane, rng, tunnels=AT_ONCE, streams=STREAMS)
            if first is None:
                first, tasks = await gateway.at_rest(), len(asyncio.all_tasks())
                continue
            now = await gateway.back_to(first)
            assert now.files <= first.files
            assert now.tasks <= first.tasks
            # Fewer than six for each tunnel that was there: one of them is several hundred.
            assert now.blocks - first.blocks < 2_000
            assert now.memory - first.memory < 4 * MEGABYTE
            assert len(asyncio.all_tasks()) <= tasks
        await site.close()
