"""Records to put into a store."""

from datetime import UTC, datetime
from typing import Any

from byoc.ids import CellID, GroupID, OrganizationID, ProjectID, WorkspaceID
from byoc.model.records import (
    CellRecord,
    CellState,
    GroupRecord,
    Organization,
    Project,
    WorkspaceRecord,
)
from byoc.model.spec import GroupSpec, WorkspaceSpec
from byoc.store.transaction import Transaction

NOW = datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
ORGANIZATION = OrganizationID("o1")
CELL = CellID("c1")
GROUP = GroupID("g1")


def group(own: str = GROUP, **fields: Any) -> GroupRecord:
    spec = fields.pop("spec", GroupSpec(GroupID(own), 1, f"name of {own}", password_version=1))
    return GroupRecord(spec, ORGANIZATION, ProjectID("p1"), CELL, NOW, **fields)


def workspace(own: str, **fields: Any) -> WorkspaceRecord:
    spec = fields.pop("spec", WorkspaceSpec(WorkspaceID(own), GROUP, 1, f"name of {own}", "S-00"))
    return WorkspaceRecord(spec, ORGANIZATION, CELL, NOW, **fields)


def base(tx: Transaction) -> None:
    """An organization with a project, a cell and a group."""
    tx.identities.add_organization(Organization(ORGANIZATION, "Acme", NOW))
    tx.identities.add_project(Project(ProjectID("p1"), ORGANIZATION, "Standard Project", "STANDARD", NOW))
    tx.cells.add(CellRecord(CELL, ORGANIZATION, "local", "AWS", "US Local", "local", CellState.PENDING, NOW))
    tx.groups.add(group())
