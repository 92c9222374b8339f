"""Delivers due intent to cells, level-triggered: what is due is read from the store each time.

Runs in the Control Plane's process. Woken by commits, by logins and by a timer. One worker per
cell, so deliveries to one cell are serial, groups before workspaces; a leased, fenced claim in
the store holds across processes. The invariants: only an answer that the cell has signed
counts; a refusal ends a change; everything else is tried again, later each time.
"""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from random import Random
from typing import Final, TypeVar

from byoc import faults, log
from byoc.clock import Clock, stamp
from byoc.controlplane.fleet import delivery, topics
from byoc.controlplane.fleet.courier import Counters, Courier, Parcel
from byoc.controlplane.fleet.delivery import Claim, Due
from byoc.controlplane.fleet.recording import PROVIDER
from byoc.errors import ByocError, CellAway, Unreachable, UsageError
from byoc.ids import CellID
from byoc.model.records import CellRecord, CellState
from byoc.model.spec import Desired
from byoc.model.verbs import Verb
from byoc.nimbus.deadline import within
from byoc.nimbus.http import HttpResponse
from byoc.store.seam import Store, Topics
from byoc.store.transaction import Transaction
from byoc.store.values import HeldCell
from byoc.wire.cell import WAITING_FOR_APPROVAL, Acknowledged, Refusal, decode, spec_digest

R = TypeVar("R")

OWNER: Final = "controlplane"
"""Holder of claims. A process that comes back takes its own claims over at once, with a new fence."""
LEASE: Final = timedelta(seconds=60)
MOST_TRIES: Final = 4
"""How often one delivery is signed anew because the cell holds another generation."""
_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 30.0
_TOLD_AFTER: Final = 3
"""Rounds without an answer, until the workspaces that wait are told so."""
_LOOK_AGAIN: Final = timedelta(minutes=5)
"""How soon a change that waits for approval is delivered anew, where no report says that it was answered."""
_OK: Final = 200
_ACCEPTED: Final = 202
_FORBIDDEN: Final = 403
_CONFLICT: Final = 409
_LOG: Final = log.get(__name__)


class Result(Enum):
    """How one delivery, or a round of them, ended."""

    DONE = "done"
    """Acknowledged, refused, or no longer due."""
    RETRY = "retry"
    """No answer that counts, or one that asks for patience."""
    STUCK = "stuck"
    """Only a report from the cell can tell what to do next."""


@dataclass(slots=True)
class _Worker:
    task: asyncio.Task[None] | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0


