"""The ledger on disk: how a record becomes a line, and which files hold the lines of a chain.

Read by whoever writes, verifies or ships a ledger; docs/ledger.md publishes it. A line is the
canonical JSON of a record with its hash put before the closing brace::

    {"at":…,"kind":"received",…,"prev":<hash of the record before>,"seq":7,"hash":<SHA-256 of the rest>}

The invariants: files are cut between lines only, and say nothing that the lines do not; the
chain runs through all of them, oldest first, and ``ledger.jsonl`` is the last one.
"""

import json
from pathlib import Path
from typing import Any, Final

from byoc.wire.canonical import canonical, sha256

LEDGER: Final = "ledger.jsonl"
"""The file that is written."""
RECEIPTS: Final = "receipts.jsonl"
GENESIS: Final = "0" * 64
"""What the first record of a chain names as the hash before it."""
FULL: Final = 64 * 1024 * 1024
"""Bytes from which on a file is closed and the next one begun."""
_CLOSED: Final = "ledger-*.jsonl"
_SEAL: Final = b',"hash":"'
_SEAL_LENGTH: Final = len(_SEAL) + 64 + len(b'"}')


def write_line(record: dict[str, Any]) -> tuple[bytes, str]:
    """Return the line of a record, newline included, and its hash."""
    body = canonical(record)
    name = sha256(body)
    return body[:-1] + _SEAL + name.encode() + b'"}\n', name


def read_line(line: bytes) -> tuple[dict[str, Any], str] | None:
    """Return the record of a line without its newline, and its hash; None if the hash is not its own."""
    if len(line) <= _SEAL_LENGTH or line[-_SEAL_LENGTH : -_SEAL_LENGTH + len(_SEAL)] != _SEAL:
        return None
    body = line[:-_SEAL_LENGTH] + b"}"
    name = sha256(body)
    if line[-66:] != name.encode() + b'"}':
        return None
    try:
        record = json.loads(body)
    except ValueError:
        return None
    return (record, name) if isinstance(record, dict) else None


def closed_name(first: int) -> str:
    """Return the name of a full file whose first record is number ``first``."""
    return f"ledger-{first:012d}.jsonl"


def closed(folder: Path) -> list[Path]:
    """Return the full files, oldest first."""
    return sorted(folder.glob(_CLOSED))


def files(folder: Path) -> list[Path]:
    """Return every file of the chain in ``folder``, oldest first; empty where there is none."""
    current = folder / LEDGER
    return [*closed(folder), *([current] if current.exists() else [])]


def tail(folder: Path, size: int) -> tuple[list[bytes], bool]:
    """Return the whole lines in the last ``size`` bytes of the chain, and whether that is all of it.

    Lines are without their newline; one that is still being written is left out.

    Raises:
        OSError: a file cannot be read.
    """
    content, left = b"", size
    for path in reversed(files(folder)):
        with path.open("rb") as stream:
            start = max(0, stream.seek(0, 2) - left)
            stream.seek(start)
            content = stream.read() + content
        left = size - len(content)
        if start:
            return content.split(b"\n")[1:-1], False
    return content.split(b"\n")[:-1], True
