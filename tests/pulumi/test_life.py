"""The whole life of a stack on the real engine, and what a user's surroundings must not change."""

import json
import os
import stat
from pathlib import Path

import pytest

from byoc.bootstrap.engine import plugins
from byoc.bootstrap.engine.events import Ended, Started, Summed
from byoc.bootstrap.engine.find import find, judge, own
from byoc.errors import Failed, NotFound, PreconditionFailed, UsageError
from tests.pulumi.program import RESOURCES
from tests.pulumi.world import NAME, PROJECT, World

EMPTY = {"vpcs": 0, "endpoints": 0, "clusters": 0, "roles": 0, "log groups": 0}
MADE = dict.fromkeys(EMPTY, 1)


def test_a_stack_lives_from_preview_to_destroy(world: World) -> None:
    stack = world.stack()
    plan = stack.preview()
    assert plan.counts == {"create": RESOURCES}
    assert plan.total == len(plan.steps) == RESOURCES
    assert world.leftovers() == EMPTY

    made = stack.up(world.seen.append, total=plan.total)
    assert made.counts == {"create": RESOURCES}
    assert world.leftovers() == MADE
    assert stack.preview().total == 0
    assert stack.up().total == 0

    world.shape.retention = 90
    changed = stack.preview()
    assert [(step.subject.name, step.op, step.keys) for step in changed.steps] == [
        ("flow", "update", ("retentionInDays",))
    ]
    stack.up()
    groups = world.aws("logs").describe_log_groups()["logGroups"]
    assert groups[0]["retentionInDays"] == 90

    key = world.disable_rotation()
    drifted = stack.drift()
    assert [(step.subject.name, step.op) for step in drifted.steps] == [("cell", "update")]
    assert stack.preview().total == 0, "a look at drift writes nothing"
    assert stack.refresh().total == 1
    assert stack.up().total == 1
    assert world.aws("kms").get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    assert stack.drift().total == 0

    assert stack.preview_destroy().counts == {"delete": RESOURCES}
    assert stack.destroy().counts == {"delete": RESOURCES}
    assert world.leftovers() == EMPTY
    stack.remove()
    with pytest.raises(NotFound):
        world.open_existing()


def test_what_lived_in_something_that_is_gone_is_forgotten_without_a_call(world: World) -> None:
    stack = world.stack()
    stack.up()

    names = stack.forget("aws:ec2/")

    assert sorted(set(names)) == ["network", *(f"private-us-east-1{zone}" for zone in "abc"), "s3"]
    left = {one["type"] for one in stack.export()["deployment"]["resources"]}
    assert {"aws:kms/key:Key", "aws:iam/role:Role"} <= left
    assert not {kind for kind in left if kind.startswith("aws:ec2/")}
    assert world.leftovers() == MADE
    assert stack.forget("aws:ec2/vpc:Vpc") == []


def test_progress_tells_each_resource_once_and_ends_at_the_total(world: World) -> None:
    stack = world.stack()
    stack.up(world.seen.append, total=stack.preview().total)
    started = [fact.subject.urn for fact in world.seen if isinstance(fact, Started)]
    ended = [fact for fact in world.seen if isinstance(fact, Ended)]
    assert sorted(started) == sorted(fact.subject.urn for fact in ended)
    assert len(set(started)) == RESOURCES
    assert (ended[-1].done, ended[-1].total) == (RESOURCES, RESOURCES)
    assert all(fact.seconds >= 0 for fact in ended)
    assert isinstance(world.seen[-1], Summed)


def test_outputs_are_those_of_the_last_good_run_and_never_secret(world: World) -> None:
    stack = world.stack()
    assert stack.outputs() == {}
    assert stack.up().outputs == {"cluster": "cell"}
    world.shape.fails = True
    with pytest.raises(UsageError, match="two zones"):
        stack.up()
    assert stack.outputs() == {"cluster": "cell"}
    assert world.stack().outputs() == {"cluster": "cell"}, "another machine reads them, too"
    written = [path for path in world.folder.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if b"hush-hush" in path.read_bytes()]


def test_what_a_run_writes_is_for_its_owner_only(world: World) -> None:
    world.stack().preview()
    folder = world.folder / "run-1"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.*")} == {0o600}
    assert sorted(path.name for path in folder.glob("*.*")) == ["01-preview.err", "01-preview.out"]


def test_another_machine_goes_on_with_the_same_state(world: World) -> None:
    world.stack().up()
    assert world.stack().preview().total == 0


def test_a_provider_that_refuses_is_named_with_its_resource(world: World) -> None:
    world.fault = {"aws:eks/cluster:Cluster": {"before": 0.1, "error": "Throttling: too fast"}}
    with pytest.raises(Failed) as failure:
        world.stack().up()
    assert failure.value.message.startswith("cell (aws:eks/cluster:Cluster): ")
    assert "Throttling: too fast" in failure.value.message
    assert "\n" not in failure.value.message
    world.fault = {}
    stack = world.stack()
    stack.up()
    assert stack.preview().total == 0


def test_the_users_own_pulumi_settings_change_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{elsewhere}")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "another")
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "pul-of-the-user")
    monkeypatch.setenv("PULUMI_DEBUG_PROVIDERS", "aws:1")
    stack = world.stack()
    stack.up()
    assert world.backend.objects.read(f".pulumi/stacks/{PROJECT}/{NAME}.json")
    assert not list(elsewhere.iterdir())
    assert not (tmp_path / "home").exists()


def test_a_provider_on_the_path_is_not_taken(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = tmp_path / "pulumi-resource-aws"
    stranger.write_text("#!/bin/sh\nexit 1\n")
    stranger.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert world.stack().preview().total == RESOURCES


def test_the_built_engine_is_found_and_one_without_a_version_is_named(world: World, tmp_path: Path) -> None:
    place = own(tmp_path)
    place.parent.mkdir(parents=True)
    place.symlink_to(world.pulumi.path)
    found = find(tmp_path, {"PATH": ""})
    assert (found.path, found.text, found.warning) == (place, "3.259.0", "")
    place.unlink()
    place.write_text("#!/bin/sh\necho\n")
    place.chmod(0o755)
    with pytest.raises(PreconditionFailed, match="tells no version"):
        find(tmp_path, {"PATH": ""})


def test_plugins_that_are_there_are_not_missing(world: World) -> None:
    session = world.session()
    wanted = plugins.needed()
    assert session.missing_plugins(wanted) == ()
    other = plugins.Plugin("aws", "1.2.3")
    assert session.missing_plugins([*wanted, other]) == (other,)
    assert json.loads(session.ask("plugin", "ls", "--json"))


def test_a_program_that_refuses_raises_its_own_error(world: World) -> None:
    world.shape.fails = True
    with pytest.raises(UsageError, match="two zones") as refusal:
        world.stack().preview()
    assert refusal.value.hint == "give three"


def test_the_version_asked_of_the_engine_is_the_tested_one(world: World) -> None:
    assert judge(world.pulumi.path, world.session().ask("version"), "3.259.0").text == "3.259.0"
