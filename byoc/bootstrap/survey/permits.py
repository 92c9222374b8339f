"""Whether the caller may do what the cell's program will do, found out without doing it.

Two ways, as AWS has them: EC2's own dry run, which sees every layer but takes few actions, and IAM's
simulation, which takes every action but misses some conditions of service control policies. Neither
answers for all: what neither knows is unknown, never allowed.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from byoc.bootstrap.aws import Account, code_of
from byoc.bootstrap.survey.seen import Permit
from byoc.cell.grants import Use

_BATCH: Final = 50
"""Actions in one simulation; AWS takes more, but cuts the answer into pages."""
_TAG: Final = "aws:RequestTag/"
# Call, its arguments, and the kind of thing that its tags are on. What is made within another thing is not
# asked for so: it would be refused because there is no such thing, or because that is not the cell's.
_DRY_RUNS: Final[Mapping[str, tuple[str, Mapping[str, Any], str]]] = {
    "ec2:CreateVpc": ("create_vpc", {"CidrBlock": "10.20.0.0/16"}, "vpc"),
    "ec2:CreateInternetGateway": ("create_internet_gateway", {}, "internet-gateway"),
    "ec2:AllocateAddress": ("allocate_address", {"Domain": "vpc"}, "elastic-ip"),
}


def permits(
    account: Account, actions: Sequence[str], uses: Mapping[str, Use] = MappingProxyType({})
) -> dict[str, Permit]:
    """Return a verdict for each of ``actions``.

    ``uses`` says on what and with which tags each will be used; without it a caller who may use one on
    the cell's things only seems not to be allowed to.
    """
    verdicts = dict.fromkeys(actions, Permit.UNKNOWN)
    verdicts.update(_simulated(account, actions, uses))
    # A dry run is the real judgement of every layer: it overrules the simulation.
    for action in actions:
        if action in _DRY_RUNS:
            verdict = _dry_run(account, action, uses.get(action, _ANY))
            if verdict is not Permit.UNKNOWN:
                verdicts[action] = verdict
    return verdicts


_ANY: Final = Use("*", {})


def _dry_run(account: Account, action: str, use: Use) -> Permit:
    method, arguments, kind = _DRY_RUNS[action]
    tags = [
        {"Key": key.removeprefix(_TAG), "Value": value}
        for key, value in use.context.items()
        if key.startswith(_TAG)
    ]
    given = {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]} if tags else {}
    try:
        getattr(account.client("ec2"), method)(DryRun=True, **arguments, **given)
    except ClientError as error:
        code = code_of(error)
        if code == "DryRunOperation":
            return Permit.ALLOWED
        return Permit.DENIED if code == "UnauthorizedOperation" else Permit.UNKNOWN
    except BotoCoreError:
        return Permit.UNKNOWN
    return Permit.UNKNOWN


def _simulated(account: Account, actions: Sequence[str], uses: Mapping[str, Use]) -> dict[str, Permit]:
    source = _principal(account)
    if source is None:
        return {}
    if source.endswith(":root"):
        return dict.fromkeys(actions, Permit.ALLOWED)
    iam, verdicts = account.client("iam"), dict[str, Permit]()
    for use, batch in _batches(actions, uses):
        try:
            answer = iam.simulate_principal_policy(
                PolicySourceArn=source, ActionNames=batch, MaxItems=1000, **_about(use)
            )
        except (ClientError, BotoCoreError):
            return verdicts
        for result in answer["EvaluationResults"]:
            verdicts[result["EvalActionName"]] = _verdict(result)
    return verdicts


def _about(use: Use) -> dict[str, Any]:
    context = [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for key, value in use.context.items()
    ]
    return {"ResourceArns": [use.resource], "ContextEntries": context}


def _verdict(result: Mapping[str, Any]) -> Permit:
    if result["EvalDecision"] == "allowed":
        return Permit.ALLOWED
    # A condition on a value that the simulation was not given: it may well be met when it counts.
    if result["EvalDecision"] == "implicitDeny" and result.get("MissingContextValues"):
        return Permit.UNKNOWN
    return Permit.DENIED


def _batches(actions: Sequence[str], uses: Mapping[str, Use]) -> Iterator[tuple[Use, list[str]]]:
    """Put together what will be used alike, so that few calls do."""
    alike: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for action in actions:
        use = uses.get(action, _ANY)
        alike.setdefault((use.resource, tuple(sorted(use.context.items()))), []).append(action)
    for (resource, context), names in alike.items():
        for start in range(0, len(names), _BATCH):
            yield Use(resource, dict(context)), names[start : start + _BATCH]


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
