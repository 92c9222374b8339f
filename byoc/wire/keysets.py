"""The Control Plane's keys as a cell gets them: one signed text, trusted through one root.

Root (offline) certifies a key-set key for a year at most; that key signs the set of keys that
may sign requests, for seven days at most. Issued by the Control Plane, opened by cells and
gateways. The invariants: nothing is believed that does not hang from the pinned root; a
lower version than one already accepted is refused; a new root is believed only where the old
one has signed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from byoc.wire.claims import CLOCK_SKEW, Claims, life
from byoc.wire.jws import Fault, Kind, bad, claimed_key, sign, unverified, verify
from byoc.wire.keys import PublicKey, Signer

KEY_SET_LIFE: Final = timedelta(days=7)
CERTIFICATE_LIFE: Final = timedelta(days=365)
MAX_KEYS: Final = 32
MAX_ROOTS: Final = 16


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that may sign requests, logins, receipts and enrolments.

    Attributes:
        root: the root that is in force after this set: the pinned one, or its successor.
        text: the signed form.
    """

    version: int
    issued_at: datetime
    expires_at: datetime
    keys: dict[str, PublicKey]
    root: PublicKey
    text: str

    def expired(self, now: datetime) -> bool:
        """Whether the set may no longer be used."""
        return now >= self.expires_at + CLOCK_SKEW


def certify_key_set_key(
    root: Signer, key: PublicKey, *, now: datetime, life_time: timedelta = CERTIFICATE_LIFE
) -> str:
    """Return the root's word that ``key`` may sign key sets; ``life_time`` is a year at most."""
    claims = {"key": key.jwk(), **life(now, life_time)}
    return sign(Kind.KEY_CERTIFICATE, claims, root)


def certify_root(old: Signer, new: PublicKey) -> str:
    """Return the old root's word that ``new`` takes its place."""
    return sign(Kind.ROOT_CERTIFICATE, {"key": new.jwk()}, old)


def issue_key_set(
    key: Signer,
    certificate: str,
    keys: Sequence[PublicKey],
    *,
    version: int,
    now: datetime,
    life_time: timedelta = KEY_SET_LIFE,
    roots: Sequence[str] = (),
) -> str:
    """Return the signed key set.

    ``key``: the key-set key that ``certificate`` is about.
    ``roots``: certificates of every change of root so far, oldest first.
    """
    claims: dict[str, Any] = {"version": version, "certificate": certificate, "roots": list(roots)}
    claims |= {"keys": [one.jwk() for one in keys], **life(now, life_time)}
    return sign(Kind.KEY_SET, claims, key)


def open_key_set(text: str, *, root: PublicKey, now: datetime, minimum_version: int) -> KeySet:
    """Return a key set that may be used now.

    ``root``: the pinned root.
    ``minimum_version``: the highest version ever accepted; 0 at first.

    Raises:
        BadToken: it does not hang from the root, ``lower-version``, ``keys-expired``, or its
            life or that of its certificate is too long.
    """
    key_set, certificate = _read(text, root)
    claims = Claims(Kind.KEY_CERTIFICATE, certificate)
    claims.check_life(now, CERTIFICATE_LIFE)
    if key_set.expires_at - key_set.issued_at > KEY_SET_LIFE:
        raise bad(Kind.KEY_SET, Fault.LIFE_TOO_LONG)
    if key_set.issued_at > now + CLOCK_SKEW:
        raise bad(Kind.KEY_SET, Fault.NOT_YET_VALID)
    if key_set.version < minimum_version:
        raise bad(Kind.KEY_SET, Fault.LOWER_VERSION)
    if key_set.expired(now):
        raise bad(Kind.KEY_SET, Fault.KEYS_EXPIRED)
    return key_set


def reopen_key_set(text: str, *, root: PublicKey) -> KeySet:
    """Return a key set that was accepted earlier, times not asked: it may have expired since.

    Raises:
        BadToken: it does not hang from the root.
    """
    return _read(text, root)[0]


def _read(text: str, root: PublicKey) -> tuple[KeySet, dict[str, Any]]:
    outer = Claims(Kind.KEY_SET, unverified(Kind.KEY_SET, text))
    newest = _follow(outer.items("roots", MAX_ROOTS), root)
    certificate = verify(Kind.KEY_CERTIFICATE, outer.text("certificate"), {newest.kid: newest})
    key = Claims(Kind.KEY_CERTIFICATE, certificate).key("key")
    claims = Claims(Kind.KEY_SET, verify(Kind.KEY_SET, text, {key.kid: key}))
    listed = [Claims(Kind.KEY_SET, {"key": one}).key("key") for one in claims.items("keys", MAX_KEYS)]
    key_set = KeySet(
        version=claims.number("version"),
        issued_at=claims.moment("iat"),
        expires_at=claims.moment("exp"),
        keys={one.kid: one for one in listed},
        root=newest,
        text=text,
    )
    return key_set, certificate


def _follow(links: list[Any], root: PublicKey) -> PublicKey:
    """Walk from the pinned root to the newest; links from before the pinned one do not matter."""
    newest = root
    for link in links:
        if not isinstance(link, str):
            raise bad(Kind.ROOT_CERTIFICATE, Fault.MALFORMED)
        if claimed_key(Kind.ROOT_CERTIFICATE, link) == newest.kid:
            claims = verify(Kind.ROOT_CERTIFICATE, link, {newest.kid: newest})
            newest = Claims(Kind.ROOT_CERTIFICATE, claims).key("key")
    return newest
