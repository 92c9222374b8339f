"""Workspaces: intent, what was acknowledged of it, what was seen."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select, update

from byoc.ids import CellID, GroupID, OrganizationID, WorkspaceID
from byoc.model.records import WorkspaceRecord
from byoc.model.report import WorkspaceReport
from byoc.model.spec import WorkspaceSpec
from byoc.model.workspace import Seen
from byoc.store.rows import (
    dump_report,
    dump_workspace,
    load_report,
    load_workspace,
    to_moment,
    to_moment_or_none,
    to_number,
    to_number_or_none,
)
from byoc.store.setting import set_columns
from byoc.store.tables import workspaces
from byoc.store.values import HeldWorkspace

MOST_DECODED: Final = 1024
"""Rows whose records are kept: lists are read at every poll, and few rows change between two."""

_LISTED: Final = (
    workspaces.c.id,
    workspaces.c.spec,
    workspaces.c.organization_id,
    workspaces.c.cell_id,
    workspaces.c.created_at,
    workspaces.c.acknowledged_generation,
    workspaces.c.report,
    workspaces.c.deployment_type,
    workspaces.c.terminated_at,
    workspaces.c.last_resumed_at,
    workspaces.c.auto_suspend_changed_at,
    workspaces.c.auto_scale_changed_at,
)
_RECORD: Final = select(*_LISTED)
_WORKSPACE: Final = select(*_LISTED, workspaces.c.accepted, workspaces.c.told_generation)
_ADD: Final = insert(workspaces)
_ORDER: Final = (workspaces.c.created_at, workspaces.c.id)
_LIVE: Final = workspaces.c.terminated_at.is_(None)
_ONE: Final = _WORKSPACE.where(workspaces.c.id == bindparam("own"))
_OF_GROUP: Final = _RECORD.where(workspaces.c.group_id == bindparam("group")).order_by(*_ORDER)
_LIVE_OF_GROUP: Final = _OF_GROUP.where(_LIVE)
_OF_CELL: Final = _WORKSPACE.where(workspaces.c.cell_id == bindparam("cell"), _LIVE).order_by(*_ORDER)
_IS_DUE: Final = workspaces.c.generation > workspaces.c.acknowledged_generation
_DUE: Final = (
    select(workspaces.c.id).where(workspaces.c.cell_id == bindparam("cell"), _LIVE, _IS_DUE).order_by(*_ORDER)
)
_ANY_DUE: Final = (
    select(workspaces.c.id).where(workspaces.c.cell_id == bindparam("cell"), _LIVE, _IS_DUE).limit(1)
)
_UNTOLD: Final = _OF_CELL.where(_IS_DUE, workspaces.c.told_generation < workspaces.c.generation)
_ANY_UNTOLD: Final = _ANY_DUE.where(workspaces.c.told_generation < workspaces.c.generation)
_TELL: Final = (
    update(workspaces)
    .where(workspaces.c.cell_id == bindparam("of_cell"), _LIVE, _IS_DUE)
    .where(workspaces.c.told_generation < workspaces.c.generation)
    .values(told_generation=workspaces.c.generation)
)
_ALL_LIVE: Final = _RECORD.where(_LIVE).order_by(*_ORDER)


class Workspaces:
    """Verbs over workspaces."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, workspace: WorkspaceRecord, accepted: WorkspaceSpec | None = None) -> None:
        """Write a new workspace."""
        spec, report = workspace.spec, workspace.seen.report
        values = {
            "id": spec.id,
            "organization_id": workspace.organization_id,
            "group_id": spec.group_id,
            "cell_id": workspace.cell_id,
            **_intent(spec),
            "acknowledged_generation": workspace.seen.acknowledged_generation,
            "accepted": None if accepted is None else dump_workspace(accepted),
            "report": None if report is None else dump_report(report),
            "created_at": to_number(workspace.created_at),
            "deployment_type": workspace.deployment_type,
            "terminated_at": to_number_or_none(workspace.terminated_at),
            "last_resumed_at": to_number_or_none(workspace.last_resumed_at),
            "auto_suspend_changed_at": to_number_or_none(workspace.auto_suspend_changed_at),
            "auto_scale_changed_at": to_number_or_none(workspace.auto_scale_changed_at),
        }
        self._connection.execute(_ADD, values)

    def get(self, own: str) -> HeldWorkspace | None:
        """Return one workspace, also a terminated one."""
        found = self._connection.execute(_ONE, {"own": own}).first()
        return None if found is None else _held(found)

    def of_group(self, group: GroupID, *, include_terminated: bool) -> list[WorkspaceRecord]:
        """Return the workspaces of a group, oldest first."""
        query = _OF_GROUP if include_terminated else _LIVE_OF_GROUP
        # All at once: row by row costs as much again.
        return [_decoded(tuple(row)) for row in self._connection.execute(query, {"group": group}).all()]

    def of_cell(self, cell: CellID) -> list[HeldWorkspace]:
        """Return the live workspaces of a cell, oldest first."""
        return [_held(row) for row in self._connection.execute(_OF_CELL, {"cell": cell})]

    def due(self, cell: CellID) -> list[WorkspaceID]:
        """Return the ids of those whose newest generation the cell has not acknowledged, oldest first."""
        return [WorkspaceID(own) for (own,) in self._connection.execute(_DUE, {"cell": cell})]

    def any_due(self, cell: CellID) -> bool:
        """Whether there is one of them."""
        return self._connection.execute(_ANY_DUE, {"cell": cell}).first() is not None

    def untold(self, cell: CellID) -> list[HeldWorkspace]:
        """Return those of them whose wait has not been told, oldest first."""
        return [_held(row) for row in self._connection.execute(_UNTOLD, {"cell": cell})]

    def any_untold(self, cell: CellID) -> bool:
        """Whether there is one of them."""
        return self._connection.execute(_ANY_UNTOLD, {"cell": cell}).first() is not None

    def live(self) -> list[WorkspaceRecord]:
        """Return every live workspace."""
        return [_decoded(tuple(row)) for row in self._connection.execute(_ALL_LIVE)]

    def put_intent(self, spec: WorkspaceSpec) -> None:
        """Write a newer generation."""
        self._set(spec.id, **_intent(spec))

    def put_beside(self, own: WorkspaceID, **values: str | datetime | None) -> None:
        """Change what is kept beside the spec: ``deployment_type`` and moments."""
        numbers = {
            name: to_number(value) if isinstance(value, datetime) else value for name, value in values.items()
        }
        self._set(own, **numbers)

    def acknowledge(self, accepted: WorkspaceSpec) -> None:
        """Note that the cell holds exactly this spec."""
        self._set(accepted.id, acknowledged_generation=accepted.generation, accepted=dump_workspace(accepted))

    def forget_acknowledgement(self, own: WorkspaceID) -> None:
        """Note that the cell holds nothing of it."""
        self._set(own, acknowledged_generation=0)

    def put_report(self, own: WorkspaceID, report: WorkspaceReport | None) -> None:
        """Note what was seen; None: nothing that still holds."""
        self._set(own, report=None if report is None else dump_report(report))

    def tell(self, cell: CellID) -> None:
        """Note that the waits of all that is due for a cell have been told."""
        self._connection.execute(_TELL, {"of_cell": cell})

    def terminate(self, own: WorkspaceID, at: datetime) -> None:
        """Note that nothing is left of it."""
        self._set(own, terminated_at=to_number(at))

    def revive(self, own: WorkspaceID) -> None:
        """Note that it is there after all: its cell was restored from a copy."""
        self._set(own, terminated_at=None)

    def _set(self, own: WorkspaceID, **values: object) -> None:
        set_columns(self._connection, workspaces, own, values)


def _intent(spec: WorkspaceSpec) -> dict[str, object]:
    return {"name": spec.name, "generation": spec.generation, "spec": dump_workspace(spec)}


@lru_cache(maxsize=MOST_DECODED)
def _decoded(row: tuple[Any, ...]) -> WorkspaceRecord:
    # A row says everything and records are frozen, so the same row is the same record.
    (
        own, spec, organization, cell, created, acknowledged, report, deployment, terminated, resumed,
        suspend_changed, scale_changed,
    ) = row  # fmt: skip
    return WorkspaceRecord(
        load_workspace(spec),
        OrganizationID(organization),
        CellID(cell),
        to_moment(created),
        Seen(acknowledged, None if report is None else load_report(own, report)),
        deployment,
        to_moment_or_none(terminated),
        to_moment_or_none(resumed),
        to_moment_or_none(suspend_changed),
        to_moment_or_none(scale_changed),
    )


def _held(row: Sequence[Any]) -> HeldWorkspace:
    accepted, told = row[-2], row[-1]
    return HeldWorkspace(
        _decoded(tuple(row)[:-2]), None if accepted is None else load_workspace(accepted), told
    )
