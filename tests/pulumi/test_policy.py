"""A policy pack in front of a run: what it forbids is refused before it exists."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pulumi_aws as aws
import pytest

from byoc.bootstrap.engine.events import Violated
from byoc.bootstrap.engine.stack import Stack
from byoc.cell.program import program
from byoc.errors import PreconditionFailed
from tests.pulumi.test_life import EMPTY
from tests.pulumi.world import NAME, PROJECT, ROOT, World
from tests.unit.cell.examples import FACTS, OWN_ENGINE, cell

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


def launched(folder: Path, beside: Path) -> Path:
    """Return a pack that starts by itself: the engine built here comes without a language host."""
    launcher = beside / "launch"
    launcher.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{ROOT}"\n'
        f'exec "{sys.executable}" -u -m pulumi.policy "$1" "{folder}"\n'
    )
    launcher.chmod(0o755)
    return launcher


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (folder / "__main__.py").write_text(PACK)
    return launched(folder, tmp_path)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The pack of this project."""
    return launched(ROOT / "stacks/policies", tmp_path)


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


ARGS = cell(
    facts=replace(FACTS, region="us-east-1", zones=("us-east-1a", "us-east-1b", "us-east-1c")),
    engine=OWN_ENGINE,
)
"""With everything that any cell has: engines that use the bucket."""


def whole(world: World, change: Callable[[], None] = lambda: None) -> Stack:
    """A stack of the cell's own program, with something of somebody's in it."""

    def run() -> None:
        world.loops.append(asyncio.get_running_loop())
        program(ARGS)()
        change()

    return Stack.open(world.session(), PROJECT, NAME, run, world.backend)


def test_the_cell_as_it_is_keeps_every_rule(world: World, rules: Path) -> None:
    assert whole(world).preview(policy_packs=[rules]).total > 100


def open_the_api() -> None:
    aws.eks.Cluster(
        "open", role_arn="arn:aws:iam::123456789012:role/x", vpc_config={"subnet_ids": ["subnet-1"]}
    )


def take_an_address() -> None:
    aws.ec2.Eip("spare", domain="vpc", tags={"byoc:cell": "main", "byoc:logical-name": "spare"})


def trust_an_outsider() -> None:
    aws.iam.Role(
        "vendor",
        permissions_boundary="arn:aws:iam::123456789012:policy/byoc-main-boundary",
        assume_role_policy="""{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::999999999999:root"}, "Action": "sts:AssumeRole"}]}""",
        tags={"byoc:cell": "main", "byoc:logical-name": "vendor"},
    )


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (open_the_api, "no-public-endpoint"),
        (take_an_address, "no-idle-address"),
        (trust_an_outsider, "no-outsiders"),
    ],
)
def test_what_no_cell_may_be_ends_a_preview(
    world: World, rules: Path, change: Callable[[], None], rule: str
) -> None:
    with pytest.raises(PreconditionFailed):
        whole(world, change).preview(world.seen.append, policy_packs=[rules])
    broken = {fact.policy for fact in world.seen if isinstance(fact, Violated)}
    assert rule in broken
    assert all(fact.mandatory for fact in world.seen if isinstance(fact, Violated))
