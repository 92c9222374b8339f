"""The one door into the cell: who may ask, what may be asked, and a record of all of it.

Called by the Cell API for each request, from one thread::

    admission = await guard.admit(authorization, method, target, body)      # who, and is it this request
    guard.authorize(admission, verb)                                  # a read or a resync
    decision = guard.check_delivery(admission, held=…, effective=…, new=…, terminated=…)   # a spec
    guard.finish(admission, status, outcome)                          # always, also after a refusal

The invariants: no request acts before its ``received`` record is on disk; none acts twice;
what cannot be recorded is refused, while reconciling goes on; a flood of unauthenticated
requests costs one record per kind and minute.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from byoc import faults, log
from byoc.clock import Clock, stamp
from byoc.dataplane.approvals import Wish
from byoc.dataplane.control import Control
from byoc.dataplane.delivery import (
    ACCEPTED,
    FORBIDDEN,
    Decision,
    Doing,
    Refused,
    Rule,
    Situation,
    check,
    doings,
)
from byoc.dataplane.keys import PinnedKeys
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.policy import Policy, PolicyFile, decide, first
from byoc.dataplane.rates import Rates
from byoc.dataplane.replay import Replays
from byoc.errors import BadToken, ByocError, LedgerBroken, TooManyRequests, Unwritable
from byoc.model.control import Stage
from byoc.model.spec import Spec
from byoc.model.verbs import Verb
from byoc.wire.jws import Fault, Kind, bad
from byoc.wire.tokens import RequestClaims, check_target, open_request

__all__ = ["Admission", "Decision", "Guard", "Refused", "Rule"]

UNAUTHENTICATED: Final = 401
TOO_MANY: Final = 429
UNAVAILABLE: Final = 503
_WINDOW_SECONDS: Final = 60.0
_MAX_UNRECORDED: Final = 1000
_BEARER: Final = "bearer "
_ANSWERS: Final[dict[Stage, tuple[Rule | None, int, str]]] = {
    Stage.WAITING: (
        Rule.WAITING_FOR_APPROVAL,
        ACCEPTED,
        "{verbs} waits for approval in the cell until {until} (`byoc policy approve {id}` there)",
    ),
    Stage.REFUSED: (Rule.APPROVAL_REFUSED, FORBIDDEN, "{verbs} was refused in the cell"),
    Stage.EXPIRED: (Rule.APPROVAL_EXPIRED, FORBIDDEN, "nobody in the cell approved {verbs} within a day"),
    Stage.APPROVED: (None, ACCEPTED, ""),
}
_LOG: Final = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that is what it says. ``seq`` is the number of its ``received`` record."""

    claims: RequestClaims
    seq: int

    @property
    def jti(self) -> str:
        """What the signed answer names."""
        return self.claims.jti


@dataclass(slots=True)
class _Count:
    recorded_at: float
    waiting: int = 0


