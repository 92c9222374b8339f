import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from byoc.cell.documents import outsiders, wildcards
from byoc.cell.foretold import UNKNOWN
from byoc.cell.manifests import bundle
from byoc.cell.plan import make_plan
from byoc.cell.recorder import Recording, Registered
from byoc.cell.rules import RULES, STACK_RULES, TAGGED, Violation, violations
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, cell

Made = Callable[[], Recording]


@cache
def good() -> Recording:
    return make_plan(cell()).recording


CLUSTER = "aws:eks/cluster:Cluster"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
ROLE = "aws:iam/role:Role"
LOG = "aws:cloudwatch/logGroup:LogGroup"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
TAGS = {"byoc:cell": "main", "byoc:logical-name": "x"}
OTHER = "999999999999"


def changed(kind: str, **inputs: Any) -> Made:
    """The good cell with one resource changed: the first of its kind."""

    def make() -> Recording:
        found = next(good().of(kind))
        worse = replace(found, inputs={**found.inputs, **inputs})
        return Recording(tuple(worse if each is found else each for each in good().resources), {})

    return make


def added(kind: str, **inputs: Any) -> Made:
    """The good cell with one resource more."""

    def make() -> Recording:
        known = {"tags": TAGS, **inputs}
        more = replace(
            next(good().of(CLUSTER)), kind=kind, name="more", urn="urn:more", inputs=known, refers={}
        )
        return Recording((*good().resources, more), {})

    return make


def without(kind: str, name: str = "") -> Made:
    """The good cell without resources of a kind."""

    def make() -> Recording:
        kept = [each for each in good().resources if each.kind != kind or not each.name.startswith(name)]
        return Recording(tuple(kept), {})

    return make


def allows(action: str, resource: str = "*", **more: Any) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trusts(principal: Any, **more: Any) -> str:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def vpc_config(**more: Any) -> Mapping[str, Any]:
    return {"endpointPrivateAccess": True, "endpointPublicAccess": False, **more}


CLOSED = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
ENCRYPTED = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
DEFAULT_RULE = [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]
OPTIONS = {"httpTokens": "required", "httpPutResponseHopLimit": 1}
CLUSTERS_OWN = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"
GITHUB = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
PROVIDER = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
NODES = "system:serviceaccount:byoc-ws-*:cluster"


def vouched(
    provider: str = CLUSTERS_OWN,
    sub: str = NODES,
    aud: str = "sts.amazonaws.com",
    operator: str = "StringLike",
) -> str:
    """A trust policy that takes a provider's tokens."""
    issuer = provider.partition("oidc-provider/")[2]
    condition = {"StringEquals": {f"{issuer}:aud": aud}, operator: {f"{issuer}:sub": sub}}
    return trusts({"Federated": provider}, Action="sts:AssumeRoleWithWebIdentity", Condition=condition)


