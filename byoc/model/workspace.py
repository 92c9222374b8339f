"""What the public sees of a workspace, and which changes each state allows.

``public_state`` is a pure function of intent and report; ``LEGAL`` is the one table of
legal changes, printed in the docs.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from byoc.errors import IllegalState
from byoc.model.report import Phase, WorkspaceReport
from byoc.model.size import MULTIPLIERS
from byoc.model.spec import Desired, WorkspaceSpec


class State(StrEnum):
    """The vendor's five public states; anything finer lives in reasons."""

    ACTIVE = "ACTIVE"
    PENDING = "PENDING"
    SUSPENDED = "SUSPENDED"
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"


class Change(StrEnum):
    """What a caller may ask of a workspace."""

    UPDATE = "update"
    SUSPEND = "suspend"
    RESUME = "resume"
    TERMINATE = "terminate"


class Legality(StrEnum):
    """How the table answers."""

    YES = "yes"
    NO_EFFECT = "no effect"
    """Already so: answered with success, nothing is written."""
    IF_UNACKNOWLEDGED = "until the cell acknowledges the change before it"
    NO = "no"


_Y, _N, _S, _U = Legality.YES, Legality.NO, Legality.NO_EFFECT, Legality.IF_UNACKNOWLEDGED
LEGAL: Final[dict[State, dict[Change, Legality]]] = {
    State.ACTIVE: {Change.UPDATE: _Y, Change.SUSPEND: _Y, Change.RESUME: _S, Change.TERMINATE: _Y},
    State.PENDING: {Change.UPDATE: _N, Change.SUSPEND: _U, Change.RESUME: _U, Change.TERMINATE: _Y},
    State.SUSPENDED: {Change.UPDATE: _Y, Change.SUSPEND: _S, Change.RESUME: _Y, Change.TERMINATE: _Y},
    State.FAILED: {Change.UPDATE: _Y, Change.SUSPEND: _Y, Change.RESUME: _Y, Change.TERMINATE: _Y},
    State.TERMINATED: {Change.UPDATE: _N, Change.SUSPEND: _N, Change.RESUME: _N, Change.TERMINATE: _S},
}
_SETTLED: Final = {
    Phase.RUNNING: State.ACTIVE,
    Phase.SUSPENDED: State.SUSPENDED,
    Phase.FAILED: State.FAILED,
    Phase.TERMINATED: State.TERMINATED,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the Control Plane last heard of a workspace; absent before the first report."""

    acknowledged_generation: int = 0
    report: WorkspaceReport | None = None


def public_state(spec: WorkspaceSpec, seen: Seen) -> State:
    """Derive the public state: PENDING until the newest generation is in effect.

    FAILED shows only for the newest generation, because clients give up at once on it.
    """
    report = seen.report
    if report is not None and report.phase is Phase.TERMINATED:
        return State.TERMINATED
    if report is None or report.generation < spec.generation:
        return State.PENDING
    if not report.phase.settled:
        return State.PENDING
    if report.phase is not Phase.FAILED and report.observed_generation < spec.generation:
        return State.PENDING
    return _SETTLED[report.phase]


def scale_factor(spec: WorkspaceSpec, seen: Seen) -> int:
    """Return the scale factor in effect: the cell's own, unless the customer has said something since."""
    report = seen.report
    if report is None or report.generation != spec.generation or report.scale_factor not in MULTIPLIERS:
        return spec.scale_factor
    return report.scale_factor or spec.scale_factor


def check_change(change: Change, spec: WorkspaceSpec, seen: Seen) -> bool:
    """Return whether ``change`` has an effect.

    Raises:
        IllegalState: the state does not allow it now.
    """
    state = public_state(spec, seen)
    if spec.desired is Desired.TERMINATED and state is not State.TERMINATED:
        if change is Change.TERMINATE:
            return False
        message = f"workspace `{spec.name}` is being terminated"
        raise IllegalState(message)
    legality = LEGAL[state][change]
    if legality is Legality.IF_UNACKNOWLEDGED:
        legality = Legality.YES if seen.acknowledged_generation < spec.generation else Legality.NO
    if legality is Legality.NO:
        message = f"cannot {change} workspace `{spec.name}` while it is {state}"
        hint = "wait until it settles: `byoc workspace events`" if state is State.PENDING else ""
        raise IllegalState(message, hint=hint)
    return legality is Legality.YES
