"""The fleet's service: what the API calls. Authorizes by organization, writes intent, returns.

Nothing here waits for a cell but what reads it (``reads``). The invariants: when a method that changes
something returns, the change is on disk and will end: done, superseded, refused or expired; and a change
that somebody's attempt asked for is on disk together with its deed, or neither is.
"""

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable
from copy import copy
from datetime import datetime
from typing import Any, Self, TypeVar

from byoc import faults
from byoc.clock import Clock
from byoc.controlplane.api.service import Overview
from byoc.controlplane.billing.usage import Aggregate, stored_rows, usage_rows
from byoc.controlplane.fleet import groups, membership, visible, workspaces
from byoc.controlplane.fleet.courier import Courier
from byoc.controlplane.fleet.forwards import Forwards
from byoc.controlplane.fleet.groups import Act
from byoc.controlplane.fleet.news import News
from byoc.controlplane.fleet.reads import Reads
from byoc.controlplane.fleet.recording import state_of
from byoc.controlplane.fleet.rekeying import Rekeying
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.errors import NotAuthenticated, NotFound
from byoc.ids import CellID, GroupID, NewID, WorkspaceID
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
from byoc.nimbus.stream import Stream
from byoc.store.seam import Store
from byoc.store.transaction import Transaction
from byoc.wire import tokens
from byoc.wire.cell import Reading, ServiceOpened, ServiceWish

R = TypeVar("R")


def hash_key(key: str) -> str:
    """Return what the store keeps of an API key."""
    return hashlib.sha256(key.encode()).hexdigest()


