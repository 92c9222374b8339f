"""What was last done to a cell, kept in the customer's account beside the state: version, values, outputs.

Read by everything that comes later (upgrade, drift, destroy), so that a cell can be managed from another
machine than the one it was made on. Holds no secret. Replaced as a whole; S3 keeps the earlier ones.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from byoc.bootstrap.engine.objects import Objects
from byoc.cell.naming import check_cell_name
from byoc.errors import Failed


class Stage(StrEnum):
    """How far a cell has come."""

    APPLYING = "applying"
    APPLIED = "applied"
    CONNECTED = "connected"
    DESTROYING = "destroying"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One cell's record.

    Attributes:
        version: of byoc, at the last run that changed something.
        values: the cell's configuration, as the stack was given it.
        outputs: of the last run that succeeded; a failed run leaves the stack without any.
        actions: what that run had to be allowed to do; an upgrade shows what is new among its own.
        changed_at: when this was written, UTC, in ISO form.
    """

    cell: str
    version: str
    stage: Stage
    values: Mapping[str, Any]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    actions: Sequence[str] = ()
    changed_at: str = ""

    def at(self, now: datetime, stage: Stage, *, outputs: Mapping[str, Any] | None = None) -> Self:
        """Return the record after a step."""
        kept = self.outputs if outputs is None else outputs
        return replace(self, stage=stage, outputs=kept, changed_at=now.isoformat(timespec="seconds"))


def key(cell: str) -> str:
    """Return where the record of ``cell`` stands in the state bucket."""
    return f".byoc/cells/{check_cell_name(cell)}.json"


def read(objects: Objects, cell: str) -> Record | None:
    """Return the record of one cell; ``None`` where none was begun.

    Raises:
        Failed: what is there cannot be read as a record.
    """
    text = objects.read(key(cell))
    if text is None:
        return None
    try:
        value = json.loads(text)
        return Record(**(value | {"stage": Stage(value["stage"])}))
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(
            f"{key(cell)} in the state bucket is no record of a cell",
            hint="the bucket keeps its earlier versions",
        ) from error


def write(objects: Objects, record: Record) -> None:
    """Keep ``record`` as the newest."""
    objects.write(key(record.cell), json.dumps(asdict(record), indent=1, sort_keys=True).encode())


def cells(objects: Objects) -> list[str]:
    """Return the names of the cells of the account and region, destroyed ones included."""
    names = [name.rpartition("/")[2].removesuffix(".json") for name in objects.keys(".byoc/cells/")]
    return sorted(names)
