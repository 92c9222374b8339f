"""What no cell may be, whoever changed its program: rules over resources as they are registered. Pure.

Used by bootstrap on the plan before anything is made, and by the policy pack in ``stacks/policies`` beside
plain Pulumi. The invariants: a rule looks at types and inputs and asks nobody; what is not known before
the apply breaks no rule, for it is looked at again then, but what AWS would default to something unsafe
must be said.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from byoc.cell.documents import CLUSTERS, outsiders, trusted, wildcards
from byoc.cell.foretold import UNKNOWN
from byoc.cell.naming import CELL_TAG, LOGICAL_NAME_TAG
from byoc.cell.recorder import Recording
from byoc.cell.workload_rules import objects_broken

Inputs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Thing:
    """One resource.

    Attributes:
        kind: type token, such as ``aws:ec2/vpc:Vpc``.
        name: in the program.
        refers: input to the URNs of the resources whose outputs it holds.
    """

    kind: str
    name: str
    inputs: Inputs
    urn: str = ""
    refers: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that one resource breaks.

    Attributes:
        rule: its name.
        kind: of the resource.
        name: of the resource, in the program.
        message: what is wrong, one sentence without its full stop.
    """

    rule: str
    kind: str
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about one resource at a time."""

    name: str
    description: str
    broken: Callable[[Thing], Iterator[str]]


@dataclass(frozen=True, slots=True)
class StackRule:
    """A rule about what must be there beside a resource; yields the resource and what is wrong with it."""

    name: str
    description: str
    broken: Callable[[Sequence[Thing]], Iterator[tuple[Thing, str]]]


def violations(recording: Recording, objects: Iterable[Inputs] = ()) -> tuple[Violation, ...]:
    """Return every rule that a recorded plan breaks; nothing where it may be applied.

    Args:
        recording: of the program.
        objects: what the installer will apply in the cluster, which the program does not register.
    """
    things = [
        Thing(each.kind, each.name, each.inputs, each.urn, each.refers)
        for each in recording.resources
        if each.custom
    ]
    things += [_object(each) for each in objects]
    found = [
        Violation(rule.name, thing.kind, thing.name, message)
        for rule in RULES
        for thing in things
        for message in rule.broken(thing)
    ]
    found += [
        Violation(rule.name, thing.kind, thing.name, message)
        for rule in STACK_RULES
        for thing, message in rule.broken(things)
    ]
    return tuple(found)


def _object(each: Inputs) -> Thing:
    group = each["apiVersion"] if "/" in each["apiVersion"] else f"core/{each['apiVersion']}"
    return Thing(f"kubernetes:{group}:{each['kind']}", each["metadata"]["name"], each)


# --- what is reached from outside ----------------------------------------------------------------------

_CLUSTER: Final = "aws:eks/cluster:Cluster"
_ANYWHERE: Final = frozenset({"0.0.0.0/0", "::/0"})
_BALANCERS: Final = ("aws:lb/loadBalancer:", "aws:alb/loadBalancer:", "aws:elb/loadBalancer:")
_DOORS: Final = (
    "aws:apigateway/", "aws:apigatewayv2/", "aws:apprunner/", "aws:cloudfront/", "aws:globalaccelerator/",
    "aws:lambda/functionUrl:", "aws:lightsail/",
)  # fmt: skip


def _public_endpoint(thing: Thing) -> Iterator[str]:
    if thing.kind == _CLUSTER:
        if _at(thing.inputs, "vpcConfig", "endpointPublicAccess") is not False:
            yield "the cluster's API must say endpointPublicAccess false: AWS's default is true"
        if _at(thing.inputs, "vpcConfig", "endpointPrivateAccess") is not True:
            yield "the cluster's API must be reached inside the VPC"
    if thing.kind.startswith(_BALANCERS) and thing.inputs.get("internal") is not True:
        yield "a load balancer must be internal"
    if thing.kind.startswith(_DOORS):
        yield "opens a door to the internet, of which a cell has none"
    if thing.inputs.get("publiclyAccessible") is True:
        yield "must not be publicly accessible"


def _public_address(thing: Thing) -> Iterator[str]:
    inputs = thing.inputs
    if inputs.get("mapPublicIpOnLaunch") is True or inputs.get("associatePublicIpAddress") is True:
        yield "gives machines public addresses"
    if thing.kind == "aws:ec2/launchTemplate:LaunchTemplate" and any(
        str(each.get("associatePublicIpAddress", "")).lower() == "true"
        for each in _list(inputs.get("networkInterfaces"))
    ):
        yield "gives machines public addresses"
    if thing.kind == "aws:ec2/eipAssociation:EipAssociation":
        yield "only a NAT gateway has a public address"


def _idle_addresses(things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    gateways = [each for each in things if each.kind == "aws:ec2/natGateway:NatGateway"]
    used = {urn for each in gateways for urn in each.refers.get("allocationId", ())}
    for thing in things:
        if thing.kind == "aws:ec2/eip:Eip" and thing.urn not in used:
            yield thing, "only a NAT gateway has a public address, and this is no NAT gateway's"


def _open_ingress(thing: Thing) -> Iterator[str]:
    inputs = thing.inputs
    ranges: list[Any] = []
    if thing.kind == "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule":
        ranges = [inputs.get("cidrIpv4"), inputs.get("cidrIpv6")]
    elif thing.kind == "aws:ec2/securityGroupRule:SecurityGroupRule" and inputs.get("type") == "ingress":
        ranges = [*_list(inputs.get("cidrBlocks")), *_list(inputs.get("ipv6CidrBlocks"))]
    elif thing.kind.startswith("aws:ec2/") and thing.kind.endswith("SecurityGroup"):
        for rule in _list(inputs.get("ingress")):
            ranges += [*_list(rule.get("cidrBlocks")), *_list(rule.get("ipv6CidrBlocks"))]
    for each in _ANYWHERE.intersection(str(one) for one in ranges):
        yield f"lets in {each}"
    if thing.kind == "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup" and (
        inputs.get("ingress") or inputs.get("egress")
    ):
        yield "the VPC's default security group must be empty"


# --- who may do what -------------------------------------------------------------------------------------

_PEOPLE: Final = ("aws:iam/user:", "aws:iam/accessKey:", "aws:iam/userLoginProfile:", "aws:iam/group:")
_DOCUMENTS: Final = ("policy", "assumeRolePolicy")
_FILTER: Final = "aws:ec2/vpcEndpoint:VpcEndpoint"
"""Its policy lets through what somebody has a right to already, and gives nobody any."""
_MASTERS: Final = ("AdministratorAccess", "PowerUserAccess", "IAMFullAccess")


def _boundary(thing: Thing) -> Iterator[str]:
    if thing.kind == "aws:iam/role:Role" and not thing.inputs.get("permissionsBoundary"):
        yield "a role must have the permissions boundary"
    if thing.kind.startswith(_PEOPLE):
        yield "a cell has no users, groups or lasting keys"


def _wildcards(thing: Thing) -> Iterator[str]:
    for document in _documents(thing):
        yield from wildcards(document)
    arns = [thing.inputs.get("policyArn"), *_list(thing.inputs.get("managedPolicyArns"))]
    if thing.kind.startswith("aws:iam/"):
        for arn in arns:
            named = str(arn or "").rpartition("/")[2]
            if named in _MASTERS or named.endswith("FullAccess"):
                yield f"attaches {named}"


def _outsiders(things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    yield from _strangers(things)
    account, issuers = _account(things), _issuers(things)
    for thing in things:
        for document in _documents(thing):
            for message in outsiders(document, account, issuers):
                yield thing, message
        if thing.kind.startswith("aws:eks/") and account:
            arn = str(thing.inputs.get("principalArn") or "")
            if arn.startswith("arn:") and arn.split(":")[4] != account:
                yield thing, f"lets in {arn}, which is not of account {account}"


def _strangers(things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    clusters = {each.urn for each in things if each.kind == _CLUSTER}
    issuers = _issuers(things)
    for thing in things:
        if thing.kind == _IDENTITIES:
            issuer = str(thing.inputs.get("url") or "").removeprefix(_SCHEME)
            own = clusters.intersection(thing.refers.get("url", ()))
            known = issuer == UNKNOWN or CLUSTERS.fullmatch(issuer)
            if not own or not known or (issuers and issuer not in {UNKNOWN, *issuers}):
                yield thing, f"lets in whom {issuer or 'nobody'} vouches for, which is not the cell's cluster"
        elif (
            thing.kind == _ROLE
            and trusted(thing.inputs.get("assumeRolePolicy"))
            and not clusters.intersection(thing.refers.get("assumeRolePolicy", ()))
        ):
            yield thing, "trusts tokens that are not said to be those of the cell's cluster"


def _issuers(things: Sequence[Thing]) -> frozenset[str]:
    """Return who makes the tokens of the stack's clusters; empty until they are there to say so."""
    found = {
        str(_map(each).get("issuer") or UNKNOWN).removeprefix(_SCHEME)
        for thing in things
        if thing.kind == _CLUSTER
        for one in _list(thing.inputs.get("identities"))
        for each in _list(_map(one).get("oidcs"))
    }
    return frozenset() if UNKNOWN in found else frozenset(found)


