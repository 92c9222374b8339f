import json
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from byoc.bootstrap.aws import Account, translated
from byoc.bootstrap.survey import permits as permitted
from byoc.bootstrap.survey.images import check_image
from byoc.bootstrap.survey.look import Wanted, bucket, look
from byoc.bootstrap.survey.network import given_vpc
from byoc.bootstrap.survey.seen import Bucket, Permit
from byoc.cell.args import Image
from byoc.cell.arns import cluster_arn
from byoc.cell.grants import uses
from byoc.cell.permissions import needed
from byoc.errors import ByocError, Failed, Forbidden, PreconditionFailed, Unreachable
from byoc.model.check import Result
from tests.unit.cell.examples import cell


def answers(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Op")


@pytest.fixture
def vpc(account: Account) -> dict[str, Any]:
    """A customer's VPC: three private subnets behind a NAT gateway, one open one."""
    ec2 = account.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": True})
    subnets = [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"eu-west-1{zone}")[
            "Subnet"
        ]["SubnetId"]
        for n, zone in enumerate("abc")
    ]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=address)["NatGateway"]["NatGatewayId"]
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    for subnet in subnets[:2]:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return {"id": vpc_id, "subnets": subnets, "table": table}


def test_a_given_vpc_is_seen_with_its_routes_flags_and_endpoints(
    account: Account, vpc: Mapping[str, Any]
) -> None:
    account.client("ec2").create_vpc_endpoint(
        VpcId=vpc["id"], ServiceName="com.amazonaws.eu-west-1.s3", RouteTableIds=[vpc["table"]]
    )
    seen = given_vpc(account, vpc["id"], vpc["subnets"])
    assert seen.cidrs == ("10.0.0.0/16",)
    assert seen.owner == account.identity.account
    assert (seen.dns_support, seen.dns_hostnames) == (True, True)
    assert seen.endpoints == ("s3",)
    assert [subnet.zone for subnet in seen.subnets] == ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
    # The third uses the VPC's main table, which leads nowhere.
    assert [subnet.has_egress for subnet in seen.subnets] == [True, True, False]
    assert seen.subnets[0].route_table_id == vpc["table"] != seen.subnets[2].route_table_id


