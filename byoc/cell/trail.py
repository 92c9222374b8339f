"""Compares what was granted with what a CloudTrail export says was used. Pure.

Read by ``byoc cell permissions --observed``. The invariant: an event is judged against the one holder
whose call it was, and what a trail never shows is not reported as unused.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from byoc.cell.granted import holders
from byoc.errors import UsageError

_VERSION: Final = re.compile(r"\d{8}(v\d+)?$")
"""Lambda's events carry the version of its API."""
_SERVICES: Final = {"monitoring": "cloudwatch"}
"""Name of a service in its events, where IAM has another."""
_NAMES: Final = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "s3:DeleteBucketPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:DeleteBucketTagging": "s3:PutBucketTagging",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "s3:GetBucketCors": "s3:GetBucketCORS",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycle": "s3:GetLifecycleConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutObjectLockConfiguration": "s3:PutBucketObjectLockConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}
"""Event to the action that allows it, where they have different names (S3 user guide, "Required
permissions for Amazon S3 API operations")."""
SILENT: Final = frozenset(
    {
        "iam:PassRole",
        "lambda:InvokeFunction",
        "route53:AssociateVPCWithHostedZone",
        "s3:BypassGovernanceRetention",
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:GetObject",
        "s3:PutObject",
    }
)
"""Actions that a trail does not show, unless it was told to: rights within other calls, and data events."""
_DENIED: Final = ("AccessDenied", "UnauthorizedOperation", "UnauthorizedAccess")
_OURS: Final = "AWSServiceRoleFor"


@dataclass(frozen=True, slots=True)
class Event:
    """One call in a trail.

    Attributes:
        action: as IAM names it.
        caller: ARN of who called.
    """

    action: str
    caller: str
    denied: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """What a trail says of one holder.

    Attributes:
        holder: as in ``granted.Difference``.
        events: how many calls were its.
        missing: actions that were used or tried and are not granted.
        denied: actions that AWS refused at least once.
        unused: actions that are granted and were not used, of those that a trail shows.
    """

    holder: str
    events: int
    missing: tuple[str, ...]
    denied: tuple[str, ...]
    unused: tuple[str, ...]


def events(text: str) -> list[Event]:
    """Return the calls in an export: a file of a trail, or what ``aws cloudtrail lookup-events`` prints.

    Raises:
        UsageError: ``text`` is neither.
    """
    try:
        value = json.loads(text)
        found = value.get("Records", value.get("Events")) if isinstance(value, Mapping) else value
        records = [_record(each) for each in found]
        return [event for each in records if (event := _event(each)) is not None]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            "that is no export of CloudTrail",
            hint="aws cloudtrail lookup-events --output json > FILE, or a file of the trail's bucket",
        ) from error


def _record(each: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = each.get("CloudTrailEvent")
    record: Mapping[str, Any] = json.loads(inner) if inner else each
    return record


def _event(record: Mapping[str, Any]) -> Event | None:
    action = action_of(record["eventSource"], record["eventName"])
    who = record.get("userIdentity") or {}
    caller = str(who.get("arn", ""))
    if who.get("type") == "AWSService" or not caller or f"/{_OURS}" in caller:
        return None
    code = str(record.get("errorCode", ""))
    return Event(action, caller, denied=any(one in code for one in _DENIED))


def action_of(source: str, name: str) -> str:
    """Return the action that allows an event, such as ``s3:ListBucket`` for ``HeadBucket``."""
    service = source.partition(".")[0]
    action = f"{_SERVICES.get(service, service)}:{_VERSION.sub('', name)}"
    return _NAMES.get(action, action)


def compare(said: Mapping[str, Any], found: Iterable[Event], *, principal: str = "") -> list[Observed]:
    """Return for each holder in a report what ``found`` says of it, those without a call left out.

    Args:
        said: a report of ``granted``.
        found: the calls.
        principal: part of the ARN of whoever ran bootstrap; empty for everybody who is no role of the cell.

    Raises:
        UsageError: ``said`` is no report.
    """
    names = {role["name"]: f"role {which}" for which, role in said["roles"].items()}
    calls: dict[str, list[Event]] = {}
    for each in found:
        holder = names.get(_role_name(each.caller), "")
        if holder or principal in each.caller:
            calls.setdefault(holder or "bootstrap", []).append(each)
    granted = {holder: actions for holder, (actions, _) in holders(said).items()}
    return list(_judged(granted, calls))


def _judged(granted: Mapping[str, frozenset[str]], calls: Mapping[str, list[Event]]) -> Iterator[Observed]:
    for holder, made in sorted(calls.items()):
        may = granted[holder]
        seen = {each.action for each in made}
        # Whoever makes a cell may be who destroys it, breaks its glass or rules it.
        apart = granted["delete"] | granted["breakglass"] | granted["control"]
        known = may | (apart if holder == "bootstrap" else frozenset())
        # What AWS's own policies allow is not said here, so nothing can be said to be missing.
        managed = any(action.startswith("policy ") for action in may)
        yield Observed(
            holder=holder,
            events=len(made),
            missing=() if managed else tuple(sorted(seen - known)),
            denied=tuple(sorted({each.action for each in made if each.denied})),
            unused=tuple(sorted(one for one in may - seen - SILENT if not one.startswith("policy "))),
        )


def _role_name(arn: str) -> str:
    parts = arn.split("/")
    return parts[1] if ":assumed-role/" in arn else ""
