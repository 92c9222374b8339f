"""Which keys may sign for a cell now, also while they are being replaced.

Asked for each login, report and answer of a cell. The invariant: keys that another pair has taken the place
of are believed for an hour and no longer.
"""

from datetime import datetime, timedelta
from typing import Final

from byoc.controlplane.fleet import topics
from byoc.ids import CellID
from byoc.model.records import CellRecord, KeyChange
from byoc.store.transaction import Transaction
from byoc.wire.keys import Jwk, PublicKey

PREVIOUS_LIFE: Final = timedelta(hours=1)
"""How long keys are still believed that were replaced: what was under way counts."""


def believed(cell: CellRecord, now: datetime) -> dict[str, PublicKey]:
    """Return the keys that may sign for a cell now: those in use, those to come, those just replaced."""
    change = cell.change
    found: list[Jwk | None] = [cell.signing_key, change.next_signing]
    if change.previous_until is not None and now < change.previous_until:
        found.append(change.previous_signing)
    keys = [PublicKey.from_jwk(jwk) for jwk in found if jwk is not None]
    return {key.kid: key for key in keys}


def used(tx: Transaction, own: CellID, kid: str, now: datetime) -> None:
    """Note that something was signed with the key ``kid``: the next one is in use from then on."""
    held = tx.cells.get(own)
    if held is None:
        return
    record = held.record
    signing, sealing = record.change.next_signing, record.change.next_sealing
    if signing is None or sealing is None or PublicKey.from_jwk(signing).kid != kid:
        return
    before = KeyChange(previous_signing=record.signing_key, previous_until=now + PREVIOUS_LIFE)
    tx.cells.change_keys(own, signing, sealing, before)
    tx.cells.tell(own, now, "keys-changed", f"the cell signs with the key {kid}")
    tx.topics.add(topics.cell(own))
