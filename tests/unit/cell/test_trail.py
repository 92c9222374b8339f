import json
from typing import Any

import pytest

from byoc.cell.granted import report
from byoc.cell.trail import Event, Observed, action_of, compare, events
from byoc.errors import UsageError
from tests.unit.cell.examples import ACCOUNT, cell

ADMIN = f"arn:aws:sts::{ACCOUNT}:assumed-role/platform/ada"
AGENT = f"arn:aws:sts::{ACCOUNT}:assumed-role/byoc-main-agent/eks-main-1"
NODE = f"arn:aws:sts::{ACCOUNT}:assumed-role/byoc-main-node/i-1"


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    return report(cell())


def record(source: str, name: str, caller: str = ADMIN, **more: Any) -> dict[str, Any]:
    return {
        "eventSource": source,
        "eventName": name,
        "userIdentity": {"type": "AssumedRole", "arn": caller},
        **more,
    }


def one(found: list[Observed], holder: str = "bootstrap") -> Observed:
    return next(each for each in found if each.holder == holder)


@pytest.mark.parametrize(
    ("source", "name", "action"),
    [
        ("ec2.amazonaws.com", "CreateVpc", "ec2:CreateVpc"),
        ("lambda.amazonaws.com", "CreateFunction20150331", "lambda:CreateFunction"),
        ("lambda.amazonaws.com", "GetFunction20150331v2", "lambda:GetFunction"),
        ("lambda.amazonaws.com", "Invoke", "lambda:InvokeFunction"),
        ("s3.amazonaws.com", "HeadBucket", "s3:ListBucket"),
        ("s3.amazonaws.com", "PutBucketEncryption", "s3:PutEncryptionConfiguration"),
        ("monitoring.amazonaws.com", "PutMetricAlarm", "cloudwatch:PutMetricAlarm"),
        ("servicequotas.amazonaws.com", "GetServiceQuota", "servicequotas:GetServiceQuota"),
    ],
)
def test_an_event_is_named_as_iam_names_what_allows_it(source: str, name: str, action: str) -> None:
    assert action_of(source, name) == action


def test_both_forms_of_an_export_are_read() -> None:
    call = record("ec2.amazonaws.com", "CreateVpc")
    wanted = [Event("ec2:CreateVpc", ADMIN, denied=False)]
    assert events(json.dumps({"Records": [call]})) == wanted
    assert events(json.dumps({"Events": [{"CloudTrailEvent": json.dumps(call)}]})) == wanted
    assert events(json.dumps([call])) == wanted


def test_what_aws_does_by_itself_is_nobodys_call() -> None:
    own = record("ec2.amazonaws.com", "RunInstances") | {"userIdentity": {"type": "AWSService"}}
    linked = record(
        "ec2.amazonaws.com",
        "RunInstances",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSServiceRoleForAutoScaling/x",
    )
    assert events(json.dumps([own, linked])) == []


@pytest.mark.parametrize(
    "text", ["", "3", "{}", '{"Records": [{}]}', '{"Events": [{"CloudTrailEvent": "x"}]}']
)
def test_what_is_no_export_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no export of CloudTrail"):
        events(text)


def test_a_call_that_is_not_granted_is_named(said: dict[str, Any]) -> None:
    found = one(compare(said, [Event("sns:CreateTopic", ADMIN, denied=False)]))
    assert found.missing == ("sns:CreateTopic",)
    assert found.denied == ()


def test_a_call_that_was_denied_is_named(said: dict[str, Any]) -> None:
    trail = json.dumps([record("ec2.amazonaws.com", "CreateVpc", errorCode="Client.UnauthorizedOperation")])
    found = one(compare(said, events(trail)))
    assert (found.missing, found.denied) == ((), ("ec2:CreateVpc",))


def test_what_was_granted_and_not_used_is_named_unless_no_trail_shows_it(said: dict[str, Any]) -> None:
    found = one(compare(said, [Event("ec2:CreateVpc", ADMIN, denied=False)]))
    assert "ec2:CreateVpc" not in found.unused
    assert "ec2:CreateSubnet" in found.unused
    assert not {"iam:PassRole", "s3:PutObject", "lambda:InvokeFunction"} & set(found.unused)


def test_a_delete_is_no_surprise(said: dict[str, Any]) -> None:
    assert one(compare(said, [Event("ec2:DeleteVpc", ADMIN, denied=False)])).missing == ()


def test_a_call_of_a_role_is_judged_by_the_roles_policy(said: dict[str, Any]) -> None:
    found = compare(said, [Event("ec2:CreateVpc", AGENT, denied=True)])
    assert [each.holder for each in found] == ["role agent"]
    assert found[0].missing == ("ec2:CreateVpc",)


def test_nothing_is_said_to_be_missing_of_a_role_with_policies_of_awss(said: dict[str, Any]) -> None:
    found = one(compare(said, [Event("ec2:DescribeInstances", NODE, denied=False)]), "role node")
    assert found.missing == ()
    assert not any(action.startswith("policy") for action in found.unused)


def test_calls_of_others_are_left_out_if_it_is_said_who_ran_bootstrap(said: dict[str, Any]) -> None:
    calls = [
        Event("ec2:CreateVpc", ADMIN, denied=False),
        Event("sns:CreateTopic", f"arn:aws:iam::{ACCOUNT}:user/other", denied=False),
    ]
    assert one(compare(said, calls)).missing == ("sns:CreateTopic",)
    only = one(compare(said, calls, principal="/platform/"))
    assert (only.events, only.missing) == (1, ())
