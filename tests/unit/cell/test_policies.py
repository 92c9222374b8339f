import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from moto.iam.exceptions import MalformedPolicyDocument
from moto.iam.policy_validation import IAMPolicyDocumentValidator, IAMTrustPolicyDocumentValidator

from byoc.cell import arns, policies
from byoc.cell.args import CellArgs
from byoc.cell.arns import ROLES, Role
from byoc.cell.boundary import boundary
from byoc.cell.keypolicy import key_policy
from byoc.cell.statements import (
    KEY_POLICY_LIMIT,
    POLICY_LIMIT,
    TRUST_LIMIT,
    Document,
    Statement,
)
from byoc.dataplane.kubernetes.settings import SINGLESTORE, ClusterSettings
from byoc.dataplane.kubernetes.singlestore.speech import place_of
from tests.unit.cell import definitions
from tests.unit.cell import rights_golden as golden
from tests.unit.cell.evaluator import Request, judge, may
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, REGION, cell, cells
from tests.unit.dataplane.kubernetes.goldens import EXAMPLES as WORKSPACES

KEY = golden.KEY
ZONE = golden.ZONE
ISSUER = golden.ISSUER
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
EVERYTHING: dict[str, Any] = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
HERE = {"aws:RequestedRegion": REGION, "aws:ResourceAccount": ACCOUNT}
PODS = "pods.eks.amazonaws.com"


def of(args: CellArgs, which: Role) -> policies.Rights:
    return policies.rights(args, which, key_arn=KEY, zone_id=ZONE, issuer=ISSUER)


def own(args: CellArgs, which: Role) -> list[dict[str, Any]]:
    document = of(args, which).own
    return [] if document is None else [document.plain()]


def statements(args: CellArgs) -> Iterator[tuple[Role, Statement]]:
    for which in ROLES:
        document = of(args, which).own
        yield from ((which, each) for each in (document.statements if document else ()))


def can(
    which: Role, action: str, resource: str = "*", *, args: CellArgs | None = None, **context: str
) -> bool:
    """Whether a role of a cell, within its boundary, may do something in the cell's account and region."""
    cell_ = args or cell()
    said = HERE | {key.replace("__", ":").replace("_", "-"): value for key, value in context.items()}
    return may(Request(action, resource, said), own(cell_, which), boundary(cell_).plain())


def tagged(which: Role, action: str, resource: str, tags: dict[str, str]) -> bool:
    args = cell()
    return may(Request(action, resource, HERE | tags), own(args, which), boundary(args).plain())


# --- what the documents look like -----------------------------------------------------------------------


def test_the_documents_read_as_they_did() -> None:
    assert golden.FILE.read_text(encoding="utf-8") == golden.text(), golden.HOW


@given(cells())
def test_no_document_is_longer_than_aws_takes(args: CellArgs) -> None:
    for which in ROLES:
        rights = of(args, which)
        assert len(rights.trust.text()) <= TRUST_LIMIT
        assert rights.own is None or len(rights.own.text()) <= POLICY_LIMIT
    assert len(boundary(args).text()) <= POLICY_LIMIT
    assert len(key_policy(args).text()) <= KEY_POLICY_LIMIT


def test_a_document_that_is_too_long_is_refused() -> None:
    statement = Statement(sid="Long", why="", actions=("s3:GetObject",), resources=("x" * POLICY_LIMIT,))
    with pytest.raises(ValueError, match="AWS takes 6144"):
        Document((statement,)).text()


@pytest.mark.parametrize("args", EXAMPLES.values(), ids=EXAMPLES)
def test_every_statement_has_a_name_and_a_reason(args: CellArgs) -> None:
    for document in (boundary(args), key_policy(args), *(of(args, which).own for which in ROLES)):
        if document is not None:
            names = [each.sid for each in document.statements]
            assert len(set(names)) == len(names)
            assert all(re.fullmatch("[A-Za-z0-9]+", name) for name in names)
            assert all(each.why for each in document.statements)


