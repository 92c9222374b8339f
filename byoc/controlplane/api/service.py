"""What the API needs from the fleet, as protocols.

The API routes call them; ``byoc.controlplane.fleet`` implements them on the store, and
``byoc.testing.fleet`` in memory. Every method but ``authenticate`` takes the caller first
and shows only objects of that caller's organization: another's are ``NotFound``.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, Self

from byoc.ids import CellID, GroupID, WorkspaceID
from byoc.model.records import (
    Attempt,
    CellEvent,
    CellRecord,
    CreatedGroup,
    Deed,
    Event,
    GroupChanges,
    GroupRecord,
    NewGroup,
    NewWorkspace,
    Organization,
    Principal,
    Project,
    SessionRecord,
    UsageRow,
    WorkspaceChanges,
    WorkspaceRecord,
)
from byoc.nimbus.stream import Stream
from byoc.wire.cell import Reading, ServiceOpened, ServiceWish

Aggregate = Literal["hour", "day", "month"]


class Authenticator(Protocol):
    """Who is behind a Management API key."""

    async def authenticate(self, token: str, /) -> Principal:
        """Return the caller; the same work whether or not the key exists.

        Raises:
            NotAuthenticated: the key is unknown, revoked or expired.
        """
        ...


class Workspaces(Protocol):
    """Intent and facts about workspaces. Unknown ids are ``NotFound``, unlawful changes ``IllegalState``."""

    async def create_workspace(self, by: Principal, new: NewWorkspace, /) -> WorkspaceID:
        """Write generation 1; nothing remote has happened when it returns.

        Raises:
            NotFound: no such group.
            Conflict: the name is taken, the group is full or going.
        """
        ...

    async def update_workspace(
        self, by: Principal, workspace_id: WorkspaceID, changes: WorkspaceChanges, /
    ) -> None:
        """Write all changes as one new generation."""
        ...

    async def suspend_workspace(self, by: Principal, workspace_id: WorkspaceID, /) -> None:
        """Write that it should be suspended; no effect if it is."""
        ...

    async def resume_workspace(
        self, by: Principal, workspace_id: WorkspaceID, /, *, disable_auto_suspend: bool
    ) -> None:
        """Write that it should run; no effect if it does."""
        ...

    async def terminate_workspace(self, by: Principal, workspace_id: WorkspaceID, /) -> None:
        """Write that it should go; always lawful."""
        ...

    async def workspace(self, by: Principal, workspace_id: WorkspaceID, /) -> WorkspaceRecord:
        """Return one workspace, also a terminated one."""
        ...

    async def workspaces(
        self, by: Principal, group_id: GroupID, /, *, include_terminated: bool
    ) -> list[WorkspaceRecord]:
        """Return the workspaces of a group, oldest first."""
        ...

    async def events(
        self,
        by: Principal,
        workspace_id: WorkspaceID,
        /,
        *,
        after: int,
        generation: int = 0,
        newest: int | None = None,
    ) -> list[Event]:
        """Return its events above ``after`` and of ``generation`` or later, in order."""
        ...

    async def wait_events(self, workspace_id: WorkspaceID, after: int, timeout: float, /) -> None:  # noqa: ASYNC109 - it ends without an error
        """Return when there may be an event above ``after``, or after ``timeout`` seconds."""
        ...


class Reads(Protocol):
    """What is asked of a cell at once and stored nowhere.

    Raises:
        RefusedByCell: the cell's policy does not allow it.
        CellAway: the cell is not connected.
    """

    async def logs(self, by: Principal, workspace_id: WorkspaceID, /) -> str:
        """Return the engine's own log."""
        ...

    async def workspace_metrics(self, by: Principal, workspace_id: WorkspaceID, /) -> Reading:
        """Return the metrics of one workspace."""
        ...

    async def group_metrics(self, by: Principal, group_id: GroupID, /) -> Reading:
        """Return the metrics of all workspaces of a group."""
        ...


class Groups(Protocol):
    """Intent and facts about workspace groups. Unknown ids are ``NotFound``."""

    async def create_group(self, by: Principal, new: NewGroup, /) -> CreatedGroup:
        """Write generation 1, with a generated password if none is given.

        Raises:
            Conflict: the name is taken.
            NotFound: no such cell or project.
        """
        ...

    async def update_group(self, by: Principal, group_id: GroupID, changes: GroupChanges, /) -> str | None:
        """Write the changes; return the new password if one was to be generated."""
        ...

    async def terminate_group(self, by: Principal, group_id: GroupID, /, *, force: bool) -> None:
        """Write that it should go, with its workspaces if ``force``.

        Raises:
            Conflict: it has live workspaces and ``force`` is false.
        """
        ...

    async def group(self, by: Principal, group_id: GroupID, /) -> GroupRecord:
        """Return one group, also a terminated one."""
        ...

    async def groups(self, by: Principal, /, *, include_terminated: bool) -> list[GroupRecord]:
        """Return the groups of the caller's organization, oldest first."""
        ...


