"""Replacing the Control Plane's keys while it runs, each so that nobody is left behind.

Called by ``byoc controlplane rotate-key``, beside the running process, which sees the new files at its
next look. The invariants: each step is one file, so a crash leaves the old key or the new one; of two at
once the second sees what the first one did; a signing key is published a day before it signs, because a
connected cell is never further behind (but not where the old one has to go at once); the old root signs the
new one, or no cell would follow.
"""

from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from byoc import durable
from byoc.controlplane.keys import (
    LINGER,
    ControlPlaneKeys,
    Root,
    certify,
    changing,
    read_root,
    read_signing,
    write_certified,
    write_root,
    write_signing,
)
from byoc.controlplane.kms import public_key_of
from byoc.controlplane.signers import prove, read_signer
from byoc.errors import IllegalState
from byoc.wire.keys import PublicKey, SigningKey
from byoc.wire.keysets import MAX_ROOTS, certify_root

PUBLISHED_BEFORE: Final = timedelta(days=1)
"""How long a signing key is in the key set before it signs; see ``keys.RENEW_AFTER``."""


def made_here() -> dict[str, Any]:
    """Return a new signing key that lives in its file."""
    return dict(SigningKey.generate().private_jwk())


def kept_in_kms(key_id: str) -> dict[str, Any]:
    """Return the reference to a signing key that lives in KMS.

    Raises:
        Unreachable: KMS does not answer, or refuses.
        UsageError: it is no key on P-256.
    """
    return {"kms": key_id, "public": PublicKey.from_pem(public_key_of(key_id)).jwk()}


def kept_behind_command(public: bytes) -> dict[str, Any]:
    """Return the reference to a signing key that the command of ``BYOC_SIGNER_COMMAND`` signs with.

    Raises:
        UsageError: ``public`` is no public key in PEM.
    """
    return {"command": True, "public": PublicKey.from_pem(public).jwk()}


def rotate_signing(
    folder: Path, key: dict[str, Any], now: datetime, *, at_once: bool = False
) -> tuple[str, datetime]:
    """Publish ``key``, which signs from a day later on; return its name and that time.

    ``at_once``: it signs from now on and no other key does, for one of them is in wrong hands.

    Raises:
        IllegalState: the next key is published already.
        PreconditionFailed, Unreachable: the key cannot be used; nothing is changed.
    """
    signer = read_signer(key)
    # Whoever keeps the key may take its time, and nobody else is held off meanwhile.
    prove(signer)
    with changing(folder):
        if at_once:
            _replace_all(folder, key, signer.kid, now)
            return signer.kid, now
        return signer.kid, _publish(folder, key, now)


def _replace_all(folder: Path, key: dict[str, Any], kid: str, now: datetime) -> None:
    """Put one key in the place of all others; a kill in between leaves some of them: it can be repeated."""
    write_signing(folder, key, now)
    for one in read_signing(folder / "keys"):
        if one.signer.kid != kid:
            durable.remove(folder / "keys" / f"signing-{one.signer.kid}.json")


def _publish(folder: Path, key: dict[str, Any], now: datetime) -> datetime:
    forget_signing(folder, now)
    waiting = [one for one in read_signing(folder / "keys") if not one.begun(now)]
    if waiting:
        raise IllegalState(
            f"the next signing key is published already, and signs from {waiting[0].used_from} on",
            hint="rotate again after that",
        )
    used_from = now + PUBLISHED_BEFORE
    write_signing(folder, key, used_from)
    return used_from


def forget_signing(folder: Path, now: datetime) -> list[str]:
    """Remove the files of signing keys whose tokens are all dead; return their names."""
    begun = [one for one in read_signing(folder / "keys") if one.begun(now)]
    gone = []
    for one, following in pairwise(begun):
        if following.used_from is not None and following.used_from + LINGER <= now:
            (folder / "keys" / f"signing-{one.signer.kid}.json").unlink(missing_ok=True)
            gone.append(one.signer.kid)
    return gone


def rotate_key_set_key(folder: Path, now: datetime) -> str:
    """Have the root certify a new key-set key, which signs the key set from now on; return its name."""
    with changing(folder):
        root = read_root(ControlPlaneKeys.root_file(folder))
        certified = certify(root, SigningKey.generate(), now)
        write_certified(folder, certified)
    return certified.key.kid


def rotate_root(folder: Path) -> str:
    """Put a new root in the place of the old one, which signs it; return its name.

    Raises:
        IllegalState: there are as many roots as a cell follows.
    """
    with changing(folder):
        # Of two at once, the second one has its successor signed by the first one's.
        old = read_root(ControlPlaneKeys.root_file(folder))
        if len(old.links) >= MAX_ROOTS:
            raise IllegalState(f"the root has been replaced {MAX_ROOTS} times", hint="enrol the cells anew")
        new = SigningKey.generate()
        write_root(folder, Root(new, (*old.links, certify_root(old.key, new.public))))
    return new.kid
