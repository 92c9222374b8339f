"""Sends reports up the tunnel: at each change at once, and every 30 seconds.

Run by the agent beside the reconciler. The invariants: nothing is forgotten before the Control
Plane has countersigned the very report that carried it; an answer without a good receipt is no
answer, so a gateway that pretends, or keeps receipts for later, cannot make the cell drop usage
or history; no failure of one report ends the loop. The pinned key set is renewed well before it
expires, announced or not.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from byoc import faults, log
from byoc.clock import Clock, stamp
from byoc.dataplane import report
from byoc.dataplane.bell import Bell
from byoc.dataplane.keys import CellKeys, PinnedKeys
from byoc.dataplane.meter import HEARTBEAT_SECONDS
from byoc.dataplane.report import Snapshot
from byoc.dataplane.state import CellState
from byoc.errors import ByocError, Unreachable
from byoc.ids import CellID
from byoc.model.report import CellFacts, CellReport, Phase
from byoc.wire import tokens
from byoc.wire.cell import ReportAnswer, decode, encode
from byoc.wire.tokens import ReportName

_LOG: Final = log.get(__name__)
_LONGEST_WAIT: Final = 30.0
_KEYS_APART: Final = 60.0
"""Seconds between two requests for keys that nobody announced."""
_LIVES_APART: Final = 60.0
"""Seconds between two incarnations that the Control Plane asks for."""
_OK: Final = 200

Post = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]
"""(method, path, body) to the Control Plane -> (status, body); raises Unreachable."""


@dataclass(frozen=True, slots=True)
class Reporting:
    """Who reports: the cell's name and keys, what it is made of, and which waits for approval are over.

    Attributes:
        copies_late_since: see ``CellReport``.
    """

    cell: CellID
    keys: CellKeys
    facts: Callable[[], CellFacts]
    decided: Callable[[], tuple[str, ...]] = tuple
    copies_late_since: Callable[[], datetime | None] = lambda: None


@dataclass(frozen=True, slots=True)
class _Sent:
    report: CellReport
    text: str
    snapshot: Snapshot
    transitions: int
    facts: CellFacts

    @property
    def name(self) -> ReportName:
        """What an answer to this report names."""
        return tokens.name_report(self.report.incarnation, self.report.seq, self.text)


class Reporter:
    """One loop that sends.

    Args:
        post: how to reach the Control Plane.
        pinned: what receipts are checked by; refreshed when a newer set is announced.
    """

    def __init__(
        self, who: Reporting, state: CellState, pinned: PinnedKeys, post: Post, clock: Clock
    ) -> None:
        self._who = who
        self._state = state
        self._pinned = pinned
        self._post = post
        self._clock = clock
        self._bell = Bell(clock)
        self._acknowledged: Snapshot | None = None
        self._told: CellFacts | None = None
        self._failures = 0
        self._connected = False
        self._keys_asked_at = -_KEYS_APART
        self._began_at = -_LIVES_APART

    def changed(self) -> None:
        """There is something new to say."""
        if self._connected and not self._failures:
            self._bell.ring()

    def connected(self, *, yes: bool) -> None:
        """The tunnel is up, or down."""
        self._connected = yes
        self._failures = 0
        self._bell.ring()

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._bell.wait(self._pause() if self._connected else None)
            if self._connected:
                await self._try()

    def _pause(self) -> float:
        if not self._failures:
            return HEARTBEAT_SECONDS
        return float(min(2 ** min(self._failures - 1, 10), _LONGEST_WAIT))

    async def _try(self) -> None:
        try:
            await self._renew_keys()
            await self.send()
        except ByocError as error:
            self._failures += 1
            _LOG.warning("report not delivered", error=error.message, code=error.code, tries=self._failures)
        except Exception as error:  # noqa: BLE001 - whatever a report is made of, the next one is tried
            self._failures += 1
            _LOG.error("report not made", error=repr(error)[:500], tries=self._failures)
        else:
            self._failures = 0

    async def send(self) -> None:
        """Send one report and take in its answer.

        Raises:
            Unreachable: no answer, or none that can be believed; all is kept and sent again.
            Unwritable: no number could be reserved, or nothing could be removed.
        """
        sent = self._next()
        status, answer = await self._post("POST", "/cell/v1/report", sent.text.encode())
        faults.reach(faults.Step.REPORT_SENT)
        if status != _OK:
            raise Unreachable(f"the control plane answered a report with {status}")
        await self._take_in(sent, _read(answer))

    def _next(self) -> _Sent:
        state = self._state
        intervals, stored = state.meter.intervals(), state.volumes.records()
        seen = report.snapshot(state.desired, state.passwords, state.views.now, intervals, stored)
        now = report.steady(seen, self._acknowledged)
        number, transitions = state.views.transitions()
        envelope = report.Envelope(
            cell=self._who.cell,
            incarnation=state.life.incarnation,
            seq=state.life.next_seq(),
            at=self._clock.now(),
            ledger=state.ledger.head(),
            decided=self._who.decided(),
            copies_late_since=self._who.copies_late_since(),
        )
        facts = self._who.facts()
        if self._acknowledged is None:
            built = report.full(envelope, now, transitions, facts)
        else:
            news = facts if facts != self._told else None
            built = report.delta(envelope, now, self._acknowledged, transitions, news)
        return _Sent(built, self._who.keys.sign_report(encode(built)), now, number, facts)

    async def _take_in(self, sent: _Sent, answer: ReportAnswer) -> None:
        # First: the receipt may be signed with a key of the newer set.
        if answer.key_set_version > self._pinned.version:
            await self._refresh_keys()
        if answer.behind:
            self._begin_anew(sent, answer.behind)
        elif answer.full_wanted:
            self._acknowledged = None
            if sent.report.full:
                raise Unreachable("the control plane cannot place a full report")
            self._bell.ring()
        else:
            self._check_receipt(sent, answer.receipt)
            self._acknowledge(sent)

    def _check_receipt(self, sent: _Sent, text: str) -> None:
        receipt = tokens.check_receipt(text, self._pinned.keys)
        if receipt.report != sent.name:
            # An older receipt for the same head would make us forget what this report carried.
            raise Unreachable("the receipt is for another report")
        head = sent.report.ledger
        said = (receipt.cell, receipt.chain, receipt.seq, receipt.hash)
        if head is None or said != (self._who.cell, head.chain, head.seq, head.hash):
            raise Unreachable("the receipt is for another ledger head")
        self._state.ledger.add_receipt(text)
        self._state.note_head(head)

    def _begin_anew(self, sent: _Sent, text: str) -> None:
        """Our state is older than what the Control Plane has of us: it was restored from a copy."""
        behind = tokens.check_behind(text, self._pinned.keys)
        head = sent.report.ledger
        mine = (behind.cell, behind.report) == (self._who.cell, sent.name)
        if not mine or not behind.holds(head.seq if head is not None else 0):
            raise Unreachable("the control plane's word about an older report is not about this one")
        now = self._clock.monotonic()
        if now - self._began_at < _LIVES_APART:
            raise Unreachable("the control plane asks for one incarnation after the other")
        self._state.begin_anew(
            "controlplane", report=sent.report.seq, taken=behind.seq, takenLedger=behind.ledger_seq
        )
        self._began_at = now
        self._acknowledged = None
        _LOG.warning("restored from an older copy", report=sent.report.seq, taken=behind.seq)
        self._bell.ring()

    def _acknowledge(self, sent: _Sent) -> None:
        state = self._state
        self._acknowledged, self._told = sent.snapshot, sent.facts
        state.views.acknowledge(sent.transitions)
        state.meter.acknowledge(interval.id for interval in sent.report.intervals if interval.end is not None)
        state.volumes.acknowledge(record.id for record in sent.report.stored if record.closed)
        for name, view in sent.snapshot.workspaces.items():
            if view.phase is Phase.TERMINATED and name not in state.desired.workspaces:
                state.views.drop(name)

    async def _renew_keys(self) -> None:
        """Ask for a key set that has aged: an announcement may be withheld, or never have come."""
        now = self._clock.monotonic()
        if not self._pinned.aged or now - self._keys_asked_at < _KEYS_APART:
            return
        self._keys_asked_at = now
        try:
            await self._refresh_keys()
        except ByocError as error:
            # The report goes first all the same: what it carries does not depend on the keys.
            _LOG.warning("key set not renewed", error=error.message, expires=stamp(self._pinned.expires_at))

    async def _refresh_keys(self) -> None:
        status, body = await self._post("GET", "/cell/v1/keys", b"")
        if status != _OK:
            raise Unreachable(f"the control plane answered a request for its keys with {status}")
        self._pinned.refresh(body.decode("ascii", "replace").strip())
        _LOG.info("key set refreshed", version=self._pinned.version)


def _read(body: bytes) -> ReportAnswer:
    try:
        return decode(ReportAnswer, json.loads(body))
    except ValueError as error:
        raise Unreachable("the answer to a report is not JSON") from error