_SCHEME: Final = "https://"
_ROLE: Final = "aws:iam/role:Role"
_IDENTITIES: Final = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"


def _documents(thing: Thing) -> Iterator[Any]:
    if thing.kind != _FILTER:
        yield from (thing.inputs.get(name) for name in _DOCUMENTS)
        yield from (_map(each).get("policy") for each in _list(thing.inputs.get("inlinePolicies")))


def _account(things: Sequence[Thing]) -> str:
    """Return the account: the names of the cell's buckets end in it; empty where there is none."""
    for thing in things:
        name = str(thing.inputs.get("bucket") or "").rpartition("-")[2]
        if thing.kind == "aws:s3/bucket:Bucket" and len(name) == len("123456789012") and name.isdigit():
            return name
    return ""


# --- machines, data, logs --------------------------------------------------------------------------------

_MACHINES: Final = ("aws:ec2/launchTemplate:LaunchTemplate", "aws:ec2/instance:Instance")
_LOG_TYPES: Final = frozenset({"api", "audit", "authenticator", "controllerManager", "scheduler"})
_ENCRYPTION: Final = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
_CLOSED: Final = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
_CLOSING: Final = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def _imds(thing: Thing) -> Iterator[str]:
    if thing.kind in _MACHINES:
        options = _map(thing.inputs.get("metadataOptions"))
        if options.get("httpTokens") != "required":
            yield "a machine's metadata must be given for a token only (httpTokens required)"
        if options.get("httpPutResponseHopLimit") != 1:
            yield "a machine's metadata must not reach its pods (httpPutResponseHopLimit 1)"


