"""``byoc cell``: cells, as the control plane knows them, and as a plan shows them beforehand."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from byoc.clock import stamp
from byoc.durable import write_file
from byoc.errors import NotFound, PreconditionFailed, UsageError
from byoc_cli import authority, forward, installing, names, permissions, plan, renewing, standing, upgrade
from byoc_cli.context import of
from byoc_cli.output import Column, View
from byoc_cli.tree import ACCOUNT, noun, verb

_CONTESTED: Final = "contested"
Name = Annotated[str, typer.Argument(metavar="CELL", help="Name or id of the cell.")]


def _when(name: str) -> Any:
    return lambda each: stamp(value) if (value := getattr(each, name)) else None


LIST: Final = View(
    (
        Column("NAME", lambda cell: cell.name),
        Column("STATE", lambda cell: cell.state),
        Column("CONNECTED", lambda cell: cell.connected),
        Column("REGION", lambda cell: cell.region_name),
        Column("LAST SEEN", _when("last_seen_at")),
        Column("ID", lambda cell: cell.cell_id, spare=True),
    ),
    id=lambda cell: str(cell.cell_id),
    json=lambda cell: cell.raw,
)
SHOW: Final = View(
    (
        Column("name", lambda cell: cell.name),
        Column("id", lambda cell: cell.cell_id),
        Column("state", lambda cell: cell.state),
        Column("connected", lambda cell: cell.connected),
        Column("last seen", _when("last_seen_at")),
        Column("ledger's copies late since", _when("copies_late_since")),
        Column("region", lambda cell: cell.region),
        Column("region name", lambda cell: cell.region_name),
        Column("provider", lambda cell: _provider(cell)),  # noqa: PLW0108 - it is defined below
        Column("engine", lambda cell: _engine(cell.raw.get("facts"))),
        Column("machines", lambda cell: _machines(cell.raw.get("facts"))),
        Column("agent version", lambda cell: (cell.raw.get("facts") or {}).get("agentVersion")),
        Column("created", _when("created_at")),
    ),
    id=LIST.id,
    json=LIST.json,
)
CONNECTIONS: Final = View(
    (
        Column("SESSION", lambda each: each.session_id),
        Column("GATEWAY", lambda each: each.gateway),
        Column("EPOCH", lambda each: each.epoch),
        Column("OPENED", _when("opened_at")),
    ),
    id=lambda each: str(each.session_id),
    json=lambda each: each.raw,
)


EVENTS: Final = View(
    (
        Column("AT", _when("at")),
        Column("KIND", lambda event: event.kind),
        Column("BY", lambda event: event.by, spare=True),
        Column("WHAT", lambda event: event.text),
    ),
    id=lambda event: str(event.number),
    json=lambda event: event.raw,
)


def _provider(cell: Any) -> str:
    """Return where the cell is; the API has no word for a machine of one's own, and says AWS."""
    return (
        f"{cell.provider} to clients of the API; it is this machine"
        if cell.region_name == "local"
        else cell.provider
    )


def _engine(facts: Any) -> str | None:
    return f"{facts.get('engine')} {facts.get('engineVersion')}" if facts else None


def _machines(facts: Any) -> str | None:
    """Return what the cell's machines offer, zone by zone; None where it has told of none."""
    zones = (facts or {}).get("zones") or []
    return "\n".join(_zone(each) for each in zones) or None


def _zone(zone: Any) -> str:
    offered = f"{zone['millicores'] / 1000:g} vCPU and {zone['memoryBytes'] / 2**30:.0f} GiB"
    where = zone["name"] or "no zone"
    version = f", Kubernetes {zone['version']}" if zone["version"] else ""
    return f"{where}: {zone['ready']} of {zone['machines']} ready, {offered}{version}"


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    cells = noun("Plan, see, enrol and retire cells.")
    app.add_typer(cells, name="cell", rich_help_panel=ACCOUNT)
    for name, command in (
        ("plan", plan.plan),
        ("permissions", permissions.permissions),
        ("list", list_cells),
        ("show", show),
        ("connections", connections),
        ("ca", authority.ca),
        ("renew-ca", renewing.renew_ca),
        ("events", events),
        ("enrol", enrol),
        ("forward", forward.forward),
        ("rotate-keys", rotate_keys),
        ("retire", retire),
        ("install", installing.install),
        ("upgrade", upgrade.upgrade),
        ("drift", standing.drift),
        ("repair", standing.repair),
        ("destroy", standing.destroy),
    ):
        verb(cells, name)(command)


