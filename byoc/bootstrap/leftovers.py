"""What of a cell is still in the account: looked for by tag, by name and by what AWS makes on its own.

After a destroy this is the proof. The engine knows only what it made; clusters, functions and drivers
make network interfaces, security groups, volumes, load balancers and log groups of their own, and these
cost money and block the VPC when they stay.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from byoc.bootstrap.aws import Account, translated
from byoc.bootstrap.breakglass.plan import PART, document_name
from byoc.cell.naming import CELL_TAG, physical


class Fate(StrEnum):
    """What is to be thought of something that is still there."""

    LEFTOVER = "leftover"
    KEPT = "kept on purpose"
    PENDING = "pending deletion"
    """AWS deletes it by itself after a while, such as a key."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is still there.

    Attributes:
        kind: ``network interface``, ``volume``, ``bucket`` …
        id: what AWS calls it.
        pending: AWS is deleting it.
    """

    kind: str
    id: str
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that is still there, judged."""

    kind: str
    id: str
    fate: Fate


KEPT_KINDS: Final = frozenset({"bucket", "key", "volume", "session log"})
"""What ``--keep-data`` leaves in the account."""
_FUNCTIONS: Final = ("installer", "control")
_BUCKETS: Final = ("data", "ledger")
_GONE: Final = {"deleted", "deleting", "terminated", "shutting-down"}
Source = Callable[[Account, str], Iterable[Found]]


def look(account: Account, cell: str) -> list[Found]:
    """Return everything of ``cell`` that is in the account, each thing once."""
    seen: dict[tuple[str, str], Found] = {}
    for source in SOURCES:
        for found in source(account, cell):
            seen.setdefault((found.kind, found.id), found)
    return sorted(seen.values(), key=lambda found: (found.kind, found.id))


def judge(found: Sequence[Found], *, keep_data: bool) -> list[Leftover]:
    """Say of each thing what is to be thought of it. Pure."""
    return [Leftover(one.kind, one.id, _fate(one, keep_data=keep_data)) for one in found]


def _fate(found: Found, *, keep_data: bool) -> Fate:
    if found.pending:
        return Fate.PENDING
    return Fate.KEPT if keep_data and found.kind in KEPT_KINDS else Fate.LEFTOVER


def _tagged(kind: str, describe: str, answer: str, name: str, state: str = "") -> Source:
    """Return a source of one kind of EC2 thing, by the cell's tag or the cluster's."""

    def source(account: Account, cell: str) -> Iterator[Found]:
        for key, value in _marks(cell):
            filters = [{"Name": f"tag:{key}", "Values": [value]}]
            with translated(f"ec2:{describe}"):
                found = getattr(account.client("ec2"), describe)(Filters=filters)[answer]
            for one in found:
                if not state or str(one.get(state, "")).lower() not in _GONE:
                    yield Found(kind, one[name])

    return source


def _marks(cell: str) -> tuple[tuple[str, str], ...]:
    """Return the tags by which things of a cell are known: ours, and those the cluster's drivers set."""
    cluster = physical("eks-cluster", cell)
    return ((CELL_TAG, cell), (f"kubernetes.io/cluster/{cluster}", "owned"), ("KubernetesCluster", cluster))


def _instances(account: Account, cell: str) -> Iterator[Found]:
    for key, value in _marks(cell):
        with translated("ec2:DescribeInstances"):
            found = account.client("ec2").describe_instances(
                Filters=[{"Name": f"tag:{key}", "Values": [value]}]
            )["Reservations"]
        for reservation in found:
            for one in reservation["Instances"]:
                if one["State"]["Name"] not in _GONE:
                    yield Found("instance", one["InstanceId"])


def _interfaces(account: Account, cell: str) -> Iterator[Found]:
    """Network interfaces that the cluster and the function made: they carry a description, not our tag."""
    ec2 = account.client("ec2")
    functions = [f"AWS Lambda VPC ENI-{physical('lambda', cell, which)}-*" for which in _FUNCTIONS]
    names = (f"Amazon EKS {physical('eks-cluster', cell)}", *functions)
    with translated("ec2:DescribeNetworkInterfaces"):
        for name in names:
            filters = [{"Name": "description", "Values": [name]}]
            for one in ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]:
                yield Found("network interface", one["NetworkInterfaceId"])