class Fleet:
    """See ``byoc.controlplane.api.service.FleetService``.

    Args:
        courier: for reads that go to the cell, and to close a retired cell's tunnels.
        choose: picks a character of a generated password.
    """

    def __init__(
        self,
        store: Store,
        keys: ControlPlaneKeys,
        courier: Courier,
        clock: Clock,
        new_id: NewID,
        choose: groups.Choose = secrets.choice,
    ) -> None:
        self._store = store
        self._keys = keys
        self._courier = courier
        self._clock = clock
        self._new_id = new_id
        self._choose = choose
        self._news = News(store, clock)
        self._reads = Reads(store, courier)
        self._rekeying = Rekeying(store, courier, clock)
        self._forwards = Forwards(store, courier, clock)
        self._attempt: Attempt | None = None

    def _act(self, by: Principal) -> Act:
        return Act(by, self._clock.now())

    # --- who is there --------------------------------------------------------------------

    async def authenticate(self, token: str, /) -> Principal:
        """Return the caller behind a Management API key."""
        key_hash, now = hash_key(token), self._clock.now()
        found = await self._store.read(lambda tx: tx.identities.principal(key_hash, now))
        if found is None:
            raise NotAuthenticated("unknown, revoked or expired API key")
        return found

    async def organization(self, by: Principal, /) -> Organization:
        """Return the caller's organization."""
        found = await self._store.read(lambda tx: tx.identities.organization(by.organization_id))
        if found is None:
            raise NotFound("organization not found")
        return found

    async def projects(self, by: Principal, /) -> list[Project]:
        """Return its projects, oldest first."""
        return await self._store.read(lambda tx: tx.identities.projects(by.organization_id))

    # --- who did what --------------------------------------------------------------------

    def recording(self, attempt: Attempt, /) -> Self:
        """Return this service for one attempt, whose deed is written with what the attempt changes."""
        bound = copy(self)
        bound._attempt = attempt  # noqa: SLF001 - its own kind
        return bound

    async def note(self, deed: Deed, /) -> None:
        """Write down a deed; it is on disk when this returns."""
        await self._store.write(lambda tx: tx.audit.add(deed))

    async def audit(self, by: Principal, /, *, after: int, newest: int) -> list[Deed]:
        """Return the ``newest`` deeds in the caller's organization above ``after``, in order."""
        return await self._store.read(lambda tx: tx.audit.of(by.organization_id, above=after, newest=newest))

    # --- cells ---------------------------------------------------------------------------

    async def cells(self, by: Principal, /) -> list[CellRecord]:
        """Return the cells of the caller's organization, retired ones too."""
        held = await self._store.read(lambda tx: tx.cells.of_organization(by.organization_id))
        return [cell.record for cell in held]

    async def cell(self, by: Principal, cell_id: CellID, /) -> CellRecord:
        """Return one cell."""
        return (await self._store.read(lambda tx: visible.cell(tx, by, cell_id))).record

    async def sessions(self, by: Principal, cell_id: CellID, /) -> list[SessionRecord]:
        """Return its open tunnel sessions, newest last."""

        def look(tx: Transaction) -> list[SessionRecord]:
            return tx.cells.sessions(visible.cell(tx, by, cell_id).record.id)

        return await self._store.read(look)

    async def cell_events(self, by: Principal, cell_id: CellID, /) -> list[CellEvent]:
        """Return what happened to a cell: enrolment, contests, lost state, retirement."""

        def look(tx: Transaction) -> list[CellEvent]:
            return tx.cells.events(visible.cell(tx, by, cell_id).record.id)

        return await self._store.read(look)

    async def register_cell(
        self, by: Principal, name: str, provider: str, region: str, region_name: str, /
    ) -> CellRecord:
        """Write a cell that may then enrol."""
        act = self._act(by)
        cell = CellRecord(
            CellID(self._new_id()),
            by.organization_id,
            name,
            provider,
            region,
            region_name,
            CellState.PENDING,
            act.now,
        )
        await self._recorded(act, cell.id, lambda tx: membership.register(tx, act, cell))
        return cell

    async def enrolment_token(self, by: Principal, cell_id: CellID, thumbprint: str, /) -> dict[str, Any]:
        """Return ``{token, rootKey}``: for 15 minutes, this cell and this key; older tokens end."""
        act, jti = self._act(by), self._new_id()
        await self._recorded(act, cell_id, lambda tx: membership.expect(tx, act, cell_id, jti, thumbprint))
        claims = {"organization": by.organization_id, "cell": cell_id, "thumbprint": thumbprint, "jti": jti}
        token = await self._keys.sign(lambda key: tokens.issue_enrolment(key, now=act.now, **claims))
        return {"token": token, "rootKey": self._keys.root.jwk()}

    async def retire_cell(self, by: Principal, cell_id: CellID, /) -> None:
        """Let a cell in no more and close its tunnels."""
        act = self._act(by)
        await self._recorded(act, cell_id, lambda tx: membership.retire(tx, act, cell_id))
        await self._courier.link.close(cell_id)

    async def rotate_keys(self, by: Principal, cell_id: CellID, /) -> str:
        """Have a cell replace its own keys; return the name of the new one."""
        return await self._rekeying.rotate(by, cell_id)

    # --- groups --------------------------------------------------------------------------

    async def create_group(self, by: Principal, new: NewGroup, /) -> CreatedGroup:
        """Write a group's first generation and its sealed password."""
        act, own = self._act(by), GroupID(self._new_id())
        return await self._changed(act, own, lambda tx: groups.create(tx, act, new, own, self._choose))

    async def update_group(self, by: Principal, group_id: GroupID, changes: GroupChanges, /) -> str | None:
        """Write the changes; return the new password if one was to be generated."""
        act = self._act(by)
        choose = self._choose
        return await self._changed(
            act, group_id, lambda tx: groups.update(tx, act, group_id, changes, choose)
        )

    async def terminate_group(self, by: Principal, group_id: GroupID, /, *, force: bool) -> None:
        """Write that it should go, with its workspaces if ``force``."""
        act = self._act(by)
        await self._changed(act, group_id, lambda tx: groups.terminate(tx, act, group_id, force=force))

    async def group(self, by: Principal, group_id: GroupID, /) -> GroupRecord:
        """Return one group, also a terminated one."""
        return (await self._store.read(lambda tx: visible.group(tx, by, group_id))).record

    async def groups(self, by: Principal, /, *, include_terminated: bool) -> list[GroupRecord]:
        """Return the groups of the caller's organization, oldest first."""
        own = by.organization_id
        return await self._store.read(
            lambda tx: tx.groups.of_organization(own, include_terminated=include_terminated)
        )

    # --- workspaces ----------------------------------------------------------------------

    async def create_workspace(self, by: Principal, new: NewWorkspace, /) -> WorkspaceID:
        """Write a workspace's first generation."""
        act, own = self._act(by), WorkspaceID(self._new_id())
        await self._changed(act, own, lambda tx: workspaces.create(tx, act, new, own))
        return own

    async def update_workspace(
        self, by: Principal, workspace_id: WorkspaceID, changes: WorkspaceChanges, /
    ) -> None:
        """Write all changes as one new generation."""
        act = self._act(by)
        await self._changed(act, workspace_id, lambda tx: workspaces.update(tx, act, workspace_id, changes))

    async def suspend_workspace(self, by: Principal, workspace_id: WorkspaceID, /) -> None:
        """Write that it should not run; no effect if so."""
        act = self._act(by)
        await self._changed(act, workspace_id, lambda tx: workspaces.suspend(tx, act, workspace_id))

    async def resume_workspace(
        self, by: Principal, workspace_id: WorkspaceID, /, *, disable_auto_suspend: bool
    ) -> None:
        """Write that it should run; no effect if so."""
        act = self._act(by)
        await self._changed(
            act,
            workspace_id,
            lambda tx: workspaces.resume(tx, act, workspace_id, disable_auto_suspend=disable_auto_suspend),
        )

    async def terminate_workspace(self, by: Principal, workspace_id: WorkspaceID, /) -> None:
        """Write that it should go; always lawful."""
        act = self._act(by)
        await self._changed(act, workspace_id, lambda tx: workspaces.terminate(tx, act, workspace_id))

    async def workspace(self, by: Principal, workspace_id: WorkspaceID, /) -> WorkspaceRecord:
        """Return one workspace, also a terminated one."""
        return (await self._store.read(lambda tx: visible.workspace(tx, by, workspace_id))).record

    async def workspaces(
        self, by: Principal, group_id: GroupID, /, *, include_terminated: bool
    ) -> list[WorkspaceRecord]:
        """Return the workspaces of a group, oldest first."""

        def look(tx: Transaction) -> list[WorkspaceRecord]:
            visible.group(tx, by, group_id)
            return tx.workspaces.of_group(group_id, include_terminated=include_terminated)

        return await self._store.read(look)

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

        def look(tx: Transaction) -> list[Event]:
            visible.workspace(tx, by, workspace_id)
            return tx.story.events(workspace_id, above=after, generation=generation, newest=newest)

        return await self._store.read(look)

    async def wait_events(self, workspace_id: WorkspaceID, after: int, timeout: float, /) -> None:  # noqa: ASYNC109 - it ends without an error
        """Return when there is an event above ``after``, or after ``timeout`` seconds."""
        await self._news.wait(workspace_id, after, timeout)

    # --- asked of the cell -----------------------------------------------------------------

    async def logs(self, by: Principal, workspace_id: WorkspaceID, /) -> str:
        """Return the engine's own log, fetched from the cell and stored nowhere."""
        return await self._reads.logs(by, workspace_id)

    async def workspace_metrics(self, by: Principal, workspace_id: WorkspaceID, /) -> Reading:
        """Return the metrics of one workspace, read now."""
        return await self._reads.workspace_metrics(by, workspace_id)

    async def group_metrics(self, by: Principal, group_id: GroupID, /) -> Reading:
        """Return the metrics of all workspaces of a group, read now."""
        return await self._reads.group_metrics(by, group_id)

    async def open_service(
        self, by: Principal, cell_id: CellID, service: str, wish: ServiceWish, /
    ) -> ServiceOpened:
        """Have the cell open a way to a service of its own."""
        return await self._forwards.open_service(by, cell_id, service, wish)

    async def forward(self, by: Principal, cell_id: CellID, forward: str, what: str, /) -> Stream:
        """Open one stream of a forward."""
        return await self._forwards.forward(by, cell_id, forward, what)

    # --- figures -------------------------------------------------------------------------

    async def usage(
        self, by: Principal, /, *, start: datetime, end: datetime, aggregate: Aggregate
    ) -> list[UsageRow]:
        """Return compute credits per workspace and period between ``start`` and ``end``."""
        own = by.organization_id
        metered = await self._store.scan(lambda tx: tx.usage.between(own, start, end))
        return usage_rows(metered, own, start=start, end=end, aggregate=aggregate)

    async def stored(
        self, by: Principal, /, *, start: datetime, end: datetime, aggregate: Aggregate
    ) -> list[UsageRow]:
        """Return the average of bytes held per workspace and period between ``start`` and ``end``."""
        own = by.organization_id
        weighed = await self._store.scan(lambda tx: tx.usage.stored_between(own, start, end))
        return stored_rows(weighed, own, start=start, end=end, aggregate=aggregate)

    async def overview(self) -> Overview:
        """Return what there is, over all organizations: counts only."""

        def look(tx: Transaction) -> Overview:
            states = Counter(state_of(record).value for record in tx.workspaces.live())
            cells = [cell.record for cell in tx.cells.all()]
            return Overview(
                cells=dict(Counter(cell.state.value for cell in cells)),
                connected=sum(cell.connected for cell in cells),
                lost=sum(cell.state is CellState.ENROLLED and not cell.connected for cell in cells),
                groups=tx.groups.count_live(),
                workspaces=dict(states),
            )

        return await self._store.scan(look)

    async def _changed(self, act: Act, own: str, change: Callable[[Transaction], R]) -> R:
        result = await self._recorded(act, own, change)
        faults.reach(faults.Step.INTENT_COMMITTED)
        return result

    async def _recorded(self, act: Act, own: str, change: Callable[[Transaction], R]) -> R:
        """Write a change to what has the id ``own``, and in the same commit who made it."""
        attempt = self._attempt
        if attempt is None:
            return await self._store.write(change)
        deed = attempt.deed(act.now, own)

        def both(tx: Transaction) -> R:
            result = change(tx)
            tx.audit.add(deed)
            return result

        result = await self._store.write(both)
        attempt.on_record = True
        return result
