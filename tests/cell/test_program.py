"""The whole program: what holds of every resource of every cell."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings

from byoc.cell.args import CellArgs, NewVpc
from byoc.cell.cost import estimate
from byoc.cell.foretold import UNKNOWN
from byoc.cell.outputs import CellOutputs, camel
from byoc.cell.part import CELL_TAG, LOGICAL_NAME_TAG
from byoc.cell.plan import Plan, make_plan
from byoc.cell.protection import TABLE, protection
from byoc.cell.recorder import SECRET, Registered
from tests.cell.goldens import FOLDER, HOW, leaf, text
from tests.unit.cell.examples import EXAMPLES, cells

FREE_KEYS = {"tags", "labels", "variables", "requestTags"}
"""Inputs whose keys are the customer's or Kubernetes', not properties of a type."""


@cache
def plan(name: str) -> Plan:
    return make_plan(EXAMPLES[name])


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield key
            if key not in FREE_KEYS:
                yield from _keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)


def _row(each: Registered) -> tuple[bool, bool, str, tuple[str, ...]]:
    within = each.within.rpartition("::")[2]
    return each.protect, each.retain, within, each.ignore


def _waits(made: Plan, name: str) -> set[str]:
    known = {each.urn: each for each in made.recording.resources}
    todo = [each.urn for each in known.values() if each.name == name and each.custom]
    seen: set[str] = set()
    while todo:
        for urn in set(known[todo.pop()].depends_on) & known.keys() - seen:
            seen.add(urn)
            todo.append(urn)
    return {leaf(urn) for urn in seen}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_graph_is_the_one_that_was_reviewed(name: str) -> None:
    assert FOLDER.joinpath(f"{name}.json").read_text(encoding="utf-8") == text(EXAMPLES[name]), HOW


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_resource_is_treated_as_the_table_says(name: str) -> None:
    for each in plan(name).resources:
        row = protection(each.name)
        assert _row(each) == (row.protect, row.retain, row.within, row.ignore), each.urn


def test_every_row_of_the_table_is_for_something_and_says_why() -> None:
    names = {each.name for name in EXAMPLES for each in plan(name).resources}
    for key, row in TABLE.items():
        assert row.why
        assert any(name.startswith(key) if key.endswith("-") else name == key for name in names), key


def test_what_holds_or_opens_data_is_protected_and_nothing_else() -> None:
    alone = {each.name for each in plan("default").resources if each.protect and not each.within}
    assert alone == {"key", "data", "ledger"}
    assert {each.name for each in plan("given").resources if each.protect and not each.within} == {
        "data",
        "ledger",
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_tagged_resource_can_be_found_by_cell_and_logical_name(name: str) -> None:
    made = plan(name)
    tagged = [each for each in made.resources if "tags" in each.inputs]
    assert len(tagged) > 20
    for each in tagged:
        tags = each.inputs["tags"]
        assert tags[CELL_TAG] == "main"
        assert tags[LOGICAL_NAME_TAG] == each.name
        assert made.args.tags.items() <= tags.items()


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_resource_belongs_to_a_part_of_the_cell(name: str) -> None:
    made = plan(name)
    parts = {each.urn: each for each in made.recording.resources if not each.custom}
    (root,) = (urn for urn, each in parts.items() if each.kind == "byoc:cell:Cell")
    for each in made.resources:
        assert parts[each.parent].parent == root


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_input_is_misspelt_past_the_types(name: str) -> None:
    # A dict in place of an argument class would go on with its Python name, and be ignored.
    wrong = {(each.urn, key) for each in plan(name).resources for key in _keys(each.inputs) if "_" in key}
    assert wrong == set()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_stack_says_everything_of_its_cell(name: str) -> None:
    said = plan(name).recording.outputs
    assert said.keys() == {camel(each.name) for each in fields(CellOutputs)}
    assert SECRET not in str(said)


def test_the_client_comes_last_and_goes_first() -> None:
    waits = _waits(plan("default"), "invocation")
    for needed in (
        "aws:eks/accessEntry:AccessEntry::access-installer",
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation::access-installer",
        "aws:eks/nodeGroup:NodeGroup::system",
        "aws:eks/addon:Addon::addon-vpc-cni",
        "aws:eks/addon:Addon::addon-coredns",
        "aws:ec2/route:Route::private-eu-west-1a",
        "aws:ec2/vpcEndpoint:VpcEndpoint::s3",
        "aws:ec2/vpcEndpoint:VpcEndpoint::ecr.dkr",
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule::installer",
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule::installer",
        "aws:lambda/function:Function::installer",
    ):
        assert needed in waits


def test_machines_start_when_their_ways_out_exist() -> None:
    waits = _waits(plan("default"), "system")
    assert "aws:ec2/natGateway:NatGateway::nat-eu-west-1b" in waits
    assert "aws:ec2/vpcEndpoint:VpcEndpoint::ec2" in waits
    assert "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule::endpoints-eu-west-1a" in waits


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_asked_for_that_a_preview_could_not_know(name: str) -> None:
    required = {"aws:eks/cluster:Cluster": ("name", "version", "roleArn")}
    for kind, inputs in required.items():
        for each in plan(name).recording.of(kind):
            assert UNKNOWN not in {each.inputs[key] for key in inputs}


@settings(max_examples=15)
@given(args=cells())
def test_any_cell_is_closed_and_costs_what_it_makes(args: CellArgs) -> None:
    made = make_plan(args)
    assert not any(port.public for port in made.open_ports)
    assert {one.what for one in made.public_addresses} <= {"address"}
    network = args.network
    assert isinstance(network, NewVpc)
    counted = {
        "NAT gateways": len(list(made.recording.of("aws:ec2/natGateway:NatGateway"))),
        "public addresses of NAT gateways": len(made.public_addresses),
        "encryption key": len(list(made.recording.of("aws:kms/key:Key"))),
        "private DNS zone": len(list(made.recording.of("aws:route53/zone:Zone"))),
        "cluster's control plane": len(list(made.recording.of("aws:eks/cluster:Cluster"))),
    }
    endpoints = [
        len(each.inputs["subnetIds"])
        for each in made.recording.of("aws:ec2/vpcEndpoint:VpcEndpoint")
        if each.inputs["vpcEndpointType"] == "Interface"
    ]
    priced = {line.item: line.quantity for line in estimate(args).fixed}
    assert {item: priced.get(item, 0) for item in counted} == counted
    assert next(v for k, v in priced.items() if k.startswith("interface endpoints")) == sum(endpoints)