def test_a_subnet_that_leads_to_an_internet_gateway_is_refused(
    account: Account, vpc: Mapping[str, Any]
) -> None:
    ec2 = account.client("ec2")
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc["id"])
    table = ec2.create_route_table(VpcId=vpc["id"])["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.associate_route_table(RouteTableId=table, SubnetId=vpc["subnets"][2])
    with pytest.raises(PreconditionFailed, match=f"{vpc['subnets'][2]} is public") as refused:
        given_vpc(account, vpc["id"], vpc["subnets"])
    assert "private subnets" in refused.value.hint


def test_a_vpc_that_is_not_in_the_account_is_refused(account: Account) -> None:
    with pytest.raises(PreconditionFailed, match="there is no VPC vpc-0123"):
        given_vpc(account, "vpc-0123", ["subnet-1"])


def test_a_subnet_of_another_vpc_is_refused(account: Account, vpc: Mapping[str, Any]) -> None:
    with pytest.raises(PreconditionFailed, match="subnet subnet-9 is not in VPC"):
        given_vpc(account, vpc["id"], ["subnet-9"])


def test_a_vpc_without_dns_hostnames_is_refused_with_the_command_that_mends_it(
    account: Account, vpc: Mapping[str, Any]
) -> None:
    account.client("ec2").modify_vpc_attribute(VpcId=vpc["id"], EnableDnsHostnames={"Value": False})
    with pytest.raises(PreconditionFailed, match="DNS") as refused:
        given_vpc(account, vpc["id"], vpc["subnets"])
    assert "modify-vpc-attribute" in refused.value.hint


def test_a_survey_sees_zones_ranges_and_buckets(account: Account, vpc: Mapping[str, Any]) -> None:
    account.client("s3").create_bucket(
        Bucket="byoc-mine", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    seen = look(
        account,
        Wanted(
            kubernetes="1.34",
            buckets=("byoc-mine", "byoc-free"),
            vpc_id=vpc["id"],
            subnet_ids=tuple(vpc["subnets"]),
        ),
    )
    assert seen.zones == ("eu-west-1a", "eu-west-1b", "eu-west-1c")
    assert seen.other_ranges[vpc["id"]] == ("10.0.0.0/16",)
    assert seen.buckets == {"byoc-mine": Bucket.OURS, "byoc-free": Bucket.FREE}
    assert seen.quotas["VPCs"].used == len(seen.other_ranges)
    assert seen.linked_roles["eks.amazonaws.com"] is False
    assert seen.vpc is not None


def test_a_survey_changes_nothing(
    account: Account, changes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account.client("iam"), "simulate_principal_policy", _unsupported)
    look(account, Wanted(kubernetes="1.34", buckets=("b-1",), actions=("ec2:CreateVpc", "iam:CreateRole")))
    assert changes == []
    account.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")
    assert changes == ["CreateVpc"]


@pytest.mark.parametrize(
    ("code", "whose"), [("403", Bucket.TAKEN), ("404", Bucket.FREE), ("500", Bucket.UNKNOWN)]
)
def test_whose_a_bucket_is_follows_from_aws_answer(
    account: Account, monkeypatch: pytest.MonkeyPatch, code: str, whose: Bucket
) -> None:
    def head(**_: Any) -> None:
        raise answers(code)

    monkeypatch.setattr(account.client("s3"), "head_bucket", head)
    assert bucket(account, "b") is whose


@pytest.mark.parametrize(
    ("code", "permit"),
    [
        ("DryRunOperation", Permit.ALLOWED),
        ("UnauthorizedOperation", Permit.DENIED),
        ("InvalidVpcID.NotFound", Permit.UNKNOWN),
    ],
)
def test_a_dry_run_overrules_the_simulation(
    account: Account, monkeypatch: pytest.MonkeyPatch, code: str, permit: Permit
) -> None:
    def create_vpc(**arguments: Any) -> None:
        assert arguments["DryRun"] is True
        raise answers(code)

    monkeypatch.setattr(account.client("ec2"), "create_vpc", create_vpc)
    monkeypatch.setattr(account.client("iam"), "simulate_principal_policy", _unsupported)
    assert permitted.permits(account, ["ec2:CreateVpc"]) == {"ec2:CreateVpc": permit}


def _unsupported(**_: Any) -> None:
    raise answers("AccessDenied")


@pytest.mark.parametrize(
    ("decision", "missing", "permit"),
    [
        ("allowed", [], Permit.ALLOWED),
        ("explicitDeny", [], Permit.DENIED),
        ("implicitDeny", [], Permit.DENIED),
        ("implicitDeny", ["aws:RequestTag/byoc:cell"], Permit.UNKNOWN),
    ],
)
def test_the_simulation_is_read_in_three_values(
    account: Account, monkeypatch: pytest.MonkeyPatch, decision: str, missing: list[str], permit: Permit
) -> None:
    asked: list[list[str]] = []

    def simulate(**arguments: Any) -> dict[str, Any]:
        asked.append(arguments["ActionNames"])
        return {
            "EvaluationResults": [
                {"EvalActionName": name, "EvalDecision": decision, "MissingContextValues": missing}
                for name in arguments["ActionNames"]
            ]
        }

    iam = account.client("iam")
    monkeypatch.setattr(iam, "simulate_principal_policy", simulate)
    iam.create_user(UserName="eve")
    account.__dict__["identity"] = type(account.identity)(
        "123456789012", "arn:aws:iam::123456789012:user/eve"
    )
    actions = [f"eks:Do{n}" for n in range(120)]
    assert permitted.permits(account, actions) == dict.fromkeys(actions, permit)
    assert [len(batch) for batch in asked] == [50, 50, 20]


def test_it_is_asked_whether_an_action_may_be_used_as_it_will_be(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may touch the cell's things only is allowed to, and a dry run carries the tag."""
    asked: dict[str, dict[str, Any]] = {}
    tags: list[Any] = []

    def simulate(**arguments: Any) -> dict[str, Any]:
        asked.update(dict.fromkeys(arguments["ActionNames"], arguments))
        return {"EvaluationResults": []}

    def create_vpc(**arguments: Any) -> None:
        tags.extend(arguments["TagSpecifications"])
        raise answers("DryRunOperation")

    monkeypatch.setattr(account.client("iam"), "simulate_principal_policy", simulate)
    monkeypatch.setattr(account.client("ec2"), "create_vpc", create_vpc)
    account.__dict__["identity"] = type(account.identity)(
        "123456789012", "arn:aws:iam::123456789012:user/eve"
    )
    args = cell()
    verdicts = permitted.permits(account, needed(args), uses(args))
    assert set(asked) == set(needed(args)) == set(verdicts)
    assert asked["eks:DescribeCluster"]["ResourceArns"] == [cluster_arn(args)]
    assert asked["ec2:CreateVpc"]["ContextEntries"] == [
        {
            "ContextKeyName": "aws:RequestTag/byoc:cell",
            "ContextKeyValues": ["main"],
            "ContextKeyType": "string",
        }
    ]
    assert tags == [{"ResourceType": "vpc", "Tags": [{"Key": "byoc:cell", "Value": "main"}]}]
    assert verdicts["ec2:CreateVpc"] is Permit.ALLOWED


def test_a_session_is_judged_by_the_role_behind_it_with_its_path(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = account.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
    arn = iam.create_role(RoleName="ops", Path="/teams/", AssumeRolePolicyDocument=json.dumps(trust))["Role"][
        "Arn"
    ]
    account.__dict__["identity"] = type(account.identity)(
        "123456789012", "arn:aws:sts::123456789012:assumed-role/ops/eve"
    )
    sources: list[str] = []

    def simulate(**arguments: Any) -> dict[str, Any]:
        sources.append(arguments["PolicySourceArn"])
        return {"EvaluationResults": []}

    monkeypatch.setattr(iam, "simulate_principal_policy", simulate)
    permitted.permits(account, ["eks:CreateCluster"])
    assert sources == [arn]
    assert "/teams/ops" in arn


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (NoCredentialsError(), PreconditionFailed, "no AWS credentials"),
        (answers("ExpiredToken"), PreconditionFailed, "have expired"),
        (answers("InvalidClientTokenId"), PreconditionFailed, "does not know these credentials"),
        (EndpointConnectionError(endpoint_url="https://x"), Unreachable, "cannot be reached"),
        (answers("Throttling", "Rate exceeded\nmore"), Failed, "Throttling: Rate exceeded"),
        (
            answers(
                "AccessDenied",
                "User: u is not authorized to perform: ec2:CreateVpc with an explicit deny",
            ),
            Forbidden,
            "AWS denied ec2:CreateVpc",
        ),
    ],
)
def test_what_aws_refuses_is_said_in_our_words(raised: Exception, error: type[ByocError], words: str) -> None:
    with pytest.raises(error) as refused, translated("ec2:Something"):
        raise raised
    assert words in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("sentence", "layer"),
    [
        ("with an explicit deny in a service control policy", "service control policy of the organization"),
        ("because no permissions boundary allows the ec2:CreateVpc action", "permissions boundary"),
        ("because no identity-based policy allows the ec2:CreateVpc action", "policies of your identity"),
        ("because no session policy allows it", "policy of your session"),
        ("", "`byoc cell permissions`"),
    ],
)
def test_a_denial_names_the_layer_that_refused(sentence: str, layer: str) -> None:
    with pytest.raises(Forbidden) as refused, translated("ec2:CreateVpc"):
        raise answers("UnauthorizedOperation", sentence)
    assert layer in refused.value.hint


# --- the client's image ---------------------------------------------------------------------------

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
ELSEWHERE = f"sha256:{'e' * 64}"


@pytest.fixture
def pushed(account: Account) -> Image:
    """The client's image in a registry of the account."""
    ecr = account.client("ecr")
    ecr.create_repository(repositoryName="cells/byoc-agent")
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": []})
    digest = ecr.put_image(repositoryName="cells/byoc-agent", imageManifest=manifest)["image"]["imageId"][
        "imageDigest"
    ]
    return Image(repository=f"{ECR}/cells/byoc-agent", digest=digest)


def test_an_image_that_was_pushed_is_found(account: Account, pushed: Image) -> None:
    found = check_image(account, pushed)
    assert (found.name, found.result, found.detail) == ("agent image", Result.PASS, pushed.reference)


@pytest.mark.parametrize("repository", [f"{ECR}/cells/byoc-agent", f"{ECR}/cells/other"])
def test_an_image_that_nobody_pushed_is_refused_with_the_way_to_push_it(
    account: Account, pushed: Image, repository: str
) -> None:
    assert pushed.digest != ELSEWHERE
    found = check_image(account, Image(repository=repository, digest=ELSEWHERE))
    assert (found.result, found.detail) == (Result.FAIL, f"{repository}@{ELSEWHERE} is not there")
    assert f"images/push agent {repository}" in found.action


@pytest.mark.parametrize("registry", ["ghcr.io", "123456789012.dkr.ecr.us-east-1.amazonaws.com"])
def test_of_a_registry_that_is_not_asked_nobody_says_anything(account: Account, registry: str) -> None:
    found = check_image(account, Image(repository=f"{registry}/byoc-agent", digest=ELSEWHERE))
    assert (found.result, found.action) == (Result.UNKNOWN, "")
    assert "not asked" in found.detail


@pytest.mark.parametrize(
    "silence", [answers("AccessDeniedException"), EndpointConnectionError(endpoint_url="https://ecr")]
)
def test_whoever_may_not_look_for_an_image_is_not_stopped(
    account: Account, pushed: Image, silence: Exception
) -> None:
    def refused(**_: Any) -> None:
        raise silence

    account.client("ecr").describe_images = refused
    assert check_image(account, pushed).result is Result.UNKNOWN
