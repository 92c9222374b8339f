"""Takes reports in: checks who says it and in which order, then places what is said.

Called by the routes for cells. Ordered by (incarnation, seq), which only the cell can raise, so
a gateway that repeats or reorders reports changes nothing. The invariants: a report is
answered with a receipt, which names it, only once it is on disk; one that cannot be placed is
asked for in full, and nothing of it is taken. A report that is older than what is known is
answered with a signed word that says so: a cell that was restored from a copy learns by it to
begin a new incarnation, and to anyone who repeats reports it is of no use, for it names one.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from byoc import faults, log
from byoc.clock import Clock, stamp
from byoc.controlplane.fleet import topics
from byoc.controlplane.fleet.believing import believed, used
from byoc.controlplane.fleet.courier import Counters
from byoc.controlplane.fleet.placing import Placing
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.errors import BadToken, Forbidden, NotAuthenticated, UsageError
from byoc.ids import CellID
from byoc.model.records import CellRecord, CellState
from byoc.model.report import Authority, CellReport, LedgerHead
from byoc.store.seam import Store
from byoc.store.transaction import Transaction
from byoc.store.values import HeldCell
from byoc.wire import tokens
from byoc.wire.cell import ReportAnswer, decode
from byoc.wire.certificates import fingerprint
from byoc.wire.jws import Kind, claimed_key
from byoc.wire.tokens import Behind, ReportName

_MOST_DECIDED: Final = 1000
_LOG: Final = log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Taken:
    """How a report was taken: in order or not, and whether a full one is asked for.

    ``known``: the last report's place (incarnation, number) and the last ledger record's number,
    where this report is older than they are.
    """

    in_order: bool
    full_wanted: bool = False
    adopted: int = 0
    known: tuple[str, int, int] | None = None


class Ingest:
    """Takes in the reports of every cell."""

    def __init__(self, store: Store, keys: ControlPlaneKeys, clock: Clock, counters: Counters) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._counters = counters

    async def take(self, cell: CellID, token: str) -> ReportAnswer:
        """Take in one signed report that came through the tunnel of ``cell``.

        Raises:
            NotAuthenticated: the cell is unknown, or has not signed this.
            Forbidden: the cell is retired.
            UsageError: it is no report.
        """
        held = await self._store.read(lambda tx: tx.cells.get(cell))
        report = self._open(held, token)
        faults.reach(faults.Step.REPORT_RECEIVED)
        kid = claimed_key(Kind.REPORT, token)
        taken = await self._store.write(lambda tx: self._take(tx, report, kid))
        faults.reach(faults.Step.REPORT_COMMITTED)
        self._counters.reports += taken.in_order
        self._counters.old_reports += not taken.in_order
        self._counters.adopted += taken.adopted
        self._counters.behind += taken.known is not None
        now = self._clock.now()
        version = self._keys.key_set(now).version
        name = tokens.name_report(report.incarnation, report.seq, token)
        if not taken.in_order:
            behind = await self._behind(cell, name, taken.known)
            return ReportAnswer(full_wanted=taken.full_wanted, key_set_version=version, behind=behind)
        receipt = await self._receipt(cell, name, report.ledger, now)
        return ReportAnswer(receipt, taken.full_wanted, version)

    async def _receipt(self, cell: CellID, report: ReportName, head: LedgerHead | None, now: datetime) -> str:
        if head is None:
            return ""
        return await self._keys.sign(
            lambda key: tokens.sign_receipt(
                key, cell=cell, chain=head.chain, seq=head.seq, hash=head.hash, report=report, at=now
            )
        )

    async def _behind(self, cell: CellID, report: ReportName, known: tuple[str, int, int] | None) -> str:
        if known is None:
            return ""
        behind = Behind(cell, report, *known)
        return await self._keys.sign(lambda key: tokens.sign_behind(key, behind))

    def _open(self, held: HeldCell | None, token: str) -> CellReport:
        if held is None or held.record.signing_key is None:
            raise NotAuthenticated("unknown cell")
        record: CellRecord = held.record
        if record.state is CellState.RETIRED:
            raise Forbidden("the cell is retired")
        try:
            said = tokens.open_report(token, believed(held.record, self._clock.now()))
        except BadToken:
            self._counters.forged_reports += 1
            raise
        report = decode(CellReport, said)
        if report.cell != record.id:
            self._counters.forged_reports += 1
            raise NotAuthenticated("the report is of another cell")
        return report

    def _take(self, tx: Transaction, report: CellReport, kid: str) -> _Taken:
        used(tx, report.cell, kid, self._clock.now())
        held = tx.cells.get(report.cell)
        if held is None or held.record.state is CellState.RETIRED:
            raise Forbidden("the cell is retired")
        last = tx.cells.last_seq(report.cell, report.incarnation)
        if last is None and not report.full:
            return _Taken(in_order=False, full_wanted=True)
        if last is not None:
            if report.incarnation != held.incarnation or report.seq <= last:
                return _Taken(in_order=False, known=_known(held, report))
            if self._ledger_went_back(tx, held, report):
                return _Taken(in_order=False, known=_known(held, report, self._known_head(tx, report)))
            if not report.full and report.seq != last + 1:
                # Reports are differences to what we have acknowledged: with one missing, or after our
                # own restore from a backup, they do not say enough.
                return _Taken(in_order=False, full_wanted=True)
        return self._place(tx, held, report, new_life=last is None)

    def _place(self, tx: Transaction, held: HeldCell, report: CellReport, *, new_life: bool) -> _Taken:
        now = self._clock.now()
        tx.cells.note_report(report.cell, report.incarnation, report.seq)
        if report.facts is not None:
            self._note_authorities(tx, held.record, report.facts.authorities)
        tx.cells.seen(report.cell, now, report.facts)
        if report.ledger is not None:
            self._note_head(tx, report.cell, report.ledger)
        self._note_copies(tx, held.record, report)
        if report.decided:
            tx.topics.update(topics.decided(own) for own in report.decided[:_MOST_DECIDED])
            tx.topics.add(topics.cell(report.cell))
        outcome = Placing(tx, held.record, report, now, new_life=new_life and bool(held.incarnation)).place()
        wanted = outcome.full_wanted or (held.full_wanted and not report.full)
        if wanted != held.full_wanted:
            tx.cells.want(report.cell, full=wanted)
        return _Taken(in_order=True, full_wanted=wanted, adopted=outcome.adopted)

    def _note_copies(self, tx: Transaction, cell: CellRecord, report: CellReport) -> None:
        """Tell the owner once when the copies of the ledger fall behind, and when they are there again."""
        since = report.copies_late_since
        if since == cell.copies_late_since:
            return
        tx.cells.note_copies(cell.id, since)
        now = self._clock.now()
        if since is None:
            tx.cells.tell(cell.id, now, "copies-in-time", "the copies of its ledger are in time")
        elif cell.copies_late_since is None:
            _LOG.error("alarm: the copies of a ledger are late", cell=cell.id, since=stamp(since))
            text = f"nothing that its ledger holds since {stamp(since)} is in the customer's bucket"
            tx.cells.tell(cell.id, now, "copies-late", text)

    def _ledger_went_back(self, tx: Transaction, held: HeldCell, report: CellReport) -> bool:
        """Whether the report's ledger ends before a record that was reported: an alarm, told once."""
        known, head = self._known_head(tx, report), report.ledger
        if head is None or head.seq >= known:
            return False
        if not held.full_wanted:
            self._alarm(tx, report.cell, head, known)
            tx.cells.want(report.cell, full=True)
        return True

    def _known_head(self, tx: Transaction, report: CellReport) -> int:
        known = tx.cells.head(report.cell, report.ledger.chain) if report.ledger is not None else None
        return known.seq if known is not None else 0

    def _note_head(self, tx: Transaction, cell: CellID, head: LedgerHead) -> None:
        known = tx.cells.note_head(cell, head, self._clock.now())
        if known is not None and known.seq > head.seq:
            self._alarm(tx, cell, head, known.seq)

    def _note_authorities(self, tx: Transaction, cell: CellRecord, told: tuple[Authority, ...]) -> None:
        known = cell.facts.authorities if cell.facts is not None else ()
        if known and told != known:
            text = f"clients of its engines are to trust: {', '.join(_fingerprints(told)) or 'nobody'}"
            tx.cells.tell(cell.id, self._clock.now(), "authority", text)

    def _alarm(self, tx: Transaction, cell: CellID, head: LedgerHead, known: int) -> None:
        _LOG.error("alarm: a ledger went back", cell=cell, chain=head.chain, seq=head.seq, known=known)
        text = f"its ledger ends at record {head.seq}; record {known} had been reported"
        tx.cells.tell(cell, self._clock.now(), "ledger-cut", text)


def _known(held: HeldCell, report: CellReport, ledger_seq: int = 0) -> tuple[str, int, int] | None:
    """Return what is newer than ``report``; None where it is only the last one again."""
    if (report.incarnation, report.seq) == (held.incarnation, held.seq) and not ledger_seq:
        return None
    return held.incarnation, held.seq, ledger_seq


def _fingerprints(authorities: tuple[Authority, ...]) -> list[str]:
    found = []
    for each in authorities:
        try:
            found.append(fingerprint(each.certificate.encode()))
        except UsageError:
            found.append("what is no certificate")
    return found


def read_json(body: bytes) -> object:
    """Read JSON from a cell.

    Raises:
        UsageError: it is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError("not JSON") from error
