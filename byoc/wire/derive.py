"""Secrets that follow from one secret: so many of them need not be kept.

Used where a cell gives each of its engines a password for the cell itself. The invariant: nobody who
knows one of them learns another, or the seed.
"""

import base64
import hmac
from typing import Final

SEED_BYTES: Final = 32


def derived(seed: bytes, purpose: str) -> str:
    """Return the secret of ``purpose``: 256 bits as text without signs that need quoting.

    Raises:
        ValueError: the seed is too short to be one.
    """
    if len(seed) < SEED_BYTES:
        raise ValueError("the seed is too short")
    return base64.urlsafe_b64encode(hmac.digest(seed, purpose.encode(), "sha256")).decode().rstrip("=")
