"""Cells, their tunnel sessions, the order of their reports, and who may deliver to them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from byoc.ids import CellID, OrganizationID
from byoc.model.records import CellEvent, CellRecord, CellState, KeyChange, SessionRecord
from byoc.model.report import Authority, CellFacts, LedgerHead, Zone
from byoc.store.rows import dump, load_mapping, to_moment, to_moment_or_none, to_number
from byoc.store.setting import set_columns
from byoc.store.tables import cell_events, cells, incarnations, ledger_heads, sessions
from byoc.store.values import HeldCell

_CELL: Final = (
    select(
        cells.c.id,
        cells.c.organization_id,
        cells.c.name,
        cells.c.provider,
        cells.c.region,
        cells.c.region_name,
        cells.c.state,
        cells.c.created_at,
        cells.c.signing_key,
        cells.c.sealing_key,
        exists().where(sessions.c.cell_id == cells.c.id),
        cells.c.last_seen_at,
        cells.c.facts,
        func.coalesce(cells.c.enrolment_jti, ""),
        func.coalesce(cells.c.enrolment_thumbprint, ""),
        func.coalesce(cells.c.incarnation, ""),
        func.coalesce(incarnations.c.seq, 0),
        cells.c.full_wanted,
        cells.c.resync_wanted,
        cells.c.copies_late_since,
        cells.c.key_change,
    )
    .select_from(cells)
    .outerjoin(
        incarnations,
        and_(incarnations.c.cell_id == cells.c.id, incarnations.c.incarnation == cells.c.incarnation),
    )
)
_ONE: Final = _CELL.where(cells.c.id == bindparam("own"))
_OF_ORGANIZATION: Final = _CELL.where(cells.c.organization_id == bindparam("organization")).order_by(
    cells.c.created_at, cells.c.id
)
_ALL: Final = _CELL.order_by(cells.c.created_at, cells.c.id)
_SESSIONS: Final = (
    select(sessions).where(sessions.c.cell_id == bindparam("cell")).order_by(sessions.c.epoch, sessions.c.id)
)
_SESSION: Final = select(sessions).where(sessions.c.id == bindparam("own"))
_SEQ: Final = select(incarnations.c.seq).where(
    incarnations.c.cell_id == bindparam("cell"), incarnations.c.incarnation == bindparam("incarnation")
)
_CLAIM: Final = select(cells.c.claim_owner, cells.c.claim_until, cells.c.fence).where(
    cells.c.id == bindparam("own")
)
_HEAD: Final = select(ledger_heads.c.seq, ledger_heads.c.hash).where(
    ledger_heads.c.cell_id == bindparam("cell"), ledger_heads.c.chain == bindparam("ledger")
)


class Cells:
    """Verbs over cells."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, cell: CellRecord) -> None:
        """Write a new cell."""
        values = {
            "id": cell.id,
            "organization_id": cell.organization_id,
            "name": cell.name,
            "provider": cell.provider,
            "region": cell.region,
            "region_name": cell.region_name,
            "state": cell.state.value,
            "created_at": to_number(cell.created_at),
        }
        self._connection.execute(insert(cells), values)

    def get(self, own: str) -> HeldCell | None:
        """Return one cell."""
        found = self._connection.execute(_ONE, {"own": own}).first()
        return None if found is None else _cell(found)

    def of_organization(self, organization: OrganizationID) -> list[HeldCell]:
        """Return the cells of an organization, oldest first."""
        rows = self._connection.execute(_OF_ORGANIZATION, {"organization": organization})
        return [_cell(row) for row in rows]

    def all(self) -> list[HeldCell]:
        """Return every cell, oldest first."""
        return [_cell(row) for row in self._connection.execute(_ALL)]

    def set_state(self, own: CellID, state: CellState) -> None:
        """Change the state of a cell."""
        self._set(own, state=state.value)

    def expect_enrolment(self, own: CellID, jti: str, thumbprint: str) -> None:
        """Make this the only enrolment token that counts."""
        self._set(own, enrolment_jti=jti, enrolment_thumbprint=thumbprint)

    def enrol(
        self, own: CellID, state: CellState, signing: Mapping[str, str], sealing: Mapping[str, str]
    ) -> None:
        """Write a cell's public keys."""
        keys = {"signing_key": dump(dict(signing)), "sealing_key": dump(dict(sealing))}
        self._set(own, state=state.value, key_change=None, **keys)

    def change_keys(
        self, own: CellID, signing: Mapping[str, str], sealing: Mapping[str, str], change: KeyChange
    ) -> None:
        """Write the keys in use, and those beside them."""
        until = to_number(change.previous_until) if change.previous_until is not None else None
        beside = dump(asdict(replace(change, previous_until=None)) | {"previous_until": until})
        keys = {"signing_key": dump(dict(signing)), "sealing_key": dump(dict(sealing))}
        self._set(own, key_change=beside, **keys)

    def seen(self, own: CellID, now: datetime, facts: CellFacts | None = None) -> None:
        """Note a sign of life, with what the cell is made of where it said so."""
        extra = {} if facts is None else {"facts": dump(asdict(facts))}
        self._set(own, last_seen_at=to_number(now), **extra)

    def note_copies(self, own: CellID, late_since: datetime | None) -> None:
        """Note since when the copies of a cell's ledger are late; None for not at all."""
        self._set(own, copies_late_since=None if late_since is None else to_number(late_since))

    def want(self, own: CellID, *, full: bool | None = None, resync: bool | None = None) -> None:
        """Ask for a full report or a resync, or note that it came."""
        flags = {"full_wanted": full, "resync_wanted": resync}
        self._set(own, **{name: value for name, value in flags.items() if value is not None})

    def _set(self, own: CellID, **values: object) -> None:
        set_columns(self._connection, cells, own, values)

    # --- sessions ------------------------------------------------------------------------

    def open_session(self, session: str, cell: CellID, gateway: str, now: datetime) -> int:
        """Note a session and return its epoch; a session that is known keeps the one it has."""
        known = self._connection.execute(_SESSION, {"own": session}).first()
        if known is not None and known.cell_id == cell:
            return int(known.epoch)
        epoch = self._connection.execute(
            update(cells).where(cells.c.id == cell).values(epoch=cells.c.epoch + 1).returning(cells.c.epoch)
        ).scalar_one()
        values = {"id": session, "cell_id": cell, "gateway": gateway, "epoch": epoch}
        self._connection.execute(insert(sessions), values | {"opened_at": to_number(now)})
        return int(epoch)

    def close_session(self, session: str) -> CellID | None:
        """Forget a session; return whose it was."""
        gone = delete(sessions).where(sessions.c.id == session).returning(sessions.c.cell_id)
        found = self._connection.execute(gone).scalar()
        return None if found is None else CellID(found)

    def close_sessions(self, *, cell: CellID | None = None, gateway: str | None = None) -> list[CellID]:
        """Forget the sessions of a cell, of a gateway, or all; return whose they were."""
        gone = delete(sessions).returning(sessions.c.cell_id)
        if cell is not None:
            gone = gone.where(sessions.c.cell_id == cell)
        if gateway is not None:
            gone = gone.where(sessions.c.gateway == gateway)
        return [CellID(name) for (name,) in self._connection.execute(gone).all()]

    def sessions(self, cell: CellID) -> list[SessionRecord]:
        """Return a cell's sessions, newest last."""
        return [
            SessionRecord(own, CellID(of), gateway, epoch, to_moment(opened))
            for own, of, gateway, epoch, opened in self._connection.execute(_SESSIONS, {"cell": cell})
        ]

    # --- reports -------------------------------------------------------------------------

    def last_seq(self, cell: CellID, incarnation: str) -> int | None:
        """Return the last report number of an incarnation; None for one never heard of."""
        parameters = {"cell": cell, "incarnation": incarnation}
        return self._connection.execute(_SEQ, parameters).scalar()

    def note_report(self, cell: CellID, incarnation: str, seq: int) -> None:
        """Make this the last report taken in."""
        row = {"cell_id": cell, "incarnation": incarnation, "seq": seq}
        added = upsert(incarnations).values(row)
        self._connection.execute(
            added.on_conflict_do_update(index_elements=["cell_id", "incarnation"], set_={"seq": seq})
        )
        self._set(cell, incarnation=incarnation)

    def head(self, cell: CellID, chain: str) -> LedgerHead | None:
        """Return the head of a ledger chain that was reported last."""
        found = self._connection.execute(_HEAD, {"cell": cell, "ledger": chain}).first()
        return None if found is None else LedgerHead(chain, found.seq, found.hash)

    def note_head(self, cell: CellID, head: LedgerHead, now: datetime) -> LedgerHead | None:
        """Make this the head of its ledger chain, also where it went back; return the one before."""
        known = self.head(cell, head.chain)
        row = {"cell_id": cell, "chain": head.chain, "seq": head.seq, "hash": head.hash}
        row |= {"at": to_number(now)}
        added = upsert(ledger_heads).values(row)
        changed = {name: row[name] for name in ("seq", "hash", "at")}
        self._connection.execute(
            added.on_conflict_do_update(index_elements=["cell_id", "chain"], set_=changed)
        )
        return known

    # --- who delivers --------------------------------------------------------------------

    def claim(self, own: CellID, owner: str, now: datetime, until: datetime) -> int | None:
        """Take the right to deliver until then; return the fence, None while somebody else has it."""
        found = self._connection.execute(_CLAIM, {"own": own}).first()
        if found is None:
            return None
        free = found.claim_owner in {None, owner} or to_moment(found.claim_until or 0) <= now
        if not free:
            return None
        fence = int(found.fence) + 1
        self._set(own, claim_owner=owner, claim_until=to_number(until), fence=fence)
        return fence

    def holds_claim(self, own: CellID, fence: int) -> bool:
        """Whether nobody has taken the right since it got this fence."""
        found = self._connection.execute(_CLAIM, {"own": own}).first()
        return found is not None and found.fence == fence

    # --- what its owner should know ------------------------------------------------------

    def tell(self, own: CellID, now: datetime, kind: str, text: str, by: str = "") -> None:
        """Write an event about a cell."""
        values = {"cell_id": own, "at": to_number(now), "kind": kind, "text": text, "by": by}
        self._connection.execute(insert(cell_events), values)

    def events(self, own: CellID) -> list[CellEvent]:
        """Return a cell's events in order."""
        rows = self._connection.execute(
            select(cell_events).where(cell_events.c.cell_id == own).order_by(cell_events.c.number)
        )
        return [CellEvent(row.number, to_moment(row.at), row.kind, row.text, row.by) for row in rows]


