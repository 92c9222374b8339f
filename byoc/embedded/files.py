"""Small JSON files of this package, written to last by :mod:`byoc.durable`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from byoc import durable


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Replace ``path`` by ``value`` as one JSON object, 0600.

    Raises:
        Unwritable: the disk or the folder does not allow it.
    """
    durable.write_file(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in ``path``; None where there is no such file or it holds none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None
