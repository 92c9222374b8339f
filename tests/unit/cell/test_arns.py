"""What is named before it exists stays within AWS's own limits and belongs to one cell."""

import re
from typing import Any

import pytest
from hypothesis import given

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.naming import LIMITS, physical
from byoc.errors import UsageError
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, cell, cells

LONGEST = "a" * 24


def _names(args: CellArgs) -> dict[str, str]:
    buckets: Any = arns.BUCKETS
    return {
        **{f"bucket {each}": arns.bucket_name(args, each) for each in buckets},
        **{f"role {each}": arns.role_name(args, each) for each in arns.ROLES},
        "boundary": arns.boundary_name(args),
        "cluster": arns.cluster_name(args),
        "installer": arns.function_name(args, "installer"),
        "control": arns.function_name(args, "control"),
        "alias": arns.key_alias(args),
        "domain": arns.domain(args),
    }


@given(args=cells())
def test_every_name_says_whose_it_is_and_no_two_are_alike(args: CellArgs) -> None:
    names = _names(args)
    assert all(args.name in name for name in names.values())
    roles = [name for kind, name in names.items() if kind.startswith("role")]
    assert len(set(roles)) == len(roles)


def test_the_longest_name_of_a_cell_fits_everywhere() -> None:
    names = _names(cell(name=LONGEST))
    assert all(len(name) <= LIMITS["bucket"] for kind, name in names.items() if "bucket" in kind)
    assert all(len(name) <= LIMITS["iam-role"] for kind, name in names.items() if "role" in kind)


def test_a_bucket_of_another_account_has_another_name() -> None:
    assert arns.bucket_name(cell(), "data") == f"byoc-main-data-{ACCOUNT}"


def test_a_name_that_aws_would_refuse_late_is_refused_early() -> None:
    with pytest.raises(UsageError, match="AWS allows 64"):
        physical("lambda", "main", "x" * 64)


def test_given_roles_keep_their_arns_and_their_names_without_the_path() -> None:
    args = EXAMPLES["given"]
    assert arns.role_arn(args, "flow_logs") == f"arn:aws:iam::{ACCOUNT}:role/cells/flow-logs"
    assert arns.role_name(args, "flow_logs") == "flow-logs"
    assert arns.boundary_name(args) == "our-boundary"


@given(args=cells())
def test_arns_name_the_partition_the_region_and_the_account(args: CellArgs) -> None:
    facts = args.facts
    for arn in (
        arns.cluster_arn(args),
        arns.function_arn(args, "installer"),
        arns.log_group_arn(args, "flow"),
    ):
        assert re.match(rf"arn:{facts.partition}:[a-z]+:{facts.region}:{facts.account}:", arn)
    assert arns.role_arn(args, "node").startswith(f"arn:{facts.partition}:iam::{facts.account}:role/byoc-")
    assert arns.bucket_arn(args, "data").startswith(f"arn:{facts.partition}:s3:::byoc-")
