"""A customer's own role for engines: right, or refused with what to change, before anything is changed."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from byoc.bootstrap.aws import Account
from byoc.bootstrap.survey.identities import check_engines_role
from byoc.cell import policies
from byoc.cell.args import CellArgs
from byoc.cell.arns import cluster_name, provider_arn
from byoc.model.check import Check, Result
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, OWN_ENGINE, ROLE_ARNS, cell

THEIRS = f"arn:aws:iam::{ACCOUNT}:role/cells/engine"
ARGS = cell(engine=OWN_ENGINE, roles=replace(ROLE_ARNS, engine=THEIRS))
CLUSTERS_ROLE = f"arn:aws:iam::{ACCOUNT}:role/cells/cluster"


def judged(account: Account, args: CellArgs = ARGS) -> Check:
    (found,) = check_engines_role(account, args)
    return found


def cluster(account: Account) -> str:
    """Make the cell's cluster; return who makes its tokens."""
    config = {"subnetIds": [], "securityGroupIds": []}
    made = account.client("eks").create_cluster(
        name=cluster_name(ARGS), roleArn=CLUSTERS_ROLE, resourcesVpcConfig=config
    )["cluster"]
    return str(made["identity"]["oidc"]["issuer"]).removeprefix("https://")


def provider(account: Account, issuer: str) -> None:
    account.client("iam").create_open_id_connect_provider(
        Url=f"https://{issuer}", ClientIDList=["sts.amazonaws.com"], ThumbprintList=["0" * 40]
    )


def role(account: Account, issuer: str) -> None:
    trust = policies.trust(ARGS, "engine", issuer=issuer).text()
    account.client("iam").create_role(RoleName="engine", Path="/cells/", AssumeRolePolicyDocument=trust)


@pytest.mark.parametrize(
    "args", [*EXAMPLES.values(), cell(engine=OWN_ENGINE, roles=ROLE_ARNS)], ids=[*EXAMPLES, "without"]
)
def test_nothing_is_said_where_no_engines_role_was_given(account: Account, args: CellArgs) -> None:
    assert list(check_engines_role(account, args)) == []


def test_a_role_that_trusts_the_cells_cluster_is_right(account: Account, changes: list[str]) -> None:
    issuer = cluster(account)
    provider(account, issuer)
    role(account, issuer)
    changes.clear()
    found = judged(account)
    assert (found.name, found.result) == ("engines' role", Result.PASS)
    assert found.detail == f"{THEIRS} trusts {provider_arn(ARGS, issuer)}"
    assert changes == []


def test_no_role_can_be_right_before_there_is_a_cluster(account: Account) -> None:
    role(account, "oidc.eks.eu-west-1.amazonaws.com/id/SOMETHING")
    found = judged(account)
    assert found.result is Result.FAIL
    assert "leave `engine` out of the roles" in found.action


def _nothing(_: Account, __: str) -> None:
    """Leave it out."""


def _anothers(account: Account, issuer: str) -> None:
    role(account, f"{issuer}X")


@pytest.mark.parametrize(
    ("vouch", "make", "detail", "action"),
    [
        (provider, _nothing, "is not there", "byoc cell permissions"),
        (_nothing, role, "IAM has no provider", "create-open-id-connect-provider --url https://"),
        (provider, _anothers, "does not trust this cell's cluster", "its trust policy must name"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(
    account: Account,
    vouch: Callable[[Account, str], None],
    make: Callable[[Account, str], None],
    detail: str,
    action: str,
) -> None:
    issuer = cluster(account)
    vouch(account, issuer)
    make(account, issuer)
    found = judged(account)
    assert found.result is Result.FAIL
    assert detail in found.detail
    assert action in found.action


def test_a_role_that_trusts_others_by_another_statement_is_read_whole(account: Account) -> None:
    issuer = cluster(account)
    provider(account, issuer)
    role(account, issuer)
    iam = account.client("iam")
    trust: dict[str, Any] = json.loads(policies.trust(ARGS, "engine", issuer=issuer).text())
    trust["Statement"].insert(
        0,
        {"Effect": "Deny", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"},
    )
    iam.update_assume_role_policy(RoleName="engine", PolicyDocument=json.dumps(trust))
    assert judged(account).result is Result.PASS


@pytest.mark.parametrize(
    ("condition", "what"),
    [
        ({}, "aud"),
        ({"StringEquals": {"{issuer}:aud": "sts.amazonaws.com"}}, "sub"),
        (
            {
                "StringEquals": {"{issuer}:aud": "sts.amazonaws.com"},
                "StringLike": {"{issuer}:sub": "system:serviceaccount:*:*"},
            },
            "sub",
        ),
    ],
)
def test_a_role_that_trusts_too_many_of_the_clusters_tokens_is_refused_with_what_to_ask_of_them(
    account: Account, condition: dict[str, dict[str, str]], what: str
) -> None:
    issuer = cluster(account)
    provider(account, issuer)
    role(account, issuer)
    trust: dict[str, Any] = json.loads(policies.trust(ARGS, "engine", issuer=issuer).text())
    trust["Statement"][0]["Condition"] = {
        operator: {key.format(issuer=issuer): value for key, value in keys.items()}
        for operator, keys in condition.items()
    }
    account.client("iam").update_assume_role_policy(RoleName="engine", PolicyDocument=json.dumps(trust))
    found = judged(account)
    assert found.result is Result.FAIL
    assert f"too many tokens of {provider_arn(ARGS, issuer)}: their `{what}`" in found.detail
    assert "`sub` is like system:serviceaccount:byoc-ws-*:cluster" in found.action


def test_a_role_that_trusts_another_cluster_besides_is_refused(account: Account) -> None:
    issuer = cluster(account)
    provider(account, issuer)
    role(account, issuer)
    trust: dict[str, Any] = json.loads(policies.trust(ARGS, "engine", issuer=issuer).text())
    (more,) = json.loads(policies.trust(ARGS, "engine", issuer=f"{issuer}X").text())["Statement"]
    trust["Statement"].append(more | {"Sid": "Another"})
    account.client("iam").update_assume_role_policy(RoleName="engine", PolicyDocument=json.dumps(trust))
    found = judged(account)
    assert found.result is Result.FAIL
    assert "another cluster than the cell's" in found.detail


def test_whoever_may_not_look_is_not_stopped(account: Account) -> None:
    issuer = cluster(account)
    provider(account, issuer)

    def refused(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetRole")

    account.client("iam").get_role = refused
    found = judged(account)
    assert (found.result, "AccessDenied" in found.detail) == (Result.UNKNOWN, True)
