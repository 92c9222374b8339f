"""The tier of the real engine: built by scripts/tools, its provider a test's, its account emulated."""

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.bootstrap.engine.find import Pulumi, judge
from tests.emulated.account import serving
from tests.pulumi.world import ROOT, World

# The SDK of AWS warns of one of its own modules while it loads it.
_FOREIGN = "ignore:aws.*has been deprecated:DeprecationWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore what is not ours to mend, in this tier only."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(_FOREIGN))


@pytest.fixture(scope="session")
def engine() -> Pulumi:
    """The engine of this clone; built now where scripts/test has not done it before."""
    built = subprocess.run(
        [ROOT / "scripts/tools", "pulumi"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True
    )
    return judge(Path(built.stdout.decode().strip()), "v3.259.0", "3.259.0")


@pytest.fixture(scope="session")
def account() -> Iterator[str]:
    """Address of an emulated AWS, one for the session."""
    with serving() as account:
        yield account.endpoint


@pytest.fixture
def world(engine: Pulumi, account: str, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty account and a stack that does not exist yet; no plugin outlives the test."""
    urllib.request.urlopen(urllib.request.Request(f"{account}/moto-api/reset", method="POST")).close()
    for name, value in {
        "AWS_ENDPOINT_URL": account,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }.items():
        monkeypatch.setenv(name, value)
    made = World(short_path / "w", engine, account)
    yield made
    left = made.plugins()
    for pid in left:
        os.kill(pid, 9)
    made.close_loops()
    assert not left, "a plugin outlived its engine"