def _roles(account: Account, cell: str) -> Iterator[Found]:
    """Roles and policies: the names of ``sales-eu`` begin as those of ``sales`` do, so the tag decides."""
    prefix, iam = f"{physical('iam-role', cell)}-", account.client("iam")
    with translated("iam:ListRoles"):
        for page in iam.get_paginator("list_roles").paginate():
            for role in page["Roles"]:
                name = role["RoleName"]
                if name.startswith(prefix) and _of(cell, iam.list_role_tags(RoleName=name)["Tags"]):
                    yield Found("role", name)
    with translated("iam:ListPolicies"):
        for page in iam.get_paginator("list_policies").paginate(Scope="Local"):
            for policy in page["Policies"]:
                arn = policy["Arn"]
                named = policy["PolicyName"].startswith(prefix)
                if named and _of(cell, iam.list_policy_tags(PolicyArn=arn)["Tags"]):
                    yield Found("policy", arn)


def _providers(account: Account, cell: str) -> Iterator[Found]:
    """Return what vouches for a cluster's tokens: it is not the cluster's, and does not go with it."""
    iam, clusters = account.client("iam"), f":oidc-provider/oidc.eks.{account.region}."
    with translated("iam:ListOpenIDConnectProviders"):
        found = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    for arn in (one["Arn"] for one in found if clusters in one["Arn"]):
        with translated("iam:ListOpenIDConnectProviderTags"):
            tags = iam.list_open_id_connect_provider_tags(OpenIDConnectProviderArn=arn)["Tags"]
        if _of(cell, tags):
            yield Found("identity provider", arn)


def _profiles(account: Account, cell: str) -> Iterator[Found]:
    """Instance profiles, which break-glass sessions make: beside a role of the same name."""
    prefix, iam = f"{physical('iam-role', cell)}-", account.client("iam")
    with translated("iam:ListInstanceProfiles"):
        for page in iam.get_paginator("list_instance_profiles").paginate():
            for one in page["InstanceProfiles"]:
                name = one["InstanceProfileName"]
                if not name.startswith(prefix):
                    continue
                about = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
                if _of(cell, about.get("Tags", [])):
                    yield Found("instance profile", name)


def _documents(account: Account, cell: str) -> Iterator[Found]:
    """Return how sessions of a break-glass machine run: one document a cell."""
    own = [{"Key": "Owner", "Values": ["Self"]}]
    with translated("ssm:ListDocuments"):
        pages = list(account.client("ssm").get_paginator("list_documents").paginate(Filters=own))
    names = (one["Name"] for page in pages for one in page["DocumentIdentifiers"])
    yield from (Found("session document", name) for name in names if name == document_name(cell))


def _of(cell: str, tags: Sequence[Mapping[str, str]]) -> bool:
    return {"Key": CELL_TAG, "Value": cell} in tags


def _cluster(account: Account, cell: str) -> Iterator[Found]:
    name = physical("eks-cluster", cell)
    with translated("eks:ListClusters"):
        pages = list(account.client("eks").get_paginator("list_clusters").paginate())
    yield from (Found("cluster", one) for page in pages for one in page["clusters"] if one == name)


def _functions(account: Account, cell: str) -> Iterator[Found]:
    wanted = {physical("lambda", cell, which) for which in _FUNCTIONS}
    with translated("lambda:ListFunctions"):
        pages = list(account.client("lambda").get_paginator("list_functions").paginate())
    names = (one["FunctionName"] for page in pages for one in page["Functions"])
    yield from (Found("function", name) for name in names if name in wanted)


def _log_groups(account: Account, cell: str) -> Iterator[Found]:
    functions = tuple(f"/aws/lambda/{physical('lambda', cell, which)}" for which in _FUNCTIONS)
    folders = (f"/aws/eks/{physical('eks-cluster', cell)}/", f"/byoc/{cell}/")
    logs, sessions = account.client("logs"), f"/byoc/{cell}/{PART}"
    with translated("logs:DescribeLogGroups"):
        for prefix in (*functions, *folders):
            for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix):
                names = (one["logGroupName"] for one in page["logGroups"])
                yield from (
                    Found("session log" if name == sessions else "log group", name)
                    for name in names
                    if prefix in folders or name == prefix
                )


