import json
from collections.abc import Mapping
from typing import Any

import pytest

from byoc.bootstrap.aws import Account
from byoc.bootstrap.finder import KNOWN, AccountFinder
from byoc.bootstrap.leftovers import Fate, Found, judge, look
from byoc.bootstrap.standing import empty
from byoc.cell.assume import complete
from byoc.cell.plan import make_plan
from byoc.errors import Conflict, Forbidden
from tests.unit.cell.examples import EXAMPLES

CELL = "sales"
CLUSTER = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
PROVIDER = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


def tags(name: str, cell: str = CELL) -> list[dict[str, str]]:
    return [{"Key": "byoc:cell", "Value": cell}, {"Key": "byoc:logical-name", "Value": name}]


def tagged(kind: str, name: str, cell: str = CELL) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": tags(name, cell)}]


class Maker:
    """Makes things of a cell as the engine, the cluster and its drivers do."""

    def __init__(self, account: Account) -> None:
        self.aws = account.client
        self.number = account.identity.account

    def vpc(self, cell: str = CELL, name: str = "vpc") -> str:
        made = self.aws("ec2").create_vpc(
            CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc", name, cell)
        )
        return str(made["Vpc"]["VpcId"])

    def role(self, name: str, cell: str = CELL) -> str:
        self.aws("iam").create_role(RoleName=name, AssumeRolePolicyDocument=TRUST, Tags=tags("role", cell))
        return name

    def key(self, cell: str = CELL) -> str:
        made = self.aws("kms").create_key(
            Tags=[{"TagKey": one["Key"], "TagValue": one["Value"]} for one in tags("key", cell)]
        )
        return str(made["KeyMetadata"]["KeyId"])

    def bucket(self, which: str, cell: str = CELL) -> str:
        name = f"byoc-{cell}-{which}-{self.number}"
        self.aws("s3").create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        return name

    def provider(self, url: str, cell: str = CELL) -> str:
        made = self.aws("iam").create_open_id_connect_provider(
            Url=url,
            ClientIDList=["sts.amazonaws.com"],
            ThumbprintList=["0" * 40],
            Tags=[{"Key": "byoc:cell", "Value": cell}],
        )
        return str(made["OpenIDConnectProviderArn"])

    def volume(self) -> str:
        cluster = {"Key": f"kubernetes.io/cluster/byoc-{CELL}", "Value": "owned"}
        made = self.aws("ec2").create_volume(
            AvailabilityZone="eu-west-1a",
            Size=1,
            TagSpecifications=[{"ResourceType": "volume", "Tags": [cluster]}],
        )
        return str(made["VolumeId"])

    def interface(self, description: str) -> str:
        ec2 = self.aws("ec2")
        subnet = ec2.create_subnet(VpcId=self.vpc(cell="another"), CidrBlock="10.0.0.0/24")["Subnet"][
            "SubnetId"
        ]
        made = ec2.create_network_interface(SubnetId=subnet, Description=description)
        return str(made["NetworkInterface"]["NetworkInterfaceId"])


@pytest.fixture
def make(account: Account) -> Maker:
    return Maker(account)


def found(account: Account) -> set[tuple[str, str]]:
    return {(one.kind, one.id) for one in look(account, CELL)}


def test_an_account_without_a_cell_has_nothing_left(account: Account, make: Maker) -> None:
    make.vpc(cell="another")
    make.key(cell="another")
    make.provider(CLUSTER, cell="another")
    make.provider("https://token.actions.githubusercontent.com")
    assert look(account, CELL) == []


def test_what_a_cell_leaves_is_found_by_tag_by_name_and_by_what_its_cluster_made(
    account: Account, make: Maker
) -> None:
    left = {
        ("VPC", make.vpc()),
        ("role", make.role(f"byoc-{CELL}-cluster")),
        ("identity provider", make.provider(CLUSTER)),
        ("key", make.key()),
        ("bucket", make.bucket("data")),
        ("volume", make.volume()),
        ("network interface", make.interface(f"Amazon EKS byoc-{CELL}")),
        ("network interface", make.interface(f"AWS Lambda VPC ENI-byoc-{CELL}-installer-3f2b")),
    }
    for name in (f"/aws/eks/byoc-{CELL}/cluster", f"/aws/lambda/byoc-{CELL}-installer", f"/byoc/{CELL}/flow"):
        account.client("logs").create_log_group(logGroupName=name)
        left.add(("log group", name))
    assert found(account) == left


def test_a_cell_whose_name_begins_alike_is_another_one(account: Account, make: Maker) -> None:
    make.role("byoc-sales-eu-cluster", cell="sales-eu")
    make.bucket("data", cell="sales-eu")
    make.interface("Amazon EKS byoc-sales-eu")
    make.interface("AWS Lambda VPC ENI-byoc-sales-eu-installer-1")
    for name in (
        "/aws/eks/byoc-sales-eu/cluster",
        "/aws/lambda/byoc-sales-eu-installer",
        "/byoc/sales-eu/flow",
    ):
        account.client("logs").create_log_group(logGroupName=name)
    assert look(account, CELL) == []


def test_a_key_that_aws_is_deleting_is_pending(account: Account, make: Maker) -> None:
    key = make.key()
    account.client("kms").schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    (one,) = judge(look(account, CELL), keep_data=False)
    assert (one.id, one.fate) == (key, Fate.PENDING)


