"""Every call that bootstrap makes by itself, besides the engine, has a row in the table of rights."""

import ast
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

import byoc.bootstrap
from byoc.cell.grants import allowed, grants
from byoc.cell.permissions import OPERATIONS, actions_of, table
from byoc.cell.trail import action_of
from tests.unit.cell.examples import cell

FOLDER = Path(byoc.bootstrap.__file__).parent
SERVICES = (
    "autoscaling", "ec2", "ecr", "eks", "elbv2", "iam", "kms", "lambda", "logs", "route53", "s3",
    "service-quotas", "ssm", "sts",
)  # fmt: skip
PREFIX = {"elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}


def calls() -> dict[str, set[str]]:
    """Name of each method of a client of AWS's, to the actions that allow it: services share names."""
    session = botocore.session.get_session()
    found: dict[str, set[str]] = {}
    for service in SERVICES:
        prefix = PREFIX.get(service, service)
        for operation in session.get_service_model(service).operation_names:
            action = action_of(f"{prefix}.amazonaws.com", operation)
            found.setdefault(xform_name(operation), set()).add(action)
    return found


def named(path: Path) -> Iterator[str]:
    """What a module calls or names: a table holds methods as text."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def granted() -> set[str]:
    ours = {action for row in table()["ours"].values() for one in OPERATIONS for action in row[one]}
    types = {action for kind in table()["types"] for one in OPERATIONS for action in actions_of(kind, one)}
    return ours | types | set(allowed(grants(cell()), "breakglass"))


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_each_call_of_bootstraps_own_is_granted(path: Path) -> None:
    known, may = calls(), granted()
    lacking = {name for name in named(path) if name in known and not known[name] & may}
    assert not lacking, path


def test_breaking_the_glass_is_granted_by_its_own_policy() -> None:
    known, may = calls(), set(allowed(grants(cell()), "breakglass"))
    for path in (FOLDER / "breakglass").glob("*.py"):
        lacking = {name for name in named(path) if name in known and not known[name] & may}
        assert lacking <= {"delete_log_group"}, path  # with the whole cell, by who destroys it


def test_the_calls_are_found() -> None:
    found = {name for path in FOLDER.rglob("*.py") for name in named(path)} & set(calls())
    assert {"create_bucket", "simulate_principal_policy", "describe_vpcs", "delete_volume", "invoke"} <= found
