import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from byoc.bootstrap.finder import KNOWN
from byoc.cell.args import CellArgs, Delivery
from byoc.cell.permissions import (
    OPERATIONS,
    SOURCES,
    actions_of,
    kinds,
    needed,
    needed_for_state,
    table,
)
from byoc.errors import Failed
from tests.unit.cell import definitions
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, cell

HANDLERS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data" / "handler_permissions.json").read_text(encoding="utf-8")
)
DIRECT = cell(delivery=Delivery.DIRECT, administrators=(f"arn:aws:iam::{ACCOUNT}:role/admin",))
CELLS = {**EXAMPLES, "direct": DIRECT}


def rows() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for kind, facts in table()["types"].items():
        for operation in OPERATIONS:
            yield kind, operation, facts[operation]


@pytest.mark.parametrize("args", CELLS.values(), ids=CELLS)
def test_every_type_the_program_registers_is_mapped_for_every_operation(args: CellArgs) -> None:
    registered = [kind for kind in kinds(args) if kind.startswith("aws:")]
    assert registered
    for kind in registered:
        for operation in OPERATIONS:
            assert actions_of(kind, operation) or (kind, operation) in SILENT, (kind, operation)


SILENT = {
    ("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "delete"),
    ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "update"),
    ("aws:lambda/invocation:Invocation", "read"),
}
"""What asks AWS nothing: it goes with its VPC; it is replaced; an answer cannot be read again."""


def test_what_the_cluster_makes_asks_aws_nothing() -> None:
    assert actions_of("kubernetes:core/v1:Namespace", "create") == frozenset()
    assert any(kind.startswith("kubernetes:") for kind in kinds(DIRECT))


def test_a_type_that_nobody_mapped_is_named() -> None:
    with pytest.raises(Failed, match="aws:sns/topic:Topic"):
        actions_of("aws:sns/topic:Topic", "create")


def test_every_type_that_a_repair_can_find_is_mapped() -> None:
    assert not KNOWN - set(table()["types"])


def test_each_row_cites_where_it_is_from() -> None:
    for kind, facts in table()["types"].items():
        assert facts["provider"].endswith(".go"), kind
        assert facts["handler"] in HANDLERS["types"] or not facts["handler"], kind
    for kind, operation, row in rows():
        assert set(row) <= set(SOURCES), (kind, operation)
        assert all(row.values()), (kind, operation)
        assert all(isinstance(why, str) and why for why in row.get("service", {}).values())


def test_what_is_said_to_be_the_handlers_is_the_handlers() -> None:
    for kind, operation, row in rows():
        handler = table()["types"][kind]["handler"]
        if not handler:
            assert not row.get("handler")
            continue
        known = HANDLERS["types"][handler]
        assert set(row.get("handler", ())) <= set(known[operation]), (kind, operation)
        assert set(row.get("tagging", ())) <= set(known["tagging"]), (kind, operation)


def test_each_action_of_a_handler_is_taken_or_named_as_unused() -> None:
    """So that a new version of a handler shows what is new in it."""
    for handler, known in HANDLERS["types"].items():
        taken = {
            action
            for kind, facts in table()["types"].items()
            if facts["handler"] == handler
            for operation in OPERATIONS
            for action in actions_of(kind, operation)
        }
        wanted = {action for one in OPERATIONS for action in known[one] if not action.startswith("S3:")}
        assert wanted - taken == set(table()["unused"][handler]), handler


def test_the_table_names_the_version_of_the_handlers() -> None:
    assert HANDLERS["commit"].split()[0] in table()["sources"]["handler"]


def test_aws_knows_every_action_of_the_table() -> None:
    ours = {action for row in table()["ours"].values() for one in OPERATIONS for action in row[one]}
    mapped = {action for kind, operation, _ in rows() for action in actions_of(kind, operation)}  # type: ignore[arg-type]
    for action in sorted(ours | mapped):
        assert definitions.action(action) is not None, action


def test_what_reads_only_reads() -> None:
    for kind, operation, _ in rows():
        if operation == "read":
            for action in actions_of(kind, "read"):
                known = definitions.action(action)
                assert known is not None
                assert known["access_level"] in {"List", "Read"} or action == "kms:Decrypt", (kind, action)


def test_a_thing_that_aws_lets_be_tagged_when_made_comes_with_the_right_to() -> None:
    """AWS's reference names, for each action, others that the same call needs."""
    for args in CELLS.values():
        granted = set(needed(args))
        for action in granted:
            for facts in definitions.kinds(action).values():
                wanted = {one for one in facts["dependent_actions"] if not one.startswith(ELSEWHERE)}
                assert wanted <= granted, (action, wanted - granted)


ELSEWHERE = (
    "autoscaling:DescribeAccountLimits", "cloudformation:", "dynamodb:", "ecs:",
    "elasticloadbalancing:", "iam:GetAccountSummary", "kinesis:", "kms:PutKeyPolicy",
    "lambda:PassCapacityProvider", "rds:", "route53:GetAccountLimit", "ssm:GetParameters",
)  # fmt: skip
"""Of quotas, containers, capacity providers and image parameters that a cell does not use; and of keys
that are made with a policy, of which the key of the state is none."""


# --- what a cell needs ------------------------------------------------------------------------------------


def test_to_make_a_cell_needs_no_right_to_delete_it() -> None:
    deletes = set(needed(cell(), ("delete",))) - set(needed(cell()))
    assert {"ec2:DeleteVpc", "eks:DeleteCluster", "s3:DeleteBucket", "kms:ScheduleKeyDeletion"} <= deletes
    made = {action for action in needed(cell()) if ":Delete" in action}
    assert made == {
        "ec2:DeleteTags", "iam:DeletePolicyVersion", "lambda:DeleteFunctionConcurrency", "s3:DeleteObject",
    }  # fmt: skip
    assert "s3:DeleteObject" not in needed(cell(), state=False)


def test_what_the_customer_made_needs_no_right_to_make_it() -> None:
    given = set(needed(EXAMPLES["given"]))
    assert not {"ec2:CreateVpc", "ec2:CreateSubnet", "ec2:AllocateAddress"} & given
    assert not {"iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:CreatePolicy"} & given
    assert "kms:PutKeyPolicy" not in given
    assert {"iam:PassRole", "eks:CreateCluster", "ec2:CreateVpcEndpoint"} <= given


def test_without_nat_nobody_needs_the_right_to_a_public_address() -> None:
    without = set(needed(EXAMPLES["no-internet"]))
    assert not {"ec2:AllocateAddress", "ec2:CreateInternetGateway", "ec2:CreateNatGateway"} & without


def test_the_same_arguments_need_the_same() -> None:
    assert needed(cell()) == needed(replace(cell()))
    assert needed(cell()) == tuple(sorted(needed(cell())))


def test_the_state_needs_no_more_than_a_bucket_and_a_key() -> None:
    assert {action.partition(":")[0] for action in needed_for_state()} == {"s3", "kms"}
