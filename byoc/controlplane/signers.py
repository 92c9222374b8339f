"""Where the Control Plane's signing keys live: in a file, in AWS KMS, or behind a command of the operator's.

Read by ``byoc.controlplane.keys`` from a file ``signing-<kid>.json``: a private JWK, or
``{"kms": ARN, "public": JWK}``, or ``{"command": true, "public": JWK}``. The invariants: the half that
verifies is in the file, so that reading asks nobody; a key kept elsewhere never comes here; what is
signed is checked against the public half before it is used, so a wrong key is found where it is set up.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from byoc.controlplane.kms import sign_with_kms
from byoc.errors import PreconditionFailed, Unreachable, UsageError
from byoc.wire.keys import PublicKey, Signer, SigningKey

COMMAND: Final = "BYOC_SIGNER_COMMAND"
"""Environment variable: the command that signs. It gets the bytes on stdin and answers the signature."""
_SECONDS: Final = 10.0
_MEMBERS: Final = ("kms", "command", "public")


@dataclass(frozen=True, slots=True)
class CommandSigner:
    """Asks a command, which may speak PKCS#11 to a token or anything else. ``kid`` is in its environment."""

    public: PublicKey
    command: str

    @property
    def kid(self) -> str:
        """Name of the key."""
        return self.public.kid

    def sign(self, data: bytes) -> bytes:
        """Return what the command answers on stdout: the signature, raw or as ASN.1.

        Raises:
            Unreachable: it fails, takes too long, or answers something else.
        """
        environment = {**os.environ, "BYOC_SIGNER_KEY": self.kid}
        try:
            done = subprocess.run(
                shlex.split(self.command),
                input=data,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
                env=environment,
            )
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            raise Unreachable("the signing command does not answer", hint=f"see {COMMAND}") from error
        if done.returncode:
            raise Unreachable(f"the signing command ended with {done.returncode}", hint=f"see {COMMAND}")
        return _plain(self.public, done.stdout)


@dataclass(frozen=True, slots=True)
class KmsSigner:
    """Asks AWS KMS; the key is ``ECC_NIST_P256`` and never leaves it."""

    public: PublicKey
    key_id: str

    @property
    def kid(self) -> str:
        """Name of the key."""
        return self.public.kid

    def sign(self, data: bytes) -> bytes:
        """Return KMS's signature.

        Raises:
            Unreachable: KMS does not answer, or refuses.
        """
        return _plain(self.public, sign_with_kms(self.key_id, data))


def _plain(public: PublicKey, signature: bytes) -> bytes:
    try:
        return public.plain_signature(signature)
    except UsageError as error:
        raise Unreachable("what signs did not answer a signature") from error


def read_signer(value: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Signer:
    """Return what signs, from the content of a signing file.

    Raises:
        UsageError: it is no key.
        PreconditionFailed: the key is behind a command, and none is set.
    """
    if "d" in value:
        return SigningKey.from_private_jwk({name: value[name] for name in ("kty", "crv", "x", "d")})
    public = PublicKey.from_jwk(value["public"])
    if "kms" in value:
        return KmsSigner(public, str(value["kms"]))
    command = environment.get(COMMAND, "")
    if "command" not in value or not command:
        hint = "set it to the command that signs"
        raise PreconditionFailed(f"the signing key {public.kid} is behind {COMMAND}", hint=hint)
    return CommandSigner(public, command)


def prove(signer: Signer) -> None:
    """Have something signed, and check it: that the key is reachable, and is the one meant.

    Raises:
        PreconditionFailed: it is another key.
        Unreachable: nobody signs.
    """
    if not signer.public.verifies(signer.sign(b"byoc"), b"byoc"):
        raise PreconditionFailed("what signs does not have the key that was named", hint="nothing is changed")
