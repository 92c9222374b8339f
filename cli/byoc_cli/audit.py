"""``byoc audit``: who did what through the Management API."""

from typing import Annotated, Any, Final

import typer

from byoc.clock import stamp
from byoc_cli.context import Context, of
from byoc_cli.output import Column, Format, View
from byoc_cli.tree import ORGANIZATION, noun, verb

_POLL: Final = 2.0
_MOST: Final = 1000
_AFTER_TIME: Final = 22

DEEDS: Final = View(
    (
        Column("AT", lambda deed: stamp(deed.at.replace(microsecond=0))),
        Column("WHO", lambda deed: deed.by),
        Column("DID", lambda deed: deed.action),
        Column("TO", lambda deed: deed.object_id or None),
        Column("RESULT", lambda deed: _result(deed)),  # noqa: PLW0108 - it is defined below
        Column("KEY", lambda deed: deed.key_id, spare=True),
        Column("REQUEST", lambda deed: deed.request_id, spare=True),
    ),
    id=lambda deed: str(deed.number),
    json=lambda deed: deed.raw,
)


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    audits = noun("See who did what in the organization.")
    app.add_typer(audits, name="audit", rich_help_panel=ORGANIZATION)
    verb(audits, "list")(list_deeds)


def list_deeds(
    ctx: typer.Context,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=_MOST, help="How many of the newest.")
    ] = 50,
    after: Annotated[int, typer.Option("--after", min=0, help="Only those with a higher number.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens next.")] = False,
) -> None:
    """List every call that changed something or tried to: who, what, to what, and how it ended."""
    given = of(ctx)
    with given.client() as client:
        found = client.audit(after=after, newest=lines)
        if not follow:
            given.out.rows(DEEDS, found, empty="nobody has done anything yet")
            return
        while True:
            for deed in found:
                _show(given, deed)
                after = deed.number
            given.out.flush()
            given.sleep(_POLL)
            found = client.audit(after=after, newest=_MOST)


def _show(given: Context, deed: Any) -> None:
    if given.format is Format.JSON:
        given.out.json(deed.raw)
    elif given.format is Format.NAME:
        given.out.text(str(deed.number))
    else:
        at = stamp(deed.at.replace(microsecond=0))
        given.out.line(
            f"{at}  {deed.by}  {deed.action} {deed.object_id}: {_result(deed)}", indent=_AFTER_TIME
        )


def _result(deed: Any) -> str:
    return "done" if deed.status < 400 else f"refused: {deed.code or deed.status}"  # noqa: PLR2004 - HTTP's