def test_every_role_is_described() -> None:
    assert set(get_args(Role)) == set(ROLES) == set(policies.PURPOSES)


@pytest.mark.parametrize("args", EXAMPLES.values(), ids=EXAMPLES)
def test_the_emulated_iam_takes_every_document(args: CellArgs) -> None:
    documents = [boundary(args).text()]
    for which in ROLES:
        rights = of(args, which)
        IAMTrustPolicyDocumentValidator(rights.trust.text()).validate()
        documents += [rights.own.text()] if rights.own else []
    assert len(documents) > 1
    for document in documents:
        IAMPolicyDocumentValidator(document).validate()


def test_the_emulated_iam_refuses_a_statement_without_a_resource() -> None:
    statement = Statement(sid="Wrong", why="", actions=("s3:GetObject",))
    with pytest.raises(MalformedPolicyDocument):
        IAMPolicyDocumentValidator(Document((statement,)).text()).validate()


# --- what they may not hold -----------------------------------------------------------------------------


@pytest.mark.parametrize("args", EXAMPLES.values(), ids=EXAMPLES)
def test_nothing_is_allowed_by_a_wildcard_action(args: CellArgs) -> None:
    allowing = [each for _, each in statements(args)] + list(boundary(args).statements)
    for statement in (each for each in allowing if each.effect == "Allow"):
        assert not any("*" in action for action in statement.actions), statement.sid
        assert not statement.all_but


@pytest.mark.parametrize("args", EXAMPLES.values(), ids=EXAMPLES)
def test_only_what_reads_and_cannot_be_narrowed_is_allowed_on_everything(args: CellArgs) -> None:
    for which, statement in statements(args):
        if statement.effect == "Allow" and statement.resources == ("*",):
            for action in statement.actions:
                known = definitions.action(action)
                assert known is not None, action
                assert known["access_level"] in {"List", "Read"}, (which, action)
                assert set(definitions.kinds(action)) <= {""} or action in LISTS_ALL, (which, action)


LISTS_ALL = {"logs:DescribeLogGroups"}
"""Has a resource in AWS's reference, which stands for all log groups of the account anyway."""


@pytest.mark.parametrize("args", EXAMPLES.values(), ids=EXAMPLES)
def test_every_resource_is_of_the_cells_account_and_region(args: CellArgs) -> None:
    facts = args.facts
    for which, statement in statements(args):
        for resource in statement.resources:
            if resource == "*":
                continue
            _, _, service, region, account, _ = resource.split(":", 5)
            if service in {"s3", "route53"}:
                assert (region, account) == ("", ""), (which, resource)
            else:
                assert (region, account) == (facts.region, facts.account), (which, resource)


@pytest.mark.parametrize("args", EXAMPLES.values(), ids=EXAMPLES)
def test_aws_knows_every_action_on_its_resource_under_its_conditions(args: CellArgs) -> None:
    for which, statement in statements(args):
        used: set[str] = set()
        for action in statement.actions:
            known = definitions.kinds(action)
            matched = [
                (kind, resource)
                for resource in statement.resources
                for kind in (definitions.matched(action, resource) if resource != "*" else known)
            ]
            assert matched, (which, statement.sid, action)
            used |= {resource for _, resource in matched}
            asked = [key for keys in statement.conditions.values() for key in keys]
            for kind, _ in matched:
                keys = definitions.keys(action, kind)
                assert all(definitions.takes(keys, key) for key in asked), (
                    which,
                    statement.sid,
                    action,
                    kind,
                )
        assert used == set(statement.resources), (which, statement.sid)


def test_aws_knows_every_action_of_the_boundary_and_the_key() -> None:
    for statement in (*boundary(cell()).statements, *key_policy(cell()).statements):
        for action in (*statement.actions, *statement.all_but):
            service, verb = action.split(":")
            pattern = verb.replace("*", ".*")
            privileges = definitions.services()[service]["privileges"]
            assert any(re.fullmatch(pattern, name) for name in privileges), action


