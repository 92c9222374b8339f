"""The gateway that tests of its parts share."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.nimbus.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.close()
