"""Signed tokens: how each kind is signed and verified, before anyone asks what it says.

Called by ``byoc.wire.tokens`` and by nobody else for real tokens. The invariants: every kind
has its own ``typ`` and a verifier accepts exactly one; the algorithm is the key's, never the
header's; a key is found by ``kid`` among the keys that the caller trusts for this purpose.
The home of pyjwt.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

import jwt

from byoc.errors import BadToken, UsageError
from byoc.wire.canonical import canonical
from byoc.wire.keys import PublicKey, Signer, decode_bytes, encode_bytes

MAX_TOKEN: Final = 64 * 1024
"""Characters of a token at most, reports and key sets excepted."""
MAX_LARGE_TOKEN: Final = 16 * 1024 * 1024
"""Characters of a report or key set at most."""


class Kind(StrEnum):
    """Every kind of token, as its ``typ``."""

    REQUEST = "byoc-request+jwt"
    CELL_LOGIN = "byoc-cell-login+jwt"
    CONTROLPLANE_LOGIN = "byoc-controlplane-login+jwt"
    ENROLMENT = "byoc-enrolment+jwt"
    ANSWER = "byoc-answer+jws"
    REPORT = "byoc-report+jws"
    RECEIPT = "byoc-receipt+jws"
    BEHIND = "byoc-behind+jws"
    KEY_SET = "byoc-keyset+jws"
    KEY_CERTIFICATE = "byoc-keyset-key+jws"
    ROOT_CERTIFICATE = "byoc-root+jws"
    SEALING_CERTIFICATE = "byoc-sealing-key+jws"


_JWS: Final = jwt.PyJWS()
_ALGORITHMS: Final = {name: _JWS.get_algorithm_by_name(name) for name in ("EdDSA", "ES256")}
_LARGE: Final = frozenset({Kind.REPORT, Kind.KEY_SET, Kind.CONTROLPLANE_LOGIN})


class Fault(StrEnum):
    """What can be wrong with a token: the ``reason`` of :class:`byoc.errors.BadToken`."""

    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown-key"
    WRONG_ALGORITHM = "wrong-algorithm"
    BAD_SIGNATURE = "bad-signature"
    WRONG_TYPE = "wrong-type"
    WRONG_CLAIMS = "wrong-claims"
    WRONG_AUDIENCE = "wrong-audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    LIFE_TOO_LONG = "life-too-long"
    WRONG_TARGET = "wrong-target"
    WRONG_BODY = "wrong-body"
    WRONG_CHALLENGE = "wrong-challenge"
    WRONG_KEY = "wrong-key"
    WRONG_ANSWER = "wrong-answer"
    LOWER_VERSION = "lower-version"
    KEYS_EXPIRED = "keys-expired"
    REPLAYED = "replayed"


_SAID: Final = {
    Fault.MALFORMED: "it is not a token",
    Fault.UNKNOWN_KEY: "it is signed by a key that is not trusted here",
    Fault.WRONG_ALGORITHM: "its algorithm is not the key's",
    Fault.BAD_SIGNATURE: "its signature does not verify",
    Fault.WRONG_TYPE: "it is of another kind",
    Fault.WRONG_CLAIMS: "a claim is missing or of the wrong type",
    Fault.WRONG_AUDIENCE: "it is meant for somebody else",
    Fault.EXPIRED: "it has expired",
    Fault.NOT_YET_VALID: "it was issued in the future; check the clocks",
    Fault.LIFE_TOO_LONG: "it lives longer than its kind may",
    Fault.WRONG_TARGET: "it was signed for another method or target",
    Fault.WRONG_BODY: "it was signed for another body",
    Fault.WRONG_CHALLENGE: "it answers another challenge",
    Fault.WRONG_KEY: "it is bound to another key",
    Fault.WRONG_ANSWER: "it answers another request or says something else",
    Fault.LOWER_VERSION: "its version is lower than one already accepted",
    Fault.KEYS_EXPIRED: "the control plane's keys have expired",
    Fault.REPLAYED: "it was used before",
}


def bad(kind: Kind, fault: Fault) -> BadToken:
    """Return the error for a token of ``kind`` with ``fault``; nothing of the token is in it."""
    return BadToken(f"{kind} refused: {_SAID[fault]}", reason=fault.value)


def sign(kind: Kind, claims: Mapping[str, Any], key: Signer) -> str:
    """Return ``claims`` as a compact JWS of ``kind``.

    Raises:
        ValueError: the claims hold NaN or an infinity.
        TypeError: the claims are not made of JSON types.
    """
    header = {"alg": key.public.algorithm, "kid": key.kid, "typ": kind.value}
    signed = f"{encode_bytes(canonical(header))}.{encode_bytes(canonical(claims))}"
    return f"{signed}.{encode_bytes(key.sign(signed.encode()))}"


def verify(kind: Kind, token: str, keys: Mapping[str, PublicKey]) -> dict[str, Any]:
    """Return the claims of a token of ``kind`` signed by one of ``keys``.

    ``keys``: by ``kid``; exactly the keys that may sign this kind for this purpose.

    Raises:
        BadToken: anything else; its ``reason`` is a :class:`Fault`.
    """
    found = _parse(kind, token)
    key = keys.get(found.header["kid"])
    if key is None:
        raise bad(kind, Fault.UNKNOWN_KEY)
    if found.header.get("alg") != key.algorithm:
        raise bad(kind, Fault.WRONG_ALGORITHM)
    if not _ALGORITHMS[key.algorithm].verify(found.signed, key.material, found.signature):
        raise bad(kind, Fault.BAD_SIGNATURE)
    if found.header.get("typ") != kind.value:
        raise bad(kind, Fault.WRONG_TYPE)
    return _object(kind, found.payload)


def unverified(kind: Kind, token: str) -> dict[str, Any]:
    """Return the claims of a token that nobody has verified.

    Only to find out *which* keys to verify it with; nothing else in it may be believed.

    Raises:
        BadToken: it is no token.
    """
    return _object(kind, _parse(kind, token).payload)


def claimed_key(kind: Kind, token: str) -> str:
    """Return the ``kid`` that a token names, unverified.

    Raises:
        BadToken: it is no token.
    """
    return str(_parse(kind, token).header["kid"])


class _Parsed(NamedTuple):
    header: dict[str, Any]
    payload: bytes
    signed: bytes
    signature: bytes


def _parse(kind: Kind, token: str) -> _Parsed:
    """Take a token apart, once: the library does it anew for each question, a letter at a time."""
    if not token.isascii() or len(token) > (MAX_LARGE_TOKEN if kind in _LARGE else MAX_TOKEN):
        raise bad(kind, Fault.MALFORMED)
    signed, _, mark = token.rpartition(".")
    head, _, body = signed.partition(".")
    try:
        header = json.loads(decode_bytes(head))
        found = _Parsed(header, decode_bytes(body), signed.encode(), decode_bytes(mark))
    except (UsageError, ValueError, RecursionError) as error:
        raise bad(kind, Fault.MALFORMED) from error
    if not isinstance(header, dict) or not isinstance(header.get("kid"), str):
        raise bad(kind, Fault.MALFORMED)
    if "crit" in header or "b64" in header:
        raise bad(kind, Fault.MALFORMED)
    return found


def _object(kind: Kind, payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
        if b"\\u" in payload:
            # Half of a pair of surrogates is no text: nothing could write it down again.
            canonical(claims)
    except (ValueError, RecursionError) as error:
        raise bad(kind, Fault.MALFORMED) from error
    if not isinstance(claims, dict):
        raise bad(kind, Fault.MALFORMED)
    return claims
