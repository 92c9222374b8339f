"""Whether a signed delivery may change what the cell holds: pure, no I/O.

Called by the guard once a request has been admitted. The invariants: what is done is derived
from what the cell holds, never taken from what the request claims; everything derived was
signed, and the customer's policy allows it; what is terminated stays terminated.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from byoc.dataplane.policy import Policy, Spent, decide, none_spent
from byoc.errors import RefusedByCell
from byoc.model import verbs
from byoc.model.spec import Desired, GroupSpec, Spec
from byoc.model.verbs import Verb
from byoc.wire.cell import APPROVAL_EXPIRED, WAITING_FOR_APPROVAL, Refusal, spec_digest
from byoc.wire.tokens import Change, RequestClaims

ACCEPTED: Final = 202
FORBIDDEN: Final = 403
CONFLICT: Final = 409


class Rule(StrEnum):
    """Why the cell says no. Beside these: every ``byoc.wire.jws.Fault``, and the policy's own rules."""

    BASE_MOVED = "base-moved"
    """The cell holds another generation than the sender believes; to be signed anew."""
    DIGEST_DIFFERS = "digest-differs"
    """The same generation with another content: two Control Planes, or a forger. An alarm."""
    GENERATION_MISSING = "generation-missing"
    """The signed changes are not exactly those of every generation in between."""
    WRONG_OBJECT = "wrong-object"
    """The body is about another object than the target, or of another kind."""
    VERB_NOT_SIGNED = "verb-not-signed"
    """The delivery would do something that nobody signed."""
    TERMINATED = "terminated"
    LEDGER_UNWRITABLE = "ledger-unwritable"
    TOO_MANY_REQUESTS = "too-many-requests"
    ACCESS_REVOKED = "access-revoked"
    """The customer has pulled the kill switch: nothing is let in, and nothing that waits is lost."""
    WAITING_FOR_APPROVAL = WAITING_FOR_APPROVAL
    """No refusal yet: the change waits until somebody in the cell answers."""
    APPROVAL_REFUSED = "approval-refused"
    APPROVAL_EXPIRED = APPROVAL_EXPIRED
    """Nobody answered within a day."""
    SERVICE_UNNAMED = "service-unnamed"
    """The policy names no such service, or another place for it by now."""
    SERVICE_FORBIDDEN = "service-forbidden"
    """It leads to an engine, to the cell's own API or to a metadata service: no policy opens that."""
    SERVICE_LIFE = "service-life"
    """Asked for longer than the policy lets one forward last."""


class Decision(StrEnum):
    """What to do with a delivery."""

    NOOP = "noop"
    """The cell holds it already: acknowledge again."""
    APPLY = "apply"


class Refused(RefusedByCell):
    """The cell's no to one request.

    Attributes:
        rule, reason: a code, and the same for a person.
        status: of the answer.
        generation, digest: see :class:`byoc.wire.cell.Refusal`.
        jti: of the request, so that the no can be signed; empty where it was not authenticated.
    """

    def __init__(
        self,
        rule: str,
        reason: str,
        status: int = FORBIDDEN,
        *,
        generation: int = 0,
        digest: str = "",
        jti: str = "",
    ) -> None:
        super().__init__(f"{rule}: {reason}")
        self.rule = str(rule)
        self.reason = reason
        self.status = status
        self.generation = generation
        self.digest = digest
        self.jti = jti

    def refusal(self) -> Refusal:
        """Return the body of the answer."""
        return Refusal(self.generation, self.rule, self.reason, self.digest)


@dataclass(frozen=True, slots=True)
class Situation:
    """What the cell holds of the object a delivery is about.

    Attributes:
        held: the stored spec, that of a tombstone included; None for an unknown object.
        effective: ``held`` with the cell's own decisions, as far as ``new`` would end them.
        terminated: whether there is a tombstone.
    """

    held: Spec | None
    effective: Spec | None
    terminated: bool = False


def check(
    claims: RequestClaims,
    situation: Situation,
    new: Spec,
    policy: Policy,
    now: datetime,
    *,
    spent: Spent = none_spent,
) -> Decision:
    """Say what to do with ``new``; :func:`doings` says what it would do then.

    Raises:
        Refused: it must not be applied.
    """
    held = situation.held
    digest = spec_digest(held) if held is not None else ""
    base = held.generation if held is not None else 0
    _check_object(claims, situation, new, digest)
    if held is not None and new.generation == base:
        if spec_digest(new) == digest:
            return Decision.NOOP
        reason = f"generation {base} is held with another content"
        raise _no(Rule.DIGEST_DIFFERS, reason, new, digest, status=CONFLICT)
    if claims.base != base or new.generation < base:
        reason = f"the cell holds generation {base}"
        raise Refused(Rule.BASE_MOVED, reason, CONFLICT, generation=base, digest=digest)
    _check_generations(claims, base, new, digest)
    for doing in doings(claims, situation.effective, new):
        verb, asked = doing.verb, doing.asked
        if asked is None:
            raise _no(Rule.VERB_NOT_SIGNED, f"{verb} would be done but was not signed", new, digest)
        verdict = decide(policy, verb, asked.sub, asked.at, now, spent=spent)
        if not verdict.allowed:
            raise _no(verdict.rule, verdict.reason, new, digest)
    return Decision.APPLY


def _no(rule: str, reason: str, new: Spec, digest: str, *, status: int = FORBIDDEN) -> Refused:
    return Refused(rule, reason, status, generation=new.generation, digest=digest)


def _check_object(claims: RequestClaims, situation: Situation, new: Spec, digest: str) -> None:
    kind = "groups" if isinstance(new, GroupSpec) else "workspaces"
    if claims.method != "PUT" or claims.target != f"/cell/v1/{kind}/{new.id}":
        raise _no(Rule.WRONG_OBJECT, "the body is about another object than the target", new, digest)
    held = situation.held
    if held is None:
        return
    if type(held) is not type(new):
        raise _no(Rule.WRONG_OBJECT, "the id belongs to an object of another kind", new, digest)
    ended = situation.terminated or held.desired is Desired.TERMINATED
    if ended and new.desired is not Desired.TERMINATED:
        reason = "what was terminated cannot be brought back"
        raise Refused(Rule.TERMINATED, reason, CONFLICT, generation=held.generation, digest=digest)


def _check_generations(claims: RequestClaims, base: int, new: Spec, digest: str) -> None:
    signed = {change.generation for change in claims.changes}
    span = new.generation - base
    # The lengths are compared first: a generation from afar must not make a range of its size.
    if len(signed) != span or signed != set(range(base + 1, new.generation + 1)):
        reason = f"the changes signed are not those of generations {base + 1} to {new.generation}"
        raise _no(Rule.GENERATION_MISSING, reason, new, digest)


@dataclass(frozen=True, slots=True)
class Doing:
    """Something that a delivery would do, and the newest signed change that asks for it; None for none."""

    verb: Verb
    asked: Change | None


def doings(claims: RequestClaims, effective: Spec | None, new: Spec) -> list[Doing]:
    """Return what turns ``effective`` into ``new``, in one order, so that a refusal is always the same."""
    newest: dict[Verb, Change] = {}
    for change in sorted(claims.changes, key=lambda change: change.generation):
        newest[change.verb] = change
    return [Doing(verb, newest.get(verb)) for verb in sorted(verbs.between(effective, new))]
