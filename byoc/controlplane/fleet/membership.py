"""How a cell joins, logs in and leaves, each step inside one transaction.

Called by the service and by the routes for cells. The invariants: only the newest token
counts, and only with the key it was minted for; a retired cell never comes back.
"""

from dataclasses import replace
from datetime import datetime

from byoc.controlplane.fleet import topics, visible
from byoc.controlplane.fleet.groups import Act
from byoc.errors import Conflict, Forbidden, IllegalState, NotAuthenticated
from byoc.ids import CellID
from byoc.model.records import CellRecord, CellState
from byoc.store.transaction import Transaction
from byoc.wire.keys import Jwk
from byoc.wire.tokens import EnrolmentClaims


def register(tx: Transaction, act: Act, cell: CellRecord) -> None:
    """Write a cell that may then enrol."""
    for other in tx.cells.of_organization(act.by.organization_id):
        live = other.record.state is not CellState.RETIRED
        if live and cell.name == other.record.name:
            raise Conflict(f"a cell named `{cell.name}` exists", hint="choose another name")
        same_region = (other.record.provider, other.record.region_name) == (cell.provider, cell.region_name)
        if live and same_region:
            raise Conflict(f"region `{cell.region_name}` belongs to cell `{other.record.name}`")
    tx.cells.add(cell)
    tx.cells.tell(cell.id, act.now, "registered", "the cell may enrol", act.by.email)


def expect(tx: Transaction, act: Act, own: CellID, jti: str, thumbprint: str) -> None:
    """Note the enrolment token that counts from now on; this ends a contest."""
    held = visible.cell(tx, act.by, own)
    record = held.record
    if record.state is CellState.RETIRED:
        raise IllegalState(f"cell `{record.name}` is retired")
    if record.state is CellState.CONTESTED:
        enrolled = record.signing_key is not None
        tx.cells.set_state(own, CellState.ENROLLED if enrolled else CellState.PENDING)
    tx.cells.expect_enrolment(own, jti, thumbprint)
    tx.cells.tell(own, act.now, "token-minted", f"for the key {thumbprint}", act.by.email)


def enrol(tx: Transaction, claims: EnrolmentClaims, keys: tuple[Jwk, Jwk], now: datetime) -> CellRecord:
    """Write a cell's keys. The same token with the same keys again changes nothing.

    Raises:
        NotAuthenticated: another token was minted since.
        Forbidden: the cell is retired.
    """
    held = tx.cells.get(claims.cell)
    if held is None or held.record.organization_id != claims.organization:
        raise NotAuthenticated("the enrolment token is for a cell that does not exist")
    record = held.record
    if record.state is CellState.RETIRED:
        raise Forbidden("the cell is retired")
    if (held.enrolment_jti, held.enrolment_thumbprint) != (claims.jti, claims.thumbprint):
        raise NotAuthenticated("the enrolment token was replaced by a newer one")
    signing, sealing = keys
    if (record.signing_key, record.sealing_key) == (signing, sealing):
        return record
    if record.signing_key is not None and record.signing_key != signing:
        tx.cells.close_sessions(cell=record.id)
    state = CellState.CONTESTED if record.state is CellState.CONTESTED else CellState.ENROLLED
    tx.cells.enrol(record.id, state, signing, sealing)
    tx.cells.seen(record.id, now)
    tx.cells.tell(record.id, now, "enrolled", f"with the key {claims.thumbprint}")
    tx.topics.add(topics.cell(record.id))
    return replace(record, state=state, signing_key=signing, sealing_key=sealing)


def contest(tx: Transaction, claims: EnrolmentClaims, thumbprint: str, now: datetime) -> None:
    """Note that a key which a token was not minted for was presented with it: an alarm."""
    held = tx.cells.get(claims.cell)
    if held is None or held.enrolment_jti != claims.jti or held.record.state is CellState.RETIRED:
        return
    if held.record.state is not CellState.CONTESTED:
        tx.cells.set_state(held.record.id, CellState.CONTESTED)
    tx.cells.tell(
        held.record.id, now, "contested", f"another key, {thumbprint}, was presented with the cell's token"
    )


def log_in(tx: Transaction, own: CellID, gateway: str, session: str, now: datetime) -> int:
    """Note a session and return its epoch.

    Raises:
        Forbidden: the cell is retired.
        NotAuthenticated: it was never enrolled.
    """
    held = tx.cells.get(own)
    if held is None or held.record.signing_key is None:
        raise NotAuthenticated("unknown cell")
    if held.record.state is CellState.RETIRED:
        raise Forbidden("the cell is retired")
    epoch = tx.cells.open_session(session, own, gateway, now)
    tx.cells.seen(own, now)
    tx.topics.add(topics.cell(own))
    return epoch


def log_out(tx: Transaction, session: str, now: datetime) -> None:
    """Forget a session."""
    cell = tx.cells.close_session(session)
    if cell is not None:
        tx.cells.seen(cell, now)


def retire(tx: Transaction, act: Act, own: CellID) -> None:
    """Let a cell in no more. What it holds stays there, under its owner's own hands."""
    record = visible.cell(tx, act.by, own).record
    if record.state is not CellState.RETIRED:
        tx.cells.set_state(own, CellState.RETIRED)
        tx.cells.close_sessions(cell=own)
        tx.cells.tell(own, act.now, "retired", "its tunnels are closed", act.by.email)
