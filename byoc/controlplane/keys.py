"""The Control Plane's own keys: the root, the key-set key that it certifies, and what signs requests.

Made once by ``controlplane init`` in ``DIR/controlplane/keys``, each file 0600. The invariants:
private halves are in these files and nowhere else; the version of the signed key set never
falls, also where an older copy of the folder is restored, because it is at least the time
of issue; a key set in use is never older than a day, so a cell that calls once a week is in time.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from byoc import durable
from byoc.errors import BadToken, PreconditionFailed, UsageError
from byoc.model.records import CellRecord
from byoc.wire.canonical import canonical
from byoc.wire.keys import PublicKey, SigningKey
from byoc.wire.keysets import KeySet, certify_key_set_key, issue_key_set, reopen_key_set
from byoc.wire.sealing import seal

ISSUER: Final = "controlplane"
"""What the Control Plane calls itself in tokens."""
RENEW_AFTER: Final = timedelta(days=1)
_CERTIFIED_FOR: Final = timedelta(days=365)
_CERTIFY_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class _Certified:
    """The key-set key with the root's word for it."""

    key: SigningKey
    certificate: str
    issued_at: datetime


class ControlPlaneKeys:
    """All keys of one Control Plane.

    Args:
        folder: ``DIR/controlplane``; the key set is kept in ``keyset.jws`` there.
    """

    def __init__(self, folder: Path, root: SigningKey, certified: _Certified, signing: SigningKey) -> None:
        self._folder = folder
        self._root = root
        self._certified = certified
        self.signing: Final = signing
        """Signs requests, receipts, enrolment tokens and logins."""
        self._current = _read_key_set(folder / "keyset.jws", root.public)

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
            _write(root_file, SigningKey.generate().private_jwk())
        root = _read_key(root_file)
        if not (keys / "keyset.json").exists():
            _write_certified(keys / "keyset.json", _certify(root, SigningKey.generate(), now))
        if not _signing_files(keys):
            key = SigningKey.generate()
            _write(keys / f"signing-{key.kid}.json", key.private_jwk())
        made = cls.load(folder)
        made.key_set(now)
        return made

    @classmethod
    def load(cls, folder: Path) -> "ControlPlaneKeys":
        """Read what ``make`` made.

        Raises:
            PreconditionFailed: a file is missing or no key.
        """
        keys = folder / "keys"
        root = _read_key(cls.root_file(folder))
        signing = [_read_key(path) for path in _signing_files(keys)]
        if not signing:
            raise _broken(keys)
        return cls(folder, root, _read_certified(keys / "keyset.json"), signing[-1])

    @property
    def root(self) -> PublicKey:
        """The root, as cells and gateways pin it."""
        return self._root.public

    @property
    def trusted(self) -> Mapping[str, PublicKey]:
        """The keys that our own tokens are verified with, by name."""
        return {self.signing.kid: self.signing.public}

    def key_set(self, now: datetime) -> KeySet:
        """Return the signed key set, issued anew when it has grown a day old.

        Raises:
            Unwritable: a new one could not be stored, so it is not used.
        """
        held = self._current
        fresh = held is not None and now - held.issued_at < RENEW_AFTER and not held.expired(now)
        if held is not None and fresh and set(held.keys) == set(self.trusted):
            return held
        version = max(int(now.timestamp()), held.version + 1 if held is not None else 0)
        certified = self._certify_in_time(now)
        text = issue_key_set(
            certified.key, certified.certificate, [self.signing.public], version=version, now=now
        )
        durable.write_file(self._folder / "keyset.jws", text + "\n")
        self._current = reopen_key_set(text, root=self.root)
        return self._current

    def _certify_in_time(self, now: datetime) -> _Certified:
        if now >= self._certified.issued_at + _CERTIFIED_FOR - _CERTIFY_BEFORE:
            self._certified = _certify(self._root, self._certified.key, now)
            _write_certified(self._folder / "keys" / "keyset.json", self._certified)
        return self._certified


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


def _certify(root: SigningKey, key: SigningKey, now: datetime) -> _Certified:
    return _Certified(key, certify_key_set_key(root, key.public, now=now), now)


def _write_certified(path: Path, certified: _Certified) -> None:
    _write(
        path,
        {
            "key": certified.key.private_jwk(),
            "certificate": certified.certificate,
            "issuedAt": certified.issued_at.isoformat(),
        },
    )


def _read_certified(path: Path) -> _Certified:
    value = _read(path)
    try:
        key = SigningKey.from_private_jwk(value["key"])
        return _Certified(key, str(value["certificate"]), datetime.fromisoformat(value["issuedAt"]))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise _broken(path) from error


def _read_key(path: Path) -> SigningKey:
    try:
        return SigningKey.from_private_jwk(_read(path))
    except (UsageError, AttributeError, TypeError) as error:
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
