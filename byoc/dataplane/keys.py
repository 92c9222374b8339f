"""The cell's own keys, who the cell is, and the Control Plane's keys that it pins.

Made and read by the agent; the pinned keys are also read by ``byoc ledger verify``. The
invariants: private halves are made here and never leave their file of mode 0600; whatever is
answered as stored is on disk, with its folder; no older key set replaces a newer one, also
after a restart.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from byoc import durable
from byoc.clock import Clock
from byoc.errors import BadToken, Failed, UsageError
from byoc.ids import CellID, OrganizationID
from byoc.wire.canonical import canonical
from byoc.wire.cell import Enrolled, Enrolment
from byoc.wire.jws import Fault, Kind, bad
from byoc.wire.keys import Jwk, PublicKey, SealingKey, SigningKey
from byoc.wire.keysets import KeySet, open_key_set, reopen_key_set
from byoc.wire.tokens import certify_sealing_key, issue_login, sign_answer, sign_report

KEYS: Final = "keys.json"
THUMBPRINT: Final = "thumbprint"
IDENTITY: Final = "identity.json"
PINNED: Final = "pinned.json"


@dataclass(frozen=True, slots=True)
class CellKeys:
    """The two key pairs of a cell.

    Attributes:
        certificate: the signing key's word that the sealing key is the cell's.
    """

    signing: SigningKey
    sealing: SealingKey
    certificate: str

    @classmethod
    def load_or_create(cls, folder: Path) -> Self:
        """Read the keys of the cell in ``folder``, or make them, durably, with the file ``thumbprint``.

        Raises:
            Failed: the file is damaged, readable by others, or missing from an enrolled cell.
            Unwritable: the folder cannot be written.
        """
        path = folder / KEYS
        if path.exists():
            keys = cls._read(path)
        else:
            if (folder / IDENTITY).exists():
                hint = "bring the file back from a copy, or enrol the cell anew in an empty folder"
                raise Failed(f"the cell is enrolled but its keys are missing: {path}", hint=hint)
            durable.make_folder(folder)
            keys = cls._of(SigningKey.generate(), SealingKey.generate())
            private = {"signing": keys.signing.private_jwk(), "sealing": keys.sealing.private_jwk()}
            durable.write_file(path, canonical(private) + b"\n")
        thumbprint = folder / THUMBPRINT
        if not thumbprint.exists() or thumbprint.read_text().strip() != keys.thumbprint:
            durable.write_file(thumbprint, keys.thumbprint + "\n", mode=0o644)
        return keys

    @classmethod
    def _read(cls, path: Path) -> Self:
        if path.stat().st_mode & 0o077:
            raise Failed(f"the cell's keys can be read by others: {path}", hint=f"chmod 600 {path}")
        value = _read_object(path)
        try:
            signing = SigningKey.from_private_jwk(value["signing"])
            return cls._of(signing, SealingKey.from_private_jwk(value["sealing"]))
        except (KeyError, TypeError, AttributeError, UsageError):
            # Not chained: the cause may hold what was read.
            raise _damaged(path) from None

    @classmethod
    def _of(cls, signing: SigningKey, sealing: SealingKey) -> Self:
        return cls(signing, sealing, certify_sealing_key(signing, sealing.public_jwk()))

    @property
    def thumbprint(self) -> str:
        """What an enrolment token is bound to: RFC 7638 thumbprint of the signing key."""
        return self.signing.kid

    def enrolment(self, token: str) -> Enrolment:
        """Return the request by which this cell is enrolled."""
        public = self.signing.public.jwk()
        return Enrolment(token, public, self.sealing.public_jwk(), self.certificate)

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
    def load(cls, folder: Path) -> Self | None:
        """Return the identity of the cell in ``folder``; None while it is not enrolled.

        Raises:
            Failed: the file is damaged.
        """
        path = folder / IDENTITY
        if not path.exists():
            return None
        value = _read_object(path)
        try:
            return cls(CellID(str(value["cellID"])), OrganizationID(str(value["organizationID"])))
        except KeyError as error:
            raise _damaged(path) from error

    def store(self, folder: Path) -> None:
        """Put the identity on disk: from here on the cell is enrolled.

        Raises:
            Unwritable: it could not be stored.
        """
        value = {"cellID": self.cell_id, "organizationID": self.organization_id}
        durable.write_file(folder / IDENTITY, canonical(value) + b"\n")


@dataclass(frozen=True, slots=True)
class _Pins:
    root: PublicKey
    key_set: KeySet
    receipt_keys: Mapping[str, PublicKey]


class PinnedKeys:
    """The root and the newest key set of the Control Plane, kept in one file.

    Made by :meth:`create` at enrolment and by :meth:`load` ever after.
    """

    def __init__(self, path: Path, pins: _Pins, clock: Clock) -> None:
        self._path = path
        self._pins = pins
        self._clock = clock

    @classmethod
    def create(cls, folder: Path, root: PublicKey, key_set: str, clock: Clock) -> Self:
        """Pin ``root`` and store the first key set.

        Raises:
            BadToken: the key set does not hang from the root, or may not be used now.
            Unwritable: it could not be stored.
        """
        opened = open_key_set(key_set, root=root, now=clock.now(), minimum_version=0)
        pinned = cls(folder / PINNED, _Pins(root, opened, {}), clock)
        pinned._store(opened)
        return pinned

    @classmethod
    def load(cls, folder: Path, clock: Clock) -> Self | None:
        """Read what was pinned; None while the cell is not enrolled. An expired set is no error here.

        Raises:
            Failed: the file is damaged.
        """
        path = folder / PINNED
        if not path.exists():
            return None
        value = _read_object(path)
        try:
            root = PublicKey.from_jwk(value["root"])
            kept = [PublicKey.from_jwk(jwk) for jwk in value["receiptKeys"]]
            opened = reopen_key_set(value["keySet"], root=root)
        except (KeyError, TypeError, AttributeError, UsageError, BadToken) as error:
            raise _damaged(path) from error
        return cls(path, _Pins(root, opened, {key.kid: key for key in kept}), clock)

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
        kept: list[Jwk] = [key.jwk() for key in pins.receipt_keys.values()]
        value = {"root": pins.root.jwk(), "keySet": opened.text, "receiptKeys": kept}
        durable.write_file(self._path, canonical(value) + b"\n")
        self._pins = pins


def accept_enrolment(
    folder: Path, answer: Enrolled, root: PublicKey, clock: Clock
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
    pinned = PinnedKeys.create(folder, root, answer.key_set, clock)
    identity = Identity(answer.cell_id, OrganizationID(answer.organization_id))
    # Last, because this file is what says that the cell is enrolled.
    identity.store(folder)
    return identity, pinned


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(value, dict):
        raise _damaged(path)
    return value


def _damaged(path: Path) -> Failed:
    return Failed(f"cannot be read: {path}", hint="bring the file back from a copy")
