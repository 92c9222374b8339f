"""What each kind of token says, who signs it, and what a verifier checks.

=====================  ==================  =========================  ======================
kind                   signed by           verified by                life
=====================  ==================  =========================  ======================
request                Control Plane       the cell                   60 s
cell login             cell                Control Plane              60 s, one challenge
control plane login    Control Plane       gateway                    60 s, one challenge
enrolment              Control Plane       Control Plane              15 min, one thumbprint
answer, report         cell                Control Plane              bound to jti; ordered
receipt                Control Plane       the cell; ledger verify    one report; for ever
behind                 Control Plane       the cell                   one report
sealing certificate    cell                Control Plane              the cell's keys'
=====================  ==================  =========================  ======================

Key sets are in ``byoc.wire.keysets`` and can be had from here too. Every check raises
:class:`byoc.errors.BadToken` whose ``reason`` is a :class:`byoc.wire.jws.Fault`. ``now`` is
always the verifier's own time.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from byoc.clock import stamp
from byoc.model.verbs import Verb
from byoc.wire.canonical import sha256
from byoc.wire.claims import CLOCK_SKEW, Claims, life
from byoc.wire.jws import Fault, Kind, bad, sign, unverified, verify
from byoc.wire.keys import PublicKey, Signer, check_sealing_jwk, encode_bytes
from byoc.wire.keysets import KeySet, certify_key_set_key, certify_root, issue_key_set, open_key_set

__all__ = [
    "CLOCK_SKEW",
    "Behind",
    "Change",
    "EnrolmentClaims",
    "Fault",
    "KeySet",
    "Kind",
    "Receipt",
    "ReportName",
    "RequestClaims",
    "carried_key_set",
    "certify_key_set_key",
    "certify_root",
    "certify_sealing_key",
    "check_answer",
    "check_behind",
    "check_controlplane_login",
    "check_enrolment",
    "check_login",
    "check_receipt",
    "check_request",
    "check_sealing_certificate",
    "check_target",
    "claimed_cell",
    "issue_controlplane_login",
    "issue_enrolment",
    "issue_key_set",
    "issue_login",
    "issue_request",
    "name_report",
    "open_key_set",
    "open_report",
    "open_request",
    "sign",
    "sign_answer",
    "sign_behind",
    "sign_receipt",
    "sign_report",
    "verify",
]

REQUEST_LIFE: Final = timedelta(seconds=60)
LOGIN_LIFE: Final = timedelta(seconds=60)
ENROLMENT_LIFE: Final = timedelta(minutes=15)
MAX_CHANGES: Final = 1000
"""Changes that one request may bring at most."""
MAX_JTI: Final = 128
"""Characters of a ``jti`` at most: the cell remembers every one for a while."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that one generation did.

    Attributes:
        sub: who asked for it, as the provider says.
        at: when it was asked for; the policy's ``max_age`` counts from here.
    """

    generation: int
    verb: Verb
    sub: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RequestClaims:
    """What a request's token says.

    Attributes:
        target: path with query, as it stands in the request line.
        body_hash: SHA-256 of the body, hexadecimal.
        verbs: what a request that delivers no spec does.
        base: the generation that the sender believes the cell holds; None where nothing is delivered.
        changes: of every generation after ``base``, in order.
    """

    issuer: str
    cell: str
    sub: str
    issued_at: datetime
    expires_at: datetime
    jti: str
    method: str
    target: str
    body_hash: str
    verbs: tuple[Verb, ...] = ()
    base: int | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class EnrolmentClaims:
    """What an enrolment token says: this key may become this cell of this organization."""

    organization: str
    cell: str
    thumbprint: str
    jti: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ReportName:
    """Which report a word of the Control Plane answers: its place, and the SHA-256 of what was sent.

    The hash is what tells two reports of one number apart: a state folder that was restored from
    a copy uses its numbers a second time.
    """

    incarnation: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The Control Plane has seen record ``seq`` of this ledger chain with this hash.

    ``report``: the report that the head came with; None in receipts of before they named it.
    """

    cell: str
    chain: str
    seq: int
    hash: str
    at: datetime
    report: ReportName | None = None


@dataclass(frozen=True, slots=True)
class Behind:
    """What the Control Plane knew of a cell when ``report`` came, which it did not take.

    Attributes:
        incarnation, seq: place of the newest report that was taken.
        ledger_seq: number of the newest record that was reported of the chain that the report names;
            0 where none was.
    """

    cell: str
    report: ReportName
    incarnation: str
    seq: int
    ledger_seq: int

    def holds(self, ledger_seq: int) -> bool:
        """Whether what was known is newer than the report, whose ledger ends at ``ledger_seq``."""
        report = self.report
        if self.incarnation != report.incarnation:
            return True
        return self.seq > report.seq or self.ledger_seq > ledger_seq


