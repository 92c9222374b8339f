"""Intent: what should be. The specs that the Control Plane writes and a cell carries out.

A change is a new *generation* of the whole spec. ``desired_generation`` is the generation
that last said whether the object should run: it lets a cell tell "resume" from "still
running", so that a change of size made while the cell had suspended a workspace by its own
decision does not wake it.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum

from byoc.ids import GroupID, WorkspaceID

SPEC_VERSION = 1
"""Rises when a field is added; a cell refuses fields it does not know, so newer ones are never sent."""


class Desired(StrEnum):
    """What a workspace or group should be doing."""

    RUNNING = "running"
    SUSPENDED = "suspended"
    TERMINATED = "terminated"


class SuspendType(StrEnum):
    """When a cell suspends a workspace by itself."""

    DISABLED = "DISABLED"
    IDLE = "IDLE"
    SCHEDULED = "SCHEDULED"


class Sensitivity(StrEnum):
    """How eagerly auto-scaling reacts."""

    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"


@dataclass(frozen=True, slots=True)
class AutoSuspend:
    """Auto-suspension. ``after_seconds`` counts idle time (IDLE) or time since resume (SCHEDULED)."""

    type: SuspendType = SuspendType.DISABLED
    after_seconds: int = 0


@dataclass(frozen=True, slots=True)
class AutoScale:
    """Auto-scaling; ``max_scale_factor`` 1 means off."""

    max_scale_factor: int = 1
    sensitivity: Sensitivity = Sensitivity.NORMAL


@dataclass(frozen=True, slots=True)
class UpdateWindow:
    """When upgrades may happen: day 0-6, Sunday first; hour 0-23, UTC; they may begin within that hour."""

    day: int
    hour: int

    def holds(self, now: datetime) -> bool:
        """Whether an upgrade may begin ``now``."""
        here = now.astimezone(UTC)
        return (here.isoweekday() % 7, here.hour) == (self.day, self.hour)


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """What a workspace group should be.

    Attributes:
        password_version: rises with every new admin password; 0 means none was ever set.
            The password itself never stands in a spec.
        desired: RUNNING or TERMINATED; a group is never suspended.
    """

    id: GroupID
    generation: int
    name: str
    desired: Desired = Desired.RUNNING
    desired_generation: int = 1
    password_version: int = 0
    firewall_ranges: tuple[str, ...] = ()
    allow_all_traffic: bool = False
    update_window: UpdateWindow | None = None


@dataclass(frozen=True, slots=True)
class WorkspaceSpec:
    """What a workspace should be."""

    id: WorkspaceID
    group_id: GroupID
    generation: int
    name: str
    size: str
    scale_factor: int = 1
    cache_config: int = 1
    desired: Desired = Desired.RUNNING
    desired_generation: int = 1
    auto_suspend: AutoSuspend = AutoSuspend()
    auto_scale: AutoScale = AutoScale()
    enable_kai: bool = False


Spec = GroupSpec | WorkspaceSpec


def same_content(one: Spec, other: Spec) -> bool:
    """Whether two specs of one object differ in nothing but their generation."""
    if type(one) is not type(other):
        return False
    return all(
        getattr(one, field.name) == getattr(other, field.name)
        for field in fields(one)
        if field.name != "generation"
    )
