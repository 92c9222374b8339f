"""A cell that keeps specs in a dict and signs with real keys: the other end for tests of the fleet.

It decides as a real one does, by the cell's own rules and policy, and can be told to misbehave.
"""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from byoc.clock import Clock
from byoc.dataplane.delivery import Decision, Refused, Situation, check
from byoc.dataplane.policy import Policy, decide
from byoc.errors import CellAway, Unreachable
from byoc.ids import CellID, new_id
from byoc.model.report import (
    CellFacts,
    CellReport,
    Condition,
    GroupReport,
    Interval,
    LedgerHead,
    Phase,
    Reason,
    Tombstone,
    Transition,
    WorkspaceReport,
)
from byoc.model.spec import Desired, GroupSpec, Spec, WorkspaceSpec
from byoc.model.verbs import Verb
from byoc.nimbus.http import HttpRequest, HttpResponse
from byoc.wire import tokens
from byoc.wire.cell import (
    ANSWER_HEADER,
    Acknowledged,
    CellStatus,
    Delivery,
    Enrolment,
    Resync,
    decode,
    encode,
    spec_digest,
)
from byoc.wire.keys import PublicKey, SealingKey, SigningKey
from byoc.wire.sealing import unseal

NOBODY = CellID("")
PHASES = {
    Desired.RUNNING: (Phase.RUNNING, Reason.ANSWERED_SQL),
    Desired.SUSPENDED: (Phase.SUSPENDED, Reason.STOPPED_AS_ASKED),
    Desired.TERMINATED: (Phase.TERMINATED, Reason.REMOVED),
}