def issue_request(
    key: Signer,
    *,
    issuer: str,
    cell: str,
    sub: str,
    method: str,
    target: str,
    body: bytes,
    now: datetime,
    jti: str,
    verbs: Sequence[Verb] = (),
    base: int | None = None,
    changes: Sequence[Change] = (),
) -> str:
    """Return the token of one request to ``cell``.

    ``verbs``: for requests that deliver no spec; else ``base`` and ``changes`` say it all.
    """
    claims: dict[str, Any] = {"iss": issuer, "aud": cell, "sub": sub, "jti": jti, **life(now, REQUEST_LIFE)}
    claims |= {"htm": method, "htu": target, "bdy": sha256(body)}
    if base is None:
        claims["verbs"] = list(verbs)
    else:
        claims |= {"base": base, "changes": [_write_change(change) for change in changes]}
    return sign(Kind.REQUEST, claims, key)


def _write_change(change: Change) -> dict[str, Any]:
    return {
        "generation": change.generation,
        "verb": change.verb.value,
        "sub": change.sub,
        "at": stamp(change.at),
    }


def check_request(
    token: str,
    keys: Mapping[str, PublicKey],
    *,
    cell: str,
    method: str,
    target: str,
    body: bytes,
    now: datetime,
) -> RequestClaims:
    """Return what a request's token says, all but replay, verbs and policy checked.

    Raises:
        BadToken: with the first thing that is wrong.
    """
    claims = open_request(token, keys, cell=cell, now=now)
    check_target(claims, method=method, target=target, body=body)
    return claims


def open_request(token: str, keys: Mapping[str, PublicKey], *, cell: str, now: datetime) -> RequestClaims:
    """Return what a request's token says: signature, kind, audience and life checked, in this order.

    Raises:
        BadToken: with the first thing that is wrong.
    """
    values = verify(Kind.REQUEST, token, keys)
    claims = Claims(Kind.REQUEST, values)
    if claims.text("aud") != cell:
        raise bad(Kind.REQUEST, Fault.WRONG_AUDIENCE)
    issued, expires = claims.check_life(now, REQUEST_LIFE)
    jti = claims.text("jti")
    if len(jti) > MAX_JTI or ("base" in values) is ("verbs" in values):
        raise bad(Kind.REQUEST, Fault.WRONG_CLAIMS)
    return RequestClaims(
        issuer=claims.text("iss"),
        cell=cell,
        sub=claims.text("sub"),
        issued_at=issued,
        expires_at=expires,
        jti=jti,
        method=claims.text("htm"),
        target=claims.text("htu"),
        body_hash=claims.text("bdy"),
        verbs=tuple(_read_verb(verb) for verb in claims.items("verbs", MAX_CHANGES)),
        base=claims.number("base") if "base" in values else None,
        changes=tuple(_read_change(change) for change in claims.items("changes", MAX_CHANGES)),
    )


def check_target(claims: RequestClaims, *, method: str, target: str, body: bytes) -> None:
    """Check that ``claims`` were signed for this very request.

    Raises:
        BadToken: ``wrong-target`` or ``wrong-body``.
    """
    if (claims.method, claims.target) != (method, target):
        raise bad(Kind.REQUEST, Fault.WRONG_TARGET)
    if not hmac.compare_digest(claims.body_hash, sha256(body)):
        raise bad(Kind.REQUEST, Fault.WRONG_BODY)


_VERBS: Final[Mapping[object, Verb]] = {verb.value: verb for verb in Verb}


def _read_verb(value: object) -> Verb:
    verb = _VERBS.get(value) if isinstance(value, str) else None
    if verb is None:
        raise bad(Kind.REQUEST, Fault.WRONG_CLAIMS)
    return verb


def _read_change(value: object) -> Change:
    if not isinstance(value, dict):
        raise bad(Kind.REQUEST, Fault.WRONG_CLAIMS)
    claims = Claims(Kind.REQUEST, value)
    verb = _read_verb(value.get("verb"))
    return Change(claims.number("generation"), verb, claims.text("sub"), claims.stamp("at"))


def issue_login(key: Signer, *, cell: str, challenge: bytes, audience: str, now: datetime, jti: str) -> str:
    """Return a cell's answer to a gateway's challenge. ``audience``: the gateway's name."""
    claims = {"sub": cell, "aud": audience, "nonce": encode_bytes(challenge), "jti": jti}
    return sign(Kind.CELL_LOGIN, claims | life(now, LOGIN_LIFE), key)


