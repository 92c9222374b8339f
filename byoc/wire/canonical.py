"""Canonical JSON and digests: one text for one value, so that hashes can be compared."""

import hashlib
import json
from typing import Any


def canonical(value: Any) -> bytes:
    """Encode ``value`` as JSON with sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: the value holds NaN or an infinity.
        TypeError: the value is not made of JSON types.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of ``value``."""
    return sha256(canonical(value))
