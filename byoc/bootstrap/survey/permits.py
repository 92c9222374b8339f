"""Whether the caller may do what the cell's program will do, found out without doing it.

Two ways, as AWS has them: EC2's own dry run, which sees every layer but takes few actions, and IAM's
simulation, which takes every action but misses some conditions of service control policies. Neither
answers for all: what neither knows is unknown, never allowed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from byoc.bootstrap.aws import Account, code_of
from byoc.bootstrap.survey.seen import Permit

_BATCH: Final = 50
"""Actions in one simulation; AWS takes more, but cuts the answer into pages."""
_NOWHERE: Final = "vpc-00000000000000000"
# One call each, whose arguments are refused after the permission was judged.
_DRY_RUNS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "ec2:CreateVpc": ("create_vpc", {"CidrBlock": "10.20.0.0/16"}),
    "ec2:CreateSubnet": ("create_subnet", {"VpcId": _NOWHERE, "CidrBlock": "10.20.0.0/24"}),
    "ec2:CreateInternetGateway": ("create_internet_gateway", {}),
    "ec2:AllocateAddress": ("allocate_address", {"Domain": "vpc"}),
    "ec2:CreateRouteTable": ("create_route_table", {"VpcId": _NOWHERE}),
    "ec2:CreateSecurityGroup": (
        "create_security_group",
        {"GroupName": "byoc", "Description": "byoc", "VpcId": _NOWHERE},
    ),
}


def permits(account: Account, actions: Sequence[str]) -> dict[str, Permit]:
    """Return a verdict for each of ``actions``."""
    verdicts = dict.fromkeys(actions, Permit.UNKNOWN)
    verdicts.update(_simulated(account, actions))
    # A dry run is the real judgement of every layer: it overrules the simulation.
    for action in actions:
        if action in _DRY_RUNS:
            verdict = _dry_run(account, action)
            if verdict is not Permit.UNKNOWN:
                verdicts[action] = verdict
    return verdicts


def _dry_run(account: Account, action: str) -> Permit:
    method, arguments = _DRY_RUNS[action]
    try:
        getattr(account.client("ec2"), method)(DryRun=True, **arguments)
    except ClientError as error:
        code = code_of(error)
        if code == "DryRunOperation":
            return Permit.ALLOWED
        return Permit.DENIED if code == "UnauthorizedOperation" else Permit.UNKNOWN
    except BotoCoreError:
        return Permit.UNKNOWN
    return Permit.UNKNOWN


def _simulated(account: Account, actions: Sequence[str]) -> dict[str, Permit]:
    source = _principal(account)
    if source is None:
        return {}
    if source.endswith(":root"):
        return dict.fromkeys(actions, Permit.ALLOWED)
    iam, verdicts = account.client("iam"), dict[str, Permit]()
    for batch in _batches(actions):
        try:
            answer = iam.simulate_principal_policy(PolicySourceArn=source, ActionNames=batch, MaxItems=1000)
        except (ClientError, BotoCoreError):
            return verdicts
        for result in answer["EvaluationResults"]:
            verdicts[result["EvalActionName"]] = _verdict(result)
    return verdicts


def _verdict(result: Mapping[str, Any]) -> Permit:
    if result["EvalDecision"] == "allowed":
        return Permit.ALLOWED
    # A condition on a value that the simulation was not given: it may well be met when it counts.
    if result["EvalDecision"] == "implicitDeny" and result.get("MissingContextValues"):
        return Permit.UNKNOWN
    return Permit.DENIED


def _batches(actions: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(actions), _BATCH):
        yield list(actions[start : start + _BATCH])


def _principal(account: Account) -> str | None:
    """Return the ARN whose policies count: the role behind a session; ``None`` if it cannot be found."""
    arn = account.identity.arn
    if ":assumed-role/" not in arn:
        return arn
    name = arn.split("/")[1]
    try:
        return str(account.client("iam").get_role(RoleName=name)["Role"]["Arn"])  # with its path
    except (ClientError, BotoCoreError):
        return f"arn:{account.identity.partition}:iam::{account.identity.account}:role/{name}"
