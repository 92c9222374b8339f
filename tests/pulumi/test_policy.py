"""A policy pack in front of a run: what it forbids is refused before it exists."""

import sys
from pathlib import Path

import pytest

from byoc.bootstrap.engine.events import Violated
from byoc.errors import PreconditionFailed
from tests.pulumi.test_life import EMPTY
from tests.pulumi.world import World

PACK = """
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy

def short(args, report):
    if args.resource_type == "aws:cloudwatch/logGroup:LogGroup" and args.props["retentionInDays"] < 30:
        report("logs are kept for less than 30 days")

def named(args, report):
    if args.resource_type == "aws:ec2/vpc:Vpc" and "Name" not in args.props["tags"]:
        report("has no Name")

PolicyPack("trial", enforcement_level=EnforcementLevel.MANDATORY, policies=[
    ResourceValidationPolicy("retention", "logs are kept", short),
    ResourceValidationPolicy("name", "networks are named", named, EnforcementLevel.ADVISORY),
])
"""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack that starts by itself: the engine built here comes without a language host."""
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (folder / "__main__.py").write_text(PACK)
    launcher = tmp_path / "launch"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -u -m pulumi.policy "$1" "{folder}"\n')
    launcher.chmod(0o755)
    return launcher


def test_a_mandatory_rule_refuses_and_an_advisory_one_is_told(world: World, pack: Path) -> None:
    world.shape.retention = 7
    stack = world.stack()
    for run in (stack.preview, stack.up):
        with pytest.raises(PreconditionFailed) as refusal:
            run(world.seen.append, policy_packs=[pack])
        assert refusal.value.message.startswith("policy retention of flow: ")
        assert "logs are kept for less than 30 days" in refusal.value.message
    assert world.leftovers()["log groups"] == 0
    told = {(fact.policy, fact.mandatory) for fact in world.seen if isinstance(fact, Violated)}
    assert told == {("retention", True), ("name", False)}


def test_a_cell_that_keeps_the_rules_passes(world: World, pack: Path) -> None:
    assert world.stack().preview(policy_packs=[pack]).total
    assert world.leftovers() == EMPTY
