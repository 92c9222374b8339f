"""What AWS refuses is refused here, with AWS's reason; the emulation alone lets most of it pass."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cell.handlers.examples import (
    ADMIN_POLICY,
    EXAMPLES,
    REGION,
    VIEW_POLICY,
    Site,
    closed_bucket,
    key_policy,
    policy,
    trust,
)
from tests.emulated import resources
from tests.emulated.handlers import REGISTRY, handler
from tests.emulated.handlers.handler import UNKNOWN, Aws, Handler, Refused
from tests.emulated.semantics import refusals

Json = dict[str, Any]
_LONG = "x" * 7000
_LIFE = {"id": "a", "status": "Enabled", "expiration": {"days": 1}}

# What is wrong with the inputs by themselves: refused at Check, so at a preview.
CHECKS: list[tuple[str, Json, str]] = [
    ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/8"}, "InvalidVpc.Range"),
    ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.1/16"}, "no CIDR block"),
    ("aws:ec2/vpc:Vpc", {"enableDnsSupport": False}, "DNS hostnames need DNS support"),
    ("aws:ec2/subnet:Subnet", {"availabilityZone": "us-east-1a"}, "not in eu-west-1"),
    ("aws:ec2/subnet:Subnet", {"cidrBlock": "10.0.0.0/29"}, "InvalidSubnet.Range"),
    ("aws:ec2/natGateway:NatGateway", {"allocationId": ""}, "MissingParameter"),
    ("aws:ec2/route:Route", {"natGatewayId": "nat-1"}, "a route has one target"),
    ("aws:ec2/route:Route", {"destinationCidrBlock": "everywhere"}, "no CIDR block"),
    ("aws:ec2/routeTable:RouteTable", {"routes": [{"cidrBlock": "0.0.0.0/0"}]}, "not written in the table"),
    ("aws:ec2/securityGroup:SecurityGroup", {"description": "the cluster's"}, "no description"),
    ("aws:ec2/securityGroup:SecurityGroup", {"name": "sg-mine"}, "no name of a security group"),
    ("aws:ec2/securityGroup:SecurityGroup", {"egress": [{"protocol": "-1"}]}, "not written in the group"),
    (
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        {"ingress": [{"protocol": "-1"}]},
        "leaves no rule",
    ),
    ("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule", {"cidrIpv4": "10.0.0.5/8"}, "malformed"),
    (
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        {"toPort": None},
        "needs fromPort and toPort",
    ),
    ("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule", {"toPort": 70000}, "invalid TCP/UDP port"),
    ("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule", {"ipProtocol": "-1"}, "names no port"),
    (
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        {"referencedSecurityGroupId": "sg-1"},
        "a rule names one of",
    ),
    (
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        {"serviceName": "com.amazonaws.us-east-1.s3"},
        "does not exist in eu-west-1",
    ),
    ("aws:ec2/vpcEndpoint:VpcEndpoint", {"routeTableIds": ["rtb-1"]}, "cannot be given"),
    (
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        {"vpcEndpointType": "Gateway", "subnetIds": [], "securityGroupIds": []},
        "private DNS is of interface endpoints",
    ),
    ("aws:ec2/vpcEndpoint:VpcEndpoint", {"policy": "{"}, "InvalidPolicyDocument"),
    ("aws:ec2/flowLog:FlowLog", {"iamRoleArn": ""}, "can't be empty"),
    ("aws:ec2/flowLog:FlowLog", {"trafficType": "SOME"}, "is not ALL, ACCEPT or REJECT"),
    ("aws:ec2/flowLog:FlowLog", {"subnetId": "subnet-1"}, "one VPC, subnet or interface"),
    ("aws:ec2/launchTemplate:LaunchTemplate", {"name": "x"}, "MalformedException"),
    ("aws:ec2/launchTemplate:LaunchTemplate", {"userData": "#!/bin/sh"}, "not base64"),
    ("aws:ec2/launchTemplate:LaunchTemplate", {"metadataOptions": {"httpTokens": "maybe"}}, "httpTokens"),
    (
        "aws:ec2/launchTemplate:LaunchTemplate",
        {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"kmsKeyId": "key"}}]},
        "requires the parameter Encrypted",
    ),
    ("aws:ec2/instance:Instance", {"ami": "debian"}, "InvalidAMIID.Malformed"),
    ("aws:ec2/instance:Instance", {"metadataOptions": {"httpPutResponseHopLimit": 99}}, "hop limit"),
    ("aws:iam/openIdConnectProvider:OpenIdConnectProvider", {"url": "oidc.example"}, "no https:// address"),
    ("aws:iam/openIdConnectProvider:OpenIdConnectProvider", {"clientIdLists": []}, "at least one is needed"),
    ("aws:iam/role:Role", {"name": "x" * 65}, "no role name"),
    ("aws:iam/role:Role", {"name": "my/role"}, "no role name"),
    ("aws:iam/role:Role", {"assumeRolePolicy": "anything"}, "MalformedPolicyDocument"),
    ("aws:iam/role:Role", {"assumeRolePolicy": policy()}, "must contain a principal"),
    ("aws:iam/role:Role", {"assumeRolePolicy": closed_bucket("x")}, "Has prohibited field Resource"),
    (
        "aws:iam/role:Role",
        {"assumeRolePolicy": trust("ec2.amazonaws.com", actions=("s3:*",))},
        "STS AssumeRole",
    ),
    ("aws:iam/role:Role", {"maxSessionDuration": 60}, "maxSessionDuration"),
    ("aws:iam/role:Role", {"managedPolicyArns": [ADMIN_POLICY]}, "not written in the role"),
    ("aws:iam/policy:Policy", {"policy": policy(_LONG)}, "LimitExceeded"),
    ("aws:iam/policy:Policy", {"policy": closed_bucket("x")}, "should not specify a principal"),
    (
        "aws:iam/policy:Policy",
        {"policy": json.dumps({"Statement": [{"Effect": "Allow"}]})},
        "actions and resources",
    ),
    ("aws:iam/policy:Policy", {"policy": "{}"}, "there is no Statement"),
    ("aws:iam/rolePolicy:RolePolicy", {"policy": policy(_LONG + _LONG)}, "LimitExceeded"),
    ("aws:kms/key:Key", {"policy": "{"}, "MalformedPolicyDocumentException"),
    ("aws:kms/key:Key", {"policy": key_policy().replace("kms:*", "kms:Decrypt")}, "will not allow you"),
    ("aws:kms/key:Key", {"deletionWindowInDays": 3}, "from 7 to 30"),
    ("aws:kms/key:Key", {"rotationPeriodInDays": 30}, "from 90 to 2560"),
    ("aws:kms/alias:Alias", {"name": "byoc"}, "no alias"),
    ("aws:kms/alias:Alias", {"name": "alias/aws/ebs"}, "no alias"),
    ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 31}, "not allowed by CloudWatch Logs"),
    ("aws:cloudwatch/logGroup:LogGroup", {"name": "a b"}, "no name of a log group"),
    ("aws:cloudwatch/logGroup:LogGroup", {"kmsKeyId": "1234"}, "no ARN of a key"),
    ("aws:s3/bucket:Bucket", {"bucket": "Main-Data"}, "InvalidBucketName"),
    ("aws:s3/bucket:Bucket", {"bucket": "10.0.0.1"}, "InvalidBucketName"),
    ("aws:s3/bucket:Bucket", {"bucket": "x" * 64}, "InvalidBucketName"),
    ("aws:s3/bucket:Bucket", {"acl": "public-read"}, "there is a resource for it"),
    ("aws:s3/bucketPolicy:BucketPolicy", {"policy": "not JSON"}, "invalid Json"),
    ("aws:s3/bucketPolicy:BucketPolicy", {"policy": policy()}, "Missing required field Principal"),
    ("aws:s3/bucketPolicy:BucketPolicy", {"policy": closed_bucket("other")}, "invalid resource"),
    (
        "aws:s3/bucketVersioning:BucketVersioning",
        {"versioningConfiguration": {"status": "On"}},
        "IllegalVersioningConfiguration",
    ),
    (
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "rot13"}}]},
        "no way of encrypting",
    ),
    (
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        {"rule": {"objectOwnership": "Mine"}},
        "MalformedXML",
    ),
    (
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        {"rules": [_LIFE, _LIFE]},
        "Rule ID must be unique",
    ),
    (
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        {"rules": [{"id": "a", "status": "Enabled"}]},
        "does nothing",
    ),
    (
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        {"rules": [{**_LIFE, "expiration": {"days": 1, "expiredObjectDeleteMarker": True}}]},
        "more than one expiration",
    ),
    (
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        {"rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 1, "years": 1}}},
        "in days or in years",
    ),
    ("aws:lambda/function:Function", {"name": "x" * 65}, "at most 64"),
    ("aws:lambda/function:Function", {"timeout": 901}, "from 1 to 900"),
    ("aws:lambda/function:Function", {"memorySize": 64}, "from 128"),
    ("aws:lambda/function:Function", {"environment": {"variables": {"a": _LONG}}}, "4096 bytes"),
    ("aws:lambda/function:Function", {"environment": {"variables": {"AWS_REGION": "x"}}}, "reserved"),
    ("aws:lambda/invocation:Invocation", {"input": "install"}, "is JSON"),
    ("aws:lambda/invocation:Invocation", {"input": "[]"}, "JSON object"),
    ("aws:lambda/invocation:Invocation", {"lifecycleScope": "ALWAYS"}, "neither CREATE_ONLY nor CRUD"),
    ("aws:route53/zone:Zone", {"name": "a..b"}, "InvalidDomainName"),
    ("aws:route53/zone:Zone", {"vpcs": []}, "private"),
    ("aws:ssm/parameter:Parameter", {"name": "/aws/mine"}, "no name of a parameter"),
    ("aws:ssm/parameter:Parameter", {"name": "byoc/main"}, "begins without a slash"),
    ("aws:ssm/parameter:Parameter", {"value": _LONG}, "1 to 4096 bytes"),
    ("aws:eks/cluster:Cluster", {"name": "-main"}, "no name of a cluster"),
    (
        "aws:eks/cluster:Cluster",
        {"vpcConfig": {"subnetIds": ["a", "b"], "endpointPublicAccess": False}},
        "cannot be false at the same time",
    ),
    ("aws:eks/cluster:Cluster", {"enabledClusterLogTypes": ["everything"]}, "no type of log"),
    (
        "aws:eks/cluster:Cluster",
        {"kubernetesNetworkConfig": {"serviceIpv4Cidr": "8.8.0.0/16"}},
        "no private range",
    ),
    (
        "aws:eks/nodeGroup:NodeGroup",
        {"scalingConfig": {"minSize": 0, "desiredSize": 9, "maxSize": 4}},
        "does not hold",
    ),
    (
        "aws:eks/nodeGroup:NodeGroup",
        {"scalingConfig": {"minSize": 0, "desiredSize": 0, "maxSize": 0}},
        "at least 1",
    ),
    ("aws:eks/nodeGroup:NodeGroup", {"nodeGroupName": "x" * 64}, "at most 63"),
    ("aws:eks/nodeGroup:NodeGroup", {"diskSize": 20}, "within the launch template"),
    ("aws:eks/nodeGroup:NodeGroup", {"taints": [{"key": "a", "effect": "NoSchedule"}]}, "no effect"),
    ("aws:eks/addon:Addon", {"configurationValues": "a: b"}, "not JSON"),
    ("aws:eks/addon:Addon", {"resolveConflictsOnCreate": "PRESERVE"}, "is one of NONE, OVERWRITE"),
    ("aws:eks/accessEntry:AccessEntry", {"kubernetesGroups": ["system:masters"]}, "cannot start with"),
    (
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        {"accessScope": {"type": "namespace"}},
        "namespaces are named",
    ),
]


@pytest.fixture(scope="module")
def valid(emulation: Any) -> dict[str, Json]:
    """The inputs of every example, made once."""
    emulation.reset()
    site = Site(emulation.aws(REGION, invoke=lambda _function, _payload: {}))
    return {token: example(site) for token, example in EXAMPLES.items()}


@pytest.mark.parametrize(("token", "wrong", "words"), CHECKS)
def test_wrong_inputs_are_refused_before_anything_is_made(
    valid: dict[str, Json], token: str, wrong: Json, words: str
) -> None:
    assert refusals(REGISTRY[token], valid[token], REGION) == []
    inputs = {name: value for name, value in {**valid[token], **wrong}.items() if value is not None}
    said = refusals(REGISTRY[token], inputs, REGION)
    assert any(words in one for one in said), said


def test_every_type_that_has_rules_of_its_own_has_a_refusal_shown() -> None:
    with_rules = {token for token, one in REGISTRY.items() if type(one).check is not Handler.check}
    assert with_rules - {token for token, _, _ in CHECKS} <= {
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",  # the same class as the egress rule
        "aws:iam/instanceProfile:InstanceProfile",  # the names of roles
    }


@pytest.mark.parametrize(
    ("token", "inputs", "path"),
    [
        (
            "aws:eks/cluster:Cluster",
            {"vpcConfig": {"endpoint_public_access": False}},
            "vpcConfig.endpoint_public_access",
        ),
        (
            "aws:eks/cluster:Cluster",
            {"vpcConfig": {"endpointPublcAccess": False}},
            "vpcConfig.endpointPublcAccess",
        ),
        ("aws:s3/bucket:Bucket", {"object_lock_enabled": True}, "object_lock_enabled"),
        (
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
            {"rules": [{"bucketKey": True}]},
            "rules.bucketKey",
        ),
    ],
)
def test_a_property_that_the_provider_does_not_know_is_refused(token: str, inputs: Json, path: str) -> None:
    assert f"`{path}` is no property of {token}" in refusals(REGISTRY[token], inputs, REGION)


def test_keys_of_the_users_own_are_free() -> None:
    inputs = {"cidrBlock": "10.0.0.0/16", "tags": {"my_tag": "x", "a-b": "y"}}
    assert refusals(REGISTRY["aws:ec2/vpc:Vpc"], inputs, REGION) == []


def test_what_is_not_known_yet_is_not_judged() -> None:
    inputs = {"cidrBlock": "10.0.0.0/8", "tags": {"a": UNKNOWN}}
    assert refusals(REGISTRY["aws:ec2/vpc:Vpc"], inputs, REGION) == []


def test_a_type_without_a_handler_is_named() -> None:
    with pytest.raises(Refused, match="aws:rds/instance:Instance is not emulated"):
        handler("aws:rds/instance:Instance")


def _one_zone(site: Site) -> Json:
    inputs = EXAMPLES["aws:eks/cluster:Cluster"](site)
    return inputs | {"vpcConfig": {**inputs["vpcConfig"], "subnetIds": [site.subnet()]}}


def _full_role(site: Site) -> Json:
    for number in range(4):
        large = policy("s3:GetObject", f"arn:aws:s3:::{'x' * 3000}")
        inputs = {"role": "main-cluster", "name": f"own-{number}", "policy": large}
        site.role("main-cluster", "eks.amazonaws.com")
        if number == 3:
            return inputs
        site.make("aws:iam/rolePolicy:RolePolicy", f"own-{number}", inputs)
    raise AssertionError("unreachable")


def _public(site: Site) -> Json:
    site.make("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "closed")
    return {
        "bucket": site.bucket,
        "policy": closed_bucket(site.bucket)
        .replace("Deny", "Allow")
        .replace(', "Condition": {"Bool": {"aws:SecureTransport": "false"}}', ""),
    }


def _twice(token: str) -> Callable[[Site], Json]:
    def inputs(site: Site) -> Json:
        site.make(token, "first")
        return EXAMPLES[token](site)

    return inputs


def _other(token: str, **wrong: Any) -> Callable[[Site], Json]:
    return lambda site: {**EXAMPLES[token](site), **wrong}


GROUP = "aws:eks/nodeGroup:NodeGroup"
CLUSTER = "aws:eks/cluster:Cluster"
ROLE = "aws:iam/role:Role"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
NOBODY = "arn:aws:iam::123456789012:role/nobody"
# What only the account can tell: refused when it is made.
ANSWERS: list[tuple[str, Callable[[Site], Json], str]] = [
    (CLUSTER, _one_zone, "at least two different AZs"),
    (CLUSTER, _other(CLUSTER, roleArn=NOBODY), "NoSuchEntity"),
    (CLUSTER, _other(CLUSTER, version="1.20"), "unsupported Kubernetes version"),
    (
        CLUSTER,
        lambda site: EXAMPLES[CLUSTER](site) | {"roleArn": site.role("wrong", "ec2.amazonaws.com")},
        "cannot be assumed by principal eks",
    ),
    (CLUSTER, _other(CLUSTER, kubernetesNetworkConfig={"serviceIpv4Cidr": "10.0.0.0/16"}), "overlaps"),
    (CLUSTER, _twice(CLUSTER), "ResourceInUseException"),
    (GROUP, _other(GROUP, version="1.31"), "is not 1.34"),
    (GROUP, _other(GROUP, launchTemplate={"id": "lt-0123456789abcdef0", "version": "1"}), "LaunchTemplate"),
    (GROUP, _other(GROUP, nodeRoleArn=NOBODY), "NoSuchEntity"),
    (GROUP, _other(GROUP, subnetIds=["subnet-0123456789abcdef0"]), "InvalidSubnetID.NotFound"),
    ("aws:eks/addon:Addon", _other("aws:eks/addon:Addon", addonName="magic"), "not supported in 1.34"),
    ("aws:eks/addon:Addon", _other("aws:eks/addon:Addon", addonVersion="v0.0.1"), "v0.0.1"),
    (
        "aws:eks/accessEntry:AccessEntry",
        _other("aws:eks/accessEntry:AccessEntry", principalArn=NOBODY),
        "NoSuchEntity",
    ),
    (
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        lambda site: {
            "clusterName": site.cluster,
            "principalArn": NOBODY,
            "policyArn": VIEW_POLICY,
            "accessScope": {"type": "cluster"},
        },
        "ResourceNotFoundException",
    ),
    (
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        lambda site: (
            EXAMPLES["aws:eks/podIdentityAssociation:PodIdentityAssociation"](site)
            | {"roleArn": site.role("wrong", "pods.eks.amazonaws.com")}
        ),
        "not configured for EKS Pod Identity",
    ),
    (ROLE, _other(ROLE, permissionsBoundary="arn:aws:iam::123456789012:policy/none"), "NoSuchEntity"),
    ("aws:iam/rolePolicy:RolePolicy", _full_role, "Maximum policy size"),
    ("aws:s3/bucketPolicy:BucketPolicy", _public, "BlockPublicPolicy"),
    ("aws:s3/bucket:Bucket", _twice("aws:s3/bucket:Bucket"), "BucketAlreadyOwnedByYou"),
    (
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        lambda site: {
            "bucket": site.bucket,
            "rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 1}},
        },
        "Versioning must be 'Enabled'",
    ),
    (
        "aws:s3/bucketVersioning:BucketVersioning",
        lambda site: {"bucket": site.locked, "versioningConfiguration": {"status": "Suspended"}},
        "cannot be suspended",
    ),
    (
        "aws:ec2/route:Route",
        lambda site: {
            "routeTableId": site.table,
            "destinationCidrBlock": "0.0.0.0/0",
            "natGatewayId": "nat-0123456789abcdef0",
        },
        "NatGateway",
    ),
    (ENDPOINT, _other(ENDPOINT, serviceName=f"com.amazonaws.{REGION}.magic"), "InvalidServiceName"),
    (ENDPOINT, _twice(ENDPOINT), "conflicting DNS"),
    (
        "aws:ec2/subnet:Subnet",
        _other("aws:ec2/subnet:Subnet", cidrBlock="10.9.0.0/20"),
        "InvalidSubnet.Range",
    ),
    (
        "aws:lambda/function:Function",
        lambda site: (
            EXAMPLES["aws:lambda/function:Function"](site) | {"role": site.role("wrong", "ec2.amazonaws.com")}
        ),
        "cannot be assumed by Lambda",
    ),
    (
        "aws:lambda/invocation:Invocation",
        _other("aws:lambda/invocation:Invocation", functionName="none"),
        "ResourceNotFound",
    ),
    ("aws:route53/zone:Zone", _twice("aws:route53/zone:Zone"), "ConflictingDomainExists"),
    (
        "aws:autoscaling/tag:Tag",
        _other("aws:autoscaling/tag:Tag", autoscalingGroupName="none"),
        "No AutoScalingGroup",
    ),
    (
        "aws:ec2/instance:Instance",
        _other("aws:ec2/instance:Instance", iamInstanceProfile="none"),
        "NoSuchEntity",
    ),
]


@pytest.mark.parametrize(("token", "inputs", "words"), ANSWERS)
def test_what_the_account_would_refuse_is_refused(
    aws: Aws, token: str, inputs: Callable[[Site], Json], words: str
) -> None:
    ready = resources.ready(token, "wrong", inputs(Site(aws)), REGION)
    with pytest.raises(Refused) as refusal:
        resources.create(aws, token, "wrong", ready)
    assert words in str(refusal.value)


def _protected(site: Site) -> tuple[str, str, Json]:
    inputs = EXAMPLES[CLUSTER](site) | {"deletionProtection": True}
    return CLUSTER, *site.make(CLUSTER, "cluster", inputs)


def _with(site: Site, token: str, name: str, user: str) -> tuple[str, str, Json]:
    """Something, and what uses it."""
    site.make(user, "user")
    return token, *site.made[token, name]


DEPENDENTS: list[tuple[Callable[[Site], tuple[str, str, Json]], str]] = [
    (lambda s: _with(s, "aws:ec2/subnet:Subnet", "subnet-0", "aws:ec2/natGateway:NatGateway"), "Dependency"),
    (lambda s: _with(s, "aws:ec2/subnet:Subnet", "subnet-0", ENDPOINT), "DependencyViolation"),
    (lambda s: _with(s, "aws:ec2/securityGroup:SecurityGroup", "group", ENDPOINT), "DependencyViolation"),
    (
        lambda s: _with(
            s,
            "aws:ec2/securityGroup:SecurityGroup",
            "other",
            "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        ),
        "DependencyViolation",
    ),
    (
        lambda s: _with(s, "aws:ec2/securityGroup:SecurityGroup", "group", "aws:lambda/function:Function"),
        "DependencyViolation",
    ),
    (lambda s: _with(s, "aws:ec2/vpc:Vpc", "vpc", "aws:ec2/securityGroup:SecurityGroup"), "Dependency"),
    (lambda s: _with(s, "aws:ec2/vpc:Vpc", "vpc", "aws:ec2/internetGateway:InternetGateway"), "Dependency"),
    (lambda s: _with(s, "aws:ec2/eip:Eip", "address", "aws:ec2/natGateway:NatGateway"), "in use"),
    (lambda s: _with(s, "aws:iam/policy:Policy", "boundary", ROLE), "DeleteConflict"),
    (lambda s: _with(s, ROLE, "main-cluster", "aws:iam/rolePolicy:RolePolicy"), "DeleteConflict"),
    (lambda s: _with(s, CLUSTER, "cluster", GROUP), "ResourceInUseException"),
    (_protected, "deletion protection"),
]


@pytest.mark.parametrize(("build", "words"), DEPENDENTS)
def test_what_others_need_cannot_be_ended(
    aws: Aws, build: Callable[[Site], tuple[str, str, Json]], words: str
) -> None:
    token, identity, outputs = build(Site(aws))
    with pytest.raises(Refused, match=words):
        resources.delete(aws, token, identity, outputs)
    assert resources.read(aws, token, identity, outputs, {}) is not None


def test_a_bucket_with_something_in_it_is_ended_only_when_that_is_wanted(aws: Aws) -> None:
    token = "aws:s3/bucket:Bucket"
    identity, outputs = Site(aws).make(token, "bucket")
    aws("s3").put_object(Bucket=identity, Key="a", Body=b"x")
    with pytest.raises(Refused, match="BucketNotEmpty"):
        resources.delete(aws, token, identity, outputs)
    resources.delete(aws, token, identity, {**outputs, "forceDestroy": True})
    assert resources.read(aws, token, identity, {}, {}) is None


def test_a_cluster_goes_up_by_one_version_at_a_time(aws: Aws) -> None:
    site = Site(aws)
    old = EXAMPLES[CLUSTER](site) | {"version": "1.32"}
    identity, _ = site.make(CLUSTER, "cluster", old)
    with pytest.raises(Refused, match=r"from 1\.32 to 1\.34"):
        resources.update(aws, CLUSTER, identity, old, old | {"version": "1.34"})
    assert resources.update(aws, CLUSTER, identity, old, old | {"version": "1.33"})["version"] == "1.33"


def test_an_invocation_tells_the_function_what_becomes_of_it(aws: Aws) -> None:
    calls: list[Json] = []
    aws.invoke = lambda _, payload: calls.append(payload) or {}
    token = "aws:lambda/invocation:Invocation"
    inputs = EXAMPLES[token](Site(aws))
    identity, outputs = resources.create(aws, token, "call", inputs)
    later = inputs | {"input": '{"op": "install", "bundle": "two"}'}
    outputs = resources.update(aws, token, identity, inputs, later)
    resources.delete(aws, token, identity, outputs)
    one, two = ({"op": "install", "bundle": number} for number in ("one", "two"))
    assert calls == [
        {**one, "tf": {"action": "create", "prev_input": None}},
        {**two, "tf": {"action": "update", "prev_input": one}},
        {**two, "tf": {"action": "delete", "prev_input": two}},
    ]


def test_what_a_function_raises_is_told(aws: Aws) -> None:
    def invoke(_: str, __: Json) -> Json:
        raise RuntimeError("the cluster does not answer")

    inputs = EXAMPLES["aws:lambda/invocation:Invocation"](Site(aws))
    aws.invoke = invoke
    with pytest.raises(Refused, match="the cluster does not answer"):
        resources.create(aws, "aws:lambda/invocation:Invocation", "call", inputs)