# --- whom they trust ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [which for which in ROLES if which != "engine"])
def test_no_role_but_the_engines_trusts_anybody_but_one_service_of_aws(which: Role) -> None:
    (statement,) = of(cell(), which).trust.plain()["Statement"]
    assert list(statement["Principal"]) == ["Service"]
    assert re.fullmatch(r"[a-z0-9.-]+\.amazonaws\.com", statement["Principal"]["Service"])
    assert "Resource" not in statement


def session(**changed: str) -> dict[str, str]:
    said = {
        "eks_cluster_arn": arns.cluster_arn(cell()),
        "kubernetes_namespace": "kube-system",
        "kubernetes_service_account": "aws-node",
    }
    return {f"aws:RequestTag/{key.replace('_', '-')}": value for key, value in (said | changed).items()}


def trusts(which: Role, context: dict[str, str], principal: str = PODS) -> bool:
    request = Request("sts:AssumeRole", context=context, principal=principal)
    return judge(of(cell(), which).trust.plain(), request) == "allowed"


def test_pods_take_on_a_role_in_their_own_cluster_namespace_and_account_only() -> None:
    elsewhere = arns.cluster_arn(cell(name="other"))
    foreign = arns.cluster_arn(cell()).replace(ACCOUNT, "999999999999")
    assert trusts("network_driver", session())
    assert not trusts("network_driver", session(eks_cluster_arn=elsewhere))
    assert not trusts("network_driver", session(eks_cluster_arn=foreign))
    assert not trusts("network_driver", session(kubernetes_namespace="byoc-ws-1"))
    assert not trusts("network_driver", session(kubernetes_service_account="default"))
    assert not trusts("network_driver", {})
    assert not trusts("network_driver", session(), principal="ec2.amazonaws.com")


def taken_on(
    subject: str, *, audience: str = "sts.amazonaws.com", issuer: str = ISSUER, provider: str = PROVIDER
) -> bool:
    """Whether whoever has such a token may take the engines' role on."""
    token = {f"{issuer}:aud": audience, f"{issuer}:sub": subject}
    request = Request("sts:AssumeRoleWithWebIdentity", context=token, principal=provider)
    return judge(of(cell(), "engine").trust.plain(), request) == "allowed"


def test_engines_take_on_their_role_by_a_token_of_this_cluster_for_a_workspaces_nodes_only() -> None:
    nodes = "system:serviceaccount:byoc-ws-1:cluster"
    assert taken_on(nodes)
    assert not taken_on("system:serviceaccount:byoc-system:cluster")
    assert not taken_on("system:serviceaccount:byoc-system:byoc-agent")
    assert not taken_on("system:serviceaccount:byoc-ws-1:sdb-operator")
    assert not taken_on("system:serviceaccount:byoc-ws-1:default")
    assert not taken_on("system:serviceaccount:byoc-ws-1:cluster2")
    assert not taken_on("system:serviceaccount:my-byoc-ws-1:cluster")
    assert not taken_on("system:node:byoc-ws-1:cluster")
    assert not taken_on(nodes, audience="https://kubernetes.default.svc")
    other = ISSUER.replace("0123", "9999")
    assert not taken_on(nodes, issuer=other, provider=PROVIDER.replace(ISSUER, other))
    assert not taken_on(nodes, provider=PROVIDER.replace(ACCOUNT, "999999999999"))
    assert not trusts("engine", session(kubernetes_namespace="byoc-ws-1"))


def test_the_engines_role_names_the_nodes_as_the_runtime_does() -> None:
    """The two halves of a cell agree on who the nodes are, and on where their databases lie."""
    settings = ClusterSettings(engine=SINGLESTORE, bucket="b", region=REGION, role="arn:aws:iam::1:role/r")
    path = place_of(settings, WORKSPACES["mysql-S-0"]).removeprefix("b/")
    assert taken_on(path)
    keys = {f"{ISSUER}:sub": path}
    assert tagged("engine", "s3:PutObject", f"{arns.bucket_arn(cell(), 'data')}/{path}/db/0", keys)


