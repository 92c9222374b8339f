"""The Control Plane's own keys: the root, the key-set key that it certifies, and what signs requests.

Made once by ``controlplane init`` in ``DIR/controlplane/keys``, each file 0600, and replaced by
``byoc.controlplane.rotation`` while it runs. The invariants: private halves are in these files, or
where :mod:`byoc.controlplane.signers` asks for them, and nowhere else; a signing key is in the key set
before it signs and an hour longer; the version of the signed key set never falls, also where an older
copy of the folder is restored, because it is at least the time of issue; a key set in use is never
older than a day, so a cell that calls once a week is in time.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from byoc import durable
from byoc.controlplane.signers import read_signer
from byoc.errors import BadToken, PreconditionFailed, UsageError
from byoc.model.records import CellRecord
from byoc.wire.canonical import canonical
from byoc.wire.jws import Kind, claimed_key
from byoc.wire.keys import PublicKey, Signer, SigningKey
from byoc.wire.keysets import KeySet, certify_key_set_key, issue_key_set, reopen_key_set
from byoc.wire.sealing import seal

ISSUER: Final = "controlplane"
"""What the Control Plane calls itself in tokens."""
RENEW_AFTER: Final = timedelta(days=1)
LINGER: Final = timedelta(hours=1)
"""How long a key that has been replaced is still trusted: longer than any token lives."""
_ASKED_AT_ONCE: Final = 16
"""Signatures waited for at the same time, where the key is kept elsewhere; the others queue."""
_CERTIFIED_FOR: Final = timedelta(days=365)
_CERTIFY_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Certified:
    """The key-set key with the root's word for it."""

    key: SigningKey
    certificate: str
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class Root:
    """The root, and each old root's word for its successor, oldest first."""

    key: SigningKey
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signing:
    """A key that signs. ``used_from``: when it begins to; None for the first one."""

    signer: Signer
    used_from: datetime | None = None

    def begun(self, now: datetime) -> bool:
        """Whether it may sign."""
        return self.used_from is None or self.used_from <= now


