import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from byoc.bootstrap import record, state
from byoc.bootstrap.aws import Account
from byoc.bootstrap.engine.find import Pulumi
from byoc.bootstrap.engine.session import Run
from byoc.bootstrap.flow import Asked, Bootstrap, Tools, check_step
from byoc.bootstrap.record import Record, Stage
from byoc.bootstrap.survey.seen import Bucket
from byoc.cell import config
from byoc.cell.args import GivenVpc
from byoc.cell.images import table
from byoc.errors import ByocError, PreconditionFailed, Unreachable
from byoc.model.check import Check, Result, failed
from byoc.testing.clock import ManualClock
from tests.bootstrap.test_survey import answers, vpc

__all__ = ["vpc"]  # a fixture

IMAGE = {"agentRepository": "registry.example/agent", "agentDigest": f"sha256:{'a' * 64}"}
SETTINGS: Mapping[str, Any] = {
    "name": "sales",
    "region": "eu-west-1",
    "gatewayUrl": "wss://gateway.example/nimbus/v1",
    **IMAGE,
}
REACHED = Check("gateway", Result.PASS, "gateway.example:443 answers by TLS 1.3")


@pytest.fixture(autouse=True)
def _may_do_all(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(**asked: Any) -> dict[str, Any]:
        names = asked["ActionNames"]
        return {"EvaluationResults": [{"EvalActionName": one, "EvalDecision": "allowed"} for one in names]}

    monkeypatch.setattr(account.client("iam"), "simulate_principal_policy", simulate)


def flow(
    account: Account, tmp_path: Path, *, reach: Check = REACHED, asked: Asked | None = None, **settings: Any
) -> Bootstrap:
    run = Run(
        pulumi=Pulumi(tmp_path / "no-engine", (3, 259, 0)),
        home=tmp_path / "home",
        folder=tmp_path / "run",
        hostname="here",
        tell=lambda _: None,
    )
    tools = Tools(
        run=lambda: run,
        hostname="here",
        clock=ManualClock(),
        actions=lambda _: ("eks:CreateCluster",),
        reach=lambda _: reach,
    )
    return Bootstrap(account, asked or Asked(settings={**SETTINGS, **settings}), tools)


def test_what_nobody_said_is_looked_up_in_the_account(account: Account, tmp_path: Path) -> None:
    prepared = flow(account, tmp_path).prepare()
    facts = prepared.args.facts
    assert (facts.account, facts.region, facts.assumed) == (account.identity.account, "eu-west-1", False)
    assert facts.zones == ("eu-west-1a", "eu-west-1b", "eu-west-1c")
    assert (facts.kubernetes, facts.ami_release) == ("1.34", "1.34.2-20261101")
    assert facts.addons["vpc-cni"] == "v1.2.3"
    assert [check.name for check in prepared.checks if check.result is Result.FAIL] == []
    flow(account, tmp_path).refuse(prepared)


def test_a_given_vpc_is_looked_at_and_decides_the_zones(
    account: Account, tmp_path: Path, vpc: Mapping[str, Any]
) -> None:
    account.client("ec2").associate_route_table(RouteTableId=vpc["table"], SubnetId=vpc["subnets"][2])
    asked = Asked(settings=SETTINGS, vpc_id=vpc["id"], subnet_ids=tuple(vpc["subnets"]))
    prepared = flow(account, tmp_path, asked=asked).prepare()
    assert isinstance(prepared.args.network, GivenVpc)
    assert prepared.args.network.id == vpc["id"]


def standing(account: Account, values: Mapping[str, Any], stage: Stage = Stage.CONNECTED) -> None:
    state.make(account)
    objects = state.backend(account).objects
    record.write(
        objects, Record(cell="sales", version="0.0.9", stage=stage, values=values, actions=("a:Old",))
    )


PINNED = {"amiRelease": "1.34.0-20250101", "cidr": "10.99.0.0/16"}


def test_a_second_run_keeps_what_the_first_one_settled(account: Account, tmp_path: Path) -> None:
    standing(account, PINNED)
    args = flow(account, tmp_path).prepare().args
    assert args.facts.ami_release == PINNED["amiRelease"]
    assert getattr(args.network, "cidr") == PINNED["cidr"]  # noqa: B009 - one of two kinds of network


def test_an_upgrade_takes_what_aws_offers_now_and_keeps_what_was_chosen(
    account: Account, tmp_path: Path
) -> None:
    standing(account, PINNED)
    args = flow(account, tmp_path, asked=Asked(settings=SETTINGS, fresh=True)).prepare().args
    assert args.facts.ami_release == "1.34.2-20261101"
    assert getattr(args.network, "cidr") == PINNED["cidr"]  # noqa: B009 - one of two kinds of network


def test_an_upgrade_brings_the_new_releases_client_unless_somebody_named_another(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unnamed = {name: value for name, value in SETTINGS.items() if not name.startswith("agent")}
    image = {"repository": "ghcr.io/byoc/agent", "digest": f"sha256:{'1' * 64}"}
    monkeypatch.setitem(table(), "agent", image)
    first = flow(account, tmp_path, asked=Asked(settings=unnamed)).prepare().args
    standing(account, config.to_mapping(first))
    newer = f"sha256:{'2' * 64}"
    monkeypatch.setitem(table(), "agent", {**image, "digest": newer})
    asked = Asked(settings={"name": "sales"}, fresh=True)
    assert flow(account, tmp_path, asked=asked).prepare().args.agent.digest == newer
    standing(account, config.to_mapping(first) | IMAGE)
    assert flow(account, tmp_path, asked=asked).prepare().args.agent.digest == IMAGE["agentDigest"]


def test_an_upgrade_shows_what_is_newly_to_be_allowed(account: Account, tmp_path: Path) -> None:
    standing(account, PINNED)
    bootstrap = flow(account, tmp_path)
    assert bootstrap.permission_diff(bootstrap.prepare()) == (["eks:CreateCluster"], ["a:Old"])


def test_a_destroyed_cell_of_the_same_name_settles_nothing(account: Account, tmp_path: Path) -> None:
    standing(account, PINNED, Stage.DESTROYED)
    assert flow(account, tmp_path).prepare().args.facts.ami_release == "1.34.2-20261101"


def test_a_cell_that_stands_keeps_its_engine(account: Account, tmp_path: Path) -> None:
    image = f"registry.example/node@sha256:{'1' * 64}"
    wanted = {"engine": "singlestore", "engineImage": image, "operatorImage": image}
    asked = Asked(settings=SETTINGS | wanted)
    standing(account, PINNED)
    with pytest.raises(PreconditionFailed, match="no use to `singlestore`"):
        flow(account, tmp_path, asked=asked).prepare()
    standing(account, PINNED | wanted)
    assert flow(account, tmp_path).prepare().args.engine.image == image
    with pytest.raises(PreconditionFailed, match="no use to `mysql`"):
        flow(account, tmp_path, asked=Asked(settings=SETTINGS | {"engine": "mysql"})).prepare()
    standing(account, PINNED, Stage.DESTROYED)
    assert flow(account, tmp_path, asked=asked).prepare().args.engine.image == image


@pytest.mark.parametrize(
    ("now", "wanted", "words"),
    [("1.33", "1.35", "one minor version at a time"), ("1.34", "1.33", "cannot go back")],
)
def test_a_step_that_eks_does_not_make_is_refused(now: str, wanted: str, words: str) -> None:
    with pytest.raises(PreconditionFailed, match=words):
        check_step(now, wanted)


@pytest.mark.parametrize(("now", "wanted"), [("1.33", "1.33"), ("1.33", "1.34"), ("1.9", "1.10")])
def test_a_step_that_eks_makes_is_none_of_our_business(now: str, wanted: str) -> None:
    check_step(now, wanted)


Break = Callable[[Account, pytest.MonkeyPatch], None]


def nothing(_: Account, __: pytest.MonkeyPatch) -> None:
    """The account is as it should be."""


def two_zones(account: Account, patch: pytest.MonkeyPatch) -> None:
    zones = [{"ZoneName": f"eu-west-1{one}", "State": "available"} for one in "ab"]
    patch.setattr(
        account.client("ec2"), "describe_availability_zones", lambda **_: {"AvailabilityZones": zones}
    )


def region_closed(account: Account, patch: pytest.MonkeyPatch) -> None:
    def refused(**_: Any) -> None:
        raise answers("AuthFailure")

    patch.setattr(account.client("ec2"), "describe_availability_zones", refused)


def expired(account: Account, patch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise answers("ExpiredToken")

    patch.setattr(account.client("sts"), "get_caller_identity", refused)


def no_credentials(account: Account, patch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise NoCredentialsError

    patch.setattr(account.client("sts"), "get_caller_identity", refused)


def denied(account: Account, patch: pytest.MonkeyPatch) -> None:
    def simulate(**asked: Any) -> dict[str, Any]:
        names = asked["ActionNames"]
        return {
            "EvaluationResults": [{"EvalActionName": one, "EvalDecision": "implicitDeny"} for one in names]
        }

    patch.setattr(account.client("iam"), "simulate_principal_policy", simulate)


def small_quota(account: Account, _: pytest.MonkeyPatch) -> None:
    account.client("service-quotas").get_service_quota = lambda **_: {"Quota": {"Value": 2.0}}


def squatted(account: Account, patch: pytest.MonkeyPatch) -> None:
    def head(**asked: Any) -> None:
        raise answers("403" if "data" in asked["Bucket"] else "404")

    patch.setattr(account.client("s3"), "head_bucket", head)


@pytest.mark.parametrize(
    ("broken", "settings", "words"),
    [
        (nothing, {"cidr": "10.0.0.0/30"}, "a VPC of /30 does not fit a cell"),
        (nothing, {"cidr": "8.8.0.0/16"}, "no private range"),
        (nothing, {"cidr": "not-a-range"}, "no IPv4 range"),
        (two_zones, {}, "needs 3 availability zones"),
        (nothing, {"zones": ["eu-west-1a", "eu-west-1b", "eu-west-1q"]}, "eu-west-1q is not open"),
        (region_closed, {}, "region eu-west-1 does not know these credentials"),
        (expired, {}, "credentials have expired"),
        (no_credentials, {}, "no AWS credentials"),
        (denied, {}, "you may not eks:CreateCluster"),
        (small_quota, {}, "elastic addresses: 3 needed, 2 of 2 free"),
        (squatted, {}, "belongs to another account"),
        (nothing, {"kubernetes": "1.20"}, "EKS has no version 1.20"),
        (nothing, {"name": "Sales"}, "cannot be called `Sales`"),
        (nothing, {"keyArn": "arn:aws:kms:eu-west-1:999999999999:key/k"}, "not in account"),
        (nothing, {"nat": "none"}, "cannot reach its gateway"),
        (nothing, {"colour": "blue"}, "`colour` is no setting"),
    ],
)
def test_bad_input_is_refused_with_exit_9_before_anything_is_made(
    account: Account,
    changes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    broken: Break,
    settings: Mapping[str, Any],
    words: str,
) -> None:
    broken(account, monkeypatch)
    bootstrap = flow(account, tmp_path, **settings)
    with pytest.raises(PreconditionFailed) as refused:
        bootstrap.apply(bootstrap.prepare())
    assert words in refused.value.message
    assert refused.value.hint
    assert refused.value.exit_code == 9
    assert changes == []


@pytest.mark.parametrize(
    ("region", "words", "hint"),
    [
        ("eu-west-9", "AWS has no region `eu-west-9`", "did you mean eu-west-"),
        ("Ireland", "AWS has no region `Ireland`", "such as eu-west-1"),
        ("eu_west", "`eu_west` is no region", "such as eu-west-1"),
    ],
)
def test_a_region_that_does_not_exist_is_refused_with_one_that_does(
    account: Account, changes: list[str], tmp_path: Path, region: str, words: str, hint: str
) -> None:
    nowhere = Account(account._session, region)
    if "_" not in region:
        nowhere.client("sts").get_caller_identity = silent
    with pytest.raises(PreconditionFailed) as refused:
        flow(nowhere, tmp_path, region=region).prepare()
    assert words in refused.value.message
    assert hint in refused.value.hint
    assert refused.value.exit_code == 9
    assert changes == []


def test_a_region_that_exists_and_does_not_answer_is_a_matter_of_the_network(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(account.client("sts"), "get_caller_identity", silent)
    with pytest.raises(Unreachable):
        flow(account, tmp_path).prepare()


def silent() -> None:
    raise EndpointConnectionError(endpoint_url="https://sts.nowhere.example")


def test_a_gateway_that_does_not_answer_is_refused_before_anything_is_made(
    account: Account, changes: list[str], tmp_path: Path
) -> None:
    bootstrap = flow(
        account, tmp_path, reach=Check("gateway", Result.FAIL, "gateway.example:443 is silent", "look")
    )
    with pytest.raises(PreconditionFailed, match="443 is silent"):
        bootstrap.apply(bootstrap.prepare())
    assert changes == []


def test_a_vpc_of_another_account_is_refused_before_anything_is_made(
    account: Account,
    changes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    vpc: Mapping[str, Any],
) -> None:
    ec2 = account.client("ec2")
    known = ec2.describe_vpcs(VpcIds=[vpc["id"]])["Vpcs"]
    monkeypatch.setattr(ec2, "describe_vpcs", lambda **_: {"Vpcs": [{**known[0], "OwnerId": "999999999999"}]})
    changes.clear()
    asked = Asked(settings=SETTINGS, vpc_id=vpc["id"], subnet_ids=tuple(vpc["subnets"]))
    with pytest.raises(PreconditionFailed, match="belongs to account 999999999999"):
        flow(account, tmp_path, asked=asked).prepare()
    assert changes == []


def test_what_an_earlier_cell_left_is_told_and_does_not_stop_the_next(
    account: Account, tmp_path: Path
) -> None:
    prepared = flow(account, tmp_path).prepare()
    survey = replace(prepared.survey, buckets={"byoc-sales-data-1": Bucket.OURS})
    assert survey.buckets != prepared.survey.buckets
    name = next(name for name in prepared.survey.buckets if "data" in name)
    account.client("s3").create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    again = flow(account, tmp_path).prepare()
    (check,) = [check for check in again.checks if check.name == "buckets"]
    assert check.result is Result.WARN
    assert "left of an earlier cell" in check.detail


def test_an_error_of_the_preflight_is_one_of_ours(account: Account, tmp_path: Path) -> None:
    with pytest.raises(ByocError) as refused:
        flow(account, tmp_path, gatewayUrl="https://x").prepare()
    assert "no wss:// address" in refused.value.message


def test_who_could_not_deliver_directly_is_refused_before_anything_is_made(
    account: Account, tmp_path: Path, changes: list[str]
) -> None:
    admin = f"arn:aws:iam::{account.identity.account}:role/platform"
    in_vpc = flow(account, tmp_path).prepare()
    direct = flow(account, tmp_path, delivery="direct", administrators=[admin])
    prepared = direct.prepare()

    with pytest.raises(PreconditionFailed, match=r"delivery: .* is none of the cluster's administrators"):
        direct.refuse(prepared)

    assert "delivery" not in {check.name for check in in_vpc.checks}
    assert changes == []


def test_a_cell_that_another_run_is_at_is_left_alone(account: Account, tmp_path: Path) -> None:
    state.make(account)
    objects = state.backend(account).objects
    lock = {"pid": 7, "username": "anna", "hostname": "build-3", "timestamp": "2026-11-29T08:00:00Z"}
    objects.write(".pulumi/locks/organization/byoc/sales/one.json", json.dumps(lock).encode())
    another = flow(account, tmp_path)

    with pytest.raises(PreconditionFailed) as refused:
        another.apply(another.prepare())

    assert "locked by anna@build-3 (process 7) since 2026-11-29T08:00:00Z" in refused.value.message
    assert refused.value.exit_code == 9
    assert record.read(objects, "sales") is None, "the other run's record is its own"
    flow(account, tmp_path, name="other").refuse(flow(account, tmp_path, name="other").prepare())


def test_a_lock_of_a_process_that_died_here_holds_up_nobody(account: Account, tmp_path: Path) -> None:
    state.make(account)
    lock = {"pid": 2**22 + 1, "username": "anna", "hostname": "here", "timestamp": "2026-11-29T08:00:00Z"}
    key = ".pulumi/locks/organization/byoc/sales/one.json"
    state.backend(account).objects.write(key, json.dumps(lock).encode())

    again = flow(account, tmp_path)

    assert failed(again.prepare().checks) == []
