"""When a cell suspends a workspace by itself: pure, so that it is decided with the control plane away.

The cell keeps one :class:`Activity` per running workspace, folds each observation into it
with :func:`advance`, and asks :func:`decide`. A workspace whose engine has not answered
since its resume has no activity yet and is never suspended.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from byoc.model.report import Reason
from byoc.model.spec import SuspendType, WorkspaceSpec


@dataclass(frozen=True, slots=True)
class Activity:
    """What was seen of one running workspace.

    Attributes:
        resumed_at: when it last began to answer.
        active_at: when a connection was last open, or a query last asked.
        connections: open now.
        queries: the engine's counter when it was last read; it starts anew with the engine.
    """

    resumed_at: datetime
    active_at: datetime
    connections: int = 0
    queries: int = 0


def advance(activity: Activity | None, *, connections: int, queries: int, now: datetime) -> Activity:
    """Fold what was just read into ``activity``; None begins a new one, active now."""
    if activity is None:
        return Activity(now, now, connections, queries)
    active = connections > 0 or activity.connections > 0 or queries != activity.queries
    return Activity(activity.resumed_at, now if active else activity.active_at, connections, queries)


def due_at(spec: WorkspaceSpec, activity: Activity) -> datetime | None:
    """When the workspace is to be suspended if nothing more happens; None for never."""
    after = timedelta(seconds=spec.auto_suspend.after_seconds)
    match spec.auto_suspend.type:
        case SuspendType.SCHEDULED:
            return activity.resumed_at + after
        case SuspendType.IDLE:
            return None if activity.connections else max(activity.active_at, activity.resumed_at) + after
        case SuspendType.DISABLED:
            return None


def decide(spec: WorkspaceSpec, activity: Activity, now: datetime) -> Reason | None:
    """Return why to suspend now, or None."""
    due = due_at(spec, activity)
    if due is None or now < due:
        return None
    if spec.auto_suspend.type is SuspendType.SCHEDULED:
        return Reason.AUTO_SUSPENDED_SCHEDULED
    return Reason.AUTO_SUSPENDED_IDLE
