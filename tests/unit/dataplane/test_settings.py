import json
from pathlib import Path

import pytest

from byoc.dataplane.settings import AgentSettings
from byoc.errors import PreconditionFailed


def write(data: Path, value: object) -> None:
    (data / "cell").mkdir()
    (data / "cell" / "config.json").write_text(json.dumps(value))


def test_a_local_cell_keeps_everything_in_its_folder(tmp_path: Path) -> None:
    write(tmp_path, {"gateway": "wss://gw.example/nimbus/v1"})
    settings = AgentSettings.load(tmp_path)
    assert (settings.ca, settings.enrolment, settings.policy) == (None, None, None)
    assert settings.cell == tmp_path / "cell"


def test_a_cell_can_be_told_where_its_other_files_are_mounted(tmp_path: Path) -> None:
    mounts = {"ca": "/etc/a/ca.pem", "enrolment": "/etc/b/enrolment.json", "policy": "/etc/c/policy.toml"}
    write(tmp_path, {"gateway": "wss://gw.example/nimbus/v1", **mounts})
    settings = AgentSettings.load(tmp_path)
    assert {name: str(getattr(settings, name)) for name in mounts} == mounts


@pytest.mark.parametrize(
    "value", [{}, [], {"gateway": "https://gw.example"}, {"gateway": "wss://gw.example", "policy": 1}]
)
def test_settings_that_say_nothing_of_use_are_refused_by_their_path(tmp_path: Path, value: object) -> None:
    write(tmp_path, value)
    with pytest.raises(PreconditionFailed, match=r"config\.json"):
        AgentSettings.load(tmp_path)
