"""``byoc cell renew-ca``: another authority for a cell's engines. Never passes the control plane."""

from typing import Annotated

import typer

from byoc.errors import PreconditionFailed, StillPending
from byoc_cli.context import of
from byoc_cli.inside import Where, at_a_cell, await_word, inside


@at_a_cell
def renew_ca(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is put on record.")] = "",
    at_once: Annotated[
        bool,
        typer.Option("--at-once", help="Have it sign now, not in 14 days: the key is in wrong hands."),
    ] = False,
    *,
    where: Where,
) -> None:
    """Have a cell's engines get another authority, see `byoc cell ca`."""
    from byoc.model.control import Renewal  # noqa: PLC0415 - only this command needs it
    from byoc.wire.control import ask_renewal, standing  # noqa: PLC0415 - slow to import

    given = of(ctx)
    if where.context is None and where.cell is None:
        raise PreconditionFailed(
            "the engines of a cell in a folder have no authority", hint="name a cell by --context or --cell"
        )
    way = inside(given, where)
    wish = Renewal(at_once, way.who, given.clock.now(), reason)
    ask_renewal(way.papers, wish)
    said = await_word(
        given,
        way,
        lambda: standing(way.papers),
        lambda found: found is not None and found.renewed == wish.at,
    )
    if said is None or said.renewed != wish.at:
        raise StillPending(
            "the wish is stored, but the cell has not said yet that it has heard it",
            hint="byoc access status",
        )
    when = "within minutes" if at_once else "14 days after it was told of, which is within minutes"
    facts = {"atOnce": at_once, "cell": way.papers.place}
    given.out.done(f"another authority follows; it signs {when}", facts, "asked")
