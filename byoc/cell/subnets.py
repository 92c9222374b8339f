"""CIDR arithmetic of a new VPC: which range each subnet gets. Pure.

A VPC is cut into eighths. Each zone's private subnet is one of the last seven; the first eighth is cut
into eighths again for the public subnets. Public subnets hold NAT gateways only, private ones every
machine, pod and network interface.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Final

from byoc.errors import UsageError

WIDEST: Final = 16
"""AWS's shortest prefix of a VPC (VPC user guide, "VPC CIDR blocks")."""
NARROWEST: Final = 21
"""Below this a private subnet would have too few addresses for the pods of one zone."""
SERVICE_RANGES: Final = (IPv4Network("172.20.0.0/16"),)
"""EKS gives Services addresses of this range; a VPC that overlaps it could not reach them."""
_PRIVATE = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"),
            IPv4Network("100.64.0.0/10"))  # fmt: skip
_DOCKER = IPv4Network("172.17.0.0/16")


@dataclass(frozen=True, slots=True)
class ZoneRanges:
    """The two subnets of one availability zone."""

    zone: str
    public: str
    private: str


def check_vpc_range(cidr: str) -> IPv4Network:
    """Return the network that ``cidr`` writes, if a cell's VPC may have it.

    Raises:
        UsageError: no IPv4 range, wrong size, not private, or in the way of Kubernetes' services.
    """
    try:
        network = IPv4Network(cidr)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise UsageError(f"`{cidr}` is no IPv4 range", hint="write it as 10.20.0.0/16") from error
    if not WIDEST <= network.prefixlen <= NARROWEST:
        raise UsageError(
            f"a VPC of /{network.prefixlen} does not fit a cell",
            hint=f"take a range from /{WIDEST} to /{NARROWEST}",
        )
    if not any(network.subnet_of(private) for private in _PRIVATE):
        raise UsageError(
            f"{cidr} is no private range", hint="take one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"
        )
    for taken in (*SERVICE_RANGES, _DOCKER):
        if network.overlaps(taken):
            raise UsageError(
                f"{cidr} overlaps {taken}, which the cluster uses inside",
                hint="take another range, 10.20.0.0/16",
            )
    return network


def divide(cidr: str, zones: Sequence[str]) -> tuple[ZoneRanges, ...]:
    """Return a public and a private range for each zone, none overlapping another.

    A private range is an eighth of the VPC, a public one an eighth of an eighth; seven zones fit.

    Raises:
        UsageError: the range does not fit a cell, or there are more zones than it holds.
    """
    network = check_vpc_range(cidr)
    eighths = list(network.subnets(prefixlen_diff=3))
    small = list(eighths[0].subnets(prefixlen_diff=3))
    if len(zones) > len(eighths) - 1:
        raise UsageError(
            f"{cidr} holds {len(eighths) - 1} zones, {len(zones)} were named", hint="name fewer zones"
        )
    return tuple(
        ZoneRanges(zone, str(small[number]), str(eighths[number + 1])) for number, zone in enumerate(zones)
    )
