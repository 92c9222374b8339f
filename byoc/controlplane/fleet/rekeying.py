"""Replacing the keys of a cell: no request is dropped, and a kill at any step leaves a cell that connects.

Called by the fleet's service. In order: the cell makes its next keys and keeps them; they are believed here,
beside those in use; the cell takes them into use; the first thing that is signed with them makes them those
in use, and those before are believed for an hour more (``believing``). The invariants: the cell never uses a
key that is not believed here; keys are believed only by the word of the key before.
"""

import json
from collections.abc import Callable
from typing import Final, TypeVar

from byoc import faults
from byoc.clock import Clock
from byoc.controlplane.fleet import visible
from byoc.controlplane.fleet.believing import used
from byoc.controlplane.fleet.courier import Courier, Parcel
from byoc.controlplane.fleet.reads import refused
from byoc.errors import CellAway, Failed, IllegalState, Unreachable, UsageError
from byoc.ids import CellID
from byoc.model.records import CellRecord, CellState, KeyChange, Principal
from byoc.model.verbs import Verb
from byoc.store.seam import Store
from byoc.store.transaction import Transaction
from byoc.wire.cell import KeysWish, NextKeys, decode
from byoc.wire.keys import PublicKey, check_sealing_jwk
from byoc.wire.tokens import check_sealing_certificate

T = TypeVar("T")

_OK: Final = 200


class Rekeying:
    """See ``byoc.controlplane.api.service.Cells.rotate_keys``."""

    def __init__(self, store: Store, courier: Courier, clock: Clock) -> None:
        self._store = store
        self._courier = courier
        self._clock = clock

    async def rotate(self, by: Principal, cell_id: CellID, /) -> str:
        """Have the cell replace its keys; return the thumbprint of the new signing key."""
        cell = await self._cell(by, cell_id)
        shown = await self._ask(by, cell, "prepare", None, _next)
        kid = _check(shown)
        await self._store.write(lambda tx: self._believe(tx, by, cell, shown))
        faults.reach(faults.Step.KEYS_BELIEVED)
        # Read anew: the answer may be signed with the new key already.
        cell = await self._cell(by, cell_id)
        taken = await self._ask(by, cell, "take-over", KeysWish(kid), _taken)
        if taken.thumbprint != kid:
            raise Failed("the cell has taken other keys into use than it has shown", hint="run it again")
        await self._store.write(lambda tx: used(tx, cell_id, kid, self._clock.now()))
        return kid

    def _believe(self, tx: Transaction, by: Principal, cell: CellRecord, shown: NextKeys) -> None:
        record = visible.cell(tx, by, cell.id).record
        if (record.signing_key, record.state) != (cell.signing_key, cell.state) or record.sealing_key is None:
            raise IllegalState(f"cell `{cell.name}` was changed meanwhile", hint="run it again")
        if record.signing_key is None or record.signing_key == shown.signing_key:
            return
        following = KeyChange(
            next_signing=shown.signing_key,
            next_sealing=shown.sealing_key,
            previous_signing=record.change.previous_signing,
            previous_until=record.change.previous_until,
        )
        tx.cells.change_keys(cell.id, record.signing_key, record.sealing_key, following)
        text = "the cell has prepared new keys; they are believed beside those in use"
        tx.cells.tell(cell.id, self._clock.now(), "keys-prepared", text, by.email)

    async def _ask(
        self, by: Principal, cell: CellRecord, what: str, body: object, read: Callable[[bytes], T]
    ) -> T:
        parcel = Parcel("POST", f"/cell/v1/keys/{what}", by.email, body, verbs=(Verb.CELL_REKEY,))
        try:
            answer = await self._courier.send(cell, parcel)
        except Unreachable as error:
            hint = "run it again: nothing is lost, and the cell connects with either of its keys"
            raise Unreachable(f"the cell did not answer: {error.message}", hint=hint) from error
        if answer.status != _OK:
            raise refused(Verb.CELL_REKEY, answer.body)
        try:
            return read(answer.body)
        except (ValueError, UsageError) as error:
            raise Failed("the cell's answer is not understood", hint="upgrade the control plane") from error

    async def _cell(self, by: Principal, cell_id: CellID) -> CellRecord:
        cell = (await self._store.read(lambda tx: visible.cell(tx, by, cell_id))).record
        if cell.state is not CellState.ENROLLED:
            raise IllegalState(
                f"cell `{cell.name}` is {cell.state.value}: only an enrolled one has keys to replace"
            )
        if not cell.connected:
            raise CellAway("the cell is not connected", hint="its keys are replaced only while it is")
        if cell.facts is not None and cell.facts.verbs and Verb.CELL_REKEY not in cell.facts.verbs:
            raise IllegalState(f"cell `{cell.name}` is too old to replace its keys", hint="upgrade its agent")
        return cell


def _next(body: bytes) -> NextKeys:
    return decode(NextKeys, json.loads(body))


def _taken(body: bytes) -> KeysWish:
    return decode(KeysWish, json.loads(body))


def _check(shown: NextKeys) -> str:
    """Return the name of the new signing key, whose word stands for the new sealing key."""
    try:
        signing = PublicKey.from_jwk(shown.signing_key)
        check_sealing_certificate(shown.certificate, signing, check_sealing_jwk(shown.sealing_key))
    except UsageError as error:
        raise Failed("the cell has shown keys that are none", hint="upgrade the control plane") from error
    return signing.kid
