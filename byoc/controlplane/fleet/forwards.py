"""Forwarded services, as the Control Plane sees them: a signed command, then streams that it only passes on.

Called by the fleet's service. The invariants: whoever may see the cell may ask, and the cell decides; who
asked is an event of the cell; what goes over a forward is for its two ends alone, and is kept nowhere.
"""

import json
from typing import Final

from byoc.clock import Clock
from byoc.controlplane.fleet import visible
from byoc.controlplane.fleet.courier import Courier, Parcel
from byoc.controlplane.fleet.reads import refused
from byoc.errors import CellAway, Failed, IllegalState, Unreachable, UsageError
from byoc.ids import CellID
from byoc.model.records import CellRecord, CellState, Principal
from byoc.model.verbs import Verb
from byoc.nimbus.stream import Stream
from byoc.store.seam import Store
from byoc.wire.cell import ServiceOpened, ServiceWish, decode

_OK: Final = 200
_BAD_GATEWAY: Final = 502


class Forwards:
    """See ``byoc.controlplane.api.service.Forwards``."""

    def __init__(self, store: Store, courier: Courier, clock: Clock) -> None:
        self._store = store
        self._courier = courier
        self._clock = clock

    async def open_service(
        self, by: Principal, cell_id: CellID, service: str, wish: ServiceWish, /
    ) -> ServiceOpened:
        """Have the cell open a way to a service of its own."""
        cell = await self._cell(by, cell_id)
        target = f"/cell/v1/services/{service}/open"
        parcel = Parcel("POST", target, by.email, wish, verbs=(Verb.SERVICE_OPEN,))
        answer = await self._courier.send(cell, parcel)
        if answer.status == _BAD_GATEWAY:
            hint = "the cell's policy says where it is, and the cell looks it up"
            raise Unreachable(f"the cell does not find service `{service}`", hint=hint)
        if answer.status != _OK:
            raise refused(Verb.SERVICE_OPEN, answer.body)
        try:
            opened = decode(ServiceOpened, json.loads(answer.body))
        except (ValueError, UsageError) as error:
            raise Failed("the cell's answer is not understood", hint="upgrade the control plane") from error
        now, text = self._clock.now(), f"`{service}` is forwarded for a while: {opened.forward[:64]}"
        await self._store.write(lambda tx: tx.cells.tell(cell.id, now, "service-opened", text, by.email))
        return opened

    async def forward(self, by: Principal, cell_id: CellID, forward: str, what: str, /) -> Stream:
        """Open one stream of a forward; the cell knows whether there is such a one."""
        cell = await self._cell(by, cell_id)
        return await self._courier.link.open(cell.id, f"{forward}/{what}")

    async def _cell(self, by: Principal, cell_id: CellID) -> CellRecord:
        cell = (await self._store.read(lambda tx: visible.cell(tx, by, cell_id))).record
        if cell.state is CellState.RETIRED:
            raise IllegalState(f"cell `{cell.name}` is retired")
        if not cell.connected:
            raise CellAway("the cell is not connected", hint="a service is forwarded only while it is")
        if cell.facts is not None and cell.facts.verbs and Verb.SERVICE_OPEN not in cell.facts.verbs:
            raise IllegalState(f"cell `{cell.name}` is too old to forward services", hint="upgrade its agent")
        return cell
