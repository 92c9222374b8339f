"""Bucket policies with their conditions: moto takes every statement as if it had none.

Requests of tests come over loopback with the account's own credentials; what AWS would know of them is
``REQUEST``. A statement whose condition does not hold for such a request does not apply to it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket

REQUEST: dict[str, str] = {
    "aws:SecureTransport": "true",
    "aws:PrincipalAccount": DEFAULT_ACCOUNT_ID,
    "aws:PrincipalIsAWSService": "false",
}
_OPERATORS: Mapping[str, Callable[[str, list[str]], bool]] = {
    "Bool": lambda value, wanted: value in wanted,
    "StringEquals": lambda value, wanted: value in wanted,
    "StringNotEquals": lambda value, wanted: value not in wanted,
}


def applies(statement: Mapping[str, Any], request: Mapping[str, str]) -> bool:
    """Whether every condition holds; an operator that is not known here holds, so that a denial stays one."""
    for operator, tests in statement.get("Condition", {}).items():
        judge = _OPERATORS.get(operator.removesuffix("IfExists"))
        for key, wanted in tests.items():
            values = wanted if isinstance(wanted, list) else [wanted]
            if key not in request:
                if operator.endswith("IfExists"):
                    continue
                return False
            if judge is not None and not judge(request[key], values):
                return False
    return True


def honour_conditions(request: Mapping[str, str] | None = None) -> Callable[[], None]:
    """Make the emulated S3 look at conditions; returns how to undo it."""
    before = FakeBucket.get_permission
    facts = {**REQUEST, **(request or {})}

    def get_permission(bucket: FakeBucket, action: str, resource: str) -> Any:
        if bucket.policy is None:
            return PermissionResult.NEUTRAL
        policy = json.loads(bucket.policy)
        statements = [one for one in policy["Statement"] if applies(one, facts)]
        if not statements:
            return PermissionResult.NEUTRAL
        return IAMPolicy(json.dumps(policy | {"Statement": statements})).is_action_permitted(action, resource)

    def undo() -> None:
        FakeBucket.get_permission = before  # type: ignore[method-assign]

    FakeBucket.get_permission = get_permission  # type: ignore[assignment,method-assign]
    return undo