@pytest.mark.parametrize(
    ("kind", "keep_data", "fate"),
    [
        ("bucket", True, Fate.KEPT),
        ("volume", True, Fate.KEPT),
        ("key", True, Fate.KEPT),
        ("bucket", False, Fate.LEFTOVER),
        ("network interface", True, Fate.LEFTOVER),
        ("role", True, Fate.LEFTOVER),
        ("identity provider", True, Fate.LEFTOVER),
    ],
)
def test_only_data_and_what_opens_it_is_kept_on_purpose(kind: str, keep_data: bool, fate: Fate) -> None:
    (one,) = judge([Found(kind, "x")], keep_data=keep_data)
    assert one.fate is fate


def test_a_bucket_is_emptied_of_every_version_and_marker(account: Account, make: Maker) -> None:
    name, s3 = make.bucket("data"), account.client("s3")
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for text in (b"1", b"2"):
        s3.put_object(Bucket=name, Key="a", Body=text)
    s3.delete_object(Bucket=name, Key="a")
    told: list[str] = []
    empty(account, name, told.append)
    assert "Versions" not in s3.list_object_versions(Bucket=name)
    assert "DeleteMarkers" not in s3.list_object_versions(Bucket=name)
    assert told == [f"bucket {name}: 3 versions deleted"]


def test_a_bucket_that_is_not_there_is_empty(account: Account) -> None:
    told: list[str] = []
    empty(account, "byoc-nobody-has-this-one", told.append)
    assert told == []


# --- finding again what an interrupted run was creating


def test_what_has_no_name_is_found_by_its_tags(account: Account, make: Maker) -> None:
    make.vpc(cell="another")
    vpc = make.vpc()
    finder = AccountFinder(account, CELL)
    assert finder.find("aws:ec2/vpc:Vpc", {}, "vpc") == vpc
    assert finder.find("aws:ec2/vpc:Vpc", {}, "other") is None
    assert finder.find("aws:ec2/subnet:Subnet", {}, "vpc") is None


def test_a_key_is_found_by_its_tags_unless_it_is_being_deleted(account: Account, make: Maker) -> None:
    old, new = make.key(), make.key()
    account.client("kms").schedule_key_deletion(KeyId=old, PendingWindowInDays=7)
    assert AccountFinder(account, CELL).find("aws:kms/key:Key", {}, "key") == new


def test_two_things_of_one_name_are_a_question_for_a_person(account: Account, make: Maker) -> None:
    make.vpc()
    make.vpc()
    with pytest.raises(Conflict, match="2 things in the account carry the name `vpc`"):
        AccountFinder(account, CELL).find("aws:ec2/vpc:Vpc", {}, "vpc")


def test_what_has_a_name_is_found_by_it(account: Account, make: Maker) -> None:
    finder = AccountFinder(account, CELL)
    cases: list[tuple[str, Mapping[str, Any], str]] = [
        ("aws:iam/role:Role", {"name": "r"}, make.role("r")),
        ("aws:s3/bucket:Bucket", {"bucket": f"byoc-{CELL}-data-{make.number}"}, make.bucket("data")),
        (PROVIDER, {"url": CLUSTER}, make.provider(CLUSTER)),
    ]
    account.client("logs").create_log_group(logGroupName="/byoc/x")
    cases.append(("aws:cloudwatch/logGroup:LogGroup", {"name": "/byoc/x"}, "/byoc/x"))
    account.client("ssm").put_parameter(Name="/byoc/p", Value="1", Type="String")
    cases.append(("aws:ssm/parameter:Parameter", {"name": "/byoc/p"}, "/byoc/p"))
    for kind, inputs, wanted in cases:
        assert finder.find(kind, inputs, "any") == wanted
        assert finder.find(kind, {key: f"{value}-not" for key, value in inputs.items()}, "any") is None


def test_a_route_and_a_link_are_found_by_what_they_join(account: Account, make: Maker) -> None:
    ec2, vpc = account.client("ec2"), make.vpc()
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    finder = AccountFinder(account, CELL)
    route = {"routeTableId": table, "destinationCidrBlock": "0.0.0.0/0"}
    link = {"routeTableId": table, "subnetId": subnet}
    assert finder.find("aws:ec2/route:Route", route, "r") is None
    assert finder.find("aws:ec2/routeTableAssociation:RouteTableAssociation", link, "l") is None
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    made = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"]
    assert finder.find("aws:ec2/route:Route", route, "r") == f"r-{table}1080289494"
    assert finder.find("aws:ec2/routeTableAssociation:RouteTableAssociation", link, "l") == made


def test_every_type_of_the_program_can_be_repaired() -> None:
    args, _ = complete({})
    kinds = {each.kind for one in (args, EXAMPLES["unlimited"]) for each in make_plan(one).resources}
    assert PROVIDER in kinds
    assert sorted(kinds - KNOWN) == []


def test_an_account_that_may_not_be_asked_is_no_account_without_the_thing(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.bootstrap.test_survey import answers  # noqa: PLC0415

    def refused(**_: Any) -> None:
        raise answers("AccessDenied")

    monkeypatch.setattr(account.client("iam"), "get_role", refused)
    with pytest.raises(Forbidden):
        AccountFinder(account, CELL).find("aws:iam/role:Role", {"name": "r"}, "any")
