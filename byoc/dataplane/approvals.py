"""Changes that wait until somebody in the cell approves them, and what was answered.

Asked by the guard for each delivery that needs approval; the answers are in one of the customer's papers,
which nothing that comes through the tunnel can write. The invariants: an approval is for one object, one
generation, one content and what that was shown to do; it dies with a newer generation and after a day; what
waits is shown, and survives a restart, before anybody is told that it waits; an answer is on record before it
counts.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from byoc import log
from byoc.clock import Clock, stamp
from byoc.dataplane.desk import Desk
from byoc.dataplane.state import Record
from byoc.errors import Failed, LedgerBroken, TooManyRequests, Unwritable, UsageError
from byoc.model.control import APPROVAL_LIFE, Answer, Answers, Asked, Request, Requests, Stage
from byoc.model.papers import Paper
from byoc.model.spec import Desired, GroupSpec, Spec
from byoc.model.verbs import Verb
from byoc.wire.cell import encode, spec_digest
from byoc.wire.control import dump, load, request_id

MOST: Final = 1000
"""Changes that wait at once at most: whoever may ask cannot fill the cell's disk."""
_LONGEST: Final = 500
_BOOKKEEPING: Final = frozenset({"id", "generation", "desiredGeneration"})
_LOG: Final = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """A delivery that needs approval.

    Attributes:
        held: what the cell has, with its own decisions; None for nothing.
        verbs: those that do.
        sub, at: of the newest change that asks for the first of them.
    """

    held: Spec | None
    new: Spec
    verbs: tuple[Verb, ...]
    sub: str
    at: datetime

    def request(self, now: datetime) -> Request:
        """Return it as it is shown."""
        new, digest = self.new, spec_digest(self.new)
        return Request(
            id=request_id(new.id, new.generation, digest, self.verbs),
            own=new.id,
            kind="group" if isinstance(new, GroupSpec) else "workspace",
            name=new.name,
            generation=new.generation,
            digest=digest,
            verbs=tuple(verb.value for verb in self.verbs),
            sub=self.sub,
            asked_at=self.at,
            since=now,
            asks=new_values(self.held, new),
        )


