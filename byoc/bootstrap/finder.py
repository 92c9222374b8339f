"""Finds again in the account what an interrupted run was creating: the ``Finder`` of the engine's repair.

By its natural key where AWS has one (a role's name, a route's table and target), else by the tags that
every resource of a cell carries from its first moment: cell and logical name. What AWS lets one put
twice without a second thing coming of it (a bucket's encryption, an attachment) is not looked for: it is
made again.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from byoc.bootstrap.aws import Account, code_of, translated
from byoc.cell.naming import CELL_TAG, LOGICAL_NAME_TAG
from byoc.errors import Conflict

Inputs = Mapping[str, Any]
_ABSENT: Final = {
    "NoSuchEntity",
    "NotFoundException",
    "ResourceNotFoundException",
    "ParameterNotFound",
    "404",
    "NoSuchBucket",
    "InvalidRouteTableID.NotFound",
    "InvalidGroup.NotFound",
}
# describe call, member of the answer, member that is the id, states in which it is gone
_TAGGED: Final[Mapping[str, tuple[str, str, str]]] = {
    "aws:ec2/vpc:Vpc": ("describe_vpcs", "Vpcs", "VpcId"),
    "aws:ec2/subnet:Subnet": ("describe_subnets", "Subnets", "SubnetId"),
    "aws:ec2/internetGateway:InternetGateway": (
        "describe_internet_gateways",
        "InternetGateways",
        "InternetGatewayId",
    ),
    "aws:ec2/eip:Eip": ("describe_addresses", "Addresses", "AllocationId"),
    "aws:ec2/natGateway:NatGateway": ("describe_nat_gateways", "NatGateways", "NatGatewayId"),
    "aws:ec2/routeTable:RouteTable": ("describe_route_tables", "RouteTables", "RouteTableId"),
    "aws:ec2/securityGroup:SecurityGroup": ("describe_security_groups", "SecurityGroups", "GroupId"),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": (
        "describe_security_group_rules",
        "SecurityGroupRules",
        "SecurityGroupRuleId",
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": (
        "describe_security_group_rules",
        "SecurityGroupRules",
        "SecurityGroupRuleId",
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "aws:ec2/flowLog:FlowLog": ("describe_flow_logs", "FlowLogs", "FlowLogId"),
    "aws:ec2/launchTemplate:LaunchTemplate": (
        "describe_launch_templates",
        "LaunchTemplates",
        "LaunchTemplateId",
    ),
}
_GONE: Final = {"deleted", "deleting", "failed"}


class AccountFinder:
    """Looks into one account for things of one cell."""

    def __init__(self, account: Account, cell: str) -> None:
        self._account = account
        self._cell = cell

    def find(self, kind: str, inputs: Inputs, logical_name: str) -> str | None:
        """Return the id of what a creation made, as the provider gives ids; ``None`` where there is nothing.

        Raises:
            Conflict: two things of the account fit.
            Forbidden, PreconditionFailed, Unreachable: the account could not be asked.
        """
        with translated(f"the look for {logical_name}"):
            if kind in _TAGGED:
                return self._by_tag(kind, logical_name)
            if kind == "aws:kms/key:Key":
                return self._key(logical_name)
            by_name = _NAMED.get(kind)
            if by_name is None:
                return None
            try:
                return by_name(self._account, inputs)
            except ClientError as error:
                if code_of(error) in _ABSENT:
                    return None
                raise

    def _by_tag(self, kind: str, logical_name: str) -> str | None:
        describe, member, name = _TAGGED[kind]
        filters = [
            {"Name": f"tag:{CELL_TAG}", "Values": [self._cell]},
            {"Name": f"tag:{LOGICAL_NAME_TAG}", "Values": [logical_name]},
        ]
        found = getattr(self._account.client("ec2"), describe)(Filters=filters)[member]
        there = [one[name] for one in found if str(one.get("State", "")).lower() not in _GONE]
        return _only(there, logical_name)

    def _key(self, logical_name: str) -> str | None:
        kms = self._account.client("kms")
        wanted = [
            {"TagKey": CELL_TAG, "TagValue": self._cell},
            {"TagKey": LOGICAL_NAME_TAG, "TagValue": logical_name},
        ]
        there = []
        for page in kms.get_paginator("list_keys").paginate():
            for key in page["Keys"]:
                if kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] != "Enabled":
                    continue
                tags = kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
                if all(tag in tags for tag in wanted):
                    there.append(key["KeyId"])
        return _only(there, logical_name)


def _only(there: list[str], logical_name: str) -> str | None:
    if len(there) > 1:
        raise Conflict(
            f"{len(there)} things in the account carry the name `{logical_name}`: {', '.join(sorted(there))}",
            hint="delete those that are not used, then run this again",
        )
    return there[0] if there else None


def _route(account: Account, inputs: Inputs) -> str | None:
    table, target = inputs["routeTableId"], inputs["destinationCidrBlock"]
    found = account.client("ec2").describe_route_tables(RouteTableIds=[table])["RouteTables"]
    there = any(route.get("DestinationCidrBlock") == target for one in found for route in one["Routes"])
    # The provider's own form of a route's id: a checksum of the target behind the table's.
    return f"r-{table}{zlib.crc32(target.encode())}" if there else None


def _route_table_link(account: Account, inputs: Inputs) -> str | None:
    found = account.client("ec2").describe_route_tables(RouteTableIds=[inputs["routeTableId"]])["RouteTables"]
    links = (link for one in found for link in one["Associations"])
    return next(
        (link["RouteTableAssociationId"] for link in links if link.get("SubnetId") == inputs["subnetId"]),
        None,
    )


def _role(account: Account, inputs: Inputs) -> str:
    return str(account.client("iam").get_role(RoleName=inputs["name"])["Role"]["RoleName"])


def _policy(account: Account, inputs: Inputs) -> str:
    identity = account.identity
    arn = (
        f"arn:{identity.partition}:iam::{identity.account}:policy{inputs.get('path') or '/'}{inputs['name']}"
    )
    return str(account.client("iam").get_policy(PolicyArn=arn)["Policy"]["Arn"])


def _provider(account: Account, inputs: Inputs) -> str:
    identity, issuer = account.identity, str(inputs["url"]).removeprefix("https://")
    arn = f"arn:{identity.partition}:iam::{identity.account}:oidc-provider/{issuer}"
    account.client("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    return arn


def _cluster(account: Account, inputs: Inputs) -> str:
    return str(account.client("eks").describe_cluster(name=inputs["name"])["cluster"]["name"])


def _node_group(account: Account, inputs: Inputs) -> str:
    cluster, name = inputs["clusterName"], inputs["nodeGroupName"]
    account.client("eks").describe_nodegroup(clusterName=cluster, nodegroupName=name)
    return f"{cluster}:{name}"


def _addon(account: Account, inputs: Inputs) -> str:
    cluster, name = inputs["clusterName"], inputs["addonName"]
    account.client("eks").describe_addon(clusterName=cluster, addonName=name)
    return f"{cluster}:{name}"


def _access_entry(account: Account, inputs: Inputs) -> str:
    cluster, principal = inputs["clusterName"], inputs["principalArn"]
    account.client("eks").describe_access_entry(clusterName=cluster, principalArn=principal)
    return f"{cluster}:{principal}"


def _pod_identity(account: Account, inputs: Inputs) -> str | None:
    found = account.client("eks").list_pod_identity_associations(
        clusterName=inputs["clusterName"],
        namespace=inputs["namespace"],
        serviceAccount=inputs["serviceAccount"],
    )["associations"]
    return str(found[0]["associationId"]) if found else None


def _alias(account: Account, inputs: Inputs) -> str | None:
    pages = account.client("kms").get_paginator("list_aliases").paginate()
    names = (one["AliasName"] for page in pages for one in page["Aliases"])
    return next((name for name in names if name == inputs["name"]), None)


def _bucket(account: Account, inputs: Inputs) -> str:
    name = str(inputs["bucket"])
    account.client("s3").head_bucket(Bucket=name, ExpectedBucketOwner=account.identity.account)
    return name


def _log_group(account: Account, inputs: Inputs) -> str | None:
    found = account.client("logs").describe_log_groups(logGroupNamePrefix=inputs["name"])["logGroups"]
    return next((one["logGroupName"] for one in found if one["logGroupName"] == inputs["name"]), None)


def _function(account: Account, inputs: Inputs) -> str:
    found = account.client("lambda").get_function(FunctionName=inputs["name"])
    return str(found["Configuration"]["FunctionName"])


def _zone(account: Account, inputs: Inputs) -> str | None:
    route53 = account.client("route53")
    wanted = {link["vpcId"] for link in inputs.get("vpcs", [])}
    for page in route53.get_paginator("list_hosted_zones").paginate():
        for zone in page["HostedZones"]:
            if zone["Name"].rstrip(".") != inputs["name"].rstrip("."):
                continue
            about = route53.get_hosted_zone(Id=zone["Id"])
            if wanted <= {link["VPCId"] for link in about.get("VPCs", [])}:
                return str(zone["Id"]).rpartition("/")[2]
    return None


def _parameter(account: Account, inputs: Inputs) -> str:
    return str(account.client("ssm").get_parameter(Name=inputs["name"])["Parameter"]["Name"])


_NAMED: Final[Mapping[str, Callable[[Account, Inputs], str | None]]] = {
    "aws:ec2/route:Route": _route,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": _route_table_link,
    "aws:iam/role:Role": _role,
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": _provider,
    "aws:iam/policy:Policy": _policy,
    "aws:eks/cluster:Cluster": _cluster,
    "aws:eks/nodeGroup:NodeGroup": _node_group,
    "aws:eks/addon:Addon": _addon,
    "aws:eks/accessEntry:AccessEntry": _access_entry,
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": _pod_identity,
    "aws:kms/alias:Alias": _alias,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:cloudwatch/logGroup:LogGroup": _log_group,
    "aws:lambda/function:Function": _function,
    "aws:route53/zone:Zone": _zone,
    "aws:ssm/parameter:Parameter": _parameter,
}
PUT_AGAIN: Final = frozenset(
    {
        "aws:autoscaling/tag:Tag",
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        "aws:iam/rolePolicy:RolePolicy",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "aws:lambda/invocation:Invocation",
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "aws:s3/bucketVersioning:BucketVersioning",
    }
)
"""Types that are made again instead of found: putting them twice is as putting them once."""
KNOWN: Final = frozenset(_TAGGED) | frozenset(_NAMED) | {"aws:kms/key:Key"} | PUT_AGAIN
"""Every type repair can deal with; a test holds the program to it."""
