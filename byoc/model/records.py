"""What the Control Plane remembers, as values: the store returns them, the API shapes them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from byoc.ids import CellID, GroupID, KeyID, OrganizationID, ProjectID, UserID, WorkspaceID
from byoc.model.report import CellFacts, Condition
from byoc.model.spec import AutoScale, AutoSuspend, GroupSpec, UpdateWindow, WorkspaceSpec
from byoc.model.workspace import Seen


@dataclass(frozen=True, slots=True)
class Organization:
    """A customer."""

    id: OrganizationID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Project:
    """A folder for groups inside an organization."""

    id: ProjectID
    organization_id: OrganizationID
    name: str
    edition: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: the user behind an API key."""

    user_id: UserID
    organization_id: OrganizationID
    email: str
    key_id: KeyID


class CellState(StrEnum):
    """Life of a cell at the Control Plane."""

    PENDING = "pending"
    """Registered, not enrolled yet."""
    ENROLLED = "enrolled"
    CONTESTED = "contested"
    """Two different keys presented the same enrolment token."""
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Public keys of a cell beside those in use, while they are being replaced and shortly after.

    Attributes:
        next_signing, next_sealing: what the cell has shown, and not used yet.
        previous_signing: what it used before; believed until ``previous_until``.
    """

    next_signing: dict[str, str] | None = None
    next_sealing: dict[str, str] | None = None
    previous_signing: dict[str, str] | None = None
    previous_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CellRecord:
    """One cell.

    Attributes:
        region, region_name, provider: how it is listed as a region.
        signing_key, sealing_key: its public JWKs once enrolled.
        change: of those keys.
        connected: whether a tunnel session is open now.
        last_seen_at: when a session last opened, closed or reported.
        copies_late_since: as it reported last: since when the copies of its ledger are late.
    """

    id: CellID
    organization_id: OrganizationID
    name: str
    provider: str
    region: str
    region_name: str
    state: CellState
    created_at: datetime
    signing_key: dict[str, str] | None = None
    sealing_key: dict[str, str] | None = None
    connected: bool = False
    last_seen_at: datetime | None = None
    facts: CellFacts | None = None
    copies_late_since: datetime | None = None
    change: KeyChange = KeyChange()


@dataclass(frozen=True, slots=True)
class CellEvent:
    """Something about a cell that its owner should know."""

    number: int
    at: datetime
    kind: str
    text: str
    by: str


DONE: Final = 200
"""The status of every answer that is no refusal."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One call of the Management API that did something, or tried to: who, what, to what, and how it ended.

    Attributes:
        by: the user's address; ``key_id`` is the key they used.
        action: what was asked for, such as ``suspend workspace``.
        object_id: of what it is about; empty where it is about nothing that has an id.
        status: of the answer; ``code`` says why where it was refused, and is empty otherwise.
        request_id: as the answer and the log have it.
    """

    at: datetime
    organization_id: OrganizationID
    by: str
    key_id: KeyID
    action: str
    object_id: str
    status: int
    code: str
    request_id: str
    number: int = 0


@dataclass(slots=True)
class Attempt:
    """One call of the Management API that is to do something, on its way; a deed is how it ended.

    Attributes:
        on_record: whether its deed as done is on disk, with what it did.
    """

    by: Principal
    action: str
    request_id: str
    on_record: bool = False

    def deed(self, at: datetime, object_id: str, *, status: int = DONE, code: str = "") -> Deed:
        """Return how it ended: as it was asked, unless said otherwise."""
        by = self.by
        return Deed(
            at, by.organization_id, by.email, by.key_id, self.action, object_id, status, code, self.request_id
        )


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One tunnel session, as the Control Plane knows it."""

    id: str
    cell_id: CellID
    gateway: str
    epoch: int
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """One workspace group: intent, and what was seen."""

    spec: GroupSpec
    organization_id: OrganizationID
    project_id: ProjectID
    cell_id: CellID
    created_at: datetime
    acknowledged_generation: int = 0
    terminated_at: datetime | None = None
    expires_at: datetime | None = None
    deployment_type: str = "PRODUCTION"
    high_availability: bool = False
    opt_in_preview: bool = False
    condition: Condition = Condition.NONE


@dataclass(frozen=True, slots=True)
class WorkspaceRecord:
    """One workspace: intent, and what was seen."""

    spec: WorkspaceSpec
    organization_id: OrganizationID
    cell_id: CellID
    created_at: datetime
    seen: Seen = Seen()
    deployment_type: str = "PRODUCTION"
    terminated_at: datetime | None = None
    last_resumed_at: datetime | None = None
    auto_suspend_changed_at: datetime | None = None
    auto_scale_changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a workspace's story. ``number`` rises within the organization and orders them.

    Attributes:
        kind: ``accepted``, ``delivered``, ``waiting``, ``refused``, ``expired``, ``adopted``,
            or a phase of ``byoc.model.report.Phase``.
        reason: a code; ``text`` says the same to a person.
        state: the public state right after it.
    """

    number: int
    workspace_id: WorkspaceID
    at: datetime
    kind: str
    generation: int
    reason: str
    text: str
    state: str
    progress: int | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A request to create a group, already checked for form."""

    name: str
    cell_id: CellID
    firewall_ranges: tuple[str, ...]
    allow_all_traffic: bool = False
    project_id: ProjectID | None = None
    admin_password: str | None = None
    expires_at: datetime | None = None
    update_window: UpdateWindow | None = None
    deployment_type: str = "PRODUCTION"
    high_availability: bool = False
    opt_in_preview: bool = False


@dataclass(frozen=True, slots=True)
class CreatedGroup:
    """What creating a group answers; the password only if it was generated, and only here."""

    id: GroupID
    admin_password: str | None


@dataclass(frozen=True, slots=True)
class GroupChanges:
    """A change of a group; None leaves a field as it is. ``admin_password`` "" asks for a generated one."""

    name: str | None = None
    admin_password: str | None = None
    firewall_ranges: tuple[str, ...] | None = None
    allow_all_traffic: bool | None = None
    expires_at: datetime | None = None
    update_window: UpdateWindow | None = None
    deployment_type: str | None = None


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    """A request to create a workspace, already checked for form."""

    name: str
    group_id: GroupID
    size: str = "S-00"
    scale_factor: int = 1
    cache_config: int = 1
    auto_suspend: AutoSuspend = AutoSuspend()
    auto_scale: AutoScale = AutoScale()
    enable_kai: bool = False


@dataclass(frozen=True, slots=True)
class WorkspaceChanges:
    """A change of a workspace; None leaves a field as it is."""

    size: str | None = None
    scale_factor: int | None = None
    cache_config: int | None = None
    auto_suspend: AutoSuspend | None = None
    auto_scale: AutoScale | None = None
    deployment_type: str | None = None
    enable_kai: bool | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One figure of a bill: ``value`` credits, or bytes, of one workspace in one period."""

    workspace_id: WorkspaceID
    workspace_name: str
    owner_id: OrganizationID
    start: datetime
    end: datetime
    value: str
    provisional: bool = False
