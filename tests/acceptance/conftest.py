"""The product as a user meets it: the command, run in a home of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.people import User


@pytest.fixture
def user(short_path: Path) -> Iterator[User]:
    environment = {
        "HOME": str(short_path),
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"],
        "NO_COLOR": "1",
        "COLUMNS": "80",
    }
    someone = User(short_path, environment)
    yield someone
    for folder in someone.folders:
        someone.byoc("down", "--data", str(folder))