@pytest.mark.parametrize(
    ("which", "principal", "source"),
    [
        ("cluster", "eks.amazonaws.com", arns.cluster_arn(cell())),
        ("flow_logs", "vpc-flow-logs.amazonaws.com", f"arn:aws:ec2:{REGION}:{ACCOUNT}:vpc-flow-log/fl-1"),
    ],
)
def test_a_service_takes_on_a_role_for_this_account_only(which: Role, principal: str, source: str) -> None:
    context = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": source}
    assert trusts(which, context, principal)
    assert not trusts(which, context | {"aws:SourceAccount": "999999999999"}, principal)
    assert not trusts(which, context | {"aws:SourceArn": source.replace(REGION, "us-east-1")}, principal)
    assert not trusts(which, {}, principal)


# --- what the boundary promises -------------------------------------------------------------------------


def within_boundary(action: str, resource: str = "*", **changed: str) -> bool:
    """Whether even a role that was given everything may do something."""
    context = HERE | {key.replace("__", ":"): value for key, value in changed.items()}
    return may(Request(action, resource, context), [EVERYTHING], boundary(cell()).plain())


@pytest.mark.parametrize(
    "action",
    [
        # touching IAM
        "iam:CreateRole", "iam:PassRole", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary",
        "iam:DeleteRolePermissionsBoundary", "iam:CreateAccessKey", "iam:CreateServiceLinkedRole",
        "sts:AssumeRole", "sts:AssumeRoleWithWebIdentity", "organizations:LeaveOrganization",
        # disabling logging
        "cloudtrail:StopLogging", "cloudtrail:DeleteTrail", "config:StopConfigurationRecorder",
        "ec2:DeleteFlowLogs", "guardduty:DeleteDetector", "logs:DeleteLogGroup", "logs:DeleteLogStream",
        "logs:PutRetentionPolicy", "eks:UpdateClusterConfig", "s3:PutBucketLogging",
        "s3:BypassGovernanceRetention", "s3:DeleteObjectVersion", "kms:ScheduleKeyDeletion", "kms:DisableKey",
        # making things public
        "ec2:AllocateAddress", "ec2:CreateInternetGateway", "ec2:AuthorizeSecurityGroupIngress",
        "ec2:ModifySnapshotAttribute", "ec2:ModifyImageAttribute", "elasticloadbalancing:CreateLoadBalancer",
        "lambda:CreateFunctionUrlConfig", "lambda:AddPermission", "s3:PutBucketPolicy", "s3:PutObjectAcl",
        "s3:PutBucketPublicAccessBlock", "kms:PutKeyPolicy", "ecr:SetRepositoryPolicy",
        # nothing to do with a cell
        "ec2:RunInstances", "secretsmanager:GetSecretValue", "dynamodb:Scan", "eks:CreateAccessEntry",
        "lambda:InvokeFunction", "s3:ListAllMyBuckets",
    ],
)  # fmt: skip
def test_a_role_that_was_given_everything_cannot(action: str) -> None:
    assert not within_boundary(action)


@pytest.mark.parametrize("action", ["iam:CreateRole", "cloudtrail:StopLogging", "s3:PutBucketPolicy"])
def test_what_the_boundary_denies_no_other_policy_can_give(action: str) -> None:
    request = Request(action, "*", HERE)
    assert judge(boundary(cell()).plain(), request) == "denied"


