"""What stands in the papers between a customer and a cell, as values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

APPROVAL_LIFE: Final = timedelta(hours=24)
"""How long a change waits for approval, and how long an approval is good."""


@dataclass(frozen=True, slots=True)
class Access:
    """Whether the Control Plane may reach into the cell, and who said so.

    Attributes:
        by: who, as this machine or AWS knows them.
    """

    revoked: bool = False
    by: str = ""
    at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Renewal:
    """The wish that another authority of the cell's engines follows, and whose it is.

    Attributes:
        at_once: it signs as soon as it is made.
        by: who, as this machine or AWS knows them.
    """

    at_once: bool = False
    by: str = ""
    at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A yes or no to one change: this object, this generation, this content, as it was shown.

    Attributes:
        request: the short name under which the change was listed.
        own: id of the workspace or group.
    """

    request: str
    own: str
    generation: int
    digest: str
    approved: bool
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Answers:
    """Every answer that still matters."""

    answers: tuple[Answer, ...] = ()


class Stage(StrEnum):
    """What became of a change that needs approval."""

    WAITING = "waiting"
    APPROVED = "approved"
    """It is carried out when the Control Plane delivers it anew, which it does at once."""
    REFUSED = "refused"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Asked:
    """A setting that a change would give another value; both as the wire writes them, empty for none."""

    setting: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.before or 'none'} -> {self.after or 'none'}"


@dataclass(frozen=True, slots=True)
class Request:
    """One change that needs approval.

    Attributes:
        id: a short name that stands for object, generation, digest and verbs.
        verbs: what it would do that needs approval.
        sub: who asked for it, as the provider says.
        asked_at: when they asked, as the provider says.
        since: when it first reached the cell.
        by: who answered it.
        asks: the new values, beside what the cell has.
    """

    id: str
    own: str
    kind: str
    name: str
    generation: int
    digest: str
    verbs: tuple[str, ...]
    sub: str
    asked_at: datetime
    since: datetime
    stage: Stage = Stage.WAITING
    by: str = ""
    answered_at: datetime | None = None
    asks: tuple[Asked, ...] = ()

    @property
    def until(self) -> datetime:
        """When it expires."""
        return self.since + APPROVAL_LIFE


@dataclass(frozen=True, slots=True)
class Requests:
    """Every change that waits, and those answered lately."""

    requests: tuple[Request, ...] = ()


class Glass(StrEnum):
    """What happened to a break-glass session."""

    OPENED = "opened"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class GlassNote:
    """One thing that happened to a break-glass session."""

    session: str
    what: Glass
    by: str
    reason: str
    at: datetime
    until: datetime

    @property
    def name(self) -> str:
        """What stands for it: it is put on record once."""
        return f"{self.session} {self.what}"


@dataclass(frozen=True, slots=True)
class GlassNotes:
    """The newest of them."""

    notes: tuple[GlassNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """A workspace, as the cell sees it: whether its SQL is served does not hang on the tunnel."""

    id: str
    name: str
    phase: str
    since: datetime
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """The cell's own word on how it stands.

    Attributes:
        at: when it was written.
        heard: time of the newest word on access that the cell has carried out; None before any.
        recorded: time of the newest one that is in its ledger.
        revoked: whether the Control Plane is kept out.
        tunnel: what the tunnel is doing, and why.
        sessions: tunnels that stand.
        streams: what is open in them, connections of forwarded services included.
        forwards: ways that are open to services which the policy names.
        refusing_since: since when every verb is refused; None where verbs are let in.
        refused: verbs refused since then.
        last_command_at, last_command: the newest request that was let in.
        glass: the break-glass notes that are in the ledger.
        renewed: time of the newest wish for another authority that the cell has carried out.
        policy: digest of the policy in force.
        policy_problem: what is wrong with the newest text of it; empty where nothing is.
        ledger: chain, number and hash of its last record.
        copied: whether the ledger is copied to a bucket.
        copies_late_since: since when these copies are late; None while they are in time.
    """

    at: datetime
    heard: datetime | None = None
    recorded: datetime | None = None
    revoked: bool = False
    tunnel: str = ""
    reason: str = ""
    sessions: int = 0
    streams: int = 0
    forwards: int = 0
    refusing_since: datetime | None = None
    refused: int = 0
    last_command_at: datetime | None = None
    last_command: str = ""
    policy: str = ""
    policy_problem: str = ""
    ledger: str = ""
    copied: bool = False
    copies_late_since: datetime | None = None
    glass: tuple[str, ...] = ()
    renewed: datetime | None = None
    workspaces: tuple[Served, ...] = ()
