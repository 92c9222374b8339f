"""The words in which ``scopes`` and ``unmaking`` limit an action: resources by name, conditions by tag. Pure.

The invariant: a limit names the cell, its account and its region, unless AWS has no such thing to name.
"""

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.naming import CELL_TAG
from byoc.cell.statements import Conditions, Statement, Values


def anything(sid: str, why: str, actions: Values) -> Statement:
    """Return a statement on whatever there is, for actions that AWS ties to no resource."""
    return Statement(sid=sid, why=why, actions=actions, resources=("*",))


def made(sid: str, action: str, resources: Values, args: CellArgs) -> Statement:
    """Return a statement that makes something if it gets the cell's tag."""
    return Statement(
        sid=sid,
        why="everything is made with the cell's tag",
        actions=(action,),
        resources=resources,
        conditions=equal(f"aws:RequestTag/{CELL_TAG}", args.name),
    )


def equal(key: str, value: str | Values) -> Conditions:
    """Return the condition that ``key`` has this value, or one of these."""
    return {"StringEquals": {key: value}}


def new(tag: str, value: str) -> Conditions:
    """Return the condition that a thing gets this tag, and is no other cell's by the tag it has.

    Whoever may tag what is there could else make it his own. What has no tag of a cell's is as it would be
    when it is made: AWS tells the two apart for EC2 alone.
    """
    limits = equal(f"aws:RequestTag/{tag}", value)
    if tag == CELL_TAG:
        return {**limits, "StringEqualsIfExists": {f"aws:ResourceTag/{tag}": value}}
    return {**limits, "Null": {f"aws:ResourceTag/{CELL_TAG}": "true"}}


def tagged(args: CellArgs) -> Conditions:
    """Return the condition that a thing carries the cell's tag."""
    return equal(f"aws:ResourceTag/{CELL_TAG}", args.name)


def ec2(args: CellArgs, kind: str, name: str = "*") -> str:
    """Return the ARN of things of EC2's, by kind."""
    return f"{regional(args, 'ec2')}:{kind}/{name}"


def regional(args: CellArgs, service: str) -> str:
    """Return how the ARNs of a service begin."""
    return f"arn:{args.facts.partition}:{service}:{args.facts.region}:{args.facts.account}"


def iam(args: CellArgs) -> str:
    """Return how the ARNs of the account's roles and policies begin."""
    return f"arn:{args.facts.partition}:iam::{args.facts.account}"


def roles(args: CellArgs) -> Values:
    """Return the ARNs of the cell's roles, or of those that the customer made."""
    return tuple(sorted({arns.role_arn(args, which) for which in arns.roles(args)}))


def log_groups(args: CellArgs) -> Values:
    """Return the ARNs of the cell's log groups, with what is in them."""
    logs: tuple[arns.Log, ...] = ("breakglass", "cluster", "control", "flow", "installer")
    # With one star for the group and for what is in it: a policy has no room for both.
    return tuple(f"{arns.log_group_arn(args, which)}*" for which in logs)


def functions(args: CellArgs) -> Values:
    """Return the ARNs of the cell's functions."""
    both: tuple[arns.Function, ...] = ("control", "installer")
    return tuple(arns.function_arn(args, which) for which in both)
