"""``byoc engine``: the SQL engine of local cells."""

from typing import Final

import typer

from byoc.errors import PreconditionFailed
from byoc_cli.context import of
from byoc_cli.output import Column, View
from byoc_cli.tree import MACHINE, noun, verb

ENGINE: Final = View(
    (
        Column("engine", lambda each: each["engine"]),
        Column("version", lambda each: each["version"]),
        Column("program", lambda each: each["program"]),
    ),
    id=lambda each: str(each["program"]),
    json=lambda each: each,
)


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    engines = noun("Get and find the SQL engine of local cells.")
    app.add_typer(engines, name="engine", rich_help_panel=MACHINE)
    verb(engines, "install")(install)
    verb(engines, "show")(show)


def install(ctx: typer.Context) -> None:
    """Get MariaDB if this machine has none: by apt as root, else into the cache."""
    from byoc.dataplane.local.install import install as get  # noqa: PLC0415 - slow to import

    given = of(ctx)
    given.hush()
    found = get(given.environment, given.out.note)
    given.out.item(ENGINE, {"engine": "MariaDB", "version": found.version, "program": str(found.program)})


def show(ctx: typer.Context) -> None:
    """Show which SQL engine local workspaces run."""
    from byoc.dataplane.local.engine import find  # noqa: PLC0415 - slow to import

    given = of(ctx)
    given.hush()
    found = find(given.environment)
    if found is None:
        raise PreconditionFailed("no SQL engine on this machine", hint=f"{given.program} engine install")
    given.out.item(ENGINE, {"engine": "MariaDB", "version": found.version, "program": str(found.program)})
