"""Bad input is refused with the sentence that says what to change, before anything is made."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from byoc.cell.args import CellArgs, Gateway, GivenSubnet, Image, Nat, NewVpc, Nodes
from byoc.errors import UsageError
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, FACTS, ROLE_ARNS, ZONES, cell, given_vpc, subnet

OTHER = "999999999999"


def _subnets(zones: Sequence[str] = ZONES, **more: Any) -> tuple[GivenSubnet, ...]:
    return tuple(subnet(zone, number, **more) for number, zone in enumerate(zones))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "two zones": (lambda: replace(FACTS, zones=ZONES[:2]), "3 availability zones"),
    "a zone twice": (lambda: replace(FACTS, zones=(*ZONES, ZONES[0])), "named twice"),
    "a zone of another region": (lambda: replace(FACTS, zones=(*ZONES[:2], "us-east-1a")), "not in region"),
    "no region": (lambda: replace(FACTS, region="europe"), "region `europe` is not"),
    "no account": (lambda: replace(FACTS, account="12"), "twelve digits"),
    "a partition without the services": (lambda: replace(FACTS, partition="aws-cn"), "not supported"),
    "a patch version": (lambda: replace(FACTS, kubernetes="1.34.2"), "minor version"),
    "no range": (lambda: NewVpc(cidr="10.20.0.0"), "does not fit"),
    "nonsense for a range": (lambda: NewVpc(cidr="all of it"), "no IPv4 range"),
    "IPv6": (lambda: NewVpc(cidr="fd00::/16"), "no IPv4 range"),
    "a public range": (lambda: NewVpc(cidr="8.8.0.0/16"), "no private range"),
    "the services' range": (lambda: NewVpc(cidr="172.20.0.0/16"), "overlaps"),
    "a range with host bits": (lambda: NewVpc(cidr="10.20.1.1/16"), "no IPv4 range"),
    "a narrow range": (lambda: NewVpc(cidr="10.20.0.0/22"), "/22 does not fit"),
    "a plain gateway": (lambda: Gateway(url="ws://gateway.example"), "no wss://"),
    "an image by tag": (lambda: Image(repository="r", digest="latest"), "digest of r"),
    "one system machine": (lambda: Nodes(system_count=1), "2 machines"),
    "no machine type": (lambda: Nodes(workspace_types=()), "no machines"),
    "an upper-case name": (lambda: cell(name="Main"), "cannot be called"),
    "a name of 25": (lambda: cell(name="a" * 25), "cannot be called"),
    "a reserved tag": (lambda: cell(tags={"AWS:x": "y"}), "reserved"),
    "31 days of logs": (lambda: cell(log_days=31), "31 days"),
    "a key of another account": (
        lambda: cell(key_arn=f"arn:aws:kms:eu-west-1:{OTHER}:key/1"), f"not in account {ACCOUNT}",
    ),
    "a key of another region": (
        lambda: cell(key_arn=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"), "region eu-west-1",
    ),
    "a boundary of another account": (
        lambda: cell(boundary_arn=f"arn:aws:iam::{OTHER}:policy/b"), f"not in account {ACCOUNT}",
    ),
    "a role of another account": (
        lambda: cell(roles=replace(ROLE_ARNS, node=f"arn:aws:iam::{OTHER}:role/n")),
        f"not in account {ACCOUNT}",
    ),
    "a user for a role": (
        lambda: replace(ROLE_ARNS, node=f"arn:aws:iam::{ACCOUNT}:user/n"), "role for node",
    ),
    "no way out": (lambda: cell(network=NewVpc(nat=Nat.NONE)), "cannot reach its gateway"),
    "a proxy without port": (lambda: cell(egress_proxy="http://proxy"), "egress proxy"),
    "a VPC of another account": (lambda: cell(network=given_vpc(owner=OTHER)), f"belongs to account {OTHER}"),
    "a VPC of another region": (
        lambda: cell(network=given_vpc(subnets=_subnets(("us-east-1a", "us-east-1b", "us-east-1c")))),
        "is in zone `us-east-1a`",
    ),
    "a VPC without names": (lambda: given_vpc(dns_hostnames=False), "DNS"),
    "a VPC with two zones": (
        lambda: given_vpc(subnets=_subnets(ZONES[:2])), "in 2 zones",
    ),
    "two subnets in a zone": (
        lambda: given_vpc(subnets=_subnets((*ZONES, ZONES[0]))),
        "two subnets in one zone",
    ),
    "a VPC of IPv6": (lambda: given_vpc(cidrs=("fd00::/56",)), "not IPv4"),
    "a VPC in the services' range": (lambda: given_vpc(cidrs=("10.80.0.0/16", "172.20.0.0/16")), "overlaps"),
    "a subnet of /28": (
        lambda: given_vpc(
            subnets=(*_subnets(ZONES[:2]), subnet(ZONES[2], 2, cidr="10.80.2.0/28"))
        ),
        "fewer than 30 addresses",
    ),
    "a subnet outside the VPC": (lambda: given_vpc(cidrs=("10.81.0.0/16",)), "not in the VPC's ranges"),
    "a public subnet": (
        lambda: given_vpc(
            subnets=_subnets(public_ip_on_launch=True)
        ),
        "public addresses",
    ),
    "a subnet that leads to an internet gateway, though there is a proxy": (
        lambda: cell(
            network=given_vpc(subnets=_subnets(is_public=True, has_egress=False)),
            egress_proxy="http://10.80.0.9:3128",
        ),
        "is public: its default route leads to an internet gateway",
    ),
    "a subnet without a route out": (
        lambda: cell(
            network=given_vpc(subnets=_subnets(has_egress=False))
        ),
        "no route out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_refused_with_what_to_change(what: str) -> None:
    make, sentence = REFUSED[what]
    with pytest.raises(UsageError) as refused:
        make()
    assert sentence in refused.value.message
    assert refused.value.hint
    assert "\n" not in refused.value.message + refused.value.hint
    assert not refused.value.message.endswith(".")


def test_a_subnet_without_a_route_out_is_enough_with_a_proxy() -> None:
    closed = _subnets(has_egress=False)
    made = cell(network=given_vpc(subnets=closed), egress_proxy="http://10.80.0.9:3128")
    assert isinstance(made, CellArgs)


def test_a_subnet_of_27_is_large_enough() -> None:
    small = tuple(subnet(zone, number, cidr=f"10.80.{number}.0/27") for number, zone in enumerate(ZONES))
    assert given_vpc(subnets=small).subnets == small


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_cells(name: str) -> None:
    assert EXAMPLES[name].facts.account == ACCOUNT
