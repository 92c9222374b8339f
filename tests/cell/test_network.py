"""The network: closed, whole in three zones, and in the customer's VPC only what is missing."""

import json
from dataclasses import replace
from functools import cache

import pytest

from byoc.cell.args import Gateway, Nat, NewVpc
from byoc.cell.plan import make_plan
from byoc.cell.recorder import Recording, Registered
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, SERVICE, ZONES, cell, given_vpc, subnet

ENDPOINT, ROUTE, SUBNET = (
    "aws:ec2/vpcEndpoint:VpcEndpoint",
    "aws:ec2/route:Route",
    "aws:ec2/subnet:Subnet",
)
NAT = "aws:ec2/natGateway:NatGateway"


@cache
def made(name: str) -> Recording:
    return make_plan(EXAMPLES[name]).recording


def _names(recording: Recording, kind: str) -> set[str]:
    return {each.name for each in recording.of(kind)}


def _one(recording: Recording, kind: str, name: str) -> Registered:
    (found,) = (each for each in recording.of(kind) if each.name == name)
    return found


def _refers(each: Registered, key: str) -> set[str]:
    return {urn.rpartition("::")[2] for urn in each.refers.get(key, ())}


def test_each_zone_has_a_private_subnet_with_a_route_table_of_its_own() -> None:
    for zone in ZONES:
        private = _one(made("default"), SUBNET, f"private-{zone}")
        assert private.inputs["availabilityZone"] == zone
        assert private.inputs["mapPublicIpOnLaunch"] is False
        association = _one(
            made("default"), "aws:ec2/routeTableAssociation:RouteTableAssociation", f"private-{zone}"
        )
        assert _refers(association, "subnetId") == _refers(association, "routeTableId") == {f"private-{zone}"}


def test_with_nat_in_each_zone_no_zone_needs_another() -> None:
    for zone in ZONES:
        assert _refers(_one(made("default"), ROUTE, f"private-{zone}"), "natGatewayId") == {f"nat-{zone}"}
        assert _refers(_one(made("default"), NAT, f"nat-{zone}"), "subnetId") == {f"public-{zone}"}


def test_with_one_nat_gateway_all_zones_go_through_it_and_no_other_public_subnet_is_made() -> None:
    recording = made("single-nat")
    assert _names(recording, NAT) == {f"nat-{ZONES[0]}"}
    assert {name for name in _names(recording, SUBNET) if name.startswith("public")} == {f"public-{ZONES[0]}"}
    for zone in ZONES:
        assert _refers(_one(recording, ROUTE, f"private-{zone}"), "natGatewayId") == {f"nat-{ZONES[0]}"}


def test_private_ranges_stay_when_the_way_out_changes() -> None:
    def ranges(nat: Nat) -> dict[str, str]:
        args = cell(network=NewVpc(nat=nat), gateway=Gateway(url="wss://g.example", endpoint_service=SERVICE))
        return {
            each.name: each.inputs["cidrBlock"]
            for each in make_plan(args).recording.of(SUBNET)
            if each.name.startswith("private")
        }

    assert ranges(Nat.PER_ZONE) == ranges(Nat.SINGLE) == ranges(Nat.NONE)


def test_without_nat_nothing_of_the_internet_is_made() -> None:
    recording = made("no-internet")
    for kind in (NAT, "aws:ec2/eip:Eip", "aws:ec2/internetGateway:InternetGateway", ROUTE):
        assert _names(recording, kind) == set()
    assert not any(name.startswith("public") for name in _names(recording, SUBNET))


def test_without_nat_the_gateway_is_reached_by_its_endpoint_under_its_own_name() -> None:
    endpoint = _one(made("no-internet"), ENDPOINT, "gateway").inputs
    assert endpoint["serviceName"] == SERVICE
    assert endpoint["privateDnsEnabled"] is True
    assert len(endpoint["subnetIds"]) == len(ZONES)


def test_the_vpcs_default_security_group_lets_nothing_in_or_out() -> None:
    default = _one(made("default"), "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "default").inputs
    assert default["ingress"] == []
    assert default["egress"] == []


def test_names_resolve_in_the_vpc() -> None:
    vpc = _one(made("default"), "aws:ec2/vpc:Vpc", "vpc").inputs
    assert vpc["enableDnsSupport"] is True
    assert vpc["enableDnsHostnames"] is True


def test_endpoints_are_reached_from_the_private_subnets_only() -> None:
    rules = [
        each.inputs
        for each in made("default").of("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
        if each.name.startswith("endpoints")
    ]
    private = {
        each.inputs["cidrBlock"] for each in made("default").of(SUBNET) if each.name.startswith("private")
    }
    assert {rule["cidrIpv4"] for rule in rules} == private
    assert {(rule["fromPort"], rule["toPort"], rule["ipProtocol"]) for rule in rules} == {(443, 443, "tcp")}


def test_every_flow_is_logged_encrypted_and_for_as_long_as_wanted() -> None:
    log = _one(made("default"), "aws:cloudwatch/logGroup:LogGroup", "flow")
    assert log.inputs["retentionInDays"] == EXAMPLES["default"].log_days
    assert _refers(log, "kmsKeyId") == {"key"}
    flow = _one(made("default"), "aws:ec2/flowLog:FlowLog", "flow")
    assert flow.inputs["trafficType"] == "ALL"
    assert flow.inputs["iamRoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/byoc-main-flow-logs"


def test_in_a_given_vpc_only_what_is_missing_is_made() -> None:
    recording = made("given")
    for kind in ("aws:ec2/vpc:Vpc", SUBNET, ROUTE, NAT, "aws:ec2/routeTable:RouteTable", "aws:ec2/eip:Eip"):
        assert _names(recording, kind) == set()
    assert "s3" not in _names(recording, ENDPOINT)
    assert "sts" not in _names(recording, ENDPOINT)
    assert "ec2" in _names(recording, ENDPOINT)


def test_in_a_given_vpc_the_flows_of_the_cells_own_subnets_are_logged() -> None:
    flows = list(made("given").of("aws:ec2/flowLog:FlowLog"))
    assert {each.inputs["subnetId"] for each in flows} == {"subnet-0", "subnet-1", "subnet-2"}
    assert not any("vpcId" in each.inputs for each in flows)


def test_a_given_vpcs_route_tables_each_get_the_way_to_s3_once() -> None:
    shared = tuple(
        subnet(zone, number, route_table_id=f"rtb-{number // 2}") for number, zone in enumerate(ZONES)
    )
    recording = make_plan(cell(network=given_vpc(subnets=shared, endpoints=()))).recording
    gateway = _one(recording, ENDPOINT, "s3").inputs
    assert gateway["routeTableIds"] == ["rtb-0", "rtb-1"]
    assert gateway["vpcEndpointType"] == "Gateway"
    assert json.loads(gateway["policy"])["Statement"]


@pytest.mark.parametrize("count", [3, 4, 5])
def test_every_zone_that_is_named_is_used(count: int) -> None:
    zones = tuple(f"eu-west-1{letter}" for letter in "abcde"[:count])
    recording = make_plan(cell(facts=replace(EXAMPLES["default"].facts, zones=zones))).recording
    assert {f"private-{zone}" for zone in zones} <= _names(recording, SUBNET)
    assert len(_names(recording, NAT)) == count