@dataclass
class FakeCell:
    clock: Clock
    keys: dict[str, PublicKey]
    id: CellID = NOBODY
    signing: SigningKey = field(default_factory=SigningKey.generate)
    sealing: SealingKey = field(default_factory=SealingKey.generate)
    policy: Policy = field(default_factory=Policy)
    memory_bytes: int = 16 * 2**30
    away: bool = False
    lose_answers: int = 0
    """So many requests are carried out, but their answers get lost."""
    forge_answers: bool = False
    """A gateway answers in the cell's place."""
    busy_with: str = ""
    """Requests whose target holds this text are answered with 503, signed."""
    veto: str = ""
    """A rule by which everything is refused."""
    wrong_digest: bool = False
    """It acknowledges something else than was sent."""
    held: dict[str, Spec] = field(default_factory=dict)
    buried: dict[str, int] = field(default_factory=dict)
    adopted: set[str] = field(default_factory=set)
    passwords: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[str, tokens.RequestClaims]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    incarnation: str = field(default_factory=new_id)
    seq: int = 0
    intervals: dict[str, Interval] = field(default_factory=dict)
    logs: str = ""
    metrics: str = ""
    sent: list[str] = field(default_factory=list)
    """Every report, signed."""

    # --- joining -------------------------------------------------------------------------

    def enrolment(self, token: str) -> dict[str, Any]:
        certificate = tokens.certify_sealing_key(self.signing, self.sealing.public_jwk())
        wish = Enrolment(token, self.signing.public.jwk(), self.sealing.public_jwk(), certificate)
        return encode(wish)

    def login(self, challenge: bytes, gateway: str) -> str:
        return tokens.issue_login(
            self.signing,
            cell=self.id,
            challenge=challenge,
            audience=gateway,
            now=self.clock.now(),
            jti=new_id(),
        )

    # --- the Cell API --------------------------------------------------------------------

    async def request(self, asked: HttpRequest) -> HttpResponse:
        if self.away:
            raise CellAway("the cell is not connected")
        token = dict(asked.headers)["authorization"].removeprefix("Bearer ")
        claims = tokens.check_request(
            token,
            self.keys,
            cell=self.id,
            method=asked.method,
            target=asked.target,
            body=asked.body,
            now=self.clock.now(),
        )
        self.asked.append((asked.target, claims))
        self.seen[claims.jti] += 1
        status, body = self._answer(asked, claims)
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unreachable("the tunnel was cut")
        key = SigningKey.generate() if self.forge_answers else self.signing
        signed = tokens.sign_answer(key, jti=claims.jti, status=status, body=body)
        return HttpResponse(status, {ANSWER_HEADER: signed}, body)

    def _answer(self, asked: HttpRequest, claims: tokens.RequestClaims) -> tuple[int, bytes]:
        try:
            return self._act(asked, claims)
        except Refused as refused:
            return refused.status, json.dumps(encode(refused.refusal())).encode()

    def _act(self, asked: HttpRequest, claims: tokens.RequestClaims) -> tuple[int, bytes]:
        now = self.clock.now()
        if self.busy_with and self.busy_with in asked.target:
            raise Refused("ledger-unwritable", "the disk is full", 503)
        if self.veto:
            raise Refused(self.veto, "no")
        if asked.target.endswith(("/logs", "/metrics")):
            verb = Verb.LOGS_READ if asked.target.endswith("/logs") else Verb.METRICS_READ
            verdict = decide(self.policy, verb, claims.sub, claims.issued_at, now)
            if not verdict.allowed:
                raise Refused(verdict.rule, verdict.reason)
            return 200, (self.logs if verb is Verb.LOGS_READ else self.metrics).encode()
        if asked.target == "/cell/v1/resync":
            return self._resync(decode(Resync, json.loads(asked.body)), claims)
        delivery = decode(Delivery, json.loads(asked.body))
        new = delivery.group or delivery.workspace
        assert new is not None
        held = self.held.get(new.id)
        terminated = new.id in self.buried
        if check(claims, Situation(held, held, terminated), new, self.policy, now) is Decision.APPLY:
            self.held[new.id] = new
        if delivery.sealed_password is not None and isinstance(new, GroupSpec):
            self.take_password(new, delivery.sealed_password)
        digest = "0" * 64 if self.wrong_digest else spec_digest(new)
        return 200, json.dumps(encode(Acknowledged(new.generation, digest))).encode()

    def take_password(self, group: GroupSpec, sealed: str) -> None:
        version = group.password_version
        opened = unseal(self.sealing, sealed, cell=self.id, group=group.id, version=version)
        self.passwords[group.id] = version, opened

    def _resync(self, sent: Resync, claims: tokens.RequestClaims) -> tuple[int, bytes]:
        empty = not self.held and not self.buried
        verdict = decide(
            self.policy, Verb.CELL_RESYNC, claims.sub, claims.issued_at, self.clock.now(), state_empty=empty
        )
        if not verdict.allowed:
            raise Refused(verdict.rule, verdict.reason)
        for spec in (*sent.groups, *sent.workspaces):
            if spec.id not in self.held and spec.desired is not Desired.TERMINATED:
                self.held[spec.id] = spec
                self.adopted.add(spec.id)
        return 200, json.dumps(encode(CellStatus(self.incarnation))).encode()

    def lose_state(self) -> None:
        """Begin a new life with nothing but its keys."""
        self.held.clear()
        self.buried.clear()
        self.passwords.clear()
        self.incarnation, self.seq = new_id(), 0

    # --- reports -------------------------------------------------------------------------

    def workspace_report(self, spec: WorkspaceSpec, **changes: Any) -> WorkspaceReport:
        phase, reason = PHASES[spec.desired]
        said = WorkspaceReport(
            id=spec.id,
            generation=spec.generation,
            observed_generation=spec.generation,
            digest=spec_digest(spec),
            phase=phase,
            reason=reason,
            since=self.clock.now(),
            endpoint="127.0.0.1:33061" if phase is Phase.RUNNING else None,
            spec=spec,
        )
        return replace(said, **changes)

    def group_report(self, spec: GroupSpec) -> GroupReport:
        version = self.passwords.get(spec.id, (0, ""))[0]
        return GroupReport(
            id=spec.id,
            generation=spec.generation,
            digest=spec_digest(spec),
            terminated=spec.desired is Desired.TERMINATED,
            password_version=version,
            condition=Condition.PASSWORD_NEEDED if version < spec.password_version else Condition.NONE,
            spec=spec,
        )

    def bury_what_ended(self) -> None:
        """Finish what is to be terminated: only tombstones are left."""
        for spec in list(self.held.values()):
            if spec.desired is Desired.TERMINATED:
                self.buried[spec.id] = spec.generation

    def report(self, *, full: bool = False, transitions: tuple[Transition, ...] = (), **changes: Any) -> str:
        """Return the next report, signed; without ``full`` it has no specs."""
        self.seq += 1
        said = self._reports()
        if not full:
            said = {name: [replace(one, spec=None) for one in many] for name, many in said.items()}
        report = CellReport(
            cell=self.id,
            incarnation=self.incarnation,
            seq=self.seq,
            at=self.clock.now(),
            full=full,
            workspaces=tuple(said["workspaces"]),
            groups=tuple(said["groups"]),
            tombstones=tuple(Tombstone(own, generation) for own, generation in self.buried.items()),
            intervals=tuple(self.intervals.values()),
            transitions=transitions,
            ledger=LedgerHead("chain", self.seq, f"{self.seq:064x}"),
            facts=CellFacts("MariaDB", "10.11.6", "0.1.0", 1, self.memory_bytes) if full else None,
        )
        return self.sign(replace(report, **changes))

    def _reports(self) -> dict[str, list[Any]]:
        live = [spec for spec in self.held.values() if spec.id not in self.buried]
        return {
            "workspaces": [self.workspace_report(spec) for spec in live if isinstance(spec, WorkspaceSpec)],
            "groups": [self.group_report(spec) for spec in live if isinstance(spec, GroupSpec)],
        }

    def sign(self, report: CellReport) -> str:
        self.sent.append(tokens.sign_report(self.signing, encode(report)))
        return self.sent[-1]

    def name_of(self, text: str) -> tokens.ReportName:
        """What an answer to a signed report names."""
        said = tokens.open_report(text, {self.signing.kid: self.signing.public})
        return tokens.name_report(said["incarnation"], said["seq"], text)