class Guard:
    """Checks of one cell.

    ``pinned``: the Control Plane's keys; ``policy`` and ``control``: the customer's; ``ledger``,
    ``replays`` and ``rates``: what the cell remembers.
    """

    def __init__(
        self,
        cell_id: str,
        *,
        pinned: PinnedKeys,
        policy: PolicyFile,
        ledger: Ledger,
        replays: Replays,
        rates: Rates,
        control: Control,
        clock: Clock,
    ) -> None:
        self._cell = cell_id
        self._pinned = pinned
        self._policy = policy
        self._ledger = ledger
        self._replays = replays
        self._rates = rates
        self._control = control
        self._clock = clock
        self._counts: dict[str, _Count] = {}
        self._unrecorded: list[dict[str, Any]] = []
        self._policy_recorded = ("", "")

    async def admit(self, authorization: str | None, method: str, target: str, body: bytes) -> Admission:
        """Let a request in that was signed for this cell, for this very call, and is new.

        Checked in this order: signature, kind, audience, life, replay, target and body. Then it
        is recorded, which is also how it is remembered; the record is on disk when this returns.
        Requests that come together share one fsync.

        Raises:
            Refused: 401 with a ``Fault`` as rule; 429; 503 ``ledger-unwritable`` or ``access-revoked``.
        """
        try:
            claims = self._authenticate(authorization, method, target, body)
        except BadToken as error:
            self._count(error.reason)
            raise Refused(error.reason, error.message, UNAUTHENTICATED) from error
        seq = await self._record(claims)
        faults.reach(faults.Step.REQUEST_RECORDED)
        admission = Admission(claims, seq)
        try:
            self._check_gate(admission)
        except Refused as refused:
            self._outcome(seq, refused.status, "refused", rule=refused.rule)
            raise
        self._control.heard.note(self._clock.now(), claims)
        return admission

    async def _record(self, claims: RequestClaims) -> int:
        try:
            self._settle()
            written = self._ledger.write("received", _describe(claims))
        except (Unwritable, LedgerBroken) as error:
            raise _unwritable(claims, error) from error
        # At once: the same request may come again before the disk has answered.
        self._remember(claims, written.seq)
        try:
            await self._ledger.committed(written)
        except Unwritable as error:
            # It is not in the ledger, so it may be sent again.
            self._replays.forget(claims.jti)
            raise _unwritable(claims, error) from error
        except asyncio.CancelledError:
            self._outcome(written.seq, UNAVAILABLE, "cancelled", rule="")
            raise
        return written.seq

    def _remember(self, claims: RequestClaims, seq: int) -> None:
        try:
            self._replays.remember(claims.jti, claims.issued_at)
        except Unwritable as error:
            self._outcome(seq, UNAVAILABLE, "refused", rule=Rule.LEDGER_UNWRITABLE)
            raise _unwritable(claims, error) from error
        except TooManyRequests as error:
            self._outcome(seq, TOO_MANY, "refused", rule=Rule.TOO_MANY_REQUESTS)
            raise Refused(Rule.TOO_MANY_REQUESTS, error.message, TOO_MANY, jti=claims.jti) from error

    def _check_gate(self, admission: Admission) -> None:
        """Let nothing pass while access is revoked: asked at the door and again before each act."""
        gate = self._control.gate
        if gate.look():
            gate.refused += 1
            reason = "the customer has revoked access to the cell"
            raise Refused(Rule.ACCESS_REVOKED, reason, UNAVAILABLE, jti=admission.jti)

    def _authenticate(
        self, authorization: str | None, method: str, target: str, body: bytes
    ) -> RequestClaims:
        if authorization is None or not authorization.lower().startswith(_BEARER):
            raise bad(Kind.REQUEST, Fault.MALFORMED)
        token = authorization[len(_BEARER) :].strip()
        keys = self._pinned.for_requests()
        claims = open_request(token, keys, cell=self._cell, now=self._clock.now())
        if self._replays.seen(claims.jti, claims.issued_at):
            raise bad(Kind.REQUEST, Fault.REPLAYED)
        check_target(claims, method=method, target=target, body=body)
        return claims

    def authorize(self, admission: Admission, verb: Verb, *, state_empty: bool = False) -> None:
        """Let an admitted request do ``verb``, where no spec is delivered.

        ``state_empty``: the cell holds nothing yet, neither objects nor tombstones.

        Raises:
            Refused: the verb was not signed, or the policy says no.
        """
        self._check_gate(admission)
        claims = admission.claims
        if verb not in claims.verbs:
            reason = f"{verb} would be done but was not signed"
            raise Refused(Rule.VERB_NOT_SIGNED, reason, FORBIDDEN, jti=claims.jti)
        now = self._clock.now()
        policy = self._policy.current()
        verdict = decide(
            policy, verb, claims.sub, claims.issued_at, now, state_empty=state_empty, spent=self._rates.spent
        )
        if not verdict.allowed:
            raise Refused(verdict.rule, verdict.reason, FORBIDDEN, jti=claims.jti)
        self._rates.spend(policy, verb)

    def check_delivery(
        self,
        admission: Admission,
        *,
        held: Spec | None,
        effective: Spec | None,
        new: Spec,
        terminated: bool = False,
    ) -> Decision:
        """Say what to do with a delivered spec; see :class:`byoc.dataplane.delivery.Situation`.

        Raises:
            Refused: it must not be applied; 409 ``base-moved`` asks for it to be signed anew.
            Unwritable: what would be done cannot be counted, so it is not done.
        """
        self._check_gate(admission)
        situation, policy = Situation(held, effective, terminated), self._policy.current()
        claims, now = admission.claims, self._clock.now()
        try:
            decision = check(claims, situation, new, policy, now, spent=self._rates.spent)
        except Refused as refused:
            refused.jti = admission.jti
            if refused.rule == Rule.DIGEST_DIFFERS:
                self._alarm(admission, new)
            raise
        if decision is Decision.APPLY:
            found = doings(claims, effective, new)
            wanted = [one for one in found if first(policy.approval, one.verb)]
            self._check_approval(admission, effective, new, wanted)
            for doing in found:
                self._rates.spend(policy, doing.verb)
            self._control.approvals.over(new)
        return decision

    def _check_approval(
        self, admission: Admission, held: Spec | None, new: Spec, wanted: list[Doing]
    ) -> None:
        """Let what needs approval pass once somebody in the cell has approved this very content."""
        asked = next((doing.asked for doing in wanted if doing.asked is not None), None)
        if asked is None:
            return
        verbs = tuple(doing.verb for doing in wanted)
        try:
            request = self._control.approvals.ask(Wish(held, new, verbs, asked.sub, asked.at))
        except TooManyRequests as error:
            raise Refused(Rule.TOO_MANY_REQUESTS, error.message, TOO_MANY, jti=admission.jti) from error
        except LedgerBroken as error:
            raise Refused(Rule.LEDGER_UNWRITABLE, error.message, UNAVAILABLE, jti=admission.jti) from error
        rule, status, reason = _ANSWERS[request.stage]
        if rule is not None:
            until = stamp(request.until.replace(microsecond=0))
            said = reason.format(verbs=", ".join(request.verbs), id=request.id, until=until)
            generation, digest = new.generation, request.digest
            raise Refused(rule, said, status, generation=generation, digest=digest, jti=admission.jti)

    def finish(self, admission: Admission, status: int, outcome: str, *, rule: str = "") -> None:
        """Record how an admitted request ended: ``outcome`` is a word such as ``applied`` or ``refused``.

        A full disk does not raise here, for what was done is done: the record is kept in memory
        and written before the next request is let in. Nothing waits for this record's fsync.
        """
        self._outcome(admission.seq, status, outcome, rule=rule)

    def flush(self) -> None:
        """Write what waits to be recorded; called now and then, so that no count waits for the next one."""
        try:
            self._settle()
            for kind, count in self._counts.items():
                if count.waiting and self._due(count):
                    self._record_count(kind, count)
        except (Unwritable, LedgerBroken) as error:
            _LOG.warning("ledger not writable", error=error.message)

    def _settle(self) -> None:
        """Bring the ledger up to date: outcomes that found the disk full, and the policy in force."""
        self._drain()
        policy = self._policy.current()
        in_force = (policy.digest(), self._policy.problem)
        if in_force != self._policy_recorded:
            self._ledger.record("policy", **_describe_policy(policy, self._policy.problem))
            self._policy_recorded = in_force

    def _drain(self) -> None:
        while self._unrecorded:
            record = self._unrecorded[0]
            kind, fields = record["kind"], {name: record[name] for name in record if name != "kind"}
            self._ledger.write(kind, fields, lost=partial(self._keep, record))
            del self._unrecorded[0]

    def _keep(self, record: dict[str, Any]) -> None:
        if len(self._unrecorded) < _MAX_UNRECORDED:
            self._unrecorded.append(record)

    def _outcome(self, request: int, status: int, outcome: str, *, rule: str) -> None:
        fields: dict[str, Any] = {"request": request, "status": status, "outcome": outcome}
        self._try_record({"kind": "outcome", **fields, **({"rule": str(rule)} if rule else {})})

    def _alarm(self, admission: Admission, new: Spec) -> None:
        _LOG.error("alarm: one generation with two contents", id=new.id, generation=new.generation)
        fields = {"request": admission.seq, "rule": Rule.DIGEST_DIFFERS.value}
        self._try_record({"kind": "alarm", **fields, "id": new.id, "generation": new.generation})

    def _try_record(self, record: dict[str, Any]) -> None:
        self._keep(record)
        try:
            self._drain()
        except (Unwritable, LedgerBroken) as error:
            _LOG.error("not recorded yet", error=error.message, kind=record["kind"])

    def _count(self, kind: str) -> None:
        count = self._counts.setdefault(kind, _Count(self._clock.monotonic() - _WINDOW_SECONDS))
        count.waiting += 1
        if not self._due(count):
            return
        _LOG.warning("request refused before it was let in", rule=kind)
        try:
            self._record_count(kind, count)
        except (Unwritable, LedgerBroken):
            # Tried again with the next one; the count goes on.
            return

    def _due(self, count: _Count) -> bool:
        return self._clock.monotonic() - count.recorded_at >= _WINDOW_SECONDS

    def _record_count(self, kind: str, count: _Count) -> None:
        self._ledger.record("unauthenticated", rule=kind, count=count.waiting)
        count.recorded_at = self._clock.monotonic()
        count.waiting = 0


def _unwritable(claims: RequestClaims, error: ByocError) -> Refused:
    _LOG.error("request refused: nothing can be recorded", error=error.message)
    reason = "the cell cannot write its ledger, so it does nothing it is asked"
    return Refused(Rule.LEDGER_UNWRITABLE, reason, UNAVAILABLE, jti=claims.jti)


def _describe(claims: RequestClaims) -> dict[str, Any]:
    described: dict[str, Any] = {
        "jti": claims.jti,
        "iss": claims.issuer,
        "sub": claims.sub,
        "method": claims.method,
        "target": claims.target,
        "body": claims.body_hash,
    }
    if claims.base is None:
        return described | {"verbs": [verb.value for verb in claims.verbs]}
    changes = [
        {
            "generation": change.generation,
            "verb": change.verb.value,
            "sub": change.sub,
            "at": stamp(change.at),
        }
        for change in claims.changes
    ]
    return described | {"base": claims.base, "changes": changes}


def _describe_policy(policy: Policy, problem: str) -> dict[str, Any]:
    said: dict[str, Any] = {"digest": policy.digest(), **policy.settings()}
    return said | ({"problem": problem} if problem else {})
