"""What a caller may see: objects of another organization are not found, like those that never were."""

from byoc.errors import NotFound
from byoc.ids import CellID, GroupID, WorkspaceID
from byoc.model.records import Principal
from byoc.store.transaction import Transaction
from byoc.store.values import HeldCell, HeldGroup, HeldWorkspace


def cell(tx: Transaction, by: Principal, own: CellID, what: str = "cell") -> HeldCell:
    """Return a cell of the caller's organization.

    Raises:
        NotFound: there is none.
    """
    found = tx.cells.get(own)
    if found is None or found.record.organization_id != by.organization_id:
        raise NotFound(f"{what} not found")
    return found


def group(tx: Transaction, by: Principal, own: GroupID) -> HeldGroup:
    """Return a group of the caller's organization.

    Raises:
        NotFound: there is none.
    """
    found = tx.groups.get(own)
    if found is None or found.record.organization_id != by.organization_id:
        raise NotFound("workspace group not found")
    return found


def workspace(tx: Transaction, by: Principal, own: WorkspaceID) -> HeldWorkspace:
    """Return a workspace of the caller's organization.

    Raises:
        NotFound: there is none.
    """
    found = tx.workspaces.get(own)
    if found is None or found.record.organization_id != by.organization_id:
        raise NotFound("workspace not found")
    return found
