from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from byoc.store.seam import Store
from byoc.store.sqlite import open_store

Opener = Callable[[Path], Store]
# Every implementation of the seam is held to every test in this folder.
OPENERS: dict[str, Opener] = {"sqlite": lambda folder: open_store(folder / "byoc.sqlite")}


@pytest.fixture(params=sorted(OPENERS))
def opener(request: pytest.FixtureRequest) -> Opener:
    return OPENERS[request.param]


@pytest.fixture
async def store(opener: Opener, tmp_path: Path) -> AsyncIterator[Store]:
    opened = opener(tmp_path)
    yield opened
    await opened.close()
