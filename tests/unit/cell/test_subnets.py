"""Every VPC is cut without overlap, into ranges that AWS and a cell accept."""

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.cell.args import SMALLEST_SUBNET
from byoc.cell.subnets import divide
from byoc.errors import UsageError
from tests.unit.cell.examples import ranges


@given(cidr=ranges(), count=st.integers(3, 7))
def test_a_vpc_is_cut_into_ranges_that_fit_and_never_overlap(cidr: str, count: int) -> None:
    zones = [f"eu-west-1{letter}" for letter in "abcdefg"[:count]]
    cut = divide(cidr, zones)
    assert [each.zone for each in cut] == zones
    networks = [IPv4Network(text) for each in cut for text in (each.public, each.private)]
    assert all(network.subnet_of(IPv4Network(cidr)) for network in networks)
    assert not any(one.overlaps(other) for one, other in combinations(networks, 2))
    assert all(network.prefixlen <= SMALLEST_SUBNET for network in networks)
    assert all(IPv4Network(each.private).prefixlen <= 24 for each in cut)


@given(cidr=ranges())
def test_a_zone_more_moves_no_other_zone(cidr: str) -> None:
    zones = ["eu-west-1a", "eu-west-1b", "eu-west-1c", "eu-west-1d"]
    assert divide(cidr, zones)[:3] == divide(cidr, zones[:3])


def test_eight_zones_are_too_many() -> None:
    with pytest.raises(UsageError, match="holds 7 zones"):
        divide("10.20.0.0/16", [f"eu-west-1{letter}" for letter in "abcdefgh"])
