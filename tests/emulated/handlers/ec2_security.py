"""Security groups and their rules, each rule a resource of its own."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from tests.emulated.handlers.ec2_network import only
from tests.emulated.handlers.ec2_tags import Ec2Handler, given, retag
from tests.emulated.handlers.handler import (
    Aws,
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

_ANY_PORT = -1
_ALLOWED = re.compile(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{0,255}")


def described(inputs: Inputs) -> Iterator[str]:
    """What is wrong with a description (EC2 API reference, CreateSecurityGroup and IpRange)."""
    text = inputs.get("description") or ""
    if not _ALLOWED.fullmatch(text):
        yield f"InvalidParameterValue: `{text}` is no description: a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*"


@register("aws:ec2/securityGroup:SecurityGroup")
class SecurityGroup(Ec2Handler):
    """What may talk to a network interface."""

    replace = paths("vpcId name description namePrefix")
    computed = paths("arn ownerId ingress egress")
    defaults = fixed({"description": "Managed by Pulumi"})
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        name = inputs.get("name", "")
        if len(name) > 255 or name.startswith("sg-"):
            yield f"InvalidParameterValue: `{name}` is no name of a security group"
        yield from described(inputs)
        if inputs.get("ingress") or inputs.get("egress"):
            yield "rules are not written in the group: they would take away those of aws.vpc"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        made = aws("ec2").create_security_group(
            GroupName=inputs["name"],
            Description=inputs.get("description", self.defaults["description"]),
            VpcId=inputs["vpcId"],
            **given("security-group", inputs),
        )["GroupId"]
        # The provider takes away the rule that AWS gives to every new group.
        everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        aws("ec2").revoke_security_group_egress(GroupId=made, IpPermissions=everything)
        return str(made)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: only(aws("ec2").describe_security_groups(GroupIds=[identity])["SecurityGroups"]))
        return row and put(
            {
                "arn": aws.arn("ec2", f"security-group/{identity}"),
                "name": row["GroupName"],
                "description": row["Description"],
                "vpcId": row["VpcId"],
                "ownerId": row["OwnerId"],
            },
            tags=tag_map(row.get("Tags")),
        )

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        if user := _user(aws, identity):
            raise Refused("DependencyViolation", f"resource {identity} has a dependent object: {user}")
        found(lambda: aws("ec2").delete_security_group(GroupId=identity))


def _user(aws: Aws, group: str) -> str:
    """What still uses a group; the emulation lets it go all the same."""
    for one in aws("ec2").describe_vpc_endpoints()["VpcEndpoints"]:
        if one["State"] not in {"deleted", "deleting"} and group in {
            each["GroupId"] for each in one["Groups"]
        }:
            return str(one["VpcEndpointId"])
    for one in aws("ec2").describe_security_group_rules()["SecurityGroupRules"]:
        if one["GroupId"] != group and one.get("ReferencedGroupInfo", {}).get("GroupId") == group:
            return str(one["SecurityGroupRuleId"])
    for one in aws("lambda").list_functions()["Functions"]:
        if group in one.get("VpcConfig", {}).get("SecurityGroupIds", ()):
            return str(one["FunctionName"])
    return ""


@register("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
class DefaultSecurityGroup(Ec2Handler):
    """The group that every VPC has: the provider adopts it, and takes every rule out of it."""

    replace = paths("vpcId")
    computed = paths("arn ownerId name description")
    defaults = fixed({})

    def key(self, inputs: Inputs) -> str:
        return str(inputs.get("vpcId", ""))

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if inputs.get("ingress") or inputs.get("egress"):
            yield "a cell leaves no rule in the default group"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        filters = [
            {"Name": "vpc-id", "Values": [inputs["vpcId"]]},
            {"Name": "group-name", "Values": ["default"]},
        ]
        row = only(aws("ec2").describe_security_groups(Filters=filters)["SecurityGroups"])
        if row is None:
            raise Refused("InvalidVpcID.NotFound", f"the vpc '{inputs['vpcId']}' does not exist")
        self._empty(aws, row)
        retag(aws, row["GroupId"], inputs.get("tags"))
        return str(row["GroupId"])

    def _empty(self, aws: Aws, row: Any) -> None:
        for member, direction in (("IpPermissions", "ingress"), ("IpPermissionsEgress", "egress")):
            if row[member]:
                revoke = getattr(aws("ec2"), f"revoke_security_group_{direction}")
                revoke(GroupId=row["GroupId"], IpPermissions=row[member])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: only(aws("ec2").describe_security_groups(GroupIds=[identity])["SecurityGroups"]))
        return row and put(
            {
                "arn": aws.arn("ec2", f"security-group/{identity}"),
                "name": row["GroupName"],
                "description": row["Description"],
                "vpcId": row["VpcId"],
            },
            ingress=[_written(one) for one in row["IpPermissions"]],
            egress=[_written(one) for one in row["IpPermissionsEgress"]],
            tags=tag_map(row.get("Tags")),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if {path.partition(".")[0] for path in changed} & {"ingress", "egress"}:
            self._empty(aws, only(aws("ec2").describe_security_groups(GroupIds=[identity])["SecurityGroups"]))
        super().update(aws, identity, inputs, changed & {"tags"})

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        """Nothing: AWS keeps the group as long as its VPC, and the provider only forgets it."""


def _written(permission: Any) -> Properties:
    return put(
        {"protocol": permission["IpProtocol"]},
        fromPort=permission.get("FromPort"),
        toPort=permission.get("ToPort"),
        cidrBlocks=[one["CidrIp"] for one in permission.get("IpRanges", ())],
        securityGroups=[one["GroupId"] for one in permission.get("UserIdGroupPairs", ())],
    )


class _Rule(Ec2Handler):
    """One permission of a security group."""

    direction = ""
    replace = paths("securityGroupId")
    computed = paths("arn securityGroupRuleId")
    _fields = fixed(
        {
            "ipProtocol": "IpProtocol",
            "fromPort": "FromPort",
            "toPort": "ToPort",
            "cidrIpv4": "CidrIpv4",
            "description": "Description",
        }
    )

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        yield from described(inputs)
        others = [name for name in ("cidrIpv4", "referencedSecurityGroupId") if inputs.get(name)]
        if len(others) != 1:
            yield "InvalidParameterCombination: a rule names one of cidrIpv4, referencedSecurityGroupId"
        if text := inputs.get("cidrIpv4"):
            try:
                ipaddress.IPv4Network(text)
            except ValueError as error:
                yield f"InvalidParameterValue: CIDR block {text} is malformed: {error}"
        yield from self._ports(inputs)

    def _ports(self, inputs: Inputs) -> Iterator[str]:
        given_ports = [inputs.get("fromPort"), inputs.get("toPort")]
        if str(inputs["ipProtocol"]) == "-1":
            if any(port not in (None, _ANY_PORT) for port in given_ports):
                yield "InvalidParameterValue: a rule for every protocol names no port"
        elif None in given_ports:
            yield f"InvalidParameterValue: {inputs['ipProtocol']} needs fromPort and toPort"
        elif not 0 <= int(given_ports[0] or 0) <= int(given_ports[1] or 0) <= 65535:
            yield f"InvalidParameterValue: invalid TCP/UDP port range ({given_ports[0]}:{given_ports[1]})"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        if group := inputs.get("referencedSecurityGroupId"):
            aws("ec2").describe_security_groups(GroupIds=[group])
        about = put({}, Description=inputs.get("description"))
        permission: Properties = {"IpProtocol": str(inputs["ipProtocol"])}
        put(permission, FromPort=inputs.get("fromPort"), ToPort=inputs.get("toPort"))
        if inputs.get("cidrIpv4"):
            permission["IpRanges"] = [{"CidrIp": inputs["cidrIpv4"], **about}]
        else:
            permission["UserIdGroupPairs"] = [{"GroupId": group, **about}]
        authorize = getattr(aws("ec2"), f"authorize_security_group_{self.direction}")
        made = authorize(
            GroupId=inputs["securityGroupId"],
            IpPermissions=[permission],
            **given("security-group-rule", inputs),
        )
        return str(made["SecurityGroupRules"][0]["SecurityGroupRuleId"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        rows = found(
            lambda: aws("ec2").describe_security_group_rules(SecurityGroupRuleIds=[identity])[
                "SecurityGroupRules"
            ]
        )
        row = only([one for one in rows or () if one["IsEgress"] == (self.direction == "egress")])
        if row is None:
            return None
        made: Properties = {
            "arn": aws.arn("ec2", f"security-group-rule/{identity}"),
            "securityGroupRuleId": identity,
            "securityGroupId": row["GroupId"],
        }
        for name, member in self._fields.items():
            if row.get(member) not in (None, _ANY_PORT):
                made[name] = row[member]
        group = row.get("ReferencedGroupInfo", {}).get("GroupId")
        return put(made, referencedSecurityGroupId=group, tags=tag_map(row.get("Tags")))

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if changed - {"tags"}:
            rule = put(
                {
                    member: inputs[name]
                    for name, member in self._fields.items()
                    if inputs.get(name) is not None
                },
                ReferencedGroupId=inputs.get("referencedSecurityGroupId"),
            )
            aws("ec2").modify_security_group_rules(
                GroupId=inputs["securityGroupId"],
                SecurityGroupRules=[{"SecurityGroupRuleId": identity, "SecurityGroupRule": rule}],
            )
        super().update(aws, identity, inputs, changed & {"tags"})

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        revoke = getattr(aws("ec2"), f"revoke_security_group_{self.direction}")
        found(lambda: revoke(GroupId=state["securityGroupId"], SecurityGroupRuleIds=[identity]))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return super().pretend(inputs, identity) | {"securityGroupRuleId": identity}


@register("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
class IngressRule(_Rule):
    """Who may come in."""

    direction = "ingress"


@register("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
class EgressRule(_Rule):
    """Where one may go."""

    direction = "egress"