def check_login(
    token: str, keys: Mapping[str, PublicKey], *, challenge: bytes, audience: str, now: datetime
) -> str:
    """Return the id of the cell that has answered ``challenge``.

    ``keys``: of the one cell that :func:`claimed_cell` names, so that no cell can log in as another.

    Raises:
        BadToken: with the first thing that is wrong.
    """
    return _check_login(Kind.CELL_LOGIN, token, keys, challenge, audience, now).text("sub")


def issue_controlplane_login(
    key: Signer,
    *,
    issuer: str,
    challenge: bytes,
    audience: str,
    now: datetime,
    jti: str,
    key_set: str = "",
) -> str:
    """Return the Control Plane's answer to a gateway's challenge.

    ``key_set``: signed key set, for a gateway that pins nothing but the root key.
    """
    claims = {"sub": issuer, "aud": audience, "nonce": encode_bytes(challenge), "jti": jti, "keySet": key_set}
    return sign(Kind.CONTROLPLANE_LOGIN, claims | life(now, LOGIN_LIFE), key)


def check_controlplane_login(
    token: str, keys: Mapping[str, PublicKey], *, challenge: bytes, audience: str, now: datetime
) -> str:
    """Return the issuer that has answered ``challenge``.

    Raises:
        BadToken: with the first thing that is wrong.
    """
    return _check_login(Kind.CONTROLPLANE_LOGIN, token, keys, challenge, audience, now).text("sub")


def carried_key_set(token: str) -> str:
    """Return the key set inside a control plane login, unverified: open it with the pinned root.

    Raises:
        BadToken: it is no token, or carries none.
    """
    return Claims(Kind.CONTROLPLANE_LOGIN, unverified(Kind.CONTROLPLANE_LOGIN, token)).text("keySet")


def _check_login(
    kind: Kind,
    token: str,
    keys: Mapping[str, PublicKey],
    challenge: bytes,
    audience: str,
    now: datetime,
) -> Claims:
    claims = Claims(kind, verify(kind, token, keys))
    if claims.text("aud") != audience:
        raise bad(kind, Fault.WRONG_AUDIENCE)
    claims.check_life(now, LOGIN_LIFE)
    if not hmac.compare_digest(claims.text("nonce").encode(), encode_bytes(challenge).encode()):
        raise bad(kind, Fault.WRONG_CHALLENGE)
    return claims


def claimed_cell(token: str) -> str:
    """Return the cell that a login or report claims to come from, unverified.

    Only to look up that cell's keys; believe it once the token verifies with them.

    Raises:
        BadToken: it is no token or names no cell.
    """
    values = unverified(Kind.REPORT, token)
    return Claims(Kind.REPORT, values).text("sub" if "sub" in values else "cell")


def issue_enrolment(
    key: Signer, *, organization: str, cell: str, thumbprint: str, now: datetime, jti: str
) -> str:
    """Return a token by which the holder of one signing key becomes ``cell``, within 15 minutes."""
    claims = {"org": organization, "sub": cell, "jkt": thumbprint, "jti": jti}
    return sign(Kind.ENROLMENT, claims | life(now, ENROLMENT_LIFE), key)


def check_enrolment(
    token: str, keys: Mapping[str, PublicKey], *, thumbprint: str, now: datetime
) -> EnrolmentClaims:
    """Return what an enrolment token says.

    ``thumbprint``: of the signing key that the client presents.

    Raises:
        BadToken: ``wrong-key`` where it was minted for another key.
    """
    claims = Claims(Kind.ENROLMENT, verify(Kind.ENROLMENT, token, keys))
    issued, expires = claims.check_life(now, ENROLMENT_LIFE)
    if not hmac.compare_digest(claims.text("jkt").encode(), thumbprint.encode()):
        raise bad(Kind.ENROLMENT, Fault.WRONG_KEY)
    return EnrolmentClaims(
        organization=claims.text("org"),
        cell=claims.text("sub"),
        thumbprint=thumbprint,
        jti=claims.text("jti"),
        issued_at=issued,
        expires_at=expires,
    )


def certify_sealing_key(key: Signer, sealing: Mapping[str, str]) -> str:
    """Return the cell's word that ``sealing`` (a public JWK) is its own."""
    return sign(Kind.SEALING_CERTIFICATE, {"key": check_sealing_jwk(sealing)}, key)


