"""Passwords sealed to one cell: nobody else can open them, and no other place can use them.

The Control Plane seals, the cell opens. JWE with ECDH-ES over X25519 and A256GCM; cell, group
and version stand in the protected header, so that a blob moved to another group or replayed
as a newer version does not open. No error carries anything of the secret. The home of joserfc.
"""

from collections.abc import Mapping
from typing import Any, Final

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwe import JWERegistry
from joserfc.jwk import OKPKey

from byoc.errors import CannotUnseal, UsageError
from byoc.wire.keys import SealingKey, check_sealing_jwk

_TYPE: Final = "byoc-sealed+jwe"
_REGISTRY: Final = JWERegistry(algorithms=["ECDH-ES", "A256GCM"], strict_check_header=False)
"""The only algorithms there are; headers of ours are allowed."""
MAX_SEALED: Final = 16 * 1024
"""Characters of a sealed secret at most."""


def _header(cell: str, group: str, version: int) -> dict[str, Any]:
    return {
        "alg": "ECDH-ES",
        "enc": "A256GCM",
        "typ": _TYPE,
        "cell": cell,
        "group": group,
        "version": version,
    }


def seal(public_jwk: Mapping[str, str], secret: str, *, cell: str, group: str, version: int) -> str:
    """Return ``secret`` as a JWE that only the holder of the key can open.

    ``public_jwk``: the cell's X25519 key, whose certificate has been checked.

    Raises:
        UsageError: the key is no public sealing key.
    """
    jwk = check_sealing_jwk(public_jwk)
    header = {**_header(cell, group, version), "kid": jwk["kid"]}
    try:
        key = OKPKey.import_key(dict(jwk))
        return jwe.encrypt_compact(header, secret.encode(), key, registry=_REGISTRY)
    except (JoseError, ValueError):
        # Not chained: a library's error may hold what it was given.
        raise UsageError("nothing can be sealed to this key") from None


def unseal(key: SealingKey, sealed: str, *, cell: str, group: str, version: int) -> str:
    """Return the secret that was sealed for this cell, group and version.

    Raises:
        CannotUnseal: another key, another place, or tampered with.
    """
    private = OKPKey.import_key(dict(key.private_jwk()))
    opened = None
    if sealed.isascii() and len(sealed) <= MAX_SEALED:
        try:
            opened = jwe.decrypt_compact(sealed, private, registry=_REGISTRY)
            text = (opened.plaintext or b"").decode()
        except (JoseError, ValueError, KeyError, TypeError):
            opened = None
    if opened is None:
        raise CannotUnseal("a sealed password cannot be opened with this cell's key")
    expected = {**_header(cell, group, version), "kid": key.kid}
    if {name: opened.protected.get(name) for name in expected} != expected:
        raise CannotUnseal("a sealed password is meant for another cell, group or version")
    return text