def test_no_role_leaves_the_account() -> None:
    theirs = {"aws__ResourceAccount": "999999999999"}
    bucket = f"{arns.bucket_arn(cell(), 'data')}/x"
    assert within_boundary("s3:PutObject", bucket)
    assert not within_boundary("s3:PutObject", bucket, **theirs)
    assert not within_boundary("s3:PutObject", "arn:aws:s3:::somebodys-bucket/x")
    volume = f"arn:aws:ec2:{REGION}:{ACCOUNT}:volume/vol-1"
    assert within_boundary("ec2:AttachVolume", volume)
    assert not within_boundary("ec2:AttachVolume", volume.replace(ACCOUNT, "999999999999"), **theirs)
    image = "arn:aws:ecr:eu-west-1:602401143452:repository/eks/pause"
    assert within_boundary("ecr:BatchGetImage", image, aws__ResourceAccount="602401143452")


def test_what_is_about_no_resource_is_of_no_other_account() -> None:
    asked = Request("ec2:DescribeInstances", context={"aws:RequestedRegion": REGION})
    assert judge(boundary(cell()).plain(), asked) == "allowed"


def test_no_role_leaves_the_region() -> None:
    volume = f"arn:aws:ec2:{REGION}:{ACCOUNT}:volume/vol-1"
    assert not within_boundary("ec2:CreateVolume", volume.replace(REGION, "us-east-1"))
    assert not within_boundary("ec2:DescribeInstances", aws__RequestedRegion="us-east-1")
    zone = f"arn:aws:route53:::hostedzone/{ZONE}"
    assert within_boundary("route53:ChangeResourceRecordSets", zone, aws__RequestedRegion="us-east-1")


def test_a_role_keeps_to_the_buckets_of_its_own_cell() -> None:
    other = arns.bucket_arn(cell(name="main-2"), "data")
    assert not within_boundary("s3:GetObject", f"{other}/x")


@pytest.mark.parametrize("args", EXAMPLES.values(), ids=EXAMPLES)
def test_the_boundary_takes_nothing_from_what_a_role_is_for(args: CellArgs) -> None:
    for which, statement in statements(args):
        if statement.effect == "Deny":
            continue
        for action in statement.actions:
            for resource in statement.resources:
                request = Request(action, resource.replace("*", "x") if resource != "*" else "*", HERE)
                assert judge(boundary(args).plain(), request) == "allowed", (which, action)


def managed(name: str) -> list[str]:
    from moto.iam.aws_managed_policies import aws_managed_policies_data  # noqa: PLC0415 - large

    document = json.loads(aws_managed_policies_data)[name]["Document"]
    actions = [each["Action"] for each in document["Statement"]]
    return [name for each in actions for name in ([each] if isinstance(each, str) else each)]


@pytest.mark.parametrize("name", policies.MANAGED["node"])
def test_the_boundary_takes_nothing_from_the_machines(name: str) -> None:
    cluster = arns.cluster_arn(cell())
    for action in managed(name):
        resource = cluster if action.startswith("eks") else "*"
        assert within_boundary(action, resource), action


def test_the_boundary_takes_load_balancers_groups_and_routes_from_eks() -> None:
    kept = {
        action for action in managed("AmazonEKSClusterPolicy") if within_boundary(action, anything(action))
    }
    assert {"ec2:DescribeInstances", "ec2:DescribeInstanceTopology", "kms:DescribeKey"} <= kept
    changing = {action for action in kept if "Describe" not in action}
    assert changing <= {
        "autoscaling:UpdateAutoScalingGroup", "ec2:AttachVolume", "ec2:CreateTags", "ec2:CreateVolume",
        "ec2:DeleteNetworkInterface", "ec2:DeleteVolume", "ec2:DetachVolume", "ec2:ModifyVolume",
    }  # fmt: skip


def anything(action: str) -> str:
    service = action.partition(":")[0]
    return "*" if "Describe" in action and service != "kms" else f"arn:aws:{service}:{REGION}:{ACCOUNT}:x/y"


# --- what each role can and cannot ----------------------------------------------------------------------


