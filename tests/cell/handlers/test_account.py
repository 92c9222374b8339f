"""The emulated account beside its resources: what a preflight asks, and what moto alone would not answer."""

import json
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cell.handlers.examples import REGION, trust
from tests.emulated.account import Account
from tests.emulated.handlers.handler import Aws
from tests.emulated.moto_account import QUOTAS, simulate

Json = dict[str, Any]


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    return str(refusal.value.response["Error"]["Code"])


def test_a_dry_run_makes_nothing(aws: Aws) -> None:
    ec2 = aws("ec2")
    before = len(ec2.describe_vpcs()["Vpcs"])
    assert code(ec2.create_vpc, CidrBlock="10.0.0.0/16", DryRun=True) == "DryRunOperation"
    assert code(ec2.create_internet_gateway, DryRun=True) == "DryRunOperation"
    assert code(ec2.allocate_address, Domain="vpc", DryRun=True) == "DryRunOperation"
    assert len(ec2.describe_vpcs()["Vpcs"]) == before
    assert ec2.describe_internet_gateways()["InternetGateways"] == []
    assert ec2.describe_addresses()["Addresses"] == []


def test_a_reset_forgets_everything(account: Account, aws: Aws) -> None:
    aws("iam").create_role(RoleName="main-cluster", AssumeRolePolicyDocument=trust("eks.amazonaws.com"))
    aws("eks").create_cluster(
        name="main", roleArn="arn:aws:iam::123456789012:role/main-cluster", resourcesVpcConfig={}
    )
    aws("eks").create_addon(clusterName="main", addonName="vpc-cni")
    account.reset()
    assert aws("eks").list_clusters()["clusters"] == []
    aws("eks").create_cluster(
        name="main", roleArn="arn:aws:iam::123456789012:role/main-cluster", resourcesVpcConfig={}
    )
    assert aws("eks").list_addons(clusterName="main")["addons"] == []


def test_the_account_is_the_same_by_its_address(account: Account, aws: Aws) -> None:
    aws("s3").create_bucket(Bucket="by-hand", CreateBucketConfiguration={"LocationConstraint": REGION})
    with urllib.request.urlopen(f"{account.endpoint}/moto-api/data.json") as answer:
        assert "by-hand" in answer.read().decode()
    outside = Aws(account.endpoint, REGION)
    assert [one["Name"] for one in outside("s3").list_buckets()["Buckets"]] == ["by-hand"]


def test_quotas_are_answered(aws: Aws) -> None:
    for service, name in QUOTAS:
        quota = aws("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=name)["Quota"]
        assert quota["Value"] > 0
    assert code(aws("service-quotas").get_service_quota, ServiceCode="vpc", QuotaCode="L-00000000") == (
        "NoSuchResourceException"
    )


def test_versions_images_and_addons_are_offered(aws: Aws) -> None:
    versions = {one["clusterVersion"] for one in aws("eks").describe_cluster_versions()["clusterVersions"]}
    assert "1.34" in versions
    name = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/arm64/standard/recommended/release_version"
    assert aws("ssm").get_parameter(Name=name)["Parameter"]["Value"].startswith("1.34.")
    found = aws("eks").describe_addon_versions(addonName="vpc-cni", kubernetesVersion="1.34")["addons"]
    assert [one["addonName"] for one in found] == ["vpc-cni"]
    assert aws("eks").describe_addon_versions(addonName="magic", kubernetesVersion="1.34")["addons"] == []


ALLOW = {"Effect": "Allow", "Action": "ec2:Create*", "Resource": "*"}
DENY = {"Effect": "Deny", "Action": ["ec2:CreateVpc"], "Resource": "*"}
TAGGED = ALLOW | {"Condition": {"StringEquals": {"aws:RequestTag/byoc:cell": "main"}}}


@pytest.mark.parametrize(
    ("statements", "boundary", "decision", "missing"),
    [
        ([], None, "implicitDeny", []),
        ([ALLOW], None, "allowed", []),
        ([ALLOW, DENY], None, "explicitDeny", []),
        ([TAGGED], None, "implicitDeny", ["aws:RequestTag/byoc:cell"]),
        ([ALLOW], [DENY], "implicitDeny", []),
        ([ALLOW], [ALLOW], "allowed", []),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], None, "allowed", []),
    ],
)
def test_policies_are_simulated_in_three_values(
    statements: list[Json], boundary: list[Json] | None, decision: str, missing: list[str]
) -> None:
    bound = None if boundary is None else {"Statement": boundary}
    assert simulate([{"Statement": statements}], bound, "ec2:CreateVpc") == (decision, missing)


def test_a_role_is_judged_by_its_policies_and_its_boundary(aws: Aws) -> None:
    iam = aws("iam")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    only = {"Version": "2012-10-17", "Statement": [ALLOW]}
    boundary = iam.create_policy(PolicyName="bound", PolicyDocument=json.dumps(only))["Policy"]["Arn"]
    role = iam.create_role(
        RoleName="r", AssumeRolePolicyDocument=trust("ec2.amazonaws.com"), PermissionsBoundary=boundary
    )["Role"]["Arn"]
    iam.put_role_policy(RoleName="r", PolicyName="own", PolicyDocument=json.dumps(everything))
    answer = iam.simulate_principal_policy(
        PolicySourceArn=role, ActionNames=["ec2:CreateVpc", "iam:CreateRole"]
    )
    assert {one["EvalActionName"]: one["EvalDecision"] for one in answer["EvaluationResults"]} == {
        "ec2:CreateVpc": "allowed",
        "iam:CreateRole": "implicitDeny",
    }
