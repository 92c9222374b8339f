"""The cell's own keys, who the cell is, and the Control Plane's keys that it pins.

Made and read by the agent; the pinned keys are also read by ``byoc ledger verify``. The
invariants: private halves are made here and never leave their file of mode 0600, or the Secret that
the cell's two agents share; whatever is answered as stored is stored; no older key set replaces a
newer one, also after a restart.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from byoc.clock import Clock, parse_stamp, stamp
from byoc.dataplane.storage import Shelf, Storage
from byoc.errors import BadToken, CannotUnseal, Failed, NotFound, UsageError
from byoc.ids import CellID, OrganizationID
from byoc.wire.canonical import canonical
from byoc.wire.cell import Enrolled, Enrolment
from byoc.wire.jws import Fault, Kind, bad
from byoc.wire.keys import Jwk, PublicKey, SealingKey, SigningKey
from byoc.wire.keysets import KeySet, open_key_set, reopen_key_set
from byoc.wire.sealing import unseal
from byoc.wire.tokens import certify_sealing_key, issue_login, sign_answer, sign_report

KEYS: Final = "keys"
THUMBPRINT: Final = "thumbprint"
IDENTITY: Final = "identity"
PINNED: Final = "pinned"
OPENS_LONGER: Final = timedelta(days=7)
"""How long a sealing key that was replaced still opens: as long as a change may be under way."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The two key pairs of a cell.

    Attributes:
        certificate: the signing key's word that the sealing key is the cell's.
    """

    signing: SigningKey
    sealing: SealingKey
    certificate: str

    @classmethod
    def of(cls, signing: SigningKey, sealing: SealingKey) -> Self:
        """Put two together."""
        return cls(signing, sealing, certify_sealing_key(signing, sealing.public_jwk()))

    @classmethod
    def generate(cls) -> Self:
        """Make both anew."""
        return cls.of(SigningKey.generate(), SealingKey.generate())

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """Read both as they are kept."""
        signing = SigningKey.from_private_jwk(value["signing"])
        return cls.of(signing, SealingKey.from_private_jwk(value["sealing"]))

    def private(self) -> dict[str, Any]:
        """Return both as they are kept."""
        return {"signing": self.signing.private_jwk(), "sealing": self.sealing.private_jwk()}


@dataclass(frozen=True, slots=True)
class _Before:
    """A sealing key that was replaced, and until when it still opens what was sealed for it."""

    sealing: SealingKey
    until: datetime


@dataclass(frozen=True, slots=True)
class _Held:
    """All that is kept in one record: the pairs in use, those that come next, and what was before."""

    pairs: Pairs
    following: Pairs | None = None
    before: tuple[_Before, ...] = ()

    @classmethod
    def read(cls, text: bytes, where: str) -> Self:
        value = _object(text, where)
        try:
            following = Pairs.read(value["next"]) if "next" in value else None
            before = tuple(
                _Before(SealingKey.from_private_jwk(one["sealing"]), parse_stamp(one["until"]))
                for one in value.get("previous", [])
            )
            return cls(Pairs.read(value), following, before)
        except (KeyError, TypeError, AttributeError, ValueError, UsageError):
            # Not chained: the cause may hold what was read.
            raise _damaged(where) from None

    def text(self) -> bytes:
        """Return the record."""
        value = self.pairs.private()
        if self.following is not None:
            value["next"] = self.following.private()
        if self.before:
            value["previous"] = [
                {"sealing": one.sealing.private_jwk(), "until": stamp(one.until)} for one in self.before
            ]
        return canonical(value) + b"\n"


class CellKeys:
    """The keys of a cell, and how they are replaced: by keys that are kept before anybody hears of them.

    The Control Plane is shown the following pairs, and believes both from then on; only then are they taken
    into use. So whatever is killed in between, the cell signs with a key that is believed, and opens what was
    sealed for any of them.
    """

    def __init__(self, kept: Storage, held: _Held) -> None:
        self._kept = kept
        self._held = held

    @classmethod
    def load_or_create(cls, kept: Storage) -> Self:
        """Read the keys of the cell, or make them, durably, and show their thumbprint.

        Raises:
            Failed: they are damaged, readable by others, or missing from an enrolled cell.
            Unwritable: they cannot be stored.
        """
        text, where = kept.read(Shelf.KEYS, KEYS), kept.where(Shelf.KEYS, KEYS)
        if text is not None:
            held = _Held.read(text, where)
        else:
            if kept.read(Shelf.SELF, IDENTITY) is not None:
                hint = "bring them back from a copy, or enrol the cell anew with an empty state"
                raise Failed(f"the cell is enrolled but its keys are missing: {where}", hint=hint)
            held = _Held(Pairs.generate())
            kept.change(Shelf.KEYS, {KEYS: held.text()})
        keys = cls(kept, held)
        keys._show()
        return keys

    def _show(self) -> None:
        shown = self.thumbprint.encode() + b"\n"
        if self._kept.read(Shelf.SELF, THUMBPRINT) != shown:
            self._kept.change(Shelf.SELF, {THUMBPRINT: shown})

    def _store(self, held: _Held) -> None:
        self._kept.change(Shelf.KEYS, {KEYS: held.text()})
        self._held = held

    def prepare(self) -> Pairs:
        """Make the pairs that come next, durably; those that are there already are kept.

        Raises:
            Unwritable: they cannot be stored; nothing has changed.
        """
        if self._held.following is None:
            self._store(replace(self._held, following=Pairs.generate()))
        assert self._held.following is not None  # noqa: S101 - stored just now
        return self._held.following

    def take_over(self, thumbprint: str, now: datetime) -> None:
        """Take the following pairs into use; those in use already change nothing.

        Raises:
            NotFound: there are no pairs of this name.
            Unwritable: it cannot be stored; nothing has changed.
        """
        held = self._held
        if thumbprint == self.thumbprint:
            return
        if held.following is None or held.following.signing.kid != thumbprint:
            raise NotFound("the cell has prepared no such keys")
        before = (_Before(held.pairs.sealing, now + OPENS_LONGER), *held.before)
        self._store(_Held(held.following, None, tuple(one for one in before if one.until > now)))
        self._show()

    def forget(self, now: datetime) -> None:
        """Drop sealing keys that were replaced long ago.

        Raises:
            Unwritable: it cannot be stored.
        """
        lasting = tuple(one for one in self._held.before if one.until > now)
        if lasting != self._held.before:
            self._store(replace(self._held, before=lasting))

    @property
    def signing(self) -> SigningKey:
        """The key that signs."""
        return self._held.pairs.signing

    @property
    def sealing(self) -> SealingKey:
        """The key that others seal to."""
        return self._held.pairs.sealing

    def unseal(self, sealed: str, *, cell: str, group: str, version: int) -> str:
        """Return a secret that was sealed for this cell, also one sealed shortly before its keys changed.

        Raises:
            CannotUnseal: for none of its keys, for another place, or tampered with.
        """
        following = self._held.following
        others = [following.sealing] if following is not None else []
        for key in (*others, *(one.sealing for one in self._held.before)):
            with suppress(CannotUnseal):
                return unseal(key, sealed, cell=cell, group=group, version=version)
        return unseal(self.sealing, sealed, cell=cell, group=group, version=version)

    @property
    def thumbprint(self) -> str:
        """What an enrolment token is bound to: RFC 7638 thumbprint of the signing key."""
        return self.signing.kid

    def enrolment(self, token: str) -> Enrolment:
        """Return the request by which this cell is enrolled."""
        public = self.signing.public.jwk()
        return Enrolment(token, public, self.sealing.public_jwk(), self._held.pairs.certificate)

    def login(self, *, cell: str, challenge: bytes, audience: str, now: datetime, jti: str) -> str:
        """Return the answer to a gateway's challenge."""
        return issue_login(self.signing, cell=cell, challenge=challenge, audience=audience, now=now, jti=jti)

    def sign_answer(self, *, jti: str, status: int, body: bytes) -> str:
        """Return the signature under the answer to request ``jti``."""
        return sign_answer(self.signing, jti=jti, status=status, body=body)

    def sign_report(self, report: Mapping[str, Any]) -> str:
        """Return the signed form of a report's JSON."""
        return sign_report(self.signing, report)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the cell is, once it is enrolled."""

    cell_id: CellID
    organization_id: OrganizationID

    @classmethod
    def load(cls, kept: Storage) -> Self | None:
        """Return the identity of the cell; None while it is not enrolled.

        Raises:
            Failed: the record is damaged.
        """
        text, where = kept.read(Shelf.SELF, IDENTITY), kept.where(Shelf.SELF, IDENTITY)
        if text is None:
            return None
        value = _object(text, where)
        try:
            return cls(CellID(str(value["cellID"])), OrganizationID(str(value["organizationID"])))
        except KeyError as error:
            raise _damaged(where) from error

    def store(self, kept: Storage) -> None:
        """Store the identity: from here on the cell is enrolled.

        Raises:
            Unwritable: it could not be stored.
        """
        value = {"cellID": self.cell_id, "organizationID": self.organization_id}
        kept.change(Shelf.SELF, {IDENTITY: canonical(value) + b"\n"})


@dataclass(frozen=True, slots=True)
class _Pins:
    root: PublicKey
    key_set: KeySet
    receipt_keys: Mapping[str, PublicKey]


class PinnedKeys:
    """The root and the newest key set of the Control Plane, kept in one record.

    Made by :meth:`create` at enrolment and by :meth:`load` ever after.
    """

    def __init__(self, kept: Storage, pins: _Pins, clock: Clock) -> None:
        self._kept = kept
        self._pins = pins
        self._clock = clock

    @classmethod
    def create(cls, kept: Storage, root: PublicKey, key_set: str, clock: Clock) -> Self:
        """Pin ``root`` and store the first key set.

        Raises:
            BadToken: the key set does not hang from the root, or may not be used now.
            Unwritable: it could not be stored.
        """
        opened = open_key_set(key_set, root=root, now=clock.now(), minimum_version=0)
        pinned = cls(kept, _Pins(root, opened, {}), clock)
        pinned._store(opened)
        return pinned

    @classmethod
    def load(cls, kept: Storage, clock: Clock) -> Self | None:
        """Read what was pinned; None while the cell is not enrolled. An expired set is no error here.

        Raises:
            Failed: the record is damaged.
        """
        text, where = kept.read(Shelf.SELF, PINNED), kept.where(Shelf.SELF, PINNED)
        if text is None:
            return None
        value = _object(text, where)
        try:
            root = PublicKey.from_jwk(value["root"])
            known = [PublicKey.from_jwk(jwk) for jwk in value["receiptKeys"]]
            opened = reopen_key_set(value["keySet"], root=root)
        except (KeyError, TypeError, AttributeError, UsageError, BadToken) as error:
            raise _damaged(where) from error
        return cls(kept, _Pins(root, opened, {key.kid: key for key in known}), clock)

    @property
    def root(self) -> PublicKey:
        """The root that everything hangs from."""
        return self._pins.root

    @property
    def version(self) -> int:
        """Version of the key set; no lower one is ever accepted."""
        return self._pins.key_set.version

    @property
    def expires_at(self) -> datetime:
        """When the key set expires; from then on verbs are refused until it is renewed."""
        return self._pins.key_set.expires_at

    @property
    def aged(self) -> bool:
        """Whether half of the set's life is over: time to ask for a new one, announced or not."""
        held = self._pins.key_set
        return self._clock.now() >= held.issued_at + (held.expires_at - held.issued_at) / 2

    @property
    def receipt_keys(self) -> Mapping[str, PublicKey]:
        """Every key of the Control Plane that was ever pinned: receipts outlive key sets."""
        return self._pins.receipt_keys

    @property
    def keys(self) -> dict[str, PublicKey]:
        """The keys of the newest set, also once it has expired: what a report's answer is signed with."""
        return self._pins.key_set.keys

    def for_requests(self) -> dict[str, PublicKey]:
        """Return the keys that may sign requests now.

        Raises:
            BadToken: ``keys-expired``.
        """
        if self._pins.key_set.expired(self._clock.now()):
            raise bad(Kind.KEY_SET, Fault.KEYS_EXPIRED)
        return self._pins.key_set.keys

    def refresh(self, text: str) -> None:
        """Take over a newer key set; the one that is held already changes nothing.

        Raises:
            BadToken: it does not hang from the pinned root, ``lower-version``, or may not be used now.
            Unwritable: it could not be stored; the old one stays in force.
        """
        held = self._pins.key_set
        if text == held.text:
            return
        now = self._clock.now()
        opened = open_key_set(text, root=self._pins.root, now=now, minimum_version=held.version)
        if opened.version == held.version and opened.issued_at <= held.issued_at:
            raise bad(Kind.KEY_SET, Fault.LOWER_VERSION)
        self._store(opened)

    def _store(self, opened: KeySet) -> None:
        pins = replace(
            self._pins,
            root=opened.root,
            key_set=opened,
            receipt_keys={**self._pins.receipt_keys, **opened.keys},
        )
        known: list[Jwk] = [key.jwk() for key in pins.receipt_keys.values()]
        value = {"root": pins.root.jwk(), "keySet": opened.text, "receiptKeys": known}
        self._kept.change(Shelf.SELF, {PINNED: canonical(value) + b"\n"})
        self._pins = pins


def accept_enrolment(
    kept: Storage, answer: Enrolled, root: PublicKey, clock: Clock
) -> tuple[Identity, PinnedKeys]:
    """Store what the Control Plane answered to an enrolment. Safe to do again after a crash.

    ``root``: the root key that came with the enrolment token, past the tunnel.

    Raises:
        BadToken: the answer names another root (``wrong-key``), or its key set is no good.
        UsageError: the answer holds no key.
        Unwritable: it could not be stored; the cell is not enrolled.
    """
    if PublicKey.from_jwk(answer.root_key) != root:
        raise bad(Kind.ENROLMENT, Fault.WRONG_KEY)
    pinned = PinnedKeys.create(kept, root, answer.key_set, clock)
    identity = Identity(answer.cell_id, OrganizationID(answer.organization_id))
    # Last, because this record is what says that the cell is enrolled.
    identity.store(kept)
    return identity, pinned


def _object(text: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _damaged(where) from error
    if not isinstance(value, dict):
        raise _damaged(where)
    return value


def _damaged(where: str) -> Failed:
    return Failed(f"cannot be read: {where}", hint="bring it back from a copy")
