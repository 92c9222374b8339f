from dataclasses import replace
from typing import Any

import pytest

from byoc.bootstrap.aws import Identity
from byoc.bootstrap.preflight import JUDGES, Plan, judge
from byoc.bootstrap.survey.look import ADDONS
from byoc.bootstrap.survey.seen import Bucket, Permit, Quota, Releases, Survey
from byoc.cell.args import GivenSubnet, GivenVpc, Nat, NewVpc
from byoc.model.check import Check, Result, failed

REGION = "eu-west-1"
ZONES = tuple(f"{REGION}{letter}" for letter in "abc")
NAMES = (
    "credentials",
    "zones",
    "kubernetes",
    "network",
    "quotas",
    "service-linked roles",
    "buckets",
    "permissions",
)
PLENTY = Quota(0, 100)
SEEN = Survey(
    identity=Identity("123456789012", "arn:aws:iam::123456789012:user/eve"),
    region=REGION,
    zones=ZONES,
    releases=Releases(("1.33", "1.34"), "1.34.2-20261101", dict.fromkeys(ADDONS, "v1")),
    other_ranges={"vpc-1": ("172.31.0.0/16",)},
    quotas=dict.fromkeys(
        (
            "VPCs",
            "elastic addresses",
            "NAT gateways in a zone",
            "interface endpoints in a VPC",
            "EKS clusters",
            "vCPUs of standard instances",
        ),
        PLENTY,
    ),
    linked_roles={"eks.amazonaws.com": True},
    buckets={"byoc-a-123456789012-data": Bucket.FREE},
    permits={"ec2:CreateVpc": Permit.ALLOWED},
)
PLAN = Plan(kubernetes="1.34", zones=(), network=NewVpc(), endpoints=12)


def seen(**changes: Any) -> Survey:
    return replace(SEEN, **changes)


def check_of(name: str, survey: Survey = SEEN, plan: Plan = PLAN) -> Check:
    (found,) = [check for check in judge(survey, plan) if check.name == name]
    return found


def vpc(**changes: Any) -> GivenVpc:
    subnets = tuple(
        GivenSubnet(id=f"subnet-{n}", cidr=f"10.0.{n}.0/24", zone=ZONES[n], route_table_id="rtb-1", **changes)
        for n in range(3)
    )
    return GivenVpc(id="vpc-9", cidrs=("10.0.0.0/16",), subnets=subnets, owner="123456789012")


def test_an_account_that_fits_passes_every_check() -> None:
    assert {check.name: check.result for check in judge(SEEN, PLAN)} == dict.fromkeys(NAMES, Result.PASS)


@pytest.mark.parametrize(
    ("name", "survey", "plan", "result", "words"),
    [
        (
            "credentials",
            seen(identity=Identity("123456789012", "arn:aws:iam::123456789012:root")),
            PLAN,
            Result.WARN,
            "root user",
        ),
        ("zones", seen(zones=ZONES[:2]), PLAN, Result.FAIL, "has 2 zones, a cell needs 3"),
        ("zones", SEEN, replace(PLAN, zones=("eu-west-1z",)), Result.FAIL, "eu-west-1z is not open"),
        ("kubernetes", SEEN, replace(PLAN, kubernetes="1.20"), Result.FAIL, "no version 1.20"),
        (
            "kubernetes",
            seen(releases=replace(SEEN.releases, ami_release="")),
            PLAN,
            Result.FAIL,
            "no machine image",
        ),
        (
            "kubernetes",
            seen(releases=replace(SEEN.releases, addons={})),
            PLAN,
            Result.FAIL,
            "EKS offers no vpc-cni",
        ),
        (
            "network",
            seen(other_ranges={"vpc-7": ("10.20.128.0/20",)}),
            PLAN,
            Result.WARN,
            "overlaps VPC vpc-7",
        ),
        (
            "network",
            SEEN,
            replace(PLAN, network=vpc(has_egress=False)),
            Result.WARN,
            "no way out",
        ),
        ("network", SEEN, replace(PLAN, network=vpc()), Result.PASS, "vpc-9, 3 private subnets"),
        (
            "quotas",
            seen(quotas=SEEN.quotas | {"elastic addresses": Quota(4, 5)}),
            PLAN,
            Result.FAIL,
            "elastic addresses: 3 needed, 1 of 5 free",
        ),
        (
            "quotas",
            seen(quotas=SEEN.quotas | {"elastic addresses": Quota(4, 5)}),
            replace(PLAN, network=NewVpc(nat=Nat.SINGLE)),
            Result.PASS,
            "elastic addresses 1",
        ),
        (
            "quotas",
            seen(quotas=SEEN.quotas | {"EKS clusters": Quota(None, 100)}),
            PLAN,
            Result.UNKNOWN,
            "EKS clusters",
        ),
        (
            "service-linked roles",
            seen(
                linked_roles={"eks.amazonaws.com": False},
                permits={"iam:CreateServiceLinkedRole": Permit.DENIED},
            ),
            PLAN,
            Result.FAIL,
            "you may not make one",
        ),
        (
            "service-linked roles",
            seen(linked_roles={"eks.amazonaws.com": None}),
            PLAN,
            Result.UNKNOWN,
            "may not be read",
        ),
        (
            "service-linked roles",
            seen(linked_roles={"eks.amazonaws.com": False}),
            PLAN,
            Result.PASS,
            "AWS makes those",
        ),
        ("buckets", seen(buckets={"b": Bucket.TAKEN}), PLAN, Result.FAIL, "another account"),
        ("buckets", seen(buckets={"b": Bucket.OURS}), PLAN, Result.WARN, "earlier cell"),
        ("buckets", seen(buckets={"b": Bucket.UNKNOWN}), PLAN, Result.UNKNOWN, "does not tell"),
        (
            "permissions",
            seen(permits={"eks:CreateCluster": Permit.DENIED}),
            PLAN,
            Result.FAIL,
            "you may not eks:CreateCluster",
        ),
        (
            "permissions",
            seen(permits={"a:B": Permit.ALLOWED, "c:D": Permit.UNKNOWN}),
            PLAN,
            Result.UNKNOWN,
            "1 of 2 actions are allowed",
        ),
    ],
)
def test_what_stands_in_the_way_is_named(
    name: str, survey: Survey, plan: Plan, result: Result, words: str
) -> None:
    check = check_of(name, survey, plan)
    assert check.result is result, check
    assert words in check.detail
    if result is Result.FAIL:
        assert check.action


def test_a_long_list_of_denied_actions_is_cut_and_counted() -> None:
    denied = {f"ec2:Do{n:02}": Permit.DENIED for n in range(20)}
    assert check_of("permissions", seen(permits=denied)).detail.endswith("ec2:Do07 and 12 more")


def test_what_a_begun_cell_has_already_does_not_count_against_it() -> None:
    survey = seen(
        existing=True,
        other_ranges={"vpc-of-the-cell": ("10.20.0.0/16",)},
        quotas=SEEN.quotas | {"elastic addresses": Quota(5, 5)},
        buckets={"b": Bucket.OURS},
    )
    assert failed(judge(survey, PLAN)) == []
    assert check_of("buckets", survey).result is Result.PASS


def test_each_judge_gives_a_check_of_its_own_name() -> None:
    names = [check.name for check in judge(SEEN, PLAN)]
    assert len(set(names)) == len(JUDGES)