def _encryption(thing: Thing) -> Iterator[str]:
    inputs = thing.inputs
    if thing.kind == _CLUSTER:
        config = _map(inputs.get("encryptionConfig"))
        if "secrets" not in _list(config.get("resources")) or not _at(config, "provider", "keyArn"):
            yield "the cluster's secrets must be encrypted with the cell's key"
    if thing.kind == "aws:ec2/launchTemplate:LaunchTemplate":
        disks = [_map(each.get("ebs")) for each in _list(inputs.get("blockDeviceMappings"))]
        if not disks or any(str(disk.get("encrypted", "")).lower() != "true" for disk in disks):
            yield "a machine's disk must be encrypted"
    if thing.kind == "aws:ebs/volume:Volume" and inputs.get("encrypted") is not True:
        yield "a volume must be encrypted"
    if thing.kind == "aws:cloudwatch/logGroup:LogGroup" and not inputs.get("kmsKeyId"):
        yield "a log must be encrypted with the cell's key"
    if thing.kind == "aws:kms/key:Key" and inputs.get("enableKeyRotation") is not True:
        yield "the key must be rotated"
    if thing.kind == _CLOSED and not all(inputs.get(name) is True for name in _CLOSING):
        yield "a bucket must be closed to the public in all four ways"
    if thing.kind == _ENCRYPTION and not all(
        str(_at(each, "applyServerSideEncryptionByDefault", "sseAlgorithm")).startswith("aws:kms")
        for each in _list(inputs.get("rules")) or [{}]
    ):
        yield "a bucket must be encrypted with the cell's key"