class Dispatcher:
    """Workers by cell.

    Args:
        interval: seconds between looks for due intent that nothing announced.
        rng: for jitter only.
    """

    def __init__(
        self,
        store: Store,
        courier: Courier,
        clock: Clock,
        counters: Counters,
        *,
        rng: Random,
        interval: float = 5.0,
    ) -> None:
        self._store = store
        self._courier = courier
        self._clock = clock
        self._counters = counters
        self._rng = rng
        self._interval = interval
        self._workers: dict[CellID, _Worker] = {}
        self._claims: dict[CellID, tuple[Claim, datetime]] = {}
        # What waits for approval in a cell, with its generation and until when it is left alone.
        self._waiting: dict[str, tuple[int, datetime]] = {}
        self._running = False
        store.listen(self._heard)

    def wake(self, cell: CellID) -> None:
        """Look at what is due for ``cell`` now, whatever pause it is in."""
        if not self._running:
            return
        worker = self._workers.setdefault(cell, _Worker())
        worker.woken.set()
        if worker.task is None:
            worker.task = asyncio.create_task(self._work(cell, worker))

    async def run(self) -> None:
        """Deliver until cancelled."""
        self._running = True
        try:
            while True:
                for cell in await self._store.read(_with_something_due):
                    if cell not in self._workers:
                        self.wake(cell)
                await self._clock.sleep(self._interval)
        finally:
            self._running = False
            tasks = [worker.task for worker in self._workers.values() if worker.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._workers.clear()

    def _heard(self, heard: Topics) -> None:
        for topic in heard:
            if topic.startswith(topics.DECIDED):
                self._waiting.pop(topic.removeprefix(topics.DECIDED), None)
        for topic in heard:
            if topic.startswith(topics.CELL):
                self.wake(CellID(topic.removeprefix(topics.CELL)))

    async def _work(self, cell: CellID, worker: _Worker) -> None:
        """Go on until nothing is due, or nothing can be done before the cell logs in."""
        while worker.woken.is_set():
            worker.woken.clear()
            result = await self._round_safely(cell, worker)
            if result is Result.DONE:
                worker.failures = 0
                continue
            worker.failures += 1
            try:
                async with within(self._clock, self._pause(worker.failures), "the pause"):
                    await worker.woken.wait()
            except Unreachable:
                worker.woken.set()
        # No await since the last look: whoever wakes from now on starts another worker.
        del self._workers[cell]

    def _pause(self, failures: int) -> float:
        longest = min(_LONGEST_DELAY, _FIRST_DELAY * float(2 ** min(failures, 16)))
        return longest * (0.5 + self._rng.random() / 2)

    async def _round_safely(self, cell: CellID, worker: _Worker) -> Result:
        try:
            return await self._round(cell, worker)
        except ByocError as error:
            _LOG.warning("delivery put off", cell=cell, error=error.message)
            return Result.RETRY
        except Exception as error:  # noqa: BLE001 - a fault with one object must not end deliveries for ever
            _LOG.error("delivery failed", cell=cell, error=repr(error), exc_info=True)
            return Result.RETRY

    async def _round(self, cell: CellID, worker: _Worker) -> Result:
        """Deliver everything that is due for one cell now."""
        held = await self._store.read(lambda tx: _look(tx, cell))
        if held is None:
            return Result.DONE
        record = held.record
        if record.state is CellState.RETIRED or record.signing_key is None:
            return Result.DONE
        if not record.connected:
            # Its login wakes the next round.
            await self._tell_away(record)
            return Result.DONE
        claim = await self._claim(cell)
        return Result.RETRY if claim is None else await self._deliver_all(held, claim, worker)

    async def _claim(self, cell: CellID) -> Claim | None:
        """Return the right to deliver, taken anew once half of its time is over."""
        now = self._clock.now()
        known = self._claims.get(cell)
        if known is not None and now < known[1]:
            return known[0]
        fence = await self._store.write(lambda tx: tx.cells.claim(cell, OWNER, now, now + LEASE))
        if fence is None:
            return None
        claim = Claim(cell, fence)
        self._claims[cell] = claim, now + LEASE / 2
        return claim

    def _held(self, claim: Claim, held: bool) -> Result:
        """Return how a write ended that asked whether the right is still held."""
        if held:
            return Result.DONE
        self._claims.pop(claim.cell, None)
        return Result.RETRY

    async def _deliver_all(self, held: HeldCell, claim: Claim, worker: _Worker) -> Result:
        worst = Result.DONE
        try:
            if held.resync_wanted:
                worst = await self._resync(held.record, claim)
                if worst is Result.RETRY:
                    return worst
            for own in await self._store.read(lambda tx: _due(tx, claim.cell)):
                result = await self._deliver(held.record, claim, own)
                worst = result if result is not Result.DONE else worst
        except CellAway as error:
            if worker.failures >= _TOLD_AFTER:
                await self._tell(held.record, error.message, "cell-away")
            return Result.RETRY
        except Unreachable as error:
            self._counters.unanswered += 1
            if worker.failures >= _TOLD_AFTER:
                text = f"cell `{held.record.name}` does not answer: {error.message}"
                await self._tell(held.record, text, "no-answer")
            return Result.RETRY
        return worst

    async def _deliver(self, cell: CellRecord, claim: Claim, own: str) -> Result:
        """Deliver one object's newest spec, signed anew as long as the cell's base moves."""
        base: int | None = None
        for _ in range(MOST_TRIES):
            due = await self._store.read(lambda tx, base=base: delivery.pack(tx, own, base=base))  # type: ignore[misc]
            if due is None or self._waits(due):
                return Result.DONE
            answer = await self._courier.send(cell, due.parcel(due.acknowledged if base is None else base))
            if answer.status == _OK:
                return await self._take_yes(claim, due, answer)
            refusal = _read_refusal(answer)
            if refusal is None:
                await self._tell(cell, f"cell `{cell.name}` cannot take it now ({answer.status})", "not-now")
                return Result.RETRY
            if answer.status != _CONFLICT:
                take = self._take_wait if answer.status == _ACCEPTED else self._take_no
                return await take(claim, due, refusal)
            if not _may_sign_anew(refusal, due):
                return await self._take_conflict(claim, due, refusal)
            self._counters.signed_anew += 1
            base = refusal.generation
        return Result.RETRY

    async def _take_yes(self, claim: Claim, due: Due, answer: HttpResponse) -> Result:
        said = decode(Acknowledged, _json(answer))
        if (said.generation, said.digest) != (due.spec.generation, spec_digest(due.spec)):
            await self._want_report(claim.cell)
            return Result.STUCK
        now = self._clock.now()
        held = await self._store.write(lambda tx: delivery.acknowledge(tx, claim, due.spec, now))
        faults.reach(faults.Step.ACKNOWLEDGEMENT_COMMITTED)
        self._counters.delivered += held
        return self._held(claim, held)

    async def _take_no(self, claim: Claim, due: Due, refusal: Refusal) -> Result:
        self._counters.refused += 1
        _LOG.warning(
            "refused by the cell", cell=claim.cell, rule=refusal.rule, generation=due.spec.generation
        )
        if due.only_reverts:
            await self._want_report(claim.cell)
            return Result.STUCK
        now = self._clock.now()
        held = await self._store.write(lambda tx: delivery.refuse(tx, claim, due, refusal, now))
        return self._held(claim, held)

    def _waits(self, due: Due) -> bool:
        """Whether it waits for somebody in the cell: asking again would change nothing."""
        generation, until = self._waiting.get(due.spec.id, (0, self._clock.now()))
        if generation == due.spec.generation and self._clock.now() < until:
            return True
        self._waiting.pop(due.spec.id, None)
        return False

    async def _take_wait(self, claim: Claim, due: Due, refusal: Refusal) -> Result:
        now = self._clock.now()
        held = await self._store.write(lambda tx: delivery.wait(tx, claim, due, refusal, now))
        if held:
            self._waiting[due.spec.id] = due.spec.generation, now + _LOOK_AGAIN
        return self._held(claim, held)

    async def _take_conflict(self, claim: Claim, due: Due, refusal: Refusal) -> Result:
        """The cell holds something that no signature of ours leads on from."""
        if refusal.rule == "terminated":
            now = self._clock.now()
            held = await self._store.write(lambda tx: delivery.bury(tx, claim, due.spec.id, now))
            return self._held(claim, held)
        lost = refusal.rule == "base-moved" and refusal.generation == 0
        _LOG.warning("the cell holds another state", cell=claim.cell, rule=refusal.rule, lost=lost)
        if lost:
            await self._store.write(lambda tx: tx.cells.want(claim.cell, resync=True))
        else:
            await self._want_report(claim.cell)
        return Result.STUCK

    async def _want_report(self, cell: CellID) -> None:
        await self._store.write(lambda tx: tx.cells.want(cell, full=True))

    async def _resync(self, cell: CellRecord, claim: Claim) -> Result:
        """Give back what was lost; where the cell's policy refuses, all else goes on without it."""
        sent = await self._store.read(lambda tx: delivery.pack_resync(tx, cell.id))
        parcel = Parcel("PUT", "/cell/v1/resync", PROVIDER, sent, verbs=(Verb.CELL_RESYNC,))
        answer = await self._courier.send(cell, parcel)
        now = self._clock.now()
        if answer.status != _OK:
            refusal = _read_refusal(answer)
            reason = f"rule `{refusal.rule}`" if refusal is not None else f"status {answer.status}"
            await self._tell(
                cell, f"the cell lost its state and refuses to take it back: {reason}", "no-resync"
            )
            if refusal is None:
                return Result.RETRY
            # Should nothing be missing, for one because it was terminated since, a report tells.
            await self._want_report(cell.id)
            return Result.STUCK
        self._counters.resyncs += 1
        held = await self._store.write(lambda tx: delivery.resynced(tx, claim, sent, now))
        return self._held(claim, held)

    async def _tell_away(self, cell: CellRecord) -> None:
        seen = stamp(cell.last_seen_at.replace(microsecond=0)) if cell.last_seen_at is not None else "never"
        await self._tell(cell, f"cell `{cell.name}` is not connected (last seen {seen})", "cell-away")

    async def _tell(self, cell: CellRecord, text: str, reason: str) -> None:
        if await self._store.read(lambda tx: tx.workspaces.any_untold(cell.id)):
            now = self._clock.now()
            await self._store.write(lambda tx: delivery.tell_waiting(tx, cell.id, text, reason, now))


def _with_something_due(tx: Transaction) -> list[CellID]:
    cells = [held for held in tx.cells.all() if held.record.state is not CellState.RETIRED]
    return [held.record.id for held in cells if held.resync_wanted or _any_due(tx, held.record.id)]


def _any_due(tx: Transaction, cell: CellID) -> bool:
    return tx.groups.any_due(cell) or tx.workspaces.any_due(cell)


def _due(tx: Transaction, cell: CellID) -> list[str]:
    """Return the ids of what is due, groups first."""
    return [*tx.groups.due(cell), *tx.workspaces.due(cell)]


def _look(tx: Transaction, cell: CellID) -> HeldCell | None:
    """Return the cell if there is something to deliver to it."""
    held = tx.cells.get(cell)
    return held if held is not None and (held.resync_wanted or _any_due(tx, cell)) else None


def _may_sign_anew(refusal: Refusal, due: Due) -> bool:
    if refusal.rule != "base-moved" or refusal.generation >= due.spec.generation:
        return False
    # Zero where something was acknowledged: the cell has lost it, and must not begin it anew, but may end it.
    lost = refusal.generation == 0 and due.acknowledged > 0
    return not lost or due.spec.desired is Desired.TERMINATED


def _read_refusal(answer: HttpResponse) -> Refusal | None:
    if answer.status not in {_ACCEPTED, _FORBIDDEN, _CONFLICT}:
        return None
    try:
        refusal = decode(Refusal, _json(answer))
    except UsageError:
        return None
    waits = refusal.rule == WAITING_FOR_APPROVAL
    return refusal if waits is (answer.status == _ACCEPTED) else None


def _json(answer: HttpResponse) -> object:
    try:
        return json.loads(answer.body)
    except ValueError as error:
        raise UsageError("the cell's answer is not JSON") from error
