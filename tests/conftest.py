"""What every tier shares: a scrubbed environment, a clock moved by hand, short folders.

Nothing of the machine's own settings reaches a test, and no test reaches the user's own files: an
instance that runs on this machine while the tests do is not seen by them.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from byoc.testing import ManualClock

# What stands for the world asserts too, and says what it found.
pytest.register_assert_rewrite("tests.emulated")

# A busy machine makes a correct example slow, never wrong.
hypothesis.settings.register_profile("byoc", deadline=None, print_blob=True)
hypothesis.settings.load_profile("byoc")

_CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """A command that hushes the log hushes it in its own test only."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def scrubbed_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own home and none of our settings; only the engine's cache is the machine's."""
    for name in list(os.environ):
        if name.startswith(("BYOC_", "XDG_")) or name.lower() in _PROXIES:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name, folder in (("DATA", "share"), ("STATE", "state"), ("CONFIG", "config")):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / folder))
    monkeypatch.setenv("XDG_CACHE_HOME", _CACHE)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short name: sockets and engines cannot live below deep ones."""
    folder = Path(tempfile.mkdtemp(prefix="byoc-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
