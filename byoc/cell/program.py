"""The program of a cell: what the engine, a plan and every test run, one and the same.

``program`` serves inline use by bootstrap and the plan; ``from_config`` is what ``stacks/cell`` calls
under plain ``pulumi preview|up|destroy``. The invariant: no resource is made in another account or region
than the arguments name.
"""

from collections.abc import Callable
from typing import Any

import pulumi

from byoc.cell.args import CellArgs
from byoc.cell.config import SETTINGS, from_mapping, to_mapping
from byoc.errors import ByocError, UsageError


def program(args: CellArgs) -> Callable[[], None]:
    """Return the program that makes the cell ``args`` describes and exports its outputs."""

    def make() -> None:
        from byoc.cell.cell import Cell  # noqa: PLC0415 - the provider's library is slow to load

        for name, value in Cell(args).outputs.items():
            pulumi.export(name, value)

    return make


def from_config() -> None:
    """Make the cell that the stack's configuration describes.

    Raises:
        RunError: the configuration is no cell's, or lets the provider work elsewhere; Pulumi prints it
            as it is, without a traceback.
    """
    try:
        args = from_mapping(_settings())
        _check_provider(args)
        program(args)()
    except ByocError as error:
        raise pulumi.RunError("\n".join(filter(None, (error.message, error.hint)))) from error


def stack_config(args: CellArgs) -> dict[str, Any]:
    """Return the configuration of a stack for ``args``, by full names, as ``from_config`` reads it."""
    return {
        **{f"byoc:{name}": value for name, value in to_mapping(args).items()},
        "aws:region": args.facts.region,
        "aws:allowedAccountIds": [args.facts.account],
    }


def _settings() -> dict[str, Any]:
    config = pulumi.Config("byoc")
    read: dict[str, Callable[[str], Any]] = {
        "string": config.get,
        "integer": config.get_int,
        "array": config.get_object,
        "object": config.get_object,
    }
    found = {name: read[setting.kind](name) for name, setting in SETTINGS.items()}
    return {name: value for name, value in found.items() if value is not None}


def _check_provider(args: CellArgs) -> None:
    """Refuse to work where ambient credentials lead, if that is not where the cell is to be."""
    config = pulumi.Config("aws")
    region, accounts = config.get("region"), config.get_object("allowedAccountIds")
    if region != args.facts.region:
        raise UsageError(
            f"aws:region is {region or 'not set'}, the cell is made in {args.facts.region}",
            hint=f"pulumi config set aws:region {args.facts.region}",
        )
    if accounts != [args.facts.account]:
        raise UsageError(
            f"aws:allowedAccountIds is not account {args.facts.account} alone",
            hint=f"pulumi config set --path 'aws:allowedAccountIds[0]' {args.facts.account}",
        )
