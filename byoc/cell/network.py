"""The network of a cell: a VPC of its own, or what is missing in the customer's.

Made by the root component. The invariants: nothing but a NAT gateway has a public address, nothing is
opened to an address outside the VPC, and machines start only when their ways out exist (``ready``).
"""

from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from byoc.cell import arns, endpoints
from byoc.cell.args import CellArgs, GivenVpc, Nat, NewVpc
from byoc.cell.naming import physical
from byoc.cell.part import Part
from byoc.cell.subnets import ZoneRanges, divide

_ANYWHERE: Final = "0.0.0.0/0"
_HTTPS: Final = 443


@dataclass(frozen=True, slots=True)
class PrivateSubnet:
    """A subnet for machines, pods and network interfaces.

    Attributes:
        zone: availability zone, such as ``eu-west-1a``.
        cidr: its IPv4 range.
    """

    zone: str
    id: pulumi.Output[str]
    cidr: str


class Network(Part):
    """VPC, subnets, routes, endpoints and flow logs.

    Args:
        key_arn: encrypts the flow logs.
        flow_logs_role: ARN of the role that writes them.

    Attributes:
        private: one subnet a zone, in the order of the zones.
        vpc_cidrs: IPv4 ranges of the VPC.
        egress_addresses: public addresses of the NAT gateways, by which others see the cell.
        ready: what must exist before a machine can start: routes and endpoints.
    """

    def __init__(
        self,
        args: CellArgs,
        key_arn: pulumi.Input[str],
        flow_logs_role: pulumi.Input[str],
        *,
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__("Network", args, parent=parent)
        self.egress_addresses: tuple[pulumi.Output[str], ...] = ()
        self.ready: tuple[pulumi.Resource, ...] = ()
        wanted = args.network
        tables = self._own(wanted) if isinstance(wanted, NewVpc) else self._given(wanted)
        self.endpoints_security_group_id = self._endpoints(tables)
        self._flow_logs(key_arn, flow_logs_role)
        self.register_outputs(
            {
                "vpcId": self.vpc_id,
                "privateSubnetIds": [subnet.id for subnet in self.private],
                "egressAddresses": list(self.egress_addresses),
            }
        )

    def _own(self, wanted: NewVpc) -> list[pulumi.Input[str]]:
        vpc = aws.ec2.Vpc(
            "vpc",
            cidr_block=wanted.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self.tags("vpc"),
            opts=self.options("vpc"),
        )
        aws.ec2.DefaultSecurityGroup(
            "default",
            vpc_id=vpc.id,
            ingress=[],
            egress=[],
            tags=self.tags("default"),
            opts=self.options("default"),
        )
        self.vpc_id: pulumi.Output[str] = vpc.id
        self.vpc_cidrs: tuple[str, ...] = (wanted.cidr,)
        ranges = divide(wanted.cidr, self.args.facts.zones)
        gateways = self._nat(wanted.nat, ranges)
        subnets, tables = [], []
        for zone in ranges:
            subnet, table = self._private(zone)
            if gateways:
                # With one NAT gateway for all, the other zones' traffic crosses to its zone.
                self._way_out(zone.zone, table, gateways.get(zone.zone, next(iter(gateways.values()))))
            subnets.append(PrivateSubnet(zone.zone, subnet.id, zone.private))
            tables.append(table.id)
        self.private: tuple[PrivateSubnet, ...] = tuple(subnets)
        return list(tables)

    def _given(self, vpc: GivenVpc) -> list[pulumi.Input[str]]:
        self.vpc_id = pulumi.Output.from_input(vpc.id)
        self.vpc_cidrs = vpc.cidrs
        self.private = tuple(
            PrivateSubnet(each.zone, pulumi.Output.from_input(each.id), each.cidr) for each in vpc.subnets
        )
        return list(dict.fromkeys(each.route_table_id for each in vpc.subnets))

    def _private(self, zone: ZoneRanges) -> tuple[aws.ec2.Subnet, aws.ec2.RouteTable]:
        name = f"private-{zone.zone}"
        subnet = aws.ec2.Subnet(
            name,
            vpc_id=self.vpc_id,
            cidr_block=zone.private,
            availability_zone=zone.zone,
            map_public_ip_on_launch=False,
            tags=self.tags(name),
            opts=self.options(name),
        )
        table = aws.ec2.RouteTable(name, vpc_id=self.vpc_id, tags=self.tags(name), opts=self.options(name))
        self._associate(name, subnet, table)
        return subnet, table

    def _nat(self, nat: Nat, ranges: tuple[ZoneRanges, ...]) -> dict[str, aws.ec2.NatGateway]:
        """Make public subnets and NAT gateways where wanted; without NAT there is no internet gateway."""
        if nat is Nat.NONE:
            return {}
        gateway = aws.ec2.InternetGateway(
            "internet", vpc_id=self.vpc_id, tags=self.tags("internet"), opts=self.options("internet")
        )
        table = aws.ec2.RouteTable(
            "public", vpc_id=self.vpc_id, tags=self.tags("public"), opts=self.options("public")
        )
        route = aws.ec2.Route(
            "public",
            route_table_id=table.id,
            destination_cidr_block=_ANYWHERE,
            gateway_id=gateway.id,
            opts=self.options("public"),
        )
        chosen = ranges[:1] if nat is Nat.SINGLE else ranges
        return {zone.zone: self._nat_gateway(zone, table, (gateway, route)) for zone in chosen}

    def _nat_gateway(
        self, zone: ZoneRanges, table: aws.ec2.RouteTable, after: tuple[pulumi.Resource, ...]
    ) -> aws.ec2.NatGateway:
        public, name = f"public-{zone.zone}", f"nat-{zone.zone}"
        subnet = aws.ec2.Subnet(
            public,
            vpc_id=self.vpc_id,
            cidr_block=zone.public,
            availability_zone=zone.zone,
            map_public_ip_on_launch=False,
            tags=self.tags(public),
            opts=self.options(public),
        )
        association = self._associate(public, subnet, table)
        address = aws.ec2.Eip(
            name, domain="vpc", tags=self.tags(name), opts=self.options(name, depends_on=after[:1])
        )
        self.egress_addresses = (*self.egress_addresses, address.public_ip)
        return aws.ec2.NatGateway(
            name,
            subnet_id=subnet.id,
            allocation_id=address.id,
            tags=self.tags(name),
            opts=self.options(name, depends_on=(*after, association)),
        )

    def _associate(
        self, name: str, subnet: aws.ec2.Subnet, table: aws.ec2.RouteTable
    ) -> aws.ec2.RouteTableAssociation:
        made = aws.ec2.RouteTableAssociation(
            name, route_table_id=table.id, subnet_id=subnet.id, opts=self.options(name)
        )
        self.ready = (*self.ready, made)
        return made

    def _way_out(self, zone: str, table: aws.ec2.RouteTable, gateway: aws.ec2.NatGateway) -> None:
        name = f"private-{zone}"
        route = aws.ec2.Route(
            name,
            route_table_id=table.id,
            destination_cidr_block=_ANYWHERE,
            nat_gateway_id=gateway.id,
            opts=self.options(name),
        )
        self.ready = (*self.ready, route)

    def _endpoints(self, tables: list[pulumi.Input[str]]) -> pulumi.Output[str]:
        args = self.args
        if endpoints.makes_gateway(args):
            made = aws.ec2.VpcEndpoint(
                "s3",
                vpc_id=self.vpc_id,
                service_name=endpoints.service_name(args, endpoints.GATEWAY),
                vpc_endpoint_type="Gateway",
                route_table_ids=tables,
                policy=endpoints.bucket_policy(args),
                tags=self.tags("s3"),
                opts=self.options("s3"),
            )
            self.ready = (*self.ready, made)
        group = self._endpoint_group()
        for service in endpoints.missing(args):
            self._interface(service, endpoints.service_name(args, service), group)
        if args.gateway.endpoint_service:
            # By private DNS the gateway's own name leads here, so its certificate is checked as ever.
            self._interface("gateway", args.gateway.endpoint_service, group)
        return group.id

    def _endpoint_group(self) -> aws.ec2.SecurityGroup:
        name = "endpoints"
        group = aws.ec2.SecurityGroup(
            name,
            name=physical("security-group", self.args.name, name),
            description="Interface endpoints: HTTPS from the private subnets of the cell",
            vpc_id=self.vpc_id,
            tags=self.tags(name),
            opts=self.options(name),
        )
        for subnet in self.private:
            rule = f"endpoints-{subnet.zone}"
            made = aws.vpc.SecurityGroupIngressRule(
                rule,
                security_group_id=group.id,
                description=f"HTTPS from {subnet.zone}",
                ip_protocol="tcp",
                from_port=_HTTPS,
                to_port=_HTTPS,
                cidr_ipv4=subnet.cidr,
                tags=self.tags(rule),
                opts=self.options(rule),
            )
            self.ready = (*self.ready, made)
        return group

    def _interface(self, name: str, service: str, group: aws.ec2.SecurityGroup) -> None:
        made = aws.ec2.VpcEndpoint(
            name,
            vpc_id=self.vpc_id,
            service_name=service,
            vpc_endpoint_type="Interface",
            subnet_ids=[subnet.id for subnet in self.private],
            security_group_ids=[group.id],
            private_dns_enabled=True,
            tags=self.tags(name),
            opts=self.options(name),
        )
        self.ready = (*self.ready, made)

    def _flow_logs(self, key_arn: pulumi.Input[str], role: pulumi.Input[str]) -> None:
        """Log every flow of our VPC; in the customer's VPC of the subnets that the cell uses."""
        group = aws.cloudwatch.LogGroup(
            "flow",
            name=arns.log_group_name(self.args, "flow"),
            retention_in_days=self.args.log_days,
            kms_key_id=key_arn,
            tags=self.tags("flow"),
            opts=self.options("flow"),
        )
        if isinstance(self.args.network, NewVpc):
            self._flow_log("flow", group, role, vpc_id=self.vpc_id)
            return
        for subnet in self.private:
            self._flow_log(f"flow-{subnet.zone}", group, role, subnet_id=subnet.id)

    def _flow_log(
        self,
        name: str,
        group: aws.cloudwatch.LogGroup,
        role: pulumi.Input[str],
        *,
        vpc_id: pulumi.Input[str] | None = None,
        subnet_id: pulumi.Input[str] | None = None,
    ) -> None:
        aws.ec2.FlowLog(
            name,
            vpc_id=vpc_id,
            subnet_id=subnet_id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role,
            tags=self.tags(name),
            opts=self.options(name),
        )
