"""The fleet in memory, with a cell that does what a test tells it: the twin behind API tests.

``MemoryFleet`` has the methods of the real service. ``settle`` plays the cell: it takes in
every intent and brings it into effect, so that a test sees both sides of PENDING.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, Self, TypeVar

from byoc.clock import Clock
from byoc.errors import (
    CellAway,
    Conflict,
    IllegalState,
    LimitReached,
    NotAuthenticated,
    NotFound,
    RefusedByCell,
    Unwritable,
)
from byoc.ids import (
    CellID,
    GroupID,
    KeyID,
    NewID,
    OrganizationID,
    ProjectID,
    UserID,
    WorkspaceID,
    new_id,
)
from byoc.model.metrics import Sample
from byoc.model.password import generate_password
from byoc.model.records import (
    Attempt,
    CellEvent,
    CellRecord,
    CellState,
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
from byoc.model.report import EXPLANATIONS, Phase, Reason, WorkspaceReport
from byoc.model.spec import AutoSuspend, Desired, GroupSpec, WorkspaceSpec
from byoc.model.workspace import Change, Seen, State, check_change, public_state
from byoc.nimbus.connection import Connection
from byoc.nimbus.stream import Stream
from byoc.wire.cell import Measured, Reading, ServiceOpened, ServiceWish

R = TypeVar("R", CellRecord, GroupRecord, WorkspaceRecord)

MOST_WORKSPACES: Final = 5
"""In one group."""

_PHASES: Final = {
    Desired.RUNNING: (Phase.RUNNING, Reason.ANSWERED_SQL),
    Desired.SUSPENDED: (Phase.SUSPENDED, Reason.STOPPED_AS_ASKED),
    Desired.TERMINATED: (Phase.TERMINATED, Reason.REMOVED),
}
_STATES: Final = {
    Phase.RUNNING: State.ACTIVE,
    Phase.SUSPENDED: State.SUSPENDED,
    Phase.TERMINATED: State.TERMINATED,
}


class MemoryFleet:
    """Organizations, cells, groups and workspaces in dicts.

    Args:
        clock: stamps.
        make_id: makes ids.
    """

    def __init__(self, clock: Clock, make_id: NewID = new_id) -> None:
        self._clock = clock
        self._id = make_id
        self._keys: dict[str, Principal] = {}
        self._organizations: dict[str, Organization] = {}
        self._projects: dict[str, Project] = {}
        self._cells: dict[str, CellRecord] = {}
        self._groups: dict[str, GroupRecord] = {}
        self._workspaces: dict[str, WorkspaceRecord] = {}
        self._sessions: list[SessionRecord] = []
        self._events: list[Event] = []
        self._deeds: list[Deed] = []
        self.unwritable = False
        """Whether no deed can be written."""
        self._news = asyncio.Event()
        self.rows: list[UsageRow] = []
        """What ``usage`` answers, whatever is asked."""
        self.stored_rows: list[UsageRow] = []
        """What ``stored`` answers, whatever is asked."""
        self.log_text = ""
        """What ``logs`` answers; empty: the cell's policy refuses."""
        self.services: set[str] = set()
        """What the cell's policy names."""
        self.carrier: Connection | None = None
        """To the cell's end of forwards."""
        self.samples: dict[WorkspaceID, tuple[Sample, ...]] = {}
        """What is measured of workspaces that run."""

    # What tests set up.

    def add_organization(self, name: str, *, cell: str = "local") -> str:
        """Add an organization with one connected cell and return a key for it."""
        now = self._clock.now()
        organization = Organization(OrganizationID(self._id()), name, now)
        self._organizations[organization.id] = organization
        project = Project(ProjectID(self._id()), organization.id, "Standard Project", "STANDARD", now)
        self._projects[project.id] = project
        record = CellRecord(
            CellID(self._id()), organization.id, cell, "AWS", "US Local", cell, CellState.ENROLLED, now,
            connected=True, last_seen_at=now,
        )  # fmt: skip
        self._cells[record.id] = record
        self._sessions.append(SessionRecord(self._id(), record.id, "gateway-1", 1, now))
        key = secrets.token_hex(32)
        self._keys[_hash(key)] = Principal(
            UserID(self._id()), organization.id, f"owner@{name}.example", KeyID(self._id())
        )
        return key

    def settle(self) -> None:
        """Let the cell take in every intent and carry it out."""
        for group in self._groups.values():
            gone = group.spec.desired is Desired.TERMINATED
            self._groups[group.spec.id] = replace(
                group,
                acknowledged_generation=group.spec.generation,
                terminated_at=(group.terminated_at or self._clock.now()) if gone else None,
            )
        for workspace in list(self._workspaces.values()):
            phase, reason = _PHASES[workspace.spec.desired]
            if _STATES[phase] is not public_state(workspace.spec, workspace.seen):
                self.report(workspace.spec.id, phase, reason)

    def report(self, workspace_id: str, phase: Phase, reason: Reason, **changes: Any) -> None:
        """Let the cell say that a workspace is in ``phase``, the newest generation stored."""
        record, now = self._workspaces[workspace_id], self._clock.now()
        report = WorkspaceReport(
            id=record.spec.id,
            generation=record.spec.generation,
            observed_generation=record.spec.generation,
            digest="",
            phase=phase,
            reason=reason,
            since=now,
            endpoint="127.0.0.1:33061" if phase is Phase.RUNNING else None,
        )
        generation = record.spec.generation
        if record.seen.acknowledged_generation < generation:
            stored = replace(record, seen=Seen(generation, record.seen.report))
            self._tell(stored, "delivered", "delivered", f"the cell has stored generation {generation}")
        seen = Seen(generation, replace(report, **changes))
        was = record.seen.report.phase if record.seen.report else None
        resumed = phase is Phase.RUNNING and was is Phase.SUSPENDED
        self._workspaces[workspace_id] = replace(
            record,
            seen=seen,
            terminated_at=now if phase is Phase.TERMINATED else None,
            last_resumed_at=now if resumed else record.last_resumed_at,
        )
        self._tell(self._workspaces[workspace_id], phase.value, reason.value, EXPLANATIONS[reason])

    # What the API calls.

    def revoke_key(self, key: str) -> None:
        """Let whoever holds ``key`` in no more."""
        del self._keys[_hash(key)]

    async def authenticate(self, token: str, /) -> Principal:
        """Return the caller behind a key."""
        found = self._keys.get(_hash(token))
        if found is None:
            raise NotAuthenticated("unknown key")
        return found

    async def organization(self, by: Principal, /) -> Organization:
        """Return the caller's organization."""
        return self._organizations[by.organization_id]

    async def projects(self, by: Principal, /) -> list[Project]:
        """Return its projects."""
        return [p for p in self._projects.values() if p.organization_id == by.organization_id]

    def recording(self, attempt: Attempt, /) -> Self:
        """Return itself: deeds are kept by being noted, with nothing at stake between."""
        del attempt
        return self

    async def note(self, deed: Deed, /) -> None:
        """Keep a deed."""
        if self.unwritable:
            raise Unwritable("no space")
        self._deeds.append(replace(deed, number=len(self._deeds) + 1))

    async def audit(self, by: Principal, /, *, after: int, newest: int) -> list[Deed]:
        """Return the newest deeds in the caller's organization."""
        own = [one for one in self._deeds if one.organization_id == by.organization_id and one.number > after]
        return own[-newest:]

    async def usage(
        self, by: Principal, /, *, start: datetime, end: datetime, aggregate: str
    ) -> list[UsageRow]:
        """Return ``rows``."""
        del start, end, aggregate
        return [row for row in self.rows if row.owner_id == by.organization_id]

    async def stored(
        self, by: Principal, /, *, start: datetime, end: datetime, aggregate: str
    ) -> list[UsageRow]:
        """Return ``stored_rows``."""
        del start, end, aggregate
        return [row for row in self.stored_rows if row.owner_id == by.organization_id]

    async def cells(self, by: Principal, /) -> list[CellRecord]:
        """Return the caller's cells."""
        return [cell for cell in self._cells.values() if cell.organization_id == by.organization_id]

    async def cell(self, by: Principal, cell_id: CellID, /) -> CellRecord:
        """Return one cell."""
        return _visible(self._cells.get(cell_id), by, "cell")

    async def sessions(self, by: Principal, cell_id: CellID, /) -> list[SessionRecord]:
        """Return its sessions."""
        await self.cell(by, cell_id)
        return [session for session in self._sessions if session.cell_id == cell_id]

    async def cell_events(self, by: Principal, cell_id: CellID, /) -> list[CellEvent]:
        """Return its enrolment."""
        cell = await self.cell(by, cell_id)
        return [CellEvent(1, cell.created_at, "registered", "the cell may enrol", by.email)]

    async def register_cell(
        self, by: Principal, name: str, provider: str, region: str, region_name: str, /
    ) -> CellRecord:
        """Add a cell that is not enrolled."""
        if any(cell.name == name for cell in await self.cells(by)):
            raise Conflict(f"a cell named `{name}` exists")
        if any((cell.provider, cell.region_name) == (provider, region_name) for cell in await self.cells(by)):
            raise Conflict(f"region `{region_name}` belongs to another cell")
        record = CellRecord(
            CellID(self._id()), by.organization_id, name, provider, region, region_name,
            CellState.PENDING, self._clock.now(),
        )  # fmt: skip
        self._cells[record.id] = record
        return record

    async def enrolment_token(self, by: Principal, cell_id: CellID, thumbprint: str, /) -> dict[str, Any]:
        """Return a token of no worth."""
        cell = await self.cell(by, cell_id)
        if cell.state is CellState.RETIRED:
            raise IllegalState("the cell is retired")
        return {"token": f"enrol-{thumbprint}", "rootKey": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}}

    async def rotate_keys(self, by: Principal, cell_id: CellID, /) -> str:
        """Return a new thumbprint."""
        cell = await self.cell(by, cell_id)
        if cell.state is not CellState.ENROLLED:
            raise IllegalState("the cell is not enrolled")
        return self._id()

    async def retire_cell(self, by: Principal, cell_id: CellID, /) -> None:
        """Mark a cell as retired and drop its sessions."""
        cell = await self.cell(by, cell_id)
        self._cells[cell_id] = replace(cell, state=CellState.RETIRED, connected=False)
        self._sessions = [session for session in self._sessions if session.cell_id != cell_id]

    async def create_group(self, by: Principal, new: NewGroup, /) -> CreatedGroup:
        """Add a group."""
        _visible(self._cells.get(new.cell_id), by, "region")
        self._check_group_name(by, new.name)
        spec = GroupSpec(
            GroupID(self._id()),
            1,
            new.name,
            password_version=1,
            firewall_ranges=new.firewall_ranges,
            allow_all_traffic=new.allow_all_traffic,
            update_window=new.update_window,
        )
        project = new.project_id or next(iter(await self.projects(by))).id
        self._groups[spec.id] = GroupRecord(
            spec,
            by.organization_id,
            project,
            new.cell_id,
            self._clock.now(),
            expires_at=new.expires_at,
            deployment_type=new.deployment_type,
            high_availability=new.high_availability,
            opt_in_preview=new.opt_in_preview,
        )
        generated = generate_password(secrets.choice) if new.admin_password is None else None
        return CreatedGroup(spec.id, generated)

    async def update_group(self, by: Principal, group_id: GroupID, changes: GroupChanges, /) -> str | None:
        """Change a group."""
        record = await self.group(by, group_id)
        self._check_live(record)
        if changes.name is not None and changes.name != record.spec.name:
            self._check_group_name(by, changes.name)
        in_spec = ("name", "firewall_ranges", "allow_all_traffic", "update_window")
        spec = replace(
            record.spec,
            generation=record.spec.generation + 1,
            password_version=record.spec.password_version + (changes.admin_password is not None),
            **_present(changes, in_spec),
        )
        beside = _present(changes, ("expires_at", "deployment_type"))
        self._groups[group_id] = replace(record, spec=spec, **beside)
        return generate_password(secrets.choice) if changes.admin_password == "" else None

    async def terminate_group(self, by: Principal, group_id: GroupID, /, *, force: bool) -> None:
        """Mark a group as going, with its workspaces."""
        record = await self.group(by, group_id)
        if record.spec.desired is Desired.TERMINATED:
            return
        live = [w for w in self._of_group(group_id) if w.spec.desired is not Desired.TERMINATED]
        if live and not force:
            raise Conflict("the group has workspaces", hint="terminate them, or pass force=true")
        for workspace in live:
            await self.terminate_workspace(by, workspace.spec.id)
        spec = replace(record.spec, generation=record.spec.generation + 1, desired=Desired.TERMINATED)
        self._groups[group_id] = replace(record, spec=spec)

    async def group(self, by: Principal, group_id: GroupID, /) -> GroupRecord:
        """Return one group."""
        return _visible(self._groups.get(group_id), by, "workspace group")

    async def groups(self, by: Principal, /, *, include_terminated: bool) -> list[GroupRecord]:
        """Return the caller's groups."""
        mine = [g for g in self._groups.values() if g.organization_id == by.organization_id]
        return [g for g in mine if include_terminated or g.terminated_at is None]

    async def create_workspace(self, by: Principal, new: NewWorkspace, /) -> WorkspaceID:
        """Add a workspace."""
        group = await self.group(by, new.group_id)
        self._check_live(group)
        live = [w for w in self._of_group(new.group_id) if w.terminated_at is None]
        if any(workspace.spec.name == new.name for workspace in live):
            raise Conflict(f"a workspace named `{new.name}` exists in the group")
        if len(live) >= MOST_WORKSPACES:
            raise LimitReached(f"a group holds at most {MOST_WORKSPACES} workspaces")
        spec = WorkspaceSpec(
            WorkspaceID(self._id()), new.group_id, 1, new.name, new.size, new.scale_factor, new.cache_config,
            auto_suspend=new.auto_suspend, auto_scale=new.auto_scale, enable_kai=new.enable_kai,
        )  # fmt: skip
        record = WorkspaceRecord(spec, by.organization_id, group.cell_id, self._clock.now())
        self._workspaces[spec.id] = record
        self._tell(record, "accepted", "accepted", "recorded, on its way to the cell", by.email)
        return spec.id

    async def update_workspace(
        self, by: Principal, workspace_id: WorkspaceID, changes: WorkspaceChanges, /
    ) -> None:
        """Change a workspace."""
        in_spec = ("size", "scale_factor", "cache_config", "auto_suspend", "auto_scale", "enable_kai")
        present, now = _present(changes, in_spec), self._clock.now()
        await self._change(by, workspace_id, Change.UPDATE, lambda spec: replace(spec, **present))
        beside: dict[str, Any] = _present(changes, ("deployment_type",))
        if changes.auto_suspend is not None:
            beside["auto_suspend_changed_at"] = now
        if changes.auto_scale is not None:
            beside["auto_scale_changed_at"] = now
        self._workspaces[workspace_id] = replace(self._workspaces[workspace_id], **beside)

    async def suspend_workspace(self, by: Principal, workspace_id: WorkspaceID, /) -> None:
        """Mark a workspace as to be suspended."""
        await self._change(by, workspace_id, Change.SUSPEND, _to(Desired.SUSPENDED))

    async def resume_workspace(
        self, by: Principal, workspace_id: WorkspaceID, /, *, disable_auto_suspend: bool
    ) -> None:
        """Mark a workspace as to run."""

        def change(spec: WorkspaceSpec) -> WorkspaceSpec:
            running = _to(Desired.RUNNING)(spec)
            return replace(running, auto_suspend=AutoSuspend()) if disable_auto_suspend else running

        await self._change(by, workspace_id, Change.RESUME, change)

    async def terminate_workspace(self, by: Principal, workspace_id: WorkspaceID, /) -> None:
        """Mark a workspace as going."""
        await self._change(by, workspace_id, Change.TERMINATE, _to(Desired.TERMINATED))

    async def workspace(self, by: Principal, workspace_id: WorkspaceID, /) -> WorkspaceRecord:
        """Return one workspace."""
        return _visible(self._workspaces.get(workspace_id), by, "workspace")

    async def workspaces(
        self, by: Principal, group_id: GroupID, /, *, include_terminated: bool
    ) -> list[WorkspaceRecord]:
        """Return the workspaces of a group."""
        await self.group(by, group_id)
        return [w for w in self._of_group(group_id) if include_terminated or w.terminated_at is None]

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
        """Return the events after ``after`` and from ``generation`` on, or the ``newest`` of them."""
        await self.workspace(by, workspace_id)
        own = [e for e in self._events if e.workspace_id == workspace_id and e.number > after]
        fitting = [e for e in own if e.generation >= generation]
        return fitting if newest is None else fitting[max(0, len(fitting) - newest) :]

    async def wait_events(self, workspace_id: WorkspaceID, after: int, timeout: float, /) -> None:  # noqa: ASYNC109 - the seam's signature
        """Return at the next event, or after ``timeout`` seconds of the clock."""
        if any(e.workspace_id == workspace_id and e.number > after for e in self._events):
            return
        waits = [asyncio.ensure_future(self._clock.sleep(timeout)), asyncio.ensure_future(self._news.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def logs(self, by: Principal, workspace_id: WorkspaceID, /) -> str:
        """Return ``log_text``, or refuse."""
        await self.workspace(by, workspace_id)
        if not self.log_text:
            raise RefusedByCell("the cell refused logs.read: rule `default`")
        return self.log_text

    async def workspace_metrics(self, by: Principal, workspace_id: WorkspaceID, /) -> Reading:
        """Return its ``samples``."""
        await self.workspace(by, workspace_id)
        return self._reading([workspace_id])

    async def group_metrics(self, by: Principal, group_id: GroupID, /) -> Reading:
        """Return the ``samples`` of its workspaces."""
        await self.group(by, group_id)
        return self._reading([workspace.spec.id for workspace in self._of_group(group_id)])

    async def open_service(
        self, by: Principal, cell_id: CellID, service: str, wish: ServiceWish, /
    ) -> ServiceOpened:
        """Open a service of ``services``, or refuse."""
        await self.cell(by, cell_id)
        if service not in self.services:
            raise RefusedByCell("the cell refused service.open: rule `service-unnamed`")
        life = timedelta(seconds=wish.life_seconds or 3600)
        return ServiceOpened(self._id(), self._clock.now() + life, wish.certificate)

    async def forward(self, by: Principal, cell_id: CellID, forward: str, what: str, /) -> Stream:
        """Open a stream of ``carrier``; without one the cell is away."""
        await self.cell(by, cell_id)
        if self.carrier is None:
            raise CellAway("the cell is not connected")
        return await self.carrier.open(f"service/{forward}/{what}", timeout=10)

    def _reading(self, names: list[WorkspaceID]) -> Reading:
        measured = tuple(Measured(name, self.samples.get(name, ())) for name in names)
        return Reading(self._clock.now(), measured)

    async def _change(
        self,
        by: Principal,
        workspace_id: WorkspaceID,
        change: Change,
        apply: Callable[[WorkspaceSpec], WorkspaceSpec],
    ) -> None:
        record = await self.workspace(by, workspace_id)
        if check_change(change, record.spec, record.seen):
            generation = record.spec.generation + 1
            spec = replace(apply(record.spec), generation=generation)
            self._workspaces[workspace_id] = replace(record, spec=spec)
            said = f"{change}: recorded, on its way to the cell"
            self._tell(self._workspaces[workspace_id], "accepted", "accepted", said, by.email)

    def _tell(self, record: WorkspaceRecord, kind: str, reason: str, text: str, by: str = "") -> None:
        event = Event(
            number=len(self._events) + 1,
            workspace_id=record.spec.id,
            at=self._clock.now(),
            kind=kind,
            generation=record.spec.generation,
            reason=reason,
            text=text,
            state=public_state(record.spec, record.seen).value,
            by=by,
        )
        self._events.append(event)
        self._news.set()
        self._news = asyncio.Event()

    def _of_group(self, group_id: str) -> list[WorkspaceRecord]:
        return [w for w in self._workspaces.values() if w.spec.group_id == group_id]

    def _check_group_name(self, by: Principal, name: str) -> None:
        taken = (g for g in self._groups.values() if g.spec.name == name and g.terminated_at is None)
        if any(group.organization_id == by.organization_id for group in taken):
            raise Conflict(f"a workspace group named `{name}` exists")

    @staticmethod
    def _check_live(record: GroupRecord) -> None:
        if record.spec.desired is Desired.TERMINATED:
            raise IllegalState(f"workspace group `{record.spec.name}` is being terminated")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _to(desired: Desired) -> Callable[[WorkspaceSpec], WorkspaceSpec]:
    return lambda spec: replace(spec, desired=desired, desired_generation=spec.generation + 1)


def _present(changes: GroupChanges | WorkspaceChanges, names: tuple[str, ...]) -> dict[str, Any]:
    given = {name: getattr(changes, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _visible(found: R | None, by: Principal, what: str) -> R:
    if found is None or found.organization_id != by.organization_id:
        raise NotFound(f"{what} not found")
    return found
