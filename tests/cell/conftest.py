"""An emulated AWS account for the session, empty for each test that asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulated.account import Account, serving
from tests.emulated.handlers.handler import Aws

REGION = "eu-west-1"
# The SDK of AWS warns of one of its own modules while it loads it.
_FOREIGN = "ignore:aws.*has been deprecated:DeprecationWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore what is not ours to mend, in this tier only."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(_FOREIGN))


@pytest.fixture(scope="session")
def emulation() -> Iterator[Account]:
    """The account; whoever asks for it must not mind what others left in it."""
    with serving() as account:
        yield account


@pytest.fixture
def account(emulation: Account) -> Account:
    """The account with nothing in it."""
    emulation.reset()
    return emulation


@pytest.fixture
def aws(account: Account) -> Aws:
    """The empty account as handlers call it; its functions answer with nothing."""
    return account.aws(REGION, invoke=lambda _function, _payload: {})
