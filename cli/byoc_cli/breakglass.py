"""``byoc breakglass``: a machine in the cell's network for an emergency, that ends by itself."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from byoc.clock import stamp
from byoc.ids import new_id
from byoc_cli.context import Context, of
from byoc_cli.inside import region_of
from byoc_cli.output import Column, View
from byoc_cli.standing import AwsProfile, Region
from byoc_cli.tree import INSIDE, noun, verb

if TYPE_CHECKING:
    from byoc.bootstrap.aws import Account
    from byoc.bootstrap.breakglass.glass import BreakGlass
    from byoc.bootstrap.breakglass.plan import Session

LIST = View(
    (
        Column("ID", lambda found: found[0].id),
        Column("CELL", lambda found: found[0].cell),
        Column("STATE", lambda found: found[1].value),
        Column("UNTIL", lambda found: stamp(found[0].until)),
        Column("BY", lambda found: found[0].by),
        Column("REASON", lambda found: found[0].reason),
    ),
    id=lambda found: str(found[0].id),
    json=lambda found: _json(found[0]) | {"state": found[1].value},
)


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    glass = noun("Reach into a cell for a while, on record.")
    app.add_typer(glass, name="breakglass", rich_help_panel=INSIDE)
    for name, command in (("open", open_session), ("list", list_sessions), ("close", close)):
        verb(glass, name)(command)


def open_session(
    ctx: typer.Context,
    cell: Annotated[str, typer.Argument(metavar="CELL", help="Name of the cell.")],
    ttl: Annotated[str, typer.Option("--ttl", help="How long: 10m to 8h, such as 1h30m.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is put on record.")],
    another: Annotated[bool, typer.Option("--another", help="Although a session is open.")] = False,
    region: Region = None,
    aws_profile: AwsProfile = None,
) -> None:
    """Start a machine that Session Manager alone reaches, and print how; it ends itself at the deadline.

    Takes AWS credentials and no control plane. Its role is denied everything after the deadline.
    """
    from byoc.bootstrap.breakglass import plan  # noqa: PLC0415 - loads boto3

    given = of(ctx)
    wanted, why = plan.parse_ttl(ttl), plan.check_reason(reason)
    where = region_of(given, region)
    account = _account(given, where, aws_profile)
    session = _glass(given, account).open(cell, ttl=wanted, reason=why, new_id=new_id, another=another)
    command = _command(session, plan.document_name(cell), where, aws_profile)
    given.out.done(command, _json(session) | {"command": command}, session.id)
    given.out.note(f"session {session.id} of cell {cell} ends at {stamp(session.until)}")
    given.out.note("the machine answers in a minute or two; what is done in that session is logged")
    _tell(given, account, session)


def list_sessions(
    ctx: typer.Context,
    cell: Annotated[str, typer.Argument(metavar="[CELL]", help="Of this cell only.")] = "",
    region: Region = None,
    aws_profile: AwsProfile = None,
) -> None:
    """List sessions: who, why, until when and what became of them, the newest first."""
    given = of(ctx)
    found = _glass(given, _account(given, region_of(given, region), aws_profile)).sessions(cell)
    given.out.rows(LIST, found, empty="the glass was never broken")


def close(
    ctx: typer.Context,
    session: Annotated[str, typer.Argument(metavar="ID", help="Of the session, as list shows it.")],
    region: Region = None,
    aws_profile: AwsProfile = None,
) -> None:
    """End a session now and remove everything of it but its log; may be repeated."""
    given = of(ctx)
    account = _account(given, region_of(given, region), aws_profile)
    closed = _glass(given, account).close(session)
    given.out.done(f"session {closed.id} of cell {closed.cell} is closed", _json(closed), closed.id)
    _tell(given, account, closed)


def _account(given: Context, region: str, profile: str | None) -> "Account":
    given.hush()
    return given.account(region, profile)


def _glass(given: Context, account: "Account") -> "BreakGlass":
    from byoc.bootstrap.breakglass.glass import BreakGlass  # noqa: PLC0415 - loads Pulumi

    return BreakGlass(account, given.clock, given.sleep)


def _tell(given: Context, account: "Account", session: "Session") -> None:
    """Put what happened on the cell's own record, if it can be reached."""
    from byoc.bootstrap.breakglass.ledger import tell  # noqa: PLC0415 - loads boto3

    if why := tell(account, session):
        given.out.note(f"the cell's own ledger does not have it yet: {why}")
        given.out.note(f"`{given.program} breakglass close {session.id}` tells the cell both")


def _command(session: "Session", document: str, region: str, profile: str | None) -> str:
    words = ["aws", "ssm", "start-session", "--document-name", document, "--target", session.machine]
    words += ["--region", region, *(["--profile", profile] if profile else [])]
    return shlex.join(words)


def _json(session: "Session") -> dict[str, Any]:
    return {
        "id": session.id,
        "cell": session.cell,
        "by": session.by,
        "reason": session.reason,
        "openedAt": stamp(session.opened_at),
        "until": stamp(session.until),
        "machine": session.machine or None,
        "closedAt": stamp(session.closed_at) if session.closed_at else None,
        "closedBy": session.closed_by or None,
    }
