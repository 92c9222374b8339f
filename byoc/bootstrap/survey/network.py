"""VPCs as they are: the ranges that are in use, and everything a cell must know of a given one."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from byoc.bootstrap.aws import Account, translated
from byoc.cell.args import GivenSubnet, GivenVpc
from byoc.errors import PreconditionFailed, UsageError

# What a default route of a private subnet may lead to; an internet gateway is not among them.
_WAYS_OUT: Final = ("NatGatewayId", "TransitGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId")


def ranges(account: Account) -> dict[str, tuple[str, ...]]:
    """Return the IPv4 ranges of each VPC of the region, by its id."""
    with translated("ec2:DescribeVpcs"):
        pages = list(account.client("ec2").get_paginator("describe_vpcs").paginate())
    return {vpc["VpcId"]: _ranges(vpc) for page in pages for vpc in page["Vpcs"]}


def given_vpc(account: Account, vpc_id: str, subnet_ids: Sequence[str]) -> GivenVpc:
    """Return what the customer's VPC is like, and those of its private subnets that the cell may use.

    Raises:
        PreconditionFailed: there is no such VPC, a subnet is not in it, or a cell could not live in it
            (see ``GivenVpc``).
    """
    ec2 = account.client("ec2")
    with translated("ec2:DescribeVpcs"):
        found = ec2.describe_vpcs(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["Vpcs"]
    if not found:
        raise PreconditionFailed(
            f"there is no VPC {vpc_id} in account {account.identity.account}, region {account.region}",
            hint="give a VPC of the account and region whose credentials you use",
        )
    seen = {
        "cidrs": _ranges(found[0]),
        "subnets": _subnets(ec2, vpc_id, subnet_ids),
        "owner": found[0].get("OwnerId", account.identity.account),
        "dns_support": _flag(ec2, vpc_id, "enableDnsSupport"),
        "dns_hostnames": _flag(ec2, vpc_id, "enableDnsHostnames"),
        "endpoints": _endpoints(ec2, vpc_id, account.region),
    }
    try:
        return GivenVpc(id=vpc_id, **seen)
    except UsageError as error:
        # What is wrong is in the account, not in how it was named.
        raise PreconditionFailed(error.message, hint=error.hint) from error


def _ranges(vpc: Mapping[str, Any]) -> tuple[str, ...]:
    blocks = [
        block["CidrBlock"]
        for block in vpc.get("CidrBlockAssociationSet", [])
        if block.get("CidrBlockState", {}).get("State", "associated") == "associated"
    ]
    return tuple(blocks or [vpc["CidrBlock"]])


def _flag(ec2: Any, vpc_id: str, name: str) -> bool:
    with translated("ec2:DescribeVpcAttribute"):
        answer = ec2.describe_vpc_attribute(VpcId=vpc_id, Attribute=name)
    return bool(answer[name[0].upper() + name[1:]]["Value"])


def _subnets(ec2: Any, vpc_id: str, wanted: Sequence[str]) -> tuple[GivenSubnet, ...]:
    with translated("ec2:DescribeSubnets"):
        found = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["Subnets"]
    there = {subnet["SubnetId"]: subnet for subnet in found}
    missing = [name for name in wanted if name not in there]
    if missing:
        raise PreconditionFailed(
            f"subnet {missing[0]} is not in VPC {vpc_id}", hint=f"its subnets are {', '.join(sorted(there))}"
        )
    with translated("ec2:DescribeRouteTables"):
        tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["RouteTables"]
    return tuple(_subnet(there[name], _table_of(name, tables)) for name in wanted)


def _subnet(subnet: Mapping[str, Any], table: Mapping[str, Any]) -> GivenSubnet:
    return GivenSubnet(
        id=subnet["SubnetId"],
        cidr=subnet["CidrBlock"],
        zone=subnet["AvailabilityZone"],
        route_table_id=table.get("RouteTableId", ""),
        public_ip_on_launch=bool(subnet.get("MapPublicIpOnLaunch")),
        has_egress=_leads_out(table),
        is_public=_leads_to_the_internet(table),
    )


def _table_of(subnet_id: str, tables: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the subnet's own route table, or the VPC's main one, which it then uses."""
    main: Mapping[str, Any] = {}
    for table in tables:
        for link in table.get("Associations", []):
            if link.get("SubnetId") == subnet_id:
                return table
            if link.get("Main"):
                main = table
    return main


def _leads_out(table: Mapping[str, Any]) -> bool:
    return any(route.get(way) for route in _defaults(table) for way in _WAYS_OUT)


def _leads_to_the_internet(table: Mapping[str, Any]) -> bool:
    return any(str(route.get("GatewayId", "")).startswith("igw-") for route in _defaults(table))


def _defaults(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [route for route in table.get("Routes", []) if route.get("DestinationCidrBlock") == "0.0.0.0/0"]


def _endpoints(ec2: Any, vpc_id: str, region: str) -> tuple[str, ...]:
    with translated("ec2:DescribeVpcEndpoints"):
        found = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["VpcEndpoints"]
    prefix = f"com.amazonaws.{region}."
    names = [endpoint["ServiceName"] for endpoint in found if endpoint.get("State", "").lower() != "deleted"]
    return tuple(sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix)))