def new_values(held: Spec | None, new: Spec) -> tuple[Asked, ...]:
    """Return what ``new`` would change, value by value; of a termination nothing else is carried out."""
    before, after = ({} if spec is None else encode(spec) for spec in (held, new))
    ended = new.desired is Desired.TERMINATED
    wanted = {"desired"} if ended else after.keys() - _BOOKKEEPING
    return tuple(
        Asked(name, _text(before.get(name)), _text(after[name]))
        for name in after
        if name in wanted and before.get(name) != after[name]
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… and {len(text) - _LONGEST} characters more"


class Approvals:
    """The newest request of each object.

    Args:
        changed: called when there is something the Control Plane should know.
    """

    def __init__(self, desk: Desk, ledger: Record, clock: Clock, changed: Callable[[], None]) -> None:
        self._desk = desk
        self._ledger = ledger
        self._clock = clock
        self._changed = changed
        self._requests = {one.own: one for one in _shown(desk).requests}
        self._told: set[str] = set()

    @property
    def decided(self) -> tuple[str, ...]:
        """The objects whose wait is over: their change, delivered anew, ends."""
        return tuple(
            own
            for own, one in self._requests.items()
            if one.id not in self._told and self._now(one).stage is not Stage.WAITING
        )

    def ask(self, wish: Wish) -> Request:
        """Return the request of a delivery as it stands now; one that is new waits from now on.

        Raises:
            TooManyRequests: too many changes wait.
            Unwritable, LedgerBroken: it could not be shown or recorded.
        """
        self.look()
        new = wish.request(self._clock.now())
        held = self._requests.get(new.own)
        if held is not None and held.id == new.id:
            if held.stage is Stage.WAITING and held.asks != new.asks:
                # The same new values, but what the cell has beside them has moved.
                self._put(held := replace(held, asks=new.asks))
            return self._tell(self._now(held))
        self._make_room(new)
        if held is not None:
            self._died(held)
        self._ledger.record(
            "approval-asked",
            **_named(new),
            verbs=list(new.verbs),
            sub=new.sub,
            requestedAt=stamp(new.asked_at),
            asks=[encode(each) for each in new.asks],
        )
        self._put(new)
        # An answer may have been there first: of a request that another agent of this cell had shown.
        self.look()
        return self._tell(self._requests[new.own])

    def _tell(self, found: Request) -> Request:
        if found.stage is not Stage.WAITING:
            self._told.add(found.id)
        return found

    def over(self, new: Spec) -> None:
        """Forget the request of an object: ``new`` is carried out, so nothing of it waits any more."""
        held = self._requests.pop(new.id, None)
        if held is None:
            return
        self._told.discard(held.id)
        try:
            if (held.generation, held.digest) != (new.generation, spec_digest(new)):
                self._died(held)
            self._show()
        except (Unwritable, LedgerBroken) as error:
            # What was asked is done; that it is still shown as a request harms nobody.
            _LOG.warning("requests not shown", error=error.message)

    def look(self) -> None:
        """Take in what was answered, and let expire what nobody answered."""
        try:
            answers = load(Answers, self._desk.word(Paper.ANSWERS), Answers()).answers
        except (UsageError, Failed) as error:
            _LOG.error("answers to requests are not understood; none counts", error=error.message)
            answers = ()
        for answer in answers:
            self._take(answer)
        for held in [one for one in self._requests.values() if self._now(one) != one]:
            self._expire(held)

    def _take(self, answer: Answer) -> None:
        held = self._requests.get(answer.own)
        if held is None or held.stage is not Stage.WAITING:
            return
        meant = (answer.request, answer.generation, answer.digest)
        if meant != (held.id, held.generation, held.digest):
            return
        if not held.since - APPROVAL_LIFE <= answer.at < held.until:
            return
        stage = Stage.APPROVED if answer.approved else Stage.REFUSED
        self._settle(
            replace(held, stage=stage, by=answer.by, answered_at=answer.at),
            "approval",
            approved=answer.approved,
            by=answer.by,
            answeredAt=stamp(answer.at),
        )

    def _expire(self, held: Request) -> None:
        self._settle(replace(held, stage=Stage.EXPIRED), "approval-died", why="expired")

    def _settle(self, new: Request, kind: str, **fields: object) -> None:
        try:
            self._ledger.record(kind, **_named(new), **fields)
            self._put(new)
        except (Unwritable, LedgerBroken) as error:
            _LOG.error("an answer does not count: it cannot be recorded", error=error.message, id=new.id)
            return
        _LOG.info("request answered", id=new.id, stage=new.stage, by=new.by)
        self._changed()

    def _now(self, held: Request) -> Request:
        over = held.stage in {Stage.WAITING, Stage.APPROVED} and self._clock.now() >= held.until
        return replace(held, stage=Stage.EXPIRED) if over else held

    def _died(self, held: Request) -> None:
        if held.stage in {Stage.WAITING, Stage.APPROVED}:
            self._ledger.record("approval-died", **_named(held), why="newer")

    def _make_room(self, new: Request) -> None:
        if new.own in self._requests or len(self._requests) < MOST:
            return
        answered = [one for one in self._requests.values() if one.stage is not Stage.WAITING]
        if not answered:
            raise TooManyRequests(f"{MOST} changes wait for approval already")
        del self._requests[min(answered, key=lambda one: one.since).own]

    def _put(self, new: Request) -> None:
        before = self._requests.get(new.own)
        self._requests[new.own] = new
        try:
            self._show()
        except Unwritable:
            if before is None:
                del self._requests[new.own]
            else:
                self._requests[new.own] = before
            raise

    def _show(self) -> None:
        listed = sorted(self._requests.values(), key=lambda one: one.since)
        self._desk.show(Paper.REQUESTS, dump(Requests(tuple(listed))))


def _shown(desk: Desk) -> Requests:
    try:
        return load(Requests, desk.shown(Paper.REQUESTS), Requests())
    except (UsageError, Failed) as error:
        # Nothing is let in by that: what waited waits anew when it is delivered again.
        _LOG.error("the requests shown last are not understood", error=error.message)
        return Requests()


def _named(request: Request) -> dict[str, object]:
    return {
        "request": request.id,
        "id": request.own,
        "generation": request.generation,
        "digest": request.digest,
    }
