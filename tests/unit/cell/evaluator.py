"""Decides as IAM does whether a role may do something: its policies and its boundary, with conditions.

The emulated IAM of the other tests ignores boundaries and conditions, so promises about them are proved
here (IAM user guide, "Policy evaluation logic"). An operator that is not known here is an error.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from byoc.clock import parse_stamp

Verdict = Literal["allowed", "denied", "not mentioned"]
Context = Mapping[str, str | tuple[str, ...]]
Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What somebody asks for; ``context`` holds the condition keys AWS would know."""

    action: str
    resource: str = "*"
    context: Context = field(default_factory=dict)
    principal: str = ""


def judge(policy: Policy, request: Request) -> Verdict:
    """Return what one policy says of a request: a denial before anything else."""
    effects = {each["Effect"] for each in policy["Statement"] if _concerns(each, request)}
    if "Deny" in effects:
        return "denied"
    return "allowed" if "Allow" in effects else "not mentioned"


def may(request: Request, identity: Iterable[Policy], boundary: Policy | None = None) -> bool:
    """Whether a role with these policies, within this boundary, gets what it asks for."""
    verdicts = [judge(policy, request) for policy in identity]
    limit = "allowed" if boundary is None else judge(boundary, request)
    return "denied" not in verdicts and "allowed" in verdicts and limit == "allowed"


def _concerns(statement: Policy, request: Request) -> bool:
    if "NotAction" in statement:
        about = not _acts(statement["NotAction"], request.action)
    else:
        about = _acts(statement["Action"], request.action)
    return (
        about
        and _is_for(statement.get("Principal"), request.principal)
        and ("Resource" not in statement or _one_of(statement["Resource"], request.resource, request.context))
        and all(
            _holds(operator, key, wanted, request.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _is_for(principal: Any, asking: str) -> bool:
    if principal is None:
        return True
    named = _list(next(iter(principal.values())))
    # A whole account stands for whoever its IAM lets.
    account = re.sub(r"(arn:[^:]+:iam::\d+):.*", r"\1:root", asking)
    return "*" in named or asking in named or account in named


def _holds(operator: str, key: str, wanted: Any, context: Context) -> bool:
    known = context.get(key)
    if operator == "Null":
        return (known is None) == (wanted == "true")
    if operator.startswith("ForAllValues:"):
        return all(
            _compares(operator.removeprefix("ForAllValues:"), one, wanted, context) for one in _list(known)
        )
    if known is None:
        return "Not" in operator or operator.endswith("IfExists")
    return _compares(operator.removesuffix("IfExists"), known, wanted, context)


def _compares(operator: str, known: Any, wanted: Any, context: Context) -> bool:
    match operator:
        case "StringEquals" | "Bool":
            return known in [_filled(each, context) for each in _list(wanted)]
        case "StringNotEquals":
            return known not in _list(wanted)
        case "StringLike" | "ArnLike" | "ArnEquals":
            return _one_of(wanted, known, context)
        case "DateGreaterThanEquals":
            return parse_stamp(known) >= parse_stamp(wanted)
    raise AssertionError(f"the evaluator does not know {operator}")


def _one_of(patterns: Any, value: str, context: Context | None = None) -> bool:
    return any(_like(_filled(each, context or {}), value) for each in _list(patterns))


def _acts(patterns: Any, action: str) -> bool:
    """Actions are compared whatever their case is."""
    return any(_like(each.lower(), action.lower()) for each in _list(patterns))


def _like(pattern: str, value: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value) is not None


def _filled(pattern: str, context: Context) -> str:
    """Put values in the place of ``${…}``; a variable without a value matches nothing."""
    return re.sub(r"\$\{([^}]+)\}", lambda found: str(context.get(found[1], "\0")), pattern)


def _list(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
