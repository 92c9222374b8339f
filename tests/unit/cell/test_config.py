"""A cell's arguments survive being written down, and ``Pulumi.yaml`` says what the program reads."""

from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # a part of what Pulumi brings along
from hypothesis import given

from byoc.cell.args import CellArgs
from byoc.cell.config import SETTINGS, from_mapping, to_mapping, vpc_from_mapping
from byoc.cell.images import table
from byoc.cell.program import stack_config
from byoc.errors import UsageError
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, REGION, cell, cells

ROOT = Path(__file__).parents[3]


def _yaml(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return found


@given(args=cells())
def test_what_is_written_down_is_read_as_it_was(args: CellArgs) -> None:
    assert from_mapping(to_mapping(args)) == args


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_read_as_they_were(name: str) -> None:
    assert from_mapping(to_mapping(EXAMPLES[name])) == EXAMPLES[name]


def test_defaults_are_not_written_down() -> None:
    assert "nat" not in to_mapping(cell())
    assert "vpc" not in to_mapping(cell())


def test_pulumi_yaml_has_every_setting_with_its_kind_default_and_help() -> None:
    said = _yaml("Pulumi.yaml")["config"]
    assert list(said) == list(SETTINGS)
    for name, setting in SETTINGS.items():
        assert said[name]["type"] == setting.kind
        assert said[name].get("default") == setting.default
        assert said[name]["description"] == setting.help
        assert said[name].get("items") == ({"type": "string"} if setting.kind == "array" else None)


def test_pulumi_yaml_runs_the_programs_folder() -> None:
    main = _yaml("Pulumi.yaml")["main"]
    assert (ROOT / main / "__main__.py").is_file()


def test_the_example_stack_is_a_cell_and_names_where_the_provider_works() -> None:
    said = _yaml("Pulumi.example.yaml")["config"]
    args = from_mapping({name.removeprefix("byoc:"): said[name] for name in said if name.startswith("byoc:")})
    assert said["aws:region"] == args.facts.region
    assert said["aws:allowedAccountIds"] == [args.facts.account]


def test_a_stacks_configuration_ties_the_provider_to_account_and_region() -> None:
    said = stack_config(cell())
    assert said["aws:region"] == REGION
    assert said["aws:allowedAccountIds"] == [ACCOUNT]
    assert (
        from_mapping({n.removeprefix("byoc:"): v for n, v in said.items() if n.startswith("byoc:")}) == cell()
    )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"cird": "10.0.0.0/16"}, "`cird` is no setting"),
    "another kind": ({"logDays": "30"}, "`logDays` is not of kind integer"),
    "a truth for a number": ({"logDays": True}, "`logDays` is not of kind integer"),
    "numbers in a list": ({"zones": [1, 2, 3]}, "list of strings"),
    "numbers in an object": ({"tags": {"a": 1}}, "something else than strings"),
    "no such way out": ({"nat": "some"}, "none of none, single, per-zone"),
    "some roles": ({"roles": {"node": "arn"}}, "roles: `"),
    "an unknown role": ({"roles": {"admin": "arn"}}, "`admin` is no setting"),
    "a VPC without subnets": ({"vpc": {"id": "vpc-1"}}, "`subnets` is not a list"),
    "half an image": ({"agentDigest": ""}, "digest of"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setting_is_named(what: str) -> None:
    more, sentence = WRONG[what]
    with pytest.raises(UsageError) as refused:
        from_mapping(to_mapping(cell()) | more)
    assert sentence in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.default is None])
def test_a_missing_setting_is_named(name: str) -> None:
    said = to_mapping(cell())
    del said[name]
    with pytest.raises(UsageError, match=f"`{name}` is not set"):
        from_mapping(said)


def test_an_unreleased_byoc_says_how_to_name_the_clients_image() -> None:
    said = {name: value for name, value in to_mapping(cell()).items() if not name.startswith("agent")}
    with pytest.raises(UsageError, match="unreleased") as refused:
        from_mapping(said)
    assert "agentRepository" in refused.value.hint


PUBLISHED = {"repository": "ghcr.io/byoc/agent", "digest": f"sha256:{'1' * 64}"}
NEWER = {"repository": "ghcr.io/byoc/agent", "digest": f"sha256:{'2' * 64}"}


def test_the_releases_own_image_is_no_setting_so_that_a_newer_byoc_brings_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = {name: value for name, value in to_mapping(cell()).items() if not name.startswith("agent")}
    monkeypatch.setitem(table(), "agent", PUBLISHED)
    args = from_mapping(said)
    assert args.agent.reference == f"ghcr.io/byoc/agent@{PUBLISHED['digest']}"
    assert to_mapping(args) == said
    monkeypatch.setitem(table(), "agent", NEWER)
    assert from_mapping(said).agent.digest == NEWER["digest"]
    own = from_mapping(to_mapping(cell()))
    assert own.agent == cell().agent


def test_a_mirror_has_the_clients_image_too_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table(), "agent", PUBLISHED)
    said = {name: value for name, value in to_mapping(cell()).items() if not name.startswith("agent")}
    args = from_mapping(said | {"imageRegistry": "mirror.example/all"})
    assert args.agent.repository == "mirror.example/all/byoc/agent"
    assert from_mapping(to_mapping(args)) == args
    named = from_mapping(to_mapping(cell()) | {"imageRegistry": "mirror.example/all"})
    assert named.agent == cell().agent


@pytest.mark.parametrize("gone", ["id", "cidrs", "owner"])
def test_a_vpc_without_what_a_preflight_sees_is_refused(gone: str) -> None:
    said = to_mapping(EXAMPLES["given"])["vpc"]
    del said[gone]
    with pytest.raises(UsageError, match=f"`{gone}` is missing"):
        vpc_from_mapping(said)


def test_a_subnet_that_is_no_object_is_refused() -> None:
    said = to_mapping(EXAMPLES["given"])["vpc"] | {"subnets": ["subnet-1"]}
    with pytest.raises(UsageError, match=r"vpc.subnets\[0\] is not an object"):
        vpc_from_mapping(said)