def _cell(row: Sequence[Any]) -> HeldCell:
    (
        own, organization, name, provider, region, region_name, state, created, signing, sealing,
        connected, last_seen, facts, jti, thumbprint, incarnation, seq, full_wanted, resync_wanted,
        copies_late, change,
    ) = row  # fmt: skip
    record = CellRecord(
        CellID(own),
        OrganizationID(organization),
        name,
        provider,
        region,
        region_name,
        CellState(state),
        to_moment(created),
        load_mapping(signing),
        load_mapping(sealing),
        bool(connected),
        to_moment_or_none(last_seen),
        None if facts is None else _facts(facts),
        to_moment_or_none(copies_late),
        KeyChange() if change is None else _change(change),
    )
    return HeldCell(record, jti, thumbprint, incarnation, seq, bool(full_wanted), bool(resync_wanted))


def _change(text: str) -> KeyChange:
    read = json.loads(text)
    return KeyChange(**read | {"previous_until": to_moment_or_none(read["previous_until"])})


def _facts(text: str) -> CellFacts:
    read = json.loads(text)
    read["verbs"] = tuple(read["verbs"])
    # Cells that were seen by an earlier release have told of none.
    read["authorities"] = tuple(Authority(**each) for each in read.get("authorities", ()))
    read["zones"] = tuple(Zone(**each) for each in read.get("zones", ()))
    return CellFacts(**read)