def check_sealing_certificate(token: str, signing: PublicKey, sealing: Mapping[str, str]) -> None:
    """Check that the holder of ``signing`` has certified ``sealing``.

    Raises:
        BadToken: it has not.
        UsageError: ``sealing`` is no public sealing key.
    """
    claims = Claims(Kind.SEALING_CERTIFICATE, verify(Kind.SEALING_CERTIFICATE, token, {signing.kid: signing}))
    if claims.mapping("key") != check_sealing_jwk(sealing):
        raise bad(Kind.SEALING_CERTIFICATE, Fault.WRONG_KEY)


def sign_answer(key: Signer, *, jti: str, status: int, body: bytes) -> str:
    """Return the cell's signature under its answer to request ``jti``."""
    return sign(Kind.ANSWER, {"jti": jti, "status": status, "bdy": sha256(body)}, key)


def check_answer(token: str, keys: Mapping[str, PublicKey], *, jti: str, status: int, body: bytes) -> None:
    """Check that the cell gave this very answer to request ``jti``.

    Raises:
        BadToken: it did not.
    """
    claims = Claims(Kind.ANSWER, verify(Kind.ANSWER, token, keys))
    said = claims.text("jti"), claims.number("status"), claims.text("bdy")
    if said != (jti, status, sha256(body)):
        raise bad(Kind.ANSWER, Fault.WRONG_ANSWER)


def sign_report(key: Signer, report: Mapping[str, Any]) -> str:
    """Return a signed report. ``report``: JSON of a ``CellReport``, which names its cell and order."""
    return sign(Kind.REPORT, report, key)


def open_report(token: str, keys: Mapping[str, PublicKey]) -> dict[str, Any]:
    """Return the JSON of a report.

    ``keys``: of the one cell that :func:`claimed_cell` names.

    Raises:
        BadToken: it was not signed by that cell.
    """
    return verify(Kind.REPORT, token, keys)


def name_report(incarnation: str, seq: int, text: str) -> ReportName:
    """Return the name of a report. ``text``: its signed form, as it is sent."""
    return ReportName(incarnation, seq, sha256(text.encode()))


def _write_name(report: ReportName) -> dict[str, Any]:
    return {"incarnation": report.incarnation, "seq": report.seq, "hash": report.hash}


def _read_name(kind: Kind, claims: Claims) -> ReportName:
    named = Claims(kind, claims.mapping("report"))
    return ReportName(named.text("incarnation"), named.number("seq"), named.text("hash"))


def sign_receipt(
    key: Signer,
    *,
    cell: str,
    chain: str,
    seq: int,
    hash: str,  # noqa: A002
    report: ReportName,
    at: datetime,
) -> str:
    """Return the Control Plane's word that it has taken ``report``, which came with this ledger head."""
    claims = {"cell": cell, "chain": chain, "seq": seq, "hash": hash, "at": stamp(at)}
    return sign(Kind.RECEIPT, claims | {"report": _write_name(report)}, key)


def check_receipt(token: str, keys: Mapping[str, PublicKey]) -> Receipt:
    """Return what a receipt says. ``keys``: every key the Control Plane ever signed with.

    Raises:
        BadToken: none of them signed it.
    """
    values = verify(Kind.RECEIPT, token, keys)
    claims = Claims(Kind.RECEIPT, values)
    cell, chain, head = (claims.text(name) for name in ("cell", "chain", "hash"))
    # A ledger keeps its receipts for ever, also those of before they named their report.
    report = _read_name(Kind.RECEIPT, claims) if "report" in values else None
    return Receipt(cell, chain, claims.number("seq"), head, claims.stamp("at"), report)


def sign_behind(key: Signer, behind: Behind) -> str:
    """Return the Control Plane's word that a report is older than what it had taken before."""
    claims = {
        "cell": behind.cell,
        "report": _write_name(behind.report),
        "incarnation": behind.incarnation,
        "seq": behind.seq,
        "ledgerSeq": behind.ledger_seq,
    }
    return sign(Kind.BEHIND, claims, key)


def check_behind(token: str, keys: Mapping[str, PublicKey]) -> Behind:
    """Return what such a word says.

    Raises:
        BadToken: none of ``keys`` signed it.
    """
    claims = Claims(Kind.BEHIND, verify(Kind.BEHIND, token, keys))
    return Behind(
        cell=claims.text("cell"),
        report=_read_name(Kind.BEHIND, claims),
        incarnation=claims.text("incarnation"),
        seq=claims.number("seq"),
        ledger_seq=claims.number("ledgerSeq"),
    )