BROKEN: Mapping[str, tuple[str, Made]] = {
    "a public endpoint": (
        "no-public-endpoint", changed(CLUSTER, vpcConfig=vpc_config(endpointPublicAccess=True)),
    ),
    "an endpoint by default": (
        "no-public-endpoint", changed(CLUSTER, vpcConfig={"endpointPrivateAccess": True}),
    ),
    "no endpoint inside": (
        "no-public-endpoint", changed(CLUSTER, vpcConfig=vpc_config(endpointPrivateAccess=False)),
    ),
    "a load balancer outside": ("no-public-endpoint", added("aws:lb/loadBalancer:LoadBalancer")),
    "a function's address": ("no-public-endpoint", added("aws:lambda/functionUrl:FunctionUrl")),
    "an open database": ("no-public-endpoint", added("aws:rds/instance:Instance", publiclyAccessible=True)),
    "a public subnet": ("no-public-address", changed("aws:ec2/subnet:Subnet", mapPublicIpOnLaunch=True)),
    "public machines": (
        "no-public-address", changed(TEMPLATE, networkInterfaces=[{"associatePublicIpAddress": "true"}]),
    ),
    "an address given later": ("no-public-address", added("aws:ec2/eipAssociation:EipAssociation")),
    "an address of nothing": ("no-idle-address", added("aws:ec2/eip:Eip")),
    "the internet let in": ("no-open-ingress", changed(INGRESS, cidrIpv4="0.0.0.0/0")),
    "the internet let in by IPv6": ("no-open-ingress", added(INGRESS, cidrIpv6="::/0")),
    "the internet let in by an older rule": (
        "no-open-ingress",
        added("aws:ec2/securityGroupRule:SecurityGroupRule", type="ingress", cidrBlocks=["0.0.0.0/0"]),
    ),
    "the internet let in by a group": (
        "no-open-ingress",
        changed("aws:ec2/securityGroup:SecurityGroup", ingress=[{"cidrBlocks": ["0.0.0.0/0"]}]),
    ),
    "a default group that is not empty": (
        "no-open-ingress",
        changed("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", egress=[{"protocol": "-1"}]),
    ),
    "no boundary": ("boundary", changed(ROLE, permissionsBoundary="")),
    "a user": ("boundary", added("aws:iam/user:User")),
    "a lasting key": ("boundary", added("aws:iam/accessKey:AccessKey")),
    "every action": ("no-wildcards", changed("aws:iam/rolePolicy:RolePolicy", policy=allows("*"))),
    "every action of a service": ("no-wildcards", changed("aws:iam/policy:Policy", policy=allows("s3:*"))),
    "every action but some": (
        "no-wildcards",
        changed(
            "aws:iam/policy:Policy",
            policy={"Statement": {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}},
        ),
    ),
    "a policy within a role": (
        "no-wildcards", changed(ROLE, inlinePolicies=[{"name": "x", "policy": allows("ec2:*")}]),
    ),
    "a master": (
        "no-wildcards",
        changed(
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
            policyArn="arn:aws:iam::aws:policy/AdministratorAccess",
        ),
    ),
    "all of a service": (
        "no-wildcards", changed(ROLE, managedPolicyArns=["arn:aws:iam::aws:policy/AmazonS3FullAccess"]),
    ),
    "credentials without a token": (
        "imds-v2", changed(TEMPLATE, metadataOptions={**OPTIONS, "httpTokens": "optional"}),
    ),
    "credentials for pods": (
        "imds-v2", changed(TEMPLATE, metadataOptions={**OPTIONS, "httpPutResponseHopLimit": 2}),
    ),
    "machines that say nothing": ("imds-v2", added("aws:ec2/instance:Instance")),
    "open secrets": ("encryption", changed(CLUSTER, encryptionConfig=None)),
    "an open disk": ("encryption", changed(TEMPLATE, blockDeviceMappings=[{"ebs": {"encrypted": "false"}}])),
    "no disk said": ("encryption", changed(TEMPLATE, blockDeviceMappings=[])),
    "an open volume": ("encryption", added("aws:ebs/volume:Volume")),
    "an open log": ("encryption", changed(LOG, kmsKeyId="")),
    "a key for ever": ("encryption", changed("aws:kms/key:Key", enableKeyRotation=False)),
    "a bucket half open": ("encryption", changed(CLOSED, ignorePublicAcls=False)),
    "a bucket under S3's key": ("encryption", changed(ENCRYPTED, rules=DEFAULT_RULE)),
    "a bucket under no rule": ("encryption", changed(ENCRYPTED, rules=[])),
    "an open bucket": ("closed-buckets", without(CLOSED, "data")),
    "a plain bucket": ("closed-buckets", without(ENCRYPTED, "ledger")),
    "policies that nobody enforces": ("network-policy", added(
        "aws:eks/addon:Addon", addonName="vpc-cni", configurationValues='{"enableNetworkPolicy": "false"}')),
    "a network plugin by default": ("network-policy", added("aws:eks/addon:Addon", addonName="vpc-cni")),
    "no network plugin": ("network-plugin", without("aws:eks/addon:Addon", "addon-vpc-cni")),
    "a function's image by tag": (
        "images-by-digest", changed("aws:lambda/function:Function", imageUri="registry.example/f:latest"),
    ),
    "a pod's image by tag": ("images-by-digest", added(
        "kubernetes:apps/v1:Deployment",
        spec={"template": {"spec": {"containers": [{"image": "registry.example/a:1"}]}}})),
    "an image of a job by tag": ("images-by-digest", added(
        "kubernetes:batch/v1:CronJob",
        spec={"jobTemplate": {"spec": {"template": {"spec": {"initContainers": [{"image": "a"}]}}}}})),
    "a published service": (
        "no-doors-in-cluster", added("kubernetes:core/v1:Service", spec={"type": "LoadBalancer"}),
    ),
    "an ingress": ("no-doors-in-cluster", added("kubernetes:networking.k8s.io/v1:Ingress", spec={})),
    "a pod on its machine's network": ("no-doors-in-cluster", added(
        "kubernetes:core/v1:Pod", spec={"hostNetwork": True, "containers": []})),
    "every right in the cluster": ("no-wildcards-in-cluster", added(
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", rules=[{"verbs": ["*"]}])),
    "an account that is trusted": (
        "no-outsiders", changed(ROLE, assumeRolePolicy=trusts({"AWS": f"arn:aws:iam::{OTHER}:root"})),
    ),
    "a provider that is no cluster": (
        "no-outsiders", added(PROVIDER, url="https://token.actions.githubusercontent.com"),
    ),
    "a provider of nobody's": ("no-outsiders", added(PROVIDER)),
    "every pod of a cluster": ("no-outsiders", changed(ROLE, assumeRolePolicy=vouched(sub="*"))),
    "everybody trusted": ("no-outsiders", changed(ROLE, assumeRolePolicy=trusts("*"))),
    "somebody else's identities": (
        "no-outsiders", changed(ROLE, assumeRolePolicy=trusts({"Federated": "accounts.google.com"})),
    ),
    "a key for others": ("no-outsiders", changed("aws:kms/key:Key", policy=trusts({"AWS": OTHER}))),
    "an open bucket policy": ("no-outsiders", changed(
        "aws:s3/bucketPolicy:BucketPolicy", policy=allows("s3:GetObject", Principal="*"))),
    "an outsider in the cluster": ("no-outsiders", changed(
        "aws:eks/accessEntry:AccessEntry", principalArn=f"arn:aws:iam::{OTHER}:role/vendor")),
    "a log for ever": ("log-retention", changed(LOG, retentionInDays=None)),
    "a cluster that logs little": ("log-retention", changed(CLUSTER, enabledClusterLogTypes=["api"])),
    "a VPC without a log": ("flow-logs", without("aws:ec2/flowLog:FlowLog")),
    "no tag of the cell": ("tags", changed("aws:ec2/vpc:Vpc", tags={"byoc:logical-name": "vpc"})),
    "no tags at all": ("tags", changed("aws:s3/bucket:Bucket", tags=None)),
}  # fmt: skip
"""What would be wrong, the rule that it breaks, and the cell."""


@pytest.mark.parametrize("args", EXAMPLES.values(), ids=EXAMPLES)
def test_a_cell_as_it_is_breaks_no_rule(args: Any) -> None:
    assert violations(make_plan(args).recording, bundle(args).objects) == ()


@pytest.mark.parametrize(("rule", "made"), BROKEN.values(), ids=BROKEN)
def test_what_no_cell_may_be_is_found(rule: str, made: Made) -> None:
    found = violations(made())
    assert {each.rule for each in found} == {rule}, found
    assert found[0].message
    assert not found[0].message.endswith(".")


def test_every_rule_has_an_example_that_breaks_it() -> None:
    rules = [*RULES, *STACK_RULES]
    assert len({rule.name for rule in rules}) == len(rules)
    assert {rule for rule, _ in BROKEN.values()} == {rule.name for rule in rules}
    assert all(rule.description for rule in rules)


def test_a_violation_names_the_resource() -> None:
    found = violations(changed(CLUSTER, enabledClusterLogTypes=["api"])())
    missing = "audit, authenticator, controllerManager, scheduler"
    assert found == (Violation("log-retention", CLUSTER, "cluster", f"the cluster must log {missing}"),)


def test_what_is_not_known_yet_breaks_no_rule() -> None:
    assert violations(changed(ROLE, permissionsBoundary=UNKNOWN)()) == ()
    assert violations(changed("aws:iam/rolePolicy:RolePolicy", policy=UNKNOWN)()) == ()
    assert violations(changed(LOG, kmsKeyId=UNKNOWN)()) == ()
    assert violations(added("aws:eks/accessEntry:AccessEntry", principalArn=UNKNOWN)()) == ()


def test_what_the_installer_applies_is_looked_at_too() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "NodePort"}}
    (found,) = violations(good(), [service])
    assert (found.rule, found.kind, found.name) == ("no-doors-in-cluster", "kubernetes:core/v1:Service", "s")


