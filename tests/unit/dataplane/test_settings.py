import json
from dataclasses import fields
from pathlib import Path

import pytest

from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.settings import AgentSettings
from byoc.errors import PreconditionFailed
from docs.sections import settings


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


def test_every_key_that_the_docs_name_is_read(tmp_path: Path) -> None:
    value = {
        "gateway": "wss://gw.example/nimbus/v1",
        "ca": "/a",
        "reconnectCap": 1,
        "enrolment": "/b",
        "policy": "/c",
        "control": "/d",
        "runtime": "kubernetes",
        "kubernetes": {"domain": "x"},
        "ledgerBucket": "copies",
    }
    page = settings.agent()
    assert all(f"| `{name}` |" in page for name in value)
    write(tmp_path, value)
    read, plain = AgentSettings.load(tmp_path), AgentSettings(tmp_path, "")
    same = {
        each.name for each in fields(AgentSettings) if getattr(read, each.name) == getattr(plain, each.name)
    }
    assert same & {"data", "stop_engines"} == same
    assert len(settings.described(AgentSettings)) == len(fields(AgentSettings))
    assert len(settings.described(ClusterSettings)) == len(fields(ClusterSettings))


@pytest.mark.parametrize(
    "value", [{}, [], {"gateway": "https://gw.example"}, {"gateway": "wss://gw.example", "policy": 1}]
)
def test_settings_that_say_nothing_of_use_are_refused_by_their_path(tmp_path: Path, value: object) -> None:
    write(tmp_path, value)
    with pytest.raises(PreconditionFailed, match=r"config\.json"):
        AgentSettings.load(tmp_path)
