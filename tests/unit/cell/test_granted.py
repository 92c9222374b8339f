import copy
import json
from typing import Any

import pytest

from byoc.cell.arns import ROLES
from byoc.cell.granted import Difference, differences, holders, report
from byoc.cell.grants import LABEL
from byoc.cell.permissions import needed
from byoc.errors import UsageError
from tests.unit.cell.examples import EXAMPLES, cell


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(report(cell())))
    return value


def changed(said: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(said)


def test_a_report_says_that_no_run_on_aws_has_been_compared(said: dict[str, Any]) -> None:
    assert said["label"] == LABEL == "derived, not yet observed on AWS"


def test_a_report_has_every_role_and_the_boundary(said: dict[str, Any]) -> None:
    assert set(said["roles"]) == set(ROLES) - {"engine"}
    assert set(report(EXAMPLES["unlimited"])["roles"]) == set(ROLES)
    assert said["boundary"]["Statement"]
    assert report(EXAMPLES["given"])["boundary"] == EXAMPLES["given"].boundary_arn


def test_who_holds_what_is_what_is_needed(said: dict[str, Any]) -> None:
    assert holders(said)["bootstrap"][0] == set(needed(cell()))
    assert "policy AmazonEKSClusterPolicy" in holders(said)["role cluster"][0]


def test_nothing_differs_from_itself(said: dict[str, Any]) -> None:
    assert differences(said, report(cell())) == []


def test_an_action_that_is_new_is_named_and_one_that_is_gone_too(said: dict[str, Any]) -> None:
    old = changed(said)
    network = next(each for each in old["policies"] if each["name"].endswith("-network"))
    statement = next(each for each in network["document"]["Statement"] if each["Sid"] == "Change")
    statement["Action"].remove("ec2:CreateRoute")
    statement["Action"].append("ec2:RunScheduledInstances")
    assert differences(old, said) == [
        Difference("bootstrap", ("ec2:CreateRoute",), ("ec2:RunScheduledInstances",), limits=False)
    ]


def test_other_limits_on_the_same_actions_are_a_difference(said: dict[str, Any]) -> None:
    old = changed(said)
    old["roles"]["agent"]["trust"]["Statement"][0]["Principal"] = {"AWS": "*"}
    assert differences(old, said) == [Difference("role agent", (), (), limits=True)]


def test_a_policy_of_awss_that_a_role_gets_is_a_difference(said: dict[str, Any]) -> None:
    old = changed(said)
    old["roles"]["node"]["managed"].remove("AmazonEKSWorkerNodePolicy")
    (found,) = differences(old, said)
    assert found.added == ("policy AmazonEKSWorkerNodePolicy",)


def test_a_role_that_is_new_is_all_added(said: dict[str, Any]) -> None:
    old = changed(said)
    del old["roles"]["autoscaler"]
    (found,) = differences(old, said)
    assert found.holder == "role autoscaler"
    assert "autoscaling:SetDesiredCapacity" in found.added


@pytest.mark.parametrize("old", [{}, {"policies": 3}, {"policies": [], "roles": []}])
def test_what_is_no_report_is_refused(said: dict[str, Any], old: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no output of"):
        differences(old, said)