def taking_tags() -> Iterator[str]:
    for args in EXAMPLES.values():
        yield from (each.kind for each in make_plan(args).resources if "tags" in each.inputs)


def test_every_type_that_the_program_tags_must_be_tagged() -> None:
    assert not set(taking_tags()) - TAGGED


@pytest.mark.parametrize(
    ("condition", "ok"),
    [
        ({"StringEquals": {"kms:CallerAccount": ACCOUNT}}, True),
        ({"StringEquals": {"aws:PrincipalAccount": OTHER}}, False),
        ({"StringNotEquals": {"aws:PrincipalAccount": ACCOUNT}}, False),
        ({"StringEquals": {"aws:PrincipalAccount": [ACCOUNT, OTHER]}}, False),
        ({"StringLike": {"aws:PrincipalAccount": "*"}}, False),
        ({}, False),
    ],
)
def test_everybody_means_nobody_outside_only_under_a_condition_on_the_account(
    condition: Any, ok: bool
) -> None:
    document = trusts({"AWS": "*"}, Condition=condition)
    assert (list(outsiders(document, ACCOUNT)) == []) is ok


def test_the_tokens_of_the_accounts_own_clusters_are_trusted_under_narrow_conditions() -> None:
    assert list(outsiders(vouched(), ACCOUNT)) == []
    for wrong in (
        vouched(GITHUB),
        vouched(CLUSTERS_OWN.replace(ACCOUNT, OTHER)),
        vouched(sub="*"),
        vouched(sub="system:serviceaccount:*:*"),
        vouched(sub="system:serviceaccount:byoc-ws-*:*"),
        vouched(sub="system:serviceaccount:b*:x"),
        vouched(sub="system:serviceaccount:byoc-ws-*:default"),
        vouched(aud="*"),
        vouched(operator="StringNotLike"),
        trusts({"Federated": CLUSTERS_OWN}),
        trusts({"Federated": "accounts.google.com"}),
    ):
        assert len(list(outsiders(wrong, ACCOUNT))) == 1, wrong