def list_cells(ctx: typer.Context) -> None:
    """List cells."""
    given = of(ctx)
    with given.client() as client:
        found = client.cells.list()
    given.out.rows(LIST, found, empty="no cells")
    for cell in found:
        if cell.state == _CONTESTED:
            given.out.note(f"two keys claim to be cell {cell.name}: see `byoc cell events {cell.name}`")
        if cell.copies_late_since is not None:
            since = stamp(cell.copies_late_since)
            given.out.note(f"nothing that the ledger of cell {cell.name} holds since {since} is copied")


def show(ctx: typer.Context, name: Name) -> None:
    """Show one cell."""
    given = of(ctx)
    with given.client() as client:
        given.out.item(SHOW, names.cell(client, name))


def connections(ctx: typer.Context, name: Name) -> None:
    """List the tunnel sessions of a cell."""
    given = of(ctx)
    with given.client() as client:
        cell = names.cell(client, name)
        found = client.cells.connections(cell.cell_id)
    given.out.rows(CONNECTIONS, found, empty=f"cell {cell.name} is not connected")


def events(ctx: typer.Context, name: Name) -> None:
    """List what happened to a cell: enrolment, contests, a cut ledger, lost state."""
    given = of(ctx)
    with given.client() as client:
        cell = names.cell(client, name)
        found = client.cells.events(cell.cell_id)
    given.out.rows(EVENTS, found, empty=f"nothing has happened to cell {cell.name}")


def enrol(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the cell; a new one is registered.")],
    thumbprint: Annotated[
        str | None, typer.Option("--thumbprint", help="Of the cell's keys, as the cell shows it.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="The cell's own folder: read there, hand over there.")
    ] = None,
    region: Annotated[str | None, typer.Option("--region", help="Display name; for a new cell.")] = None,
    region_name: Annotated[
        str | None, typer.Option("--region-name", help="Short name, such as us-east-1; for a new cell.")
    ] = None,
    provider: Annotated[str, typer.Option("--provider", help="AWS, Azure or GCP; for a new cell.")] = "AWS",
) -> None:
    """Let a cell in: a token for its keys and no others, good for 15 minutes."""
    given = of(ctx)
    wanted = _thumbprint(thumbprint, directory)
    with given.client() as client:
        try:
            cell = names.cell(client, name)
        except NotFound as error:
            if not region_name:
                raise NotFound(
                    error.message, hint="to register a new cell, add --region-name (and --region)"
                ) from error
            cell = client.cells.register(
                name=name, provider=provider, region=region or region_name, regionName=region_name
            )
        token = client.cells.enrolment(cell.cell_id, wanted)
    answer = {"cellID": cell.cell_id, **token.raw}
    if directory is None:
        given.out.json(answer)
        given.out.note("hand this over to the cell within 15 minutes; it enrols that cell and no other")
        return
    write_file(directory / "enrolment.json", json.dumps(token.raw, indent=2) + "\n")
    given.out.done(f"cell {cell.name} may enrol now", {"cellID": cell.cell_id}, cell.cell_id)


def _thumbprint(given: str | None, directory: Path | None) -> str:
    if (given is None) is (directory is None):
        raise UsageError("name the cell's keys by --thumbprint or by --dir, one of the two")
    if directory is None:
        return given or ""
    try:
        return (directory / "thumbprint").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PreconditionFailed(
            f"{directory} holds no thumbprint", hint="start the cell once: it makes its keys and shows it"
        ) from error


def rotate_keys(ctx: typer.Context, name: Name) -> None:
    """Have a cell make new keys and use them; may be repeated, and nothing that is under way is lost."""
    given = of(ctx)
    with given.client() as client:
        cell = names.cell(client, name)
        thumbprint = client.cells.rotate_keys(cell.cell_id)
    facts = {"cellID": cell.cell_id, "thumbprint": thumbprint}
    given.out.done(f"cell {cell.name} uses new keys: {thumbprint}", facts, thumbprint)


def retire(
    ctx: typer.Context,
    name: Name,
    confirm: Annotated[
        str | None, typer.Option("--confirm", metavar="NAME", help="The cell's name, typed again.")
    ] = None,
) -> None:
    """Close a cell's tunnels and let it in no more; its workspaces go on serving SQL."""
    given = of(ctx)
    with given.client() as client:
        cell = names.cell(client, name)
        given.confirm(cell.name, confirm, f"this ends the right of cell `{cell.name}` to connect")
        client.cells.retire(cell.cell_id)
    given.out.done(f"cell {cell.name} is retired", {"cellID": cell.cell_id}, cell.cell_id)
