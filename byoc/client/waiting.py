"""Waiting for a change to take effect, told by the event stream. Pure.

A :class:`Story` is fed what happens and says what to show and when it is over; ``aio`` and
``sync`` feed it. Every wait ends: done, superseded, refused, expired, failed, or out of time.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from byoc.client.models import Detail, Event
from byoc.errors import ByocError, CellAway, Conflict, EngineFailed, RefusedByCell, StillPending

FIRST_QUIET: Final = 1.0
"""Seconds of silence after which a wait looks, once, whether the cell is there at all."""

QUIET: Final = 30.0
"""Seconds of silence after which it looks again, and repeats its reason."""

GRACE: Final = 1.0
"""Seconds by which a wait may last longer than asked, so that not every step near its end dials anew."""


class Goal(Enum):
    """The public states in which a change has taken effect."""

    RUNNING = frozenset({"ACTIVE"})
    SUSPENDED = frozenset({"SUSPENDED"})
    TERMINATED = frozenset({"TERMINATED"})
    SETTLED = frozenset({"ACTIVE", "SUSPENDED"})


_APPROVAL: Final = "waiting-for-approval"
_OVER: Final = frozenset({"ACTIVE", "SUSPENDED", "TERMINATED"})


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to show to who waits: a word, then the reason."""

    word: str
    text: str


OnStep = Callable[[Step], None]


class Story:
    """What became of one change of one workspace.

    Args:
        generation: the one that carries the change.
        goal: when it is over.
        name: what to call the workspace in messages.

    Attributes:
        generation: the one that carries the change; what was before is not its story.
        last: number of the newest event heard, to take the stream up again after.
        done: whether the goal is reached.
    """

    def __init__(self, generation: int, goal: Goal, name: str) -> None:
        self.last = 0
        self.done = False
        self.generation = generation
        self._goal = goal
        self._name = name
        self._step = Step("waiting", "for the control plane")
        self._cell = ""
        self._approval = False

    def hear(self, event: Event) -> Step | None:
        """Take in one event; return what to show, or None if it is not about this change.

        Raises:
            RefusedByCell: the cell's policy said no, or the change expired; the message names the rule.
            EngineFailed: the workspace is FAILED.
            Conflict: a newer change took its place, or the workspace was terminated.
        """
        if event.number <= self.last:
            return None
        self.last = event.number
        if event.generation < self.generation:
            return None
        self._cell = ""
        self._approval = event.reason == _APPROVAL
        self._check(event)
        self.done = event.state in self._goal.value
        self._step = Step(_word(event), _progress(event))
        return self._step

    def look(self, detail: Detail, now: datetime) -> None:
        """Take in how things stand: the change may be done, or its cell away."""
        if detail.generation == self.generation and detail.state in self._goal.value:
            self.done = True
        self._cell = "" if detail.cell_connected else detail.cell_name
        if self._cell:
            self._step = Step("waiting", _away(detail, now))

    def lost(self, why: str) -> Step:
        """Take in that the Control Plane cannot be reached now; return what to show."""
        self._step = Step("waiting", why)
        return self._step

    @property
    def step(self) -> Step:
        """What was last shown; repeated after a silence."""
        return self._step

    def out_of_time(self, seconds: float) -> ByocError:
        """Return the error that says that the wait, not the change, is over."""
        if self._cell:
            return CellAway(
                f"cell `{self._cell}` is not connected; the change to `{self._name}` is recorded"
                " and is delivered when the cell reconnects",
                hint=f"see why with `byoc doctor --cell {self._cell}`",
            )
        hint = f"see how it goes on with `byoc workspace events {shlex.quote(self._name)} --follow`"
        if self._approval:
            hint = "who owns the cell lists it with `byoc policy requests`, then `byoc policy approve ID`"
        return StillPending(
            f"the change to `{self._name}` is still under way after {seconds:g} s: {self._step.text}",
            hint=hint,
        )

    def _check(self, event: Event) -> None:
        if event.kind == "refused":
            rule = f" (rule `{event.reason}`)" if event.reason else ""
            raise RefusedByCell(
                f"the cell refused the change to `{self._name}`{rule}: {event.text}",
                hint="the cell's policy belongs to its owner; nothing was changed",
            )
        if event.kind == "expired":
            raise RefusedByCell(
                f"the change to `{self._name}` expired before it was carried out: {event.text}",
                hint="nothing was changed; ask for it again",
            )
        if event.state == "FAILED" and self._goal is not Goal.TERMINATED:
            raise EngineFailed(
                f"workspace `{self._name}` is FAILED: {event.text or event.reason} (`{event.reason}`)",
                hint=f"`byoc workspace resume {shlex.quote(self._name)}` tries again",
            )
        superseded = event.generation > self.generation and event.state in _OVER
        if event.state not in self._goal.value and (superseded or event.state == "TERMINATED"):
            raise Conflict(
                f"another change took the place of this one: `{self._name}` is {event.state}"
                f" at generation {event.generation}"
            )


def ignore(_: Step) -> None:
    """Show nothing: for callers that only want the outcome."""


def _word(event: Event) -> str:
    return event.state.lower() if event.state in _OVER and event.kind != "accepted" else event.kind


def _progress(event: Event) -> str:
    text = event.text or event.reason
    return text if event.progress is None else f"{text} ({event.progress:g} %)"


def _away(detail: Detail, now: datetime) -> str:
    seen = ago(detail.cell_last_seen_at, now) if detail.cell_last_seen_at else "never"
    return f"cell `{detail.cell_name}` is not connected (last seen {seen})"


def ago(moment: datetime, now: datetime) -> str:
    """Say how long before ``now`` something was, in its largest unit."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
