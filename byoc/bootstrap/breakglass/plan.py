"""What breaking the glass makes: names, tags, deadlines, and what a session's state is called. Pure.

Read by the rest of this package and by ``leftovers``. The invariants: every name and tag follows from the
cell and the session's id, so that what an interrupted run left is found without any state of ours; no
session is longer than eight hours, none is without a reason.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.naming import CELL_TAG, physical
from byoc.clock import stamp
from byoc.errors import UsageError

LONGEST: Final = timedelta(hours=8)
"""A shift; who needs more opens again, with a reason."""
SHORTEST: Final = timedelta(minutes=10)
"""The machine itself takes two of these."""
OPENING_TAKES: Final = timedelta(minutes=15)
"""After this long, an opening that has not ended was interrupted."""
LONGEST_REASON: Final = 256
"""Characters of a tag's value (EC2 user guide, "Tag restrictions")."""
TAG: Final = "byoc:breakglass"
"""Tag of everything that one session makes; its value is the session's id."""
PART: Final = "breakglass"

_TTL = re.compile(r"(?:(\d{1,3})h)?(?:(\d{1,4})m)?")
_ID = re.compile(r"[0-9a-f]{12}")


class State(StrEnum):
    """What a session is."""

    OPENING = "opening"
    OPEN = "open"
    INTERRUPTED = "interrupted"
    """The run that opened it did not come to its end."""
    ENDED = "ended"
    """The machine is gone before its time; the rest of the session is still there."""
    EXPIRED = "expired"
    """The deadline is past and the machine is gone; the rest of the session is still there."""
    OVERDUE = "overdue"
    """The deadline is past and the machine still runs; its role has no rights any more."""
    CLOSED = "closed"


STALE: Final = frozenset({State.INTERRUPTED, State.ENDED, State.EXPIRED, State.OVERDUE})
"""What the next ``open`` cleans away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One time that the glass is broken.

    Attributes:
        by: ARN of whoever asked.
        until: the deadline, to the second.
        machine: ID of the instance; empty until everything is made.
        closed_by: ARN of whoever cleaned up; empty until then.
    """

    id: str
    cell: str
    reason: str
    by: str
    opened_at: datetime
    until: datetime
    machine: str = ""
    closed_at: datetime | None = None
    closed_by: str = ""


def state_of(session: Session, now: datetime, *, alive: bool) -> State:
    """Return what a session is; ``alive`` is whether its machine is there."""
    if session.closed_at is not None:
        return State.CLOSED
    if now >= session.until:
        return State.OVERDUE if alive else State.EXPIRED
    if session.machine:
        return State.OPEN if alive else State.ENDED
    return State.OPENING if now - session.opened_at < OPENING_TAKES else State.INTERRUPTED


def parse_ttl(text: str) -> timedelta:
    """Return how long ``text``, such as ``1h``, ``45m`` or ``1h30m``, is.

    Raises:
        UsageError: it is no duration, shorter than ten minutes or longer than eight hours.
    """
    found = _TTL.fullmatch(text)
    if not found or not text:
        raise UsageError(f"`{text[:64]}` is no duration", hint="write 45m, 1h or 1h30m")
    ttl = timedelta(hours=int(found[1] or 0), minutes=int(found[2] or 0))
    if not SHORTEST <= ttl <= LONGEST:
        raise UsageError(
            f"the glass is not broken for {text}", hint="take 10m to 8h; who needs more opens again"
        )
    return ttl


def check_reason(text: str) -> str:
    """Return the reason as it is put on record.

    Raises:
        UsageError: there is none, or it is longer than a tag's value, or not one printable line.
    """
    reason = text.strip()
    if not reason:
        raise UsageError(
            "a reason is needed", hint="--reason says to whoever reads the record why the glass was broken"
        )
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise UsageError(
            "the reason is not one printable line of at most 256 characters",
            hint="name the incident, and keep the story there",
        )
    return reason


def check_id(text: str) -> str:
    """Return a session's id.

    Raises:
        UsageError: it is none.
    """
    if not _ID.fullmatch(text):
        raise UsageError(f"`{text[:64]}` is no id of a session", hint="`byoc breakglass list` shows the ids")
    return text


def begin(cell: str, *, unique: str, by: str, reason: str, ttl: timedelta, now: datetime) -> Session:
    """Return a new session; ``unique`` is a fresh UUID, whose first twelve digits name it."""
    start = now.replace(microsecond=0)
    return Session(
        id=check_id(unique.replace("-", "")[:12]),
        cell=cell,
        reason=check_reason(reason),
        by=by,
        opened_at=start,
        until=start + ttl,
    )


def instant(moment: datetime) -> str:
    """Return a moment to the second, as IAM and systemd both take it: ``2026-01-02T03:04:05Z``."""
    return stamp(moment.replace(microsecond=0))


# --- names ----------------------------------------------------------------------------------------------


def role_name(cell: str, session: str) -> str:
    """Return the name of a session's role; its instance profile is called the same."""
    return physical("iam-role", cell, PART, session)


def group_name(cell: str, session: str) -> str:
    """Return the name of a session's security group."""
    return physical("security-group", cell, PART, session)


def document_name(cell: str) -> str:
    """Return the name of the cell's session document (at most 128 characters, which it cannot reach)."""
    return f"byoc-{cell}-{PART}"


def log_group_name(args: CellArgs) -> str:
    """Return the name of the log group that keeps what was done in sessions."""
    return arns.log_group_name(args, "breakglass")


def own_tags(args: CellArgs, session: Session) -> dict[str, str]:
    """Return the tags of everything of a session in IAM, which takes fewer letters than EC2."""
    return {
        **args.tags,
        "Name": role_name(session.cell, session.id),
        CELL_TAG: session.cell,
        TAG: session.id,
        f"{TAG}-until": instant(session.until),
    }


def told_tags(args: CellArgs, session: Session) -> dict[str, str]:
    """Return the tags of everything of a session in EC2: who, why and until when besides."""
    told = {f"{TAG}-reason": session.reason, f"{TAG}-by": session.by[:LONGEST_REASON]}
    return own_tags(args, session) | told


def cell_tags(args: CellArgs) -> dict[str, str]:
    """Return the tags of what all sessions of a cell share."""
    return {**args.tags, "Name": document_name(args.name), CELL_TAG: args.name}


def pairs(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return tags as most of AWS takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
