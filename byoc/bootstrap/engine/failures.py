"""Why an operation of the engine ended badly, as one error of our tree.

The engine's output is long and may hold what no user should paste into a ticket; an error says
one sentence of it. Which one is decided here, purely.
"""

from dataclasses import dataclass
from typing import Final

from pulumi.automation.errors import CommandError, ConcurrentUpdateError, StackNotFoundError

from byoc.bootstrap.engine.events import Said, Tracker
from byoc.bootstrap.engine.session import reason
from byoc.errors import ByocError, Cancelled, Failed, NotFound, PreconditionFailed, StillPending

_STACK: Final = "pulumi:pulumi:Stack"


@dataclass(frozen=True)
class Circumstances:
    """What is known of a run that ended badly.

    Args:
        stack: its name.
        changing: whether the operation was to change anything but its own logs.
        asks: how often a person wished to stop.
        stopped: whether the engine was told to finish.
        abandoned: whether it was told to go at once, or was killed.
        raised: what the program itself raised, if it was one of our errors.
        where: the hint where to read more.
    """

    stack: str
    changing: bool
    asks: int
    stopped: bool
    abandoned: bool
    raised: ByocError | None
    where: str


def translate(error: Exception, tracker: Tracker, seen: Circumstances) -> ByocError:
    """The error to show for ``error``: what a person did comes first, then what the engine named."""
    if seen.stopped:
        return _stopped(seen)
    if seen.raised is not None:
        return seen.raised
    if isinstance(error, ConcurrentUpdateError):
        return PreconditionFailed(
            f"{seen.stack} was locked by another run just now", hint="run it again later"
        )
    if isinstance(error, StackNotFoundError):
        return NotFound(f"no stack {seen.stack}")
    return _named(error, tracker, seen)


def _stopped(seen: Circumstances) -> ByocError:
    if not seen.changing:
        return Cancelled(f"{seen.stack}: stopped; nothing was changed", hint="run the same command again")
    if seen.abandoned:
        what = "abandoned" if seen.asks else "took too long and was abandoned"
        return Cancelled(f"{seen.stack}: {what}; calls in flight are not recorded", hint=_repair(seen))
    if seen.asks:
        again = "run the same command again: it goes on from here"
        return Cancelled(f"{seen.stack}: stopped; what was begun is finished and recorded", hint=again)
    return StillPending(f"{seen.stack}: not done in time; what was begun is recorded", hint="run it again")


def _named(error: Exception, tracker: Tracker, seen: Circumstances) -> ByocError:
    broken = [rule for rule in tracker.violations if rule.mandatory]
    if broken:
        rule = broken[0]
        about = f" of {rule.subject.name}" if rule.subject else ""
        return PreconditionFailed(f"policy {rule.policy}{about}: {rule.text}", hint=f"{len(broken)} in all")
    if "code: -" in str(error):
        return Failed(f"{seen.stack}: the engine was killed", hint=_repair(seen))
    cause = _cause(tracker.errors)
    if cause is not None:
        about = f"{cause.subject.name} ({cause.subject.type}): " if cause.subject else ""
        return Failed(f"{about}{cause.text}", hint=f"run it again once that is cured; {seen.where}")
    return Failed(
        f"{seen.stack}: {reason(error) if isinstance(error, CommandError) else error}", hint=seen.where
    )


def _cause(errors: list[Said]) -> Said | None:
    # The stack's own errors only sum up: "update failed".
    own = [said for said in errors if said.subject is not None and said.subject.type != _STACK]
    return next(iter(own or errors), None)


def _repair(seen: Circumstances) -> str:
    return f"repair it before the next run: byoc cell repair {seen.stack}"
