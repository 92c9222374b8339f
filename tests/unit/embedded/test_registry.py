import os
from pathlib import Path

import pytest

from byoc.embedded import processes, registry
from byoc.embedded.places import default_data, instances_folder
from byoc.embedded.processes import Identity
from byoc.embedded.registry import Instance


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}


def instance(data: Path, supervisor: Identity | None = None) -> Instance:
    own = supervisor or processes.identify(os.getpid())
    assert own is not None
    return Instance("http://127.0.0.1:8787", data, own, "org", "cell", "wss://127.0.0.1:8788/nimbus/v1")


def test_a_registered_instance_is_found(environment: dict[str, str], tmp_path: Path) -> None:
    here = instance(tmp_path / "data")
    registry.register(here, environment)
    assert registry.instances(environment) == [here]
    assert here.token_file == tmp_path / "data" / "controlplane" / "owner.token"


def test_two_instances_are_two(environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        registry.register(instance(tmp_path / name), environment)
    assert {found.data.name for found in registry.instances(environment)} == {"a", "b"}


def test_an_unregistered_instance_is_forgotten(environment: dict[str, str], tmp_path: Path) -> None:
    registry.register(instance(tmp_path / "data"), environment)
    registry.unregister(tmp_path / "data", environment)
    registry.unregister(tmp_path / "data", environment)
    assert registry.instances(environment) == []


def test_an_instance_whose_process_is_gone_is_pruned(environment: dict[str, str], tmp_path: Path) -> None:
    own = processes.identify(os.getpid())
    assert own is not None
    # The same pid, but of an earlier process.
    registry.register(instance(tmp_path / "data", Identity(own.pid, own.started - 100)), environment)
    assert registry.instances(environment) == []
    assert list(instances_folder(environment).iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"url": 1}', "\x00"])
def test_a_broken_entry_is_pruned(environment: dict[str, str], text: str) -> None:
    folder = instances_folder(environment)
    folder.mkdir(parents=True)
    (folder / "x.json").write_text(text)
    assert registry.instances(environment) == []
    assert list(folder.iterdir()) == []


def test_a_registration_is_private(environment: dict[str, str], tmp_path: Path) -> None:
    registry.register(instance(tmp_path / "data"), environment)
    (entry,) = instances_folder(environment).iterdir()
    assert entry.stat().st_mode & 0o777 == 0o600
    assert entry.parent.stat().st_mode & 0o777 == 0o700


def test_folders_follow_the_xdg_rules() -> None:
    assert default_data({"HOME": "/h"}) == Path("/h/.local/share/byoc")
    assert default_data({"HOME": "/h", "XDG_DATA_HOME": "/d"}) == Path("/d/byoc")
    assert default_data({"HOME": "/h", "XDG_DATA_HOME": "relative"}) == Path("/h/.local/share/byoc")
    assert instances_folder({"HOME": "/h"}) == Path("/h/.local/state/byoc/instances")
