"""The versions of a data folder: which program may open it, and what is done to an older one.

``up`` reads the layout before it touches anything. A folder of a newer program is left exactly as
it is; one of an older program is backed up before it is changed. A folder that holds something
else than an instance is never taken over.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from byoc.durable import make_folder
from byoc.embedded.files import read_json, write_json
from byoc.embedded.places import Places
from byoc.errors import DataInUse, PreconditionFailed

LAYOUT: Final = 1
"""The version of the folder's own shape."""

SCHEMA: Final = 5
"""The version of the control plane's database: how many migrations there are."""

_KEPT: Final = ("layout.json", "controlplane", "gateway", "cell")
_TOO_BIG: Final = ("volumes", "template")


@dataclass(frozen=True, slots=True)
class Layout:
    """What ``layout.json`` says.

    Args:
        layout: version of the folder's shape.
        schema: version of the control plane's database.
        engine_version: the SQL engine that last opened the volumes, as ``10.11.6``; empty before the first.
        port: of the Management API; 0 before it was chosen.
        gateway_port: of the gateway; 0 before it was chosen.
    """

    layout: int = LAYOUT
    schema: int = SCHEMA
    engine_version: str = ""
    port: int = 0
    gateway_port: int = 0


def to_json(layout: Layout) -> dict[str, object]:
    """Return the layout with the names it has on disk."""
    fields = asdict(layout)
    return {
        "layout": fields["layout"],
        "schema": fields["schema"],
        "engineVersion": fields["engine_version"],
        "port": fields["port"],
        "gatewayPort": fields["gateway_port"],
    }


def from_json(value: dict[str, Any]) -> Layout:
    """Return the layout that ``value`` holds.

    Raises:
        ValueError: a version is missing or is no number.
    """
    try:
        return Layout(
            layout=int(value["layout"]),
            schema=int(value["schema"]),
            engine_version=str(value.get("engineVersion", "")),
            port=int(value.get("port", 0)),
            gateway_port=int(value.get("gatewayPort", 0)),
        )
    except (KeyError, TypeError) as error:
        message = f"no layout: {error}"
        raise ValueError(message) from error


def read(places: Places) -> Layout | None:
    """Return the folder's layout; None for a folder that is missing or empty.

    Raises:
        PreconditionFailed: the folder holds something that is not an instance.
    """
    if not places.layout.exists():
        # A first start that was cut off leaves these behind, and nothing else before the layout.
        if places.data.is_dir() and {entry.name for entry in places.data.iterdir()} - {"run", "log"}:
            message = f"{places.data} holds files that are not an instance of byoc"
            raise PreconditionFailed(message, hint="name an empty folder with --data")
        return None
    value = read_json(places.layout)
    try:
        return from_json(value or {})
    except ValueError as error:
        message = f"{places.layout} cannot be read"
        raise PreconditionFailed(message, hint="restore it from the folder's backups") from error


def check(found: Layout, places: Places) -> None:
    """Refuse a folder that a newer program has written.

    Raises:
        DataInUse: the folder is newer than this program.
    """
    for what, theirs, ours in (("layout", found.layout, LAYOUT), ("schema", found.schema, SCHEMA)):
        if theirs > ours:
            message = f"{places.data} was written by a newer byoc ({what} {theirs}, this one knows {ours})"
            raise DataInUse(message, hint="update byoc, or name another folder with --data")


def engine_key(version: str) -> tuple[int, ...]:
    """Return what of an engine's version decides whether it may open a volume: major and minor."""
    return tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:2] if part.isdigit())


def check_engine(found: Layout, version: str, places: Places) -> None:
    """Refuse an engine that is older than the one which wrote the volumes.

    Raises:
        DataInUse: the engine is older.
    """
    if engine_key(found.engine_version) > engine_key(version):
        message = f"{places.data} was written by engine {found.engine_version}, this machine has {version}"
        raise DataInUse(message, hint="install the newer engine again, or name another folder with --data")


def is_older(found: Layout) -> bool:
    """Return whether the folder must be migrated before it is used."""
    return found.layout < LAYOUT or found.schema < SCHEMA


Migration = Callable[[Places], None]
MIGRATIONS: Final[dict[int, Migration]] = {}
"""From each older layout to the one after it. The database migrates itself when it is opened."""


def back_up(places: Places, found: Layout, name: str) -> Path:
    """Copy what a migration may change to ``backups/<name>`` and return that folder.

    Volumes are left out: no migration of ours touches them, and they may be larger than the disk's rest.
    """
    make_folder(places.backups)
    target = places.backups / f"{name}-layout{found.layout}-schema{found.schema}"
    half = target.with_name(f".{target.name}")
    shutil.rmtree(half, ignore_errors=True)
    make_folder(half)
    for entry in _KEPT:
        source = places.data / entry
        if source.is_dir():
            shutil.copytree(source, half / entry, ignore=shutil.ignore_patterns(*_TOO_BIG, "*.sock"))
        elif source.exists():
            shutil.copy2(source, half / entry)
    half.rename(target)
    return target


def migrate(places: Places, found: Layout) -> Layout:
    """Bring the folder's shape to this program's, one version at a time; each step may be run again."""
    current = found
    while current.layout < LAYOUT:
        MIGRATIONS[current.layout](places)
        current = replace(current, layout=current.layout + 1)
        write_json(places.layout, to_json(current))
    current = replace(current, schema=SCHEMA)
    write_json(places.layout, to_json(current))
    return current