class ControlPlaneKeys:
    """All keys of one Control Plane.

    Args:
        folder: ``DIR/controlplane``; the key set is kept in ``keyset.jws`` there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = 0
        self._asking = ThreadPoolExecutor(_ASKED_AT_ONCE, "signer")
        self._root, self._certified, self._held = self._read_all()
        self._in_use = self._held[0]
        self._current = _read_key_set(folder / "keyset.jws", self._root.key.public)

    def _read_all(self) -> tuple[Root, Certified, list[Signing]]:
        keys = self._folder / "keys"
        self._seen = keys.stat().st_mtime_ns if keys.exists() else 0
        root = read_root(self.root_file(self._folder))
        held = read_signing(keys)
        if not held:
            raise _broken(keys)
        return root, _read_certified(keys / "keyset.json"), held

    def _look(self, now: datetime) -> None:
        """Take in keys that were put beside the ones in use, and choose the one that signs."""
        if (self._folder / "keys").stat().st_mtime_ns != self._seen:
            self._root, self._certified, self._held = self._read_all()
        begun = [one for one in self._held if one.begun(now)]
        self._in_use = begun[-1] if begun else self._held[0]

    @staticmethod
    def root_file(folder: Path) -> Path:
        """Return where the root is: the one key that cannot be made anew once a cell trusts it."""
        return folder / "keys" / "root.json"

    @classmethod
    def make(cls, folder: Path, now: datetime) -> "ControlPlaneKeys":
        """Make whatever is missing and read all. A crash in the middle leaves nothing half made.

        Raises:
            PreconditionFailed: a file is there but no key.
            Unwritable: the folder cannot be written.
        """
        keys = folder / "keys"
        durable.make_folder(keys)
        root_file = cls.root_file(folder)
        if not root_file.exists():
            write_root(folder, Root(SigningKey.generate()))
        root = read_root(root_file)
        if not (keys / "keyset.json").exists():
            write_certified(folder, certify(root, SigningKey.generate(), now))
        if not _signing_files(keys):
            write_signing(folder, SigningKey.generate().private_jwk(), None)
        made = cls.load(folder)
        made.key_set(now)
        return made

    @classmethod
    def load(cls, folder: Path) -> "ControlPlaneKeys":
        """Read what ``make`` made.

        Raises:
            PreconditionFailed: a file is missing or no key.
        """
        return cls(folder)

    @property
    def signing(self) -> Signer:
        """Signs requests, receipts, enrolment tokens and logins; as of the last look at the key set."""
        return self._in_use.signer

    async def sign(self, make: Callable[[Signer], str]) -> str:
        """Return what ``make`` signs with the key in use; nothing else waits for who keeps the key.

        Raises:
            Unreachable: whoever keeps the key does not sign now.
        """
        signer = self.signing
        if isinstance(signer, SigningKey):
            return make(signer)
        return await asyncio.get_running_loop().run_in_executor(self._asking, make, signer)

    @property
    def root(self) -> PublicKey:
        """The root, as cells and gateways pin it."""
        return self._root.key.public

    @property
    def trusted(self) -> Mapping[str, PublicKey]:
        """The keys that our own tokens are verified with, by name: those in the key set."""
        if self._current is not None:
            return self._current.keys
        return {self.signing.kid: self.signing.public}

    def key_set(self, now: datetime) -> KeySet:
        """Return the signed key set, issued anew when it has grown a day old or a key has changed.

        Raises:
            Unwritable: a new one could not be stored, so it is not used.
        """
        self._look(now)
        held, certified = self._current, self._certify_in_time(now)
        wanted = self._published(now)
        if held is not None and _fresh(held, now) and _by(held, certified) and set(held.keys) == set(wanted):
            return held
        version = max(int(now.timestamp()), held.version + 1 if held is not None else 0)
        keys, links = list(wanted.values()), self._root.links
        text = issue_key_set(
            certified.key, certified.certificate, keys, version=version, now=now, roots=links
        )
        durable.write_file(self._folder / "keyset.jws", text + "\n")
        self._current = reopen_key_set(text, root=self.root)
        return self._current

    def _published(self, now: datetime) -> dict[str, PublicKey]:
        """The key that signs, those that will, and the one before for as long as its tokens may live."""
        place = self._held.index(self._in_use)
        since = self._in_use.used_from
        before = self._held[:place][-1:] if since is not None and now < since + LINGER else []
        return {one.signer.kid: one.signer.public for one in [*before, *self._held[place:]]}

    def _certify_in_time(self, now: datetime) -> Certified:
        if self._due(now):
            with changing(self._folder):
                # Somebody may have replaced the root or this key since they were read.
                self._root = read_root(self.root_file(self._folder))
                self._certified = _read_certified(self._folder / "keys" / "keyset.json")
                if self._due(now):
                    self._certified = certify(self._root, self._certified.key, now)
                    write_certified(self._folder, self._certified)
        return self._certified

    def _due(self, now: datetime) -> bool:
        held = self._certified
        root = claimed_key(Kind.KEY_CERTIFICATE, held.certificate)
        return now >= held.issued_at + _CERTIFIED_FOR - _CERTIFY_BEFORE or root != self._root.key.kid


def changing(folder: Path) -> AbstractContextManager[None]:
    """Hold off everybody else who replaces keys while the block reads, decides and writes."""
    return durable.locked(folder / "keys.lock")


def _fresh(held: KeySet, now: datetime) -> bool:
    return now - held.issued_at < RENEW_AFTER and not held.expired(now)


def _by(held: KeySet, certified: Certified) -> bool:
    return claimed_key(Kind.KEY_SET, held.text) == certified.key.kid


def seal_password(cell: CellRecord, group: str, version: int, password: str) -> str:
    """Return ``password`` so that only ``cell`` can open it, and only for this group and version.

    Raises:
        UsageError: the cell has no sealing key.
    """
    if cell.sealing_key is None:
        raise UsageError(f"cell `{cell.name}` is not enrolled")
    return seal(cell.sealing_key, password, cell=cell.id, group=group, version=version)


def _signing_files(keys: Path) -> list[Path]:
    return sorted(keys.glob("signing-*.json"), key=lambda path: (path.stat().st_mtime, path.name))


def read_signing(keys: Path) -> list[Signing]:
    """Return the signing keys in folder ``keys``, in the order in which they sign.

    Raises:
        PreconditionFailed: a file is no key.
    """
    found = []
    for path in _signing_files(keys):
        value = _read(path)
        try:
            used_from = datetime.fromisoformat(value["usedFrom"]) if "usedFrom" in value else None
            found.append(Signing(read_signer(value), used_from))
        except (KeyError, TypeError, AttributeError, ValueError, UsageError) as error:
            raise _broken(path) from error
    return sorted(found, key=lambda one: (one.used_from is not None, str(one.used_from)))


def write_signing(folder: Path, value: Mapping[str, Any], used_from: datetime | None) -> None:
    """Put a signing key, or where it is kept, beside the others."""
    public = value["public"] if "public" in value else {k: value[k] for k in value if k != "d"}
    kid = PublicKey.from_jwk(public).kid
    when = {} if used_from is None else {"usedFrom": used_from.isoformat()}
    _write(folder / "keys" / f"signing-{kid}.json", {**value, **when})


def certify(root: Root, key: SigningKey, now: datetime) -> Certified:
    """Return ``key`` with the root's word for it."""
    return Certified(key, certify_key_set_key(root.key, key.public, now=now), now)


def read_root(path: Path) -> Root:
    """Read the root.

    Raises:
        PreconditionFailed: it is no key.
    """
    value = _read(path)
    links = value.pop("links", [])
    try:
        return Root(SigningKey.from_private_jwk(value), tuple(map(str, links)))
    except (UsageError, AttributeError, TypeError) as error:
        raise _broken(path) from error


def write_root(folder: Path, root: Root) -> None:
    """Store the root, and at once what its predecessors said of it."""
    links = {"links": list(root.links)} if root.links else {}
    _write(ControlPlaneKeys.root_file(folder), root.key.private_jwk() | links)


def write_certified(folder: Path, certified: Certified) -> None:
    """Store the key-set key."""
    _write(
        folder / "keys" / "keyset.json",
        {
            "key": certified.key.private_jwk(),
            "certificate": certified.certificate,
            "issuedAt": certified.issued_at.isoformat(),
        },
    )


def _read_certified(path: Path) -> Certified:
    value = _read(path)
    try:
        key = SigningKey.from_private_jwk(value["key"])
        return Certified(key, str(value["certificate"]), datetime.fromisoformat(value["issuedAt"]))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise _broken(path) from error


def _read_key_set(path: Path, root: PublicKey) -> KeySet | None:
    try:
        return reopen_key_set(path.read_text(encoding="ascii").strip(), root=root)
    except (OSError, UnicodeDecodeError, BadToken):
        # Only a copy: a new one with a higher version takes its place.
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _broken(path) from error
    if not isinstance(value, dict):
        raise _broken(path)
    return value


def _write(path: Path, value: Mapping[str, Any]) -> None:
    durable.write_file(path, canonical(dict(value)) + b"\n")


def _broken(path: Path) -> PreconditionFailed:
    return PreconditionFailed(
        f"{path}: the control plane's key cannot be read", hint="`byoc controlplane init` makes them"
    )
