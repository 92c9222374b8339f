"""What is asked of a cell at once, for a caller who waits: logs and metrics. Stored nowhere.

Called by the fleet's service. The invariant: every read is a signed request with its own verb, so
the customer's policy decides and the cell's ledger shows who asked.
"""

import json
from math import isfinite
from typing import Final

from byoc.controlplane.fleet import visible
from byoc.controlplane.fleet.courier import Courier, Parcel
from byoc.errors import ByocError, CellAway, Failed, NotFound, RefusedByCell, UsageError
from byoc.ids import CellID, GroupID, WorkspaceID
from byoc.model.records import CellRecord, Principal
from byoc.model.verbs import Verb
from byoc.store.seam import Store
from byoc.store.transaction import Transaction
from byoc.wire.cell import Reading, Refusal, decode

_OK: Final = 200
_NOT_FOUND: Final = 404


class Reads:
    """See ``byoc.controlplane.api.service.Reads``."""

    def __init__(self, store: Store, courier: Courier) -> None:
        self._store = store
        self._courier = courier

    async def logs(self, by: Principal, workspace_id: WorkspaceID, /) -> str:
        """Return the engine's own log."""
        cell = await self._cell_of(by, workspace_id, "logs are kept in the cell only")
        target = f"/cell/v1/workspaces/{workspace_id}/logs"
        body = await self._ask(by, cell, target, Verb.LOGS_READ)
        return body.decode("utf-8", "replace")

    async def workspace_metrics(self, by: Principal, workspace_id: WorkspaceID, /) -> Reading:
        """Return the metrics of one workspace."""
        cell = await self._cell_of(by, workspace_id, _NOT_STORED)
        return await self._measure(by, cell, f"/cell/v1/workspaces/{workspace_id}/metrics")

    async def group_metrics(self, by: Principal, group_id: GroupID, /) -> Reading:
        """Return the metrics of all workspaces of a group."""

        def look(tx: Transaction) -> CellRecord | None:
            return _record(tx, visible.group(tx, by, group_id).record.cell_id)

        cell = _connected(await self._store.read(look), _NOT_STORED)
        return await self._measure(by, cell, f"/cell/v1/groups/{group_id}/metrics")

    async def _cell_of(self, by: Principal, workspace_id: WorkspaceID, hint: str) -> CellRecord:
        def look(tx: Transaction) -> CellRecord | None:
            return _record(tx, visible.workspace(tx, by, workspace_id).record.cell_id)

        return _connected(await self._store.read(look), hint)

    async def _measure(self, by: Principal, cell: CellRecord, target: str) -> Reading:
        body = await self._ask(by, cell, target, Verb.METRICS_READ)
        try:
            reading = decode(Reading, json.loads(body))
            _check_numbers(reading)
        except (ValueError, UsageError) as error:
            hint = "upgrade the control plane: the cell may be newer"
            raise Failed("the cell's metrics are not understood", hint=hint) from error
        return reading

    async def _ask(self, by: Principal, cell: CellRecord, target: str, verb: Verb) -> bytes:
        answer = await self._courier.send(cell, Parcel("GET", target, by.email, verbs=(verb,)))
        if answer.status == _OK:
            return answer.body
        if answer.status == _NOT_FOUND:
            raise NotFound("the cell has no such object", hint="it may not have reached the cell yet")
        raise refused(verb, answer.body)


def _check_numbers(reading: Reading) -> None:
    if not all(isfinite(each.value) for one in reading.workspaces for each in one.samples):
        raise UsageError("a value is no number")


_NOT_STORED: Final = "metrics are read from the cell and stored nowhere"


def _record(tx: Transaction, cell_id: CellID) -> CellRecord | None:
    held = tx.cells.get(cell_id)
    return held.record if held is not None else None


def _connected(cell: CellRecord | None, hint: str) -> CellRecord:
    if cell is None or not cell.connected:
        raise CellAway("the cell is not connected", hint=hint)
    return cell


def refused(verb: Verb, body: bytes) -> ByocError:
    """Return what a cell's no to ``verb`` is to whoever asked."""
    try:
        refusal = decode(Refusal, json.loads(body))
    except (ValueError, UsageError):
        return Failed(f"the cell could not do {verb}")
    return RefusedByCell(f"the cell refused {verb}: rule `{refusal.rule}`: {refusal.reason[:200]}")