def test_the_client_adds_to_the_ledger_and_can_do_nothing_else() -> None:
    ledger = f"{arns.bucket_arn(cell(), 'ledger')}/2026/1"
    assert can("agent", "s3:PutObject", ledger)
    for action in ("s3:GetObject", "s3:DeleteObject", "s3:PutObjectRetention", "s3:ListBucket"):
        assert not can("agent", action, ledger)
    assert not can("agent", "s3:PutObject", f"{arns.bucket_arn(cell(), 'data')}/x")
    said = {action for name, each in statements(cell()) if name == "agent" for action in each.actions}
    assert said == {"s3:PutObject", "kms:GenerateDataKey"}


def subject(workspace: str, account: str = "cluster") -> dict[str, str]:
    """What AWS knows of the nodes of a workspace, from the token they came with."""
    return {f"{ISSUER}:sub": f"system:serviceaccount:byoc-ws-{workspace}:{account}"}


@pytest.mark.parametrize(
    "action",
    [
        "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
    ],
)  # fmt: skip
def test_an_engine_uses_its_own_workspaces_prefix_only(action: str) -> None:
    bucket, nodes = arns.bucket_arn(cell(), "data"), subject("7")
    own_prefix = "system:serviceaccount:byoc-ws-7:cluster"
    assert tagged("engine", action, f"{bucket}/{own_prefix}/db/0", nodes)
    for another in (
        "system:serviceaccount:byoc-ws-8:cluster/db",
        "system:serviceaccount:byoc-ws-70:cluster/db",
        "system:serviceaccount:byoc-ws-7:cluster2/db",
        f"system:serviceaccount:byoc-ws-8:cluster/{own_prefix}/db",
        f"x/{own_prefix}/db",
        own_prefix,
        "db",
    ):
        assert not tagged("engine", action, f"{bucket}/{another}", nodes), another
    assert not tagged("engine", action, f"{bucket}/{own_prefix}/db", {})
    elsewhere = {f"{ISSUER}x:sub": own_prefix}
    assert not tagged("engine", action, f"{bucket}/{own_prefix}/db", elsewhere)


def test_an_engine_lists_its_own_workspaces_prefix_only() -> None:
    bucket, nodes = arns.bucket_arn(cell(), "data"), subject("7")
    own_prefix = "system:serviceaccount:byoc-ws-7:cluster/"
    assert tagged("engine", "s3:ListBucket", bucket, nodes | {"s3:prefix": own_prefix})
    assert tagged("engine", "s3:ListBucket", bucket, nodes | {"s3:prefix": f"{own_prefix}db/"})
    for prefix in ("", "system:", own_prefix.replace("7", "8"), own_prefix.removesuffix("/")):
        assert not tagged("engine", "s3:ListBucket", bucket, nodes | {"s3:prefix": prefix}), prefix
    assert not tagged("engine", "s3:ListBucket", bucket, nodes)


def test_an_engine_reaches_neither_the_ledger_nor_older_versions_nor_another_bucket() -> None:
    nodes, path = subject("7"), "system:serviceaccount:byoc-ws-7:cluster/db"
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"):
        assert not tagged("engine", action, f"{arns.bucket_arn(cell(), 'ledger')}/{path}", nodes)
        assert not tagged("engine", action, arns.bucket_arn(cell(), "ledger"), nodes)
        assert not tagged("engine", action, f"arn:aws:s3:::somebodys/{path}", nodes)
    for action in ("s3:GetObjectVersion", "s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:PutBucketPolicy"):
        assert not tagged("engine", action, f"{arns.bucket_arn(cell(), 'data')}/{path}", nodes)


def test_the_key_is_used_by_storage_services_only() -> None:
    assert can("engine", "kms:Decrypt", KEY, kms__ViaService=f"s3.{REGION}.amazonaws.com")
    assert not can("engine", "kms:Decrypt", KEY)
    assert can("storage_driver", "kms:Decrypt", KEY, kms__ViaService=f"ec2.{REGION}.amazonaws.com")
    assert not can("storage_driver", "kms:Decrypt", KEY, kms__ViaService=f"s3.{REGION}.amazonaws.com")
    assert not can("storage_driver", "kms:CreateGrant", KEY, kms__ViaService=f"ec2.{REGION}.amazonaws.com")


