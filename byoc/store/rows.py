"""Values to columns and back, written out by hand: lists of workspaces are read at every poll.

Called by the verbs of a transaction. The invariant: what was written reads back equal.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from byoc.ids import WorkspaceID
from byoc.model.report import Attachments, Phase, Reason, WorkspaceReport
from byoc.model.spec import (
    AutoScale,
    AutoSuspend,
    Desired,
    GroupSpec,
    Sensitivity,
    SuspendType,
    UpdateWindow,
    WorkspaceSpec,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Looking a member up in a dict is several times faster than calling its class.
_DESIRED: Final = {member.value: member for member in Desired}
_SUSPEND: Final = {member.value: member for member in SuspendType}
_SENSITIVITY: Final = {member.value: member for member in Sensitivity}
_PHASE: Final = {member.value: member for member in Phase}
_REASON: Final = {member.value: member for member in Reason}


def to_number(moment: datetime) -> int:
    """Return microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def to_number_or_none(moment: datetime | None) -> int | None:
    """Return the same, None for None."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def to_moment(number: int) -> datetime:
    """Return the aware UTC moment."""
    return _EPOCH + timedelta(microseconds=number)


def to_moment_or_none(number: int | None) -> datetime | None:
    """Return the same, None for None."""
    return None if number is None else _EPOCH + timedelta(microseconds=number)


def dump(value: object) -> str:
    """Return JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def load_mapping(text: str | None) -> dict[str, str] | None:
    """Read a public key back."""
    return None if text is None else dict(json.loads(text))


def dump_workspace(spec: WorkspaceSpec) -> str:
    """Return a workspace's spec as text."""
    return dump(
        {
            "id": spec.id,
            "group_id": spec.group_id,
            "generation": spec.generation,
            "name": spec.name,
            "size": spec.size,
            "scale_factor": spec.scale_factor,
            "cache_config": spec.cache_config,
            "desired": spec.desired,
            "desired_generation": spec.desired_generation,
            "auto_suspend": [spec.auto_suspend.type, spec.auto_suspend.after_seconds],
            "auto_scale": [spec.auto_scale.max_scale_factor, spec.auto_scale.sensitivity],
            "enable_kai": spec.enable_kai,
        }
    )


def load_workspace(text: str) -> WorkspaceSpec:
    """Read what ``dump_workspace`` wrote."""
    read = json.loads(text)
    kind, after = read["auto_suspend"]
    most, sensitivity = read["auto_scale"]
    return WorkspaceSpec(
        read["id"],
        read["group_id"],
        read["generation"],
        read["name"],
        read["size"],
        read["scale_factor"],
        read["cache_config"],
        _DESIRED[read["desired"]],
        read["desired_generation"],
        AutoSuspend(_SUSPEND[kind], after),
        AutoScale(most, _SENSITIVITY[sensitivity]),
        read["enable_kai"],
    )


def dump_group(spec: GroupSpec) -> str:
    """Return a group's spec as text."""
    window = spec.update_window
    return dump(
        {
            "id": spec.id,
            "generation": spec.generation,
            "name": spec.name,
            "desired": spec.desired,
            "desired_generation": spec.desired_generation,
            "password_version": spec.password_version,
            "firewall_ranges": spec.firewall_ranges,
            "allow_all_traffic": spec.allow_all_traffic,
            "update_window": None if window is None else [window.day, window.hour],
        }
    )


def load_group(text: str) -> GroupSpec:
    """Read what ``dump_group`` wrote."""
    read: dict[str, Any] = json.loads(text)
    window = read.pop("update_window")
    read["desired"] = _DESIRED[read["desired"]]
    read["firewall_ranges"] = tuple(read["firewall_ranges"])
    return GroupSpec(**read, update_window=None if window is None else UpdateWindow(*window))


def dump_report(report: WorkspaceReport) -> str:
    """Return a workspace's report as text; the spec in it is kept elsewhere."""
    return dump(
        {
            "generation": report.generation,
            "observed_generation": report.observed_generation,
            "digest": report.digest,
            "phase": report.phase,
            "reason": report.reason,
            "since": to_number(report.since),
            "progress": report.progress,
            "endpoint": report.endpoint,
            "auto_suspended_at": to_number_or_none(report.auto_suspended_at),
            "last_resumed_at": to_number_or_none(report.last_resumed_at),
            "password_version": report.password_version,
            "scale_factor": report.scale_factor,
            "attachments": _dump_attachments(report.attachments),
        }
    )


def _dump_attachments(said: Attachments | None) -> list[int] | None:
    return None if said is None else [said.attached, said.missing]


def load_report(workspace: str, text: str) -> WorkspaceReport:
    """Read what ``dump_report`` wrote."""
    read = json.loads(text)
    return WorkspaceReport(
        WorkspaceID(workspace),
        read["generation"],
        read["observed_generation"],
        read["digest"],
        _PHASE[read["phase"]],
        _REASON[read["reason"]],
        to_moment(read["since"]),
        read["progress"],
        read["endpoint"],
        to_moment_or_none(read["auto_suspended_at"]),
        to_moment_or_none(read["last_resumed_at"]),
        read["password_version"],
        scale_factor=read.get("scale_factor"),
        attachments=Attachments(*said) if (said := read.get("attachments")) else None,
    )
