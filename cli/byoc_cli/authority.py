"""``byoc cell ca``: the authorities that vouch for a cell's engines, for whoever connects with a client."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from byoc.clock import stamp
from byoc.durable import write_file
from byoc_cli import names, trust
from byoc_cli.context import Context, of
from byoc_cli.output import Column, View
from byoc_cli.trust import Judged


def ca(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="CELL", help="Name or id of the cell.")],
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="FILE", help="Write those that are trusted there (PEM); - is stdout."),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Trust what the cell tells now, in place of what was known here.")
    ] = False,
) -> None:
    """Show and save whom SQL clients trust: the authorities made in a cell.

    The first that a machine sees of a cell are remembered; later ones are trusted if those vouch for them.
    """
    given = of(ctx)
    with given.client() as client:
        cell = names.cell(client, name)
    if save is None and not accept:
        given.out.rows(VIEW, trust.look(given, cell), empty="no authority")
        return
    judged = trust.learn(given, cell, accept=accept)
    if save is not None:
        _save(given, trust.bundle(judged), save)
    else:
        given.out.rows(VIEW, judged, empty="no authority")


def _save(given: Context, text: str, where: str) -> None:
    if where == "-":
        given.out.text(text)
        return
    write_file(Path(where), text, 0o644)
    given.out.done(f"written to {where}", {"file": where}, where)


def _expires(each: Judged) -> str:
    from byoc.wire.certificates import expires_at  # noqa: PLC0415 - the library is slow to import

    return stamp(expires_at(each.authority.certificate.encode()))


def _json(each: Judged) -> dict[str, Any]:
    return {
        "fingerprint": each.fingerprint,
        "standing": str(each.standing),
        "expiresAt": _expires(each),
        "certificate": each.authority.certificate,
        "voucher": each.authority.voucher,
    }


VIEW: Final = View(
    (
        Column("STANDING", lambda each: str(each.standing)),
        Column("EXPIRES", _expires),
        Column("FINGERPRINT", lambda each: each.fingerprint),
    ),
    id=lambda each: str(each.fingerprint),
    json=_json,
)