def test_the_storage_driver_manages_volumes_of_its_own_cell_only() -> None:
    volume = f"arn:aws:ec2:{REGION}:{ACCOUNT}:volume/vol-1"
    ours, theirs = {"aws:ResourceTag/byoc:cell": "main"}, {"aws:ResourceTag/byoc:cell": "other"}
    for action in ("ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyVolume", "ec2:DeleteVolume"):
        assert tagged("storage_driver", action, volume, ours)
        assert not tagged("storage_driver", action, volume, theirs)
        assert not tagged("storage_driver", action, volume, {})
    assert tagged("storage_driver", "ec2:CreateVolume", volume, {"aws:RequestTag/byoc:cell": "main"})
    assert not tagged("storage_driver", "ec2:CreateVolume", volume, {"aws:RequestTag/byoc:cell": "other"})
    assert tagged("storage_driver", "ec2:CreateTags", volume, {"ec2:CreateAction": "CreateVolume"})
    assert not tagged("storage_driver", "ec2:CreateTags", volume, ours)
    machine = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"
    assert tagged("storage_driver", "ec2:AttachVolume", machine, ours)
    assert not tagged("storage_driver", "ec2:AttachVolume", machine, theirs)


def test_the_network_driver_manages_interfaces_of_its_own_cluster_only() -> None:
    interface = f"arn:aws:ec2:{REGION}:{ACCOUNT}:network-interface/eni-1"
    ours = {f"aws:ResourceTag/{policies.CLUSTER_ENI_TAG}": "byoc-main"}
    theirs = {f"aws:ResourceTag/{policies.CLUSTER_ENI_TAG}": "byoc-other"}
    for action in (
        "ec2:AssignPrivateIpAddresses",
        "ec2:DeleteNetworkInterface",
        "ec2:AttachNetworkInterface",
    ):
        assert tagged("network_driver", action, interface, ours)
        assert not tagged("network_driver", action, interface, theirs)
    made = {f"aws:RequestTag/{policies.CLUSTER_ENI_TAG}": "byoc-main"}
    assert tagged("network_driver", "ec2:CreateNetworkInterface", interface, made)
    assert not tagged("network_driver", "ec2:CreateNetworkInterface", interface, {})


@pytest.mark.parametrize("which", ["network_driver", "installer"])
def test_interfaces_are_made_in_the_customers_vpc_only(which: Role) -> None:
    subnet = f"arn:aws:ec2:{REGION}:{ACCOUNT}:subnet/subnet-1"
    vpc = f"arn:aws:ec2:{REGION}:{ACCOUNT}:vpc/vpc"
    args = EXAMPLES["given"]
    for number, expected in (("1", True), ("2", False)):
        request = Request("ec2:CreateNetworkInterface", subnet, HERE | {"ec2:Vpc": f"{vpc}-{number}"})
        assert may(request, own(args, which), boundary(args).plain()) is expected
    assert tagged(which, "ec2:CreateNetworkInterface", subnet, {"aws:ResourceTag/byoc:cell": "main"})
    assert not tagged(which, "ec2:CreateNetworkInterface", subnet, {"aws:ResourceTag/byoc:cell": "other"})


def test_external_dns_writes_names_of_the_cell_into_the_cells_zone_only() -> None:
    zone = f"arn:aws:route53:::hostedzone/{ZONE}"
    action, names = (
        "route53:ChangeResourceRecordSets",
        "route53:ChangeResourceRecordSetsNormalizedRecordNames",
    )
    assert tagged("dns", action, zone, {names: "svc-1-dml.main.byoc.internal"})
    assert not tagged("dns", action, zone, {names: "bank.example"})
    assert not tagged("dns", action, zone.replace(ZONE, "ZOTHER"), {names: "svc-1-dml.main.byoc.internal"})
    assert not can("dns", "route53:DeleteHostedZone", zone)


