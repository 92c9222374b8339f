"""The storages under contract: files, a dictionary, emulated objects; real ones in tests/kubernetes."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from byoc.dataplane.files import FileStorage
from byoc.dataplane.storage import Storage
from byoc.testing.storage import MemoryStorage
from tests.contract.storage.stories import Open, opened
from tests.emulated import kubernetes
from tests.emulated.agents import Home, house


@pytest.fixture(params=["files", "memory", "objects"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens the storage as an agent does that starts."""
    if request.param == "files":
        yield lambda: opened(FileStorage(tmp_path))
        return
    if request.param == "memory":
        kept = MemoryStorage()
        yield lambda: opened(kept)
        return
    with kubernetes.serving(kubernetes.Cluster(), tmp_path) as cluster:
        home = Home(cluster.url, cluster.authority, "token")
        house(home)
        with closing(home):
            yield lambda: opened(home.lead())


@pytest.fixture
def storage(reopen: Open) -> Storage:
    return reopen()
