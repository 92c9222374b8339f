"""``byoc ledger``: the cell's own record of every request. Never passes the control plane."""

from pathlib import Path
from typing import Annotated

import typer

from byoc_cli import machine
from byoc_cli.context import Context, of
from byoc_cli.tree import INSIDE, noun, verb

Directory = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="The cell's folder. [default: the local instance's cell]"),
]


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    app.add_typer(
        noun("Read and verify the cell's own record of every request."), name="ledger", rich_help_panel=INSIDE
    )


def folder(given: Context, directory: Path | None) -> Path:
    """Return the cell's folder meant."""
    if directory is not None:
        return directory.expanduser().absolute()
    from byoc.embedded.places import Places  # noqa: PLC0415 - only these commands need it

    return Places(machine.folder(given, None)).cell


_ = (of, verb)
