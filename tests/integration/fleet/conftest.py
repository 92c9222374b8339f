from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from byoc.testing import ManualClock
from tests.integration.fleet.world import World, world


@pytest.fixture
async def fleet(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    """A running Control Plane with one connected cell."""
    async with world(tmp_path, clock) as made:
        yield made