def _buckets(things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    for kind, lack in (
        (_ENCRYPTION, "a bucket must be encrypted with the cell's key"),
        (_CLOSED, "a bucket must be closed to the public"),
    ):
        names = [each.inputs.get("bucket") for each in things if each.kind == kind]
        urns = {urn for each in things if each.kind == kind for urn in each.refers.get("bucket", ())}
        for thing in things:
            if (
                thing.kind == "aws:s3/bucket:Bucket"
                and thing.inputs.get("bucket") not in names
                and thing.urn not in urns
            ):
                yield thing, lack


def _retention(thing: Thing) -> Iterator[str]:
    if thing.kind == "aws:cloudwatch/logGroup:LogGroup" and not thing.inputs.get("retentionInDays"):
        yield "a log must say how long it is kept"
    if thing.kind == _CLUSTER:
        missing = _LOG_TYPES.difference(map(str, _list(thing.inputs.get("enabledClusterLogTypes"))))
        if missing:
            yield f"the cluster must log {', '.join(sorted(missing))}"


def _flow_logs(things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    logged = {
        urn
        for each in things
        if each.kind == "aws:ec2/flowLog:FlowLog"
        for urn in each.refers.get("vpcId", ())
    }
    for thing in things:
        if thing.kind == "aws:ec2/vpc:Vpc" and thing.urn not in logged:
            yield thing, "a VPC must have a flow log"


# --- the cluster -----------------------------------------------------------------------------------------

_ADDON: Final = "aws:eks/addon:Addon"


def _network_policy(thing: Thing) -> Iterator[str]:
    if thing.kind == _ADDON and thing.inputs.get("addonName") == "vpc-cni":
        text = str(thing.inputs.get("configurationValues") or "")
        compact = "".join(text.split())
        if '"enableNetworkPolicy":"true"' not in compact and text != UNKNOWN:
            yield "network policies must be enforced (enableNetworkPolicy)"


def _network_plugin(things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    plugins = [each for each in things if each.kind == _ADDON and each.inputs.get("addonName") == "vpc-cni"]
    for thing in things:
        if thing.kind == _CLUSTER and not plugins:
            yield thing, "nothing enforces network policies: the cluster has no vpc-cni add-on"


def _images(thing: Thing) -> Iterator[str]:
    image = thing.inputs.get("imageUri")
    if thing.kind == "aws:lambda/function:Function" and image and "@sha256:" not in str(image):
        yield f"image {image} must be named by its digest"
    yield from objects_broken("images", thing.kind, thing.inputs)


def _in_cluster(thing: Thing) -> Iterator[str]:
    yield from objects_broken("doors", thing.kind, thing.inputs)


def _cluster_rights(thing: Thing) -> Iterator[str]:
    yield from objects_broken("rights", thing.kind, thing.inputs)


# --- tags ------------------------------------------------------------------------------------------------

TAGGED: Final = frozenset(
    {
        "aws:cloudwatch/logGroup:LogGroup",
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        "aws:ec2/eip:Eip",
        "aws:ec2/flowLog:FlowLog",
        "aws:ec2/instance:Instance",
        "aws:ec2/internetGateway:InternetGateway",
        "aws:ec2/launchTemplate:LaunchTemplate",
        "aws:ec2/natGateway:NatGateway",
        "aws:ec2/routeTable:RouteTable",
        "aws:ec2/securityGroup:SecurityGroup",
        "aws:ec2/subnet:Subnet",
        "aws:ec2/vpc:Vpc",
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        "aws:eks/accessEntry:AccessEntry",
        "aws:eks/addon:Addon",
        "aws:eks/cluster:Cluster",
        "aws:eks/nodeGroup:NodeGroup",
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
        "aws:iam/policy:Policy",
        "aws:iam/role:Role",
        "aws:kms/key:Key",
        "aws:lambda/function:Function",
        "aws:route53/zone:Zone",
        "aws:s3/bucket:Bucket",
        "aws:ssm/parameter:Parameter",
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    }
)
"""Types that take tags."""


def _tags(thing: Thing) -> Iterator[str]:
    if thing.kind in TAGGED:
        tags = _map(thing.inputs.get("tags"))
        for name in (CELL_TAG, LOGICAL_NAME_TAG):
            if not tags.get(name):
                yield f"must carry the tag {name}: it is found by it, and IAM lets it be changed by it"


RULES: Final = (
    Rule("no-public-endpoint", "Nothing of a cell is reached from the internet", _public_endpoint),
    Rule("no-public-address", "Nothing but a NAT gateway has a public address", _public_address),
    Rule("no-open-ingress", "No security group lets the internet in", _open_ingress),
    Rule("boundary", "Every role has the permissions boundary; there are no users", _boundary),
    Rule("no-wildcards", "No wildcard action on a wildcard resource, no policy of a master", _wildcards),
    Rule("imds-v2", "Machines give credentials for a token only, and not to their pods", _imds),
    Rule("encryption", "Disks, buckets, logs and secrets are encrypted", _encryption),
    Rule("network-policy", "Network policies are enforced", _network_policy),
    Rule("images-by-digest", "Images are named by their digests", _images),
    Rule("no-doors-in-cluster", "No service of the cluster is published", _in_cluster),
    Rule("no-wildcards-in-cluster", "No right of the cluster's has a wildcard", _cluster_rights),
    Rule("log-retention", "Logs say how long they are kept; the cluster logs everything", _retention),
    Rule("tags", "Everything carries the cell's tags", _tags),
)
STACK_RULES: Final = (
    StackRule("no-idle-address", "Every public address is a NAT gateway's", _idle_addresses),
    StackRule("no-outsiders", "No policy names anybody outside the account", _outsiders),
    StackRule("closed-buckets", "Every bucket is closed and encrypted", _buckets),
    StackRule("flow-logs", "Every VPC of the cell's has a flow log", _flow_logs),
    StackRule("network-plugin", "Every cluster has what enforces network policies", _network_plugin),
)


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = _map(value).get(name)
    return value


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else []
