"""The cell that tests of its API share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from byoc.ids import new_id
from byoc.testing import cell as cells
from byoc.testing.clock import ManualClock
from byoc.testing.provider import MemoryProvider
from byoc.testing.runtime import MemoryRuntime
from tests.unit.dataplane.site import CELL, Site, assemble


@pytest.fixture
def provider(clock: ManualClock) -> MemoryProvider:
    return MemoryProvider(clock, CELL)


@pytest.fixture
async def site(tmp_path: Path, clock: ManualClock, provider: MemoryProvider) -> AsyncIterator[Site]:
    async with cells.started(tmp_path, clock, MemoryRuntime(clock), new_id) as cell:
        yield assemble(cell, provider)