class Cells(Protocol):
    """Cells, their enrolment and their tunnel sessions. Unknown ids are ``NotFound``."""

    async def cells(self, by: Principal, /) -> list[CellRecord]:
        """Return the cells of the caller's organization, retired ones too."""
        ...

    async def cell(self, by: Principal, cell_id: CellID, /) -> CellRecord:
        """Return one cell."""
        ...

    async def sessions(self, by: Principal, cell_id: CellID, /) -> list[SessionRecord]:
        """Return its open tunnel sessions, newest last."""
        ...

    async def cell_events(self, by: Principal, cell_id: CellID, /) -> list[CellEvent]:
        """Return what happened to a cell, in order: enrolment, contests, a cut ledger, lost state."""
        ...

    async def register_cell(
        self, by: Principal, name: str, provider: str, region: str, region_name: str, /
    ) -> CellRecord:
        """Write a cell that may then enrol.

        Raises:
            Conflict: the name is taken.
        """
        ...

    async def enrolment_token(self, by: Principal, cell_id: CellID, thumbprint: str, /) -> dict[str, Any]:
        """Return ``{token, rootKey}``, bound to the thumbprint of the cell's keys."""
        ...

    async def rotate_keys(self, by: Principal, cell_id: CellID, /) -> str:
        """Have a cell replace its own keys; return the thumbprint of the new signing key.

        Raises:
            CellAway: it is not connected.
            IllegalState: it is not enrolled, or too old.
            RefusedByCell: its policy denies it.
        """
        ...

    async def retire_cell(self, by: Principal, cell_id: CellID, /) -> None:
        """Close its tunnels and let it in no more."""
        ...


class Forwards(Protocol):
    """Forwarded services of a cell, which its customer's policy names. Unknown cells are ``NotFound``.

    Raises:
        CellAway: the cell is not connected.
        IllegalState: it is retired, or too old.
    """

    async def open_service(
        self, by: Principal, cell_id: CellID, service: str, wish: ServiceWish, /
    ) -> ServiceOpened:
        """Have the cell open a way to a service.

        Raises:
            RefusedByCell: the cell's policy does not allow it.
            Unreachable: the cell does not find the service.
        """
        ...

    async def forward(self, by: Principal, cell_id: CellID, forward: str, what: str, /) -> Stream:
        """Open one stream of a forward: ``hold``, which keeps it open, or a ``line``."""
        ...


class Audit(Protocol):
    """Who did what through the API."""

    def recording(self, attempt: Attempt, /) -> Self:
        """Return this service for one attempt: what it writes then, and the attempt's deed, are one commit.

        The attempt is told when its deed is on disk; until then the deed is still to be noted.
        """
        ...

    async def note(self, deed: Deed, /) -> None:
        """Write down a deed; it is on disk when this returns.

        Raises:
            Unwritable: it is not.
        """
        ...

    async def audit(self, by: Principal, /, *, after: int, newest: int) -> list[Deed]:
        """Return the ``newest`` deeds in the caller's organization above number ``after``, in order."""
        ...


class FleetService(Audit, Authenticator, Workspaces, Groups, Cells, Reads, Forwards, Protocol):
    """Everything together."""

    async def organization(self, by: Principal, /) -> Organization:
        """Return the caller's organization."""
        ...

    async def projects(self, by: Principal, /) -> list[Project]:
        """Return its projects; there is always one."""
        ...

    async def usage(
        self, by: Principal, /, *, start: datetime, end: datetime, aggregate: Aggregate
    ) -> list[UsageRow]:
        """Return compute credits per workspace and period between ``start`` and ``end``."""
        ...

    async def stored(
        self, by: Principal, /, *, start: datetime, end: datetime, aggregate: Aggregate
    ) -> list[UsageRow]:
        """Return the average of bytes held per workspace and period between ``start`` and ``end``."""
        ...


@dataclass(frozen=True, slots=True)
class Overview:
    """What the status page and the metrics show of the whole instance, without a key: counts and no names.

    Attributes:
        cells: by state.
        connected: cells with a tunnel session open.
        lost: cells that should have one and have none.
        workspaces: by state.
    """

    cells: dict[str, int] = field(default_factory=dict)
    connected: int = 0
    lost: int = 0
    groups: int = 0
    workspaces: dict[str, int] = field(default_factory=dict)


class Instance(Protocol):
    """The process as a whole, for its health, metrics and status page."""

    async def overview(self) -> Overview:
        """Return what there is."""
        ...

    async def unready(self) -> dict[str, str]:
        """Return what is not ready and why; empty when all is."""
        ...
