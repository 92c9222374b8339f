"""VPC, subnets, gateways, addresses and routes."""

import ipaddress
import zlib
from collections.abc import Iterator
from typing import Any

from tests.emulated.handlers.ec2_tags import Ec2Handler, given
from tests.emulated.handlers.handler import (
    Aws,
    Handler,
    Inputs,
    Properties,
    Refused,
    fixed,
    found,
    paths,
    put,
    register,
    tag_map,
)

_FLAGS = {"enableDnsSupport": "EnableDnsSupport", "enableDnsHostnames": "EnableDnsHostnames"}
_ENDED = {"deleted", "deleting"}


def only(rows: Any) -> Any:
    """The first row of an answer, or ``None``."""
    return rows[0] if rows else None


def network_of(text: str) -> str:
    """What is wrong with an IPv4 range; empty when nothing is."""
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        return f"InvalidParameterValue: {text} is no CIDR block: {error}"
    return ""


@register("aws:ec2/vpc:Vpc")
class Vpc(Ec2Handler):
    """A virtual network."""

    replace = paths("cidrBlock instanceTenancy")
    computed = paths("arn mainRouteTableId defaultSecurityGroupId defaultRouteTableId ownerId")
    decided = paths("instanceTenancy")
    defaults = fixed({"enableDnsSupport": True})

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if wrong := network_of(inputs["cidrBlock"]):
            yield wrong
        elif not 16 <= ipaddress.IPv4Network(inputs["cidrBlock"]).prefixlen <= 28:
            yield f"InvalidVpc.Range: {inputs['cidrBlock']} must be between /16 and /28"
        if inputs.get("enableDnsHostnames") and inputs.get("enableDnsSupport") is False:
            yield "InvalidParameterValue: DNS hostnames need DNS support"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        made = aws("ec2").create_vpc(CidrBlock=inputs["cidrBlock"], **given("vpc", inputs))["Vpc"]["VpcId"]
        self.update(aws, made, inputs, set(_FLAGS) & set(inputs))
        return str(made)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: only(aws("ec2").describe_vpcs(VpcIds=[identity])["Vpcs"]))
        if row is None:
            return None
        ec2, mine = aws("ec2"), [{"Name": "vpc-id", "Values": [identity]}]
        groups = ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
        main = [{"Name": "association.main", "Values": ["true"]}]
        table = only(ec2.describe_route_tables(Filters=mine + main)["RouteTables"])["RouteTableId"]
        made: Properties = {
            "cidrBlock": row["CidrBlock"],
            "instanceTenancy": row.get("InstanceTenancy", "default"),
            "arn": aws.arn("ec2", f"vpc/{identity}"),
            "mainRouteTableId": table,
            "defaultRouteTableId": table,
            "defaultSecurityGroupId": next(one["GroupId"] for one in groups if one["GroupName"] == "default"),
        }
        for name, member in _FLAGS.items():
            made[name] = ec2.describe_vpc_attribute(VpcId=identity, Attribute=name)[member]["Value"]
        return put(made, tags=tag_map(row.get("Tags")))

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        for name, member in _FLAGS.items():
            if name in changed:
                wanted = inputs.get(name, name == "enableDnsSupport")
                aws("ec2").modify_vpc_attribute(VpcId=identity, **{member: {"Value": bool(wanted)}})
        super().update(aws, identity, inputs, changed - set(_FLAGS))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        mine = [{"Name": "vpc-id", "Values": [identity]}]
        for one in aws("ec2").describe_security_groups(Filters=mine)["SecurityGroups"]:
            if one["GroupName"] != "default":
                raise Refused(
                    "DependencyViolation", f"the vpc '{identity}' has the security group {one['GroupId']}"
                )
        for one in aws("ec2").describe_vpc_endpoints(Filters=mine)["VpcEndpoints"]:
            if one["State"] not in _ENDED:
                raise Refused(
                    "DependencyViolation", f"the vpc '{identity}' has the endpoint {one['VpcEndpointId']}"
                )
        doors = [{"Name": "attachment.vpc-id", "Values": [identity]}]
        for one in aws("ec2").describe_internet_gateways(Filters=doors)["InternetGateways"]:
            raise Refused(
                "DependencyViolation", f"the vpc '{identity}' has the gateway {one['InternetGatewayId']}"
            )
        found(lambda: aws("ec2").delete_vpc(VpcId=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return super().pretend(inputs, identity) | {
            "mainRouteTableId": f"rtb-{identity}",
            "defaultRouteTableId": f"rtb-{identity}",
            "defaultSecurityGroupId": f"sg-{identity}",
        }


@register("aws:ec2/subnet:Subnet")
class Subnet(Ec2Handler):
    """A part of a VPC in one zone."""

    replace = paths("cidrBlock vpcId availabilityZone")
    computed = paths("arn ownerId availabilityZoneId")
    decided = paths("availabilityZone")

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if wrong := network_of(inputs.get("cidrBlock", "")):
            yield wrong
        elif not 16 <= ipaddress.IPv4Network(inputs["cidrBlock"]).prefixlen <= 28:
            yield f"InvalidSubnet.Range: {inputs['cidrBlock']} must be between /16 and /28"
        zone = inputs.get("availabilityZone", region)
        if not zone.startswith(region):
            yield f"InvalidParameterValue: zone {zone} is not in {region}"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        where = put({}, AvailabilityZone=inputs.get("availabilityZone"))
        made = aws("ec2").create_subnet(
            VpcId=inputs["vpcId"], CidrBlock=inputs["cidrBlock"], **where, **given("subnet", inputs)
        )["Subnet"]["SubnetId"]
        if inputs.get("mapPublicIpOnLaunch"):
            self.update(aws, made, inputs, {"mapPublicIpOnLaunch"})
        return str(made)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: only(aws("ec2").describe_subnets(SubnetIds=[identity])["Subnets"]))
        return row and put(
            {
                "arn": row["SubnetArn"],
                "vpcId": row["VpcId"],
                "cidrBlock": row["CidrBlock"],
                "availabilityZone": row["AvailabilityZone"],
                "availabilityZoneId": row["AvailabilityZoneId"],
                "mapPublicIpOnLaunch": row["MapPublicIpOnLaunch"],
            },
            tags=tag_map(row.get("Tags")),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if "mapPublicIpOnLaunch" in changed:
            wanted = {"Value": bool(inputs.get("mapPublicIpOnLaunch"))}
            aws("ec2").modify_subnet_attribute(SubnetId=identity, MapPublicIpOnLaunch=wanted)
        super().update(aws, identity, inputs, changed - {"mapPublicIpOnLaunch"})

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        for one in aws("ec2").describe_nat_gateways()["NatGateways"]:
            if one["SubnetId"] == identity and one["State"] not in _ENDED:
                raise Refused(
                    "DependencyViolation", f"the subnet '{identity}' has {one['NatGatewayId']} in it"
                )
        for one in aws("ec2").describe_vpc_endpoints()["VpcEndpoints"]:
            if identity in one.get("SubnetIds", ()) and one["State"] not in _ENDED:
                raise Refused(
                    "DependencyViolation", f"the subnet '{identity}' has {one['VpcEndpointId']} in it"
                )
        found(lambda: aws("ec2").delete_subnet(SubnetId=identity))


@register("aws:ec2/internetGateway:InternetGateway")
class InternetGateway(Ec2Handler):
    """A VPC's door to the internet."""

    computed = paths("arn ownerId")

    def create(self, aws: Aws, inputs: Inputs) -> str:
        made = aws("ec2").create_internet_gateway(**given("internet-gateway", inputs))["InternetGateway"]
        identity = str(made["InternetGatewayId"])
        if inputs.get("vpcId"):
            aws("ec2").attach_internet_gateway(InternetGatewayId=identity, VpcId=inputs["vpcId"])
        return identity

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(
            lambda: only(
                aws("ec2").describe_internet_gateways(InternetGatewayIds=[identity])["InternetGateways"]
            )
        )
        if row is None:
            return None
        at = only(row.get("Attachments"))
        made = {"arn": aws.arn("ec2", f"internet-gateway/{identity}")}
        return put(made, vpcId=at and at["VpcId"], tags=tag_map(row.get("Tags")))

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if "vpcId" in changed:
            self._detach(aws, identity)
            if inputs.get("vpcId"):
                aws("ec2").attach_internet_gateway(InternetGatewayId=identity, VpcId=inputs["vpcId"])
        super().update(aws, identity, inputs, changed - {"vpcId"})

    def _detach(self, aws: Aws, identity: str) -> None:
        at = (self.read(aws, identity) or {}).get("vpcId")
        if at:
            aws("ec2").detach_internet_gateway(InternetGatewayId=identity, VpcId=at)

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        self._detach(aws, identity)
        found(lambda: aws("ec2").delete_internet_gateway(InternetGatewayId=identity))


@register("aws:ec2/eip:Eip")
class Eip(Ec2Handler):
    """A public address."""

    replace = paths("domain")
    computed = paths("arn publicIp allocationId associationId publicDns")
    decided = paths("domain")
    defaults = fixed({"domain": "vpc"})

    def create(self, aws: Aws, inputs: Inputs) -> str:
        made = aws("ec2").allocate_address(Domain="vpc", **given("elastic-ip", inputs))
        return str(made["AllocationId"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: only(aws("ec2").describe_addresses(AllocationIds=[identity])["Addresses"]))
        return row and put(
            {
                "arn": aws.arn("ec2", f"elastic-ip/{identity}"),
                "allocationId": identity,
                "domain": row["Domain"],
                "publicIp": row["PublicIp"],
            },
            tags=tag_map(row.get("Tags")),
        )

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        for one in aws("ec2").describe_nat_gateways()["NatGateways"]:
            held = {each.get("AllocationId") for each in one["NatGatewayAddresses"]}
            if identity in held and one["State"] not in _ENDED:
                raise Refused("AuthFailure", f"{identity} is in use by {one['NatGatewayId']}")
        found(lambda: aws("ec2").release_address(AllocationId=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        last = zlib.crc32(identity.encode()) % 250 + 1
        return super().pretend(inputs, identity) | {
            "publicIp": f"203.0.113.{last}",
            "allocationId": identity,
        }


@register("aws:ec2/natGateway:NatGateway")
class NatGateway(Ec2Handler):
    """The way out of private subnets."""

    replace = paths("subnetId allocationId connectivityType")
    computed = paths("publicIp privateIp networkInterfaceId associationId")
    defaults = fixed({"connectivityType": "public"})

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if inputs.get("connectivityType", "public") == "public" and not inputs.get("allocationId"):
            yield "MissingParameter: a public NAT gateway needs an allocationId"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        address = inputs["allocationId"]
        aws("ec2").describe_addresses(AllocationIds=[address])
        made = aws("ec2").create_nat_gateway(
            SubnetId=inputs["subnetId"], AllocationId=address, **given("natgateway", inputs)
        )["NatGateway"]
        return str(made["NatGatewayId"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: only(aws("ec2").describe_nat_gateways(NatGatewayIds=[identity])["NatGateways"]))
        if row is None or row["State"] in _ENDED:
            return None
        address = only(row["NatGatewayAddresses"]) or {}
        return put(
            {"subnetId": row["SubnetId"], "connectivityType": row.get("ConnectivityType", "public")},
            allocationId=address.get("AllocationId"),
            publicIp=address.get("PublicIp"),
            privateIp=address.get("PrivateIp"),
            networkInterfaceId=address.get("NetworkInterfaceId"),
            tags=tag_map(row.get("Tags")),
        )

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("ec2").delete_nat_gateway(NatGatewayId=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        last = zlib.crc32(str(inputs.get("allocationId")).encode()) % 250 + 1
        return {"publicIp": f"203.0.113.{last}", "networkInterfaceId": f"eni-{identity}"}


@register("aws:ec2/routeTable:RouteTable")
class RouteTable(Ec2Handler):
    """Where packets of a subnet go; its routes are resources of their own."""

    replace = paths("vpcId")
    computed = paths("arn ownerId routes propagatingVgws")

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if inputs.get("routes"):
            yield "routes are not written in the table: they would take away those of aws.ec2.Route"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        made = aws("ec2").create_route_table(VpcId=inputs["vpcId"], **given("route-table", inputs))
        return str(made["RouteTable"]["RouteTableId"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: only(aws("ec2").describe_route_tables(RouteTableIds=[identity])["RouteTables"]))
        return row and put(
            {"arn": aws.arn("ec2", f"route-table/{identity}"), "vpcId": row["VpcId"]},
            tags=tag_map(row.get("Tags")),
        )

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("ec2").delete_route_table(RouteTableId=identity))


@register("aws:ec2/route:Route")
class Route(Handler):
    """One way out of a route table; its id is the table and a checksum of where it leads."""

    replace = paths("routeTableId destinationCidrBlock")
    computed = paths("origin state instanceId instanceOwnerId")
    delete_before_replace = True
    _targets = fixed({"gatewayId": "GatewayId", "natGatewayId": "NatGatewayId"})

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['routeTableId']}_{inputs['destinationCidrBlock']}"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if wrong := network_of(inputs.get("destinationCidrBlock", "")):
            yield wrong
        if len([name for name in self._targets if inputs.get(name)]) != 1:
            yield "InvalidParameterCombination: a route has one target: gatewayId or natGatewayId"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        ec2, table, to = aws("ec2"), inputs["routeTableId"], inputs["destinationCidrBlock"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock=to, **self._target(aws, inputs))
        return f"r-{table}{zlib.crc32(to.encode())}"

    def _target(self, aws: Aws, inputs: Inputs) -> dict[str, str]:
        """The target, after a look whether it is there: the emulation takes any."""
        if nat := inputs.get("natGatewayId"):
            rows = aws("ec2").describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"]
            if not rows or rows[0]["State"] in _ENDED:
                raise Refused("InvalidNatGatewayID.NotFound", f"the NAT gateway '{nat}' does not exist")
            return {"NatGatewayId": nat}
        aws("ec2").describe_internet_gateways(InternetGatewayIds=[inputs["gatewayId"]])
        return {"GatewayId": inputs["gatewayId"]}

    def read(self, aws: Aws, identity: str) -> Properties | None:
        table, checksum = identity[2 : 2 + 21], identity[2 + 21 :]
        row = found(lambda: only(aws("ec2").describe_route_tables(RouteTableIds=[table])["RouteTables"]))
        for route in (row or {}).get("Routes", ()):
            to = route.get("DestinationCidrBlock", "")
            if str(zlib.crc32(to.encode())) == checksum and route.get("GatewayId") != "local":
                return put(
                    {"routeTableId": table, "destinationCidrBlock": to},
                    gatewayId=route.get("GatewayId"),
                    natGatewayId=route.get("NatGatewayId"),
                    state=route.get("State"),
                    origin=route.get("Origin"),
                )
        return None

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        aws("ec2").replace_route(
            RouteTableId=inputs["routeTableId"],
            DestinationCidrBlock=inputs["destinationCidrBlock"],
            **self._target(aws, inputs),
        )

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(
            lambda: aws("ec2").delete_route(
                RouteTableId=state["routeTableId"], DestinationCidrBlock=state["destinationCidrBlock"]
            )
        )

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return {"state": "active", "origin": "CreateRoute"}


@register("aws:ec2/routeTableAssociation:RouteTableAssociation")
class RouteTableAssociation(Handler):
    """Which table a subnet's packets follow."""

    replace = paths("subnetId")
    computed = frozenset()

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['subnetId']}/{inputs['routeTableId']}"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        made = aws("ec2").associate_route_table(
            RouteTableId=inputs["routeTableId"], SubnetId=inputs["subnetId"]
        )
        return str(made["AssociationId"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        for table in aws("ec2").describe_route_tables()["RouteTables"]:
            for link in table["Associations"]:
                if link["RouteTableAssociationId"] == identity:
                    return {"routeTableId": table["RouteTableId"], "subnetId": link["SubnetId"]}
        return None

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("ec2").disassociate_route_table(AssociationId=identity))