def _buckets(account: Account, cell: str) -> Iterator[Found]:
    wanted = {physical("bucket", cell, which, account.identity.account) for which in _BUCKETS}
    with translated("s3:ListAllMyBuckets"):
        found = account.client("s3").list_buckets()["Buckets"]
    yield from (Found("bucket", one["Name"]) for one in found if one["Name"] in wanted)


def _keys(account: Account, cell: str) -> Iterator[Found]:
    kms = account.client("kms")
    with translated("kms:ListKeys"):
        keys = [key["KeyId"] for page in kms.get_paginator("list_keys").paginate() for key in page["Keys"]]
    for key in keys:
        with translated("kms:DescribeKey"):
            about = kms.describe_key(KeyId=key)["KeyMetadata"]
        if about.get("KeyManager") != "CUSTOMER":
            continue
        with translated("kms:ListResourceTags"):
            tags = kms.list_resource_tags(KeyId=key)["Tags"]
        if {"TagKey": CELL_TAG, "TagValue": cell} in tags:
            yield Found("key", key, pending=about["KeyState"] == "PendingDeletion")


def _zones(account: Account, cell: str) -> Iterator[Found]:
    route53 = account.client("route53")
    with translated("route53:ListHostedZones"):
        zones = [
            zone
            for page in route53.get_paginator("list_hosted_zones").paginate()
            for zone in page["HostedZones"]
        ]
    for zone in zones:
        name = zone["Id"].rpartition("/")[2]
        with translated("route53:ListTagsForResource"):
            tags = route53.list_tags_for_resource(ResourceType="hostedzone", ResourceId=name)[
                "ResourceTagSet"
            ]["Tags"]
        if {"Key": CELL_TAG, "Value": cell} in tags:
            yield Found("DNS zone", name)


def _balancers(account: Account, cell: str) -> Iterator[Found]:
    client = account.client("elbv2")
    with translated("elasticloadbalancing:DescribeLoadBalancers"):
        pages = list(client.get_paginator("describe_load_balancers").paginate())
    arns = [one["LoadBalancerArn"] for page in pages for one in page["LoadBalancers"]]
    wanted: set[Any] = set(_marks(cell)) | {("elbv2.k8s.aws/cluster", physical("eks-cluster", cell))}
    for start in range(0, len(arns), 20):
        with translated("elasticloadbalancing:DescribeTags"):
            described = client.describe_tags(ResourceArns=arns[start : start + 20])["TagDescriptions"]
        for one in described:
            if any((tag["Key"], tag["Value"]) in wanted for tag in one["Tags"]):
                yield Found("load balancer", one["ResourceArn"])


SOURCES: Final[tuple[Source, ...]] = (
    _tagged("VPC", "describe_vpcs", "Vpcs", "VpcId"),
    _tagged("subnet", "describe_subnets", "Subnets", "SubnetId"),
    _tagged("internet gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    _tagged("NAT gateway", "describe_nat_gateways", "NatGateways", "NatGatewayId", "State"),
    _tagged("elastic address", "describe_addresses", "Addresses", "AllocationId"),
    _tagged("route table", "describe_route_tables", "RouteTables", "RouteTableId"),
    _tagged("security group", "describe_security_groups", "SecurityGroups", "GroupId"),
    _tagged("endpoint", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", "State"),
    _tagged("flow log", "describe_flow_logs", "FlowLogs", "FlowLogId"),
    _tagged("launch template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    _tagged("volume", "describe_volumes", "Volumes", "VolumeId", "State"),
    _tagged("network interface", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    _instances,
    _interfaces,
    _cluster,
    _functions,
    _roles,
    _providers,
    _profiles,
    _documents,
    _log_groups,
    _buckets,
    _keys,
    _zones,
    _balancers,
)