def test_the_autoscaler_sets_groups_of_its_own_cluster_only() -> None:
    group = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:1:autoScalingGroupName/eks-1"
    ours = {"aws:ResourceTag/k8s.io/cluster-autoscaler/byoc-main": "owned"}
    theirs = {"aws:ResourceTag/k8s.io/cluster-autoscaler/byoc-other": "owned"}
    for action in ("autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"):
        assert tagged("autoscaler", action, group, ours)
        assert not tagged("autoscaler", action, group, theirs)
    assert not tagged("autoscaler", "autoscaling:UpdateAutoScalingGroup", group, ours)


def test_a_function_finds_its_own_cluster_and_writes_its_own_log_only() -> None:
    assert can("installer", "eks:DescribeCluster", arns.cluster_arn(cell()))
    assert not can("installer", "eks:DescribeCluster", arns.cluster_arn(cell(name="other")))
    log = f"{arns.log_group_arn(cell(), 'installer')}:log-stream:x"
    assert can("installer", "logs:PutLogEvents", log)
    assert not can("control", "logs:PutLogEvents", log)
    assert not can("installer", "logs:CreateLogGroup", log)


def test_a_functions_code_has_no_business_with_network_interfaces() -> None:
    interface = f"arn:aws:ec2:{REGION}:{ACCOUNT}:network-interface/eni-1"
    by_code = {"lambda:SourceFunctionArn": arns.function_arn(cell(), "installer")}
    assert tagged("installer", "ec2:DeleteNetworkInterface", interface, {})
    assert not tagged("installer", "ec2:DeleteNetworkInterface", interface, by_code)


def test_machines_and_eks_have_no_policy_of_ours() -> None:
    assert own(cell(), "node") == own(cell(), "cluster") == []
    assert policies.MANAGED["node"] == ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")


# --- the key --------------------------------------------------------------------------------------------


def opens(action: str, principal: str, **context: str) -> bool:
    said = {key.replace("__", ":"): value for key, value in context.items()}
    return judge(key_policy(cell()).plain(), Request(action, KEY, said, principal)) == "allowed"


def test_nobody_opens_data_with_the_key_but_by_a_storage_service() -> None:
    admin = f"arn:aws:iam::{ACCOUNT}:role/admin"
    assert opens("kms:PutKeyPolicy", admin)
    assert not opens("kms:Decrypt", admin)
    for service, expected in (("s3", True), ("ec2", True), ("lambda", False)):
        via = {"kms__CallerAccount": ACCOUNT, "kms__ViaService": f"{service}.{REGION}.amazonaws.com"}
        assert opens("kms:Decrypt", admin, **via) is expected


def test_no_other_account_has_a_part_in_the_key() -> None:
    stranger = "arn:aws:iam::999999999999:role/admin"
    for service in ("s3", "ec2"):
        via = {"kms__CallerAccount": "999999999999", "kms__ViaService": f"{service}.{REGION}.amazonaws.com"}
        assert not opens("kms:Decrypt", stranger, **via)
    assert not opens("kms:PutKeyPolicy", stranger)


def test_logs_are_encrypted_for_the_cells_own_groups_only() -> None:
    principal = f"logs.{REGION}.amazonaws.com"
    context = "kms__EncryptionContext__aws__logs__arn"
    ours = arns.log_group_arn(cell(), "flow")
    assert opens("kms:GenerateDataKey", principal, **{context: ours})
    assert not opens("kms:GenerateDataKey", principal, **{context: ours.replace("main", "other")})
    assert not opens("kms:GenerateDataKey", principal)


def test_eks_gets_its_grant_without_a_condition_it_cannot_bear() -> None:
    assert opens("kms:CreateGrant", f"arn:aws:iam::{ACCOUNT}:role/bootstrap")
