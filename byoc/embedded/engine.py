"""The SQL engine that this machine's cell would run, asked of the cell's own code.

Imported late by the rest of this package: it loads the local cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from byoc.dataplane.local import install
from byoc.errors import PreconditionFailed


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that was found.

    Args:
        version: as it tells it, such as ``10.11.6``.
        program: the server.
    """

    version: str
    program: Path


def installed(environment: Mapping[str, str]) -> Engine:
    """Return the engine.

    Raises:
        PreconditionFailed: this machine has none that is new enough.
    """
    found = install.find(environment)
    if found is None:
        raise PreconditionFailed("no SQL engine on this machine", hint="byoc engine install")
    return Engine(found.version, Path(found.program))