def test_another_clusters_tokens_are_not_trusted_where_the_cells_own_is_known() -> None:
    own = CLUSTERS_OWN.partition("oidc-provider/")[2]
    assert list(outsiders(vouched(), ACCOUNT, (own,))) == []
    (message,) = outsiders(vouched(f"{CLUSTERS_OWN}D"), ACCOUNT, (own,))
    assert "another cluster than the cell's" in message


OWN = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC"


def standing(url: str, trust: str, *, issuer: str = "", says: bool = True) -> Recording:
    """A cell whose engines use the bucket, once it stands.

    Args:
        url: of the provider.
        trust: of the engines' role.
        issuer: as the cluster tells it; empty where it does not yet.
        says: the program takes both from the cluster.
    """
    told = {"identities": [{"oidcs": [{"issuer": issuer}]}]} if issuer else {}
    more = {CLUSTER: told, PROVIDER: {"url": url}, f"{ROLE} role-engine": {"assumeRolePolicy": trust}}

    def make(each: Registered) -> Registered:
        inputs = more.get(each.kind, more.get(f"{each.kind} {each.name}", {}))
        refers = each.refers if says or not inputs else {}
        return replace(each, inputs={**each.inputs, **inputs}, refers=refers)

    recorded = make_plan(EXAMPLES["unlimited"]).recording.resources
    return Recording(tuple(make(each) for each in recorded), {})


@pytest.mark.parametrize("issuer", ["", OWN])
def test_a_cell_whose_engines_use_the_bucket_vouches_for_its_cluster(issuer: str) -> None:
    assert violations(standing(OWN, vouched(), issuer=issuer)) == ()
    assert violations(standing(UNKNOWN, UNKNOWN, issuer=issuer)) == ()


def test_a_cell_vouches_for_no_other_cluster() -> None:
    other = f"{OWN}D"
    for made in (
        standing(other, vouched(), issuer=OWN),
        standing(OWN, vouched(f"{CLUSTERS_OWN}D"), issuer=OWN),
        standing("https://token.actions.githubusercontent.com", vouched()),
    ):
        (found,) = violations(made)
        assert found.rule == "no-outsiders"
    assert len(violations(standing(other, vouched(f"{CLUSTERS_OWN}D"), says=False))) == 2


@pytest.mark.parametrize("document", [None, UNKNOWN, "[]", "3", {"Statement": ["x"]}, {}])
def test_what_is_no_document_is_not_judged(document: Any) -> None:
    assert list(wildcards(document)) == []
    assert list(outsiders(document, ACCOUNT)) == []


def test_a_denial_of_everything_is_no_wildcard() -> None:
    assert list(wildcards({"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}})) == []
    everybody = {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Principal": "*"}
    assert list(outsiders({"Statement": everybody}, ACCOUNT)) == []
