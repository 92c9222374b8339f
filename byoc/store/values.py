"""What the store returns beside the records of ``byoc.model.records``: what only the fleet needs."""

from dataclasses import dataclass
from datetime import datetime

from byoc.ids import WorkspaceID
from byoc.model.records import CellRecord, GroupRecord, WorkspaceRecord
from byoc.model.report import Interval, Stored
from byoc.model.spec import GroupSpec, WorkspaceSpec
from byoc.model.verbs import Verb


@dataclass(frozen=True, slots=True)
class HeldCell:
    """A cell with what the Control Plane remembers of its reports and its enrolment.

    Attributes:
        enrolment_jti: id of the newest enrolment token, and ``enrolment_thumbprint`` the key it is for.
        incarnation: the life of the cell's state folder that reports come from; "" before the first.
        seq: number of the last report taken in, of that incarnation.
        full_wanted: something could not be placed; the next answer asks for a full report.
        resync_wanted: the cell has lost objects that it had acknowledged.
    """

    record: CellRecord
    enrolment_jti: str = ""
    enrolment_thumbprint: str = ""
    incarnation: str = ""
    seq: int = 0
    full_wanted: bool = False
    resync_wanted: bool = False


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """A group, and the spec that its cell acknowledged last."""

    record: GroupRecord
    accepted: GroupSpec | None = None


@dataclass(frozen=True, slots=True)
class HeldWorkspace:
    """A workspace, the spec that its cell acknowledged last, and which wait has been told."""

    record: WorkspaceRecord
    accepted: WorkspaceSpec | None = None
    told_generation: int = 0


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """Who asked for one generation, when, and what it does."""

    object_id: str
    generation: int
    verbs: tuple[Verb, ...]
    sub: str
    at: datetime


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event before it has a number. ``origin`` names a cell's transition; a second one is dropped."""

    workspace_id: WorkspaceID
    at: datetime
    kind: str
    generation: int
    reason: str
    text: str
    state: str
    progress: int | None = None
    by: str = ""
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class NamedStored:
    """What a volume held, with the name of its workspace."""

    stored: Stored
    workspace_name: str


@dataclass(frozen=True, slots=True)
class NamedInterval:
    """A metered interval with the name of its workspace."""

    interval: Interval
    workspace_name: str
