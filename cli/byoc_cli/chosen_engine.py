"""Which engine a cell's workspaces are to have, as a file says it: for ``cell install`` and ``bootstrap``.

The file is one for both kinds of cell. The invariant: what the cluster's runtime would not take is refused
here, before anything is made.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from byoc.errors import UsageError
from byoc_cli.context import Context
from byoc_cli.files import text_of

EngineFile = Annotated[
    Path | None,
    typer.Option(
        "--engine",
        metavar="FILE",
        help="Which engine its workspaces have, as JSON; else MariaDB. [env: BYOC_ENGINE]",
    ),
]
_OF_CELL: Final[Mapping[str, str]] = {
    "engine": "engine",
    "image": "engineImage",
    "operatorImage": "operatorImage",
    "licence": "licenceSecret",
    "suspend": "suspend",
}
"""What such a file says of the engine itself, to the settings of a cell in AWS."""
_SETTLED: Final = {"bucket": "the-cells-own", "region": "the-cells-own"}
"""What such a cell has by itself; here it stands for what the runtime will be told."""


def engine_file(given: Context, path: Path | None) -> Path | None:
    """Return the file that an option names, or else the environment."""
    named = given.environment.get("BYOC_ENGINE")
    return path or (Path(named) if named else None)


def engine_settings(path: Path | None) -> dict[str, Any]:
    """Return what a file says of the engine: settings of the cell's runtime, checked.

    Raises:
        UsageError: it is no JSON object, or the runtime would not take it.
    """
    said = _said(path)
    if said:
        _check(said)
    return said


def _check(said: Mapping[str, Any]) -> None:
    from byoc.dataplane.kubernetes.settings import ClusterSettings  # noqa: PLC0415 - where a file is given

    ClusterSettings.from_json(said)


def _said(path: Path | None) -> dict[str, Any]:
    text = text_of(path)
    if text is None:
        return {}
    try:
        said = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise UsageError(f"{path} is no JSON object", hint='{"engine": "singlestore", …}')
    return said


def cell_settings(path: Path | None) -> dict[str, Any]:
    """Return what a file says of the engine, by the names of a cell's settings in AWS.

    Raises:
        UsageError: it is no JSON object, the runtime would not take it, or it says something that such a
            cell settles by itself.
    """
    said = _said(path)
    for name in said:
        if name not in _OF_CELL:
            raise UsageError(
                f"{path}: `{name}` is settled by a cell in AWS itself",
                hint=f"leave it out; there are {', '.join(_OF_CELL)}",
            )
    if said:
        _check(said | _SETTLED)
    return {_OF_CELL[name]: value for name, value in said.items()}
