import os
import pwd
from pathlib import Path

import pytest

from byoc.dataplane.local.engine import cache_folder
from byoc.embedded.places import default_data, instances_folder
from byoc.errors import PreconditionFailed
from byoc.homes import base
from byoc_cli import profiles

MINE = Path(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.parametrize("environment", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_without_home_the_machines_own_word_counts_and_never_the_root_folder(
    environment: dict[str, str],
) -> None:
    assert default_data(environment) == MINE / ".local/share/byoc"
    assert instances_folder(environment) == MINE / ".local/state/byoc/instances"
    assert profiles.folder(environment) == MINE / ".config/byoc"
    assert cache_folder(environment) == MINE / ".cache/byoc/engine"


def test_home_and_the_variable_come_first() -> None:
    assert base({"HOME": "/h"}, "XDG_DATA_HOME", "x/y") == Path("/h/x/y")
    assert base({"HOME": "/h", "XDG_DATA_HOME": "/d"}, "XDG_DATA_HOME", "x") == Path("/d")


def test_a_user_without_any_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    with pytest.raises(PreconditionFailed, match="no home folder") as refused:
        base({}, "XDG_DATA_HOME", ".local/share")
    assert refused.value.hint == "set HOME"
