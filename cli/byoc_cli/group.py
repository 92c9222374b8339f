"""``byoc group``: workspace groups."""

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.clock import stamp
from byoc.errors import Conflict, UsageError
from byoc_cli import names, passwords, profiles
from byoc_cli.context import Context, of
from byoc_cli.output import Column, Format, View
from byoc_cli.tree import WORKSPACES, noun, verb

if TYPE_CHECKING:
    from byoc.client import Group

LOCAL_REGION: Final = "local"
_LOOPBACK: Final = "127.0.0.0/8"

Name = Annotated[str, typer.Argument(metavar="GROUP", help="Name or id of the group.")]
Firewall = Annotated[
    list[str] | None,
    typer.Option(
        "--firewall-range", metavar="CIDR", help="Who may connect; repeat for several. Nobody else may."
    ),
]
AllowAll = Annotated[
    bool | None, typer.Option("--allow-all-traffic/--no-allow-all-traffic", help="Anybody may connect.")
]
Expires = Annotated[
    str | None, typer.Option("--expires-at", metavar="TIME", help="When it ends: a time, a date or 3h30m.")
]
PasswordFile = Annotated[
    str | None,
    typer.Option("--password-file", metavar="FILE", help="Take the password from a file; - is stdin."),
]
SavePassword = Annotated[
    bool, typer.Option("--save-password/--no-save-password", help="Save the password for `connect`.")
]


def is_local(group: "Group") -> bool:
    """Whether the group lives on a local cell."""
    return group.region_name == LOCAL_REGION


def firewall_text(group: "Group") -> str:
    """Return who may connect, and whether that is enforced."""
    ranges = "anybody" if group.allow_all_traffic else ", ".join(group.firewall_ranges) or "nobody"
    only_loopback = not group.allow_all_traffic and all(
        each.startswith("127.") for each in group.firewall_ranges
    )
    enforced = not is_local(group) or (only_loopback and group.firewall_ranges)
    return ranges if enforced else f"{ranges} (not enforced on a local cell: loopback only)"


def _when(name: str) -> Callable[[Any], object]:
    return lambda group: stamp(value) if (value := getattr(group, name)) else None


LIST: Final = View(
    (
        Column("NAME", lambda group: group.name),
        Column("STATE", lambda group: group.state),
        Column("REGION", lambda group: group.region_name),
        Column("CREATED", _when("created_at")),
        Column("ID", lambda group: group.workspace_group_id, spare=True),
    ),
    id=lambda group: group.workspace_group_id,
    json=lambda group: group.raw,
)
SHOW: Final = View(
    (
        Column("name", lambda group: group.name),
        Column("id", lambda group: group.workspace_group_id),
        Column("state", lambda group: group.state),
        Column("region", lambda group: group.raw.get("region") or group.region_name),
        Column("provider", lambda group: group.provider),
        Column("firewall ranges", firewall_text),
        Column("project", lambda group: group.raw.get("projectName")),
        Column("deployment", lambda group: group.raw.get("deploymentType")),
        Column("expires", lambda group: group.raw.get("expiresAt")),
        Column("created", _when("created_at")),
        Column("terminated", _when("terminated_at")),
    ),
    id=LIST.id,
    json=LIST.json,
)


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    groups = noun("Make, change and end workspace groups.")
    app.add_typer(groups, name="group", rich_help_panel=WORKSPACES)
    for name, command in (
        ("list", list_groups),
        ("create", create),
        ("show", show),
        ("update", update),
        ("set-password", set_password),
        ("terminate", terminate),
    ):
        verb(groups, name)(command)


def list_groups(
    ctx: typer.Context,
    terminated: Annotated[bool, typer.Option("--terminated", help="List ended ones too.")] = False,
) -> None:
    """List workspace groups."""
    given = of(ctx)
    with given.client() as client:
        found = client.groups.list(include_terminated=terminated)
    given.out.rows(
        LIST, found, empty=f"no workspace groups; make one with `{given.program} group create NAME`"
    )


def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    region: Annotated[
        str | None, typer.Option("--region", help="Name or id of a region; a region is a cell.")
    ] = None,
    firewall_range: Firewall = None,
    allow_all_traffic: AllowAll = None,
    expires_at: Expires = None,
    password_file: PasswordFile = None,
    save_password: SavePassword = True,
) -> None:
    """Make a workspace group; prints its generated admin password, once."""
    given = of(ctx)
    connection = given.connection()
    password = passwords.from_file(given, password_file) if password_file else None
    with given.client(connection) as client:
        where = names.region(client, region)
        ranges = firewall_range
        if ranges is None:
            ranges = [_LOOPBACK] if where.region_name == LOCAL_REGION else []
        created = client.groups.create(
            name=name,
            regionID=where.region_id,
            firewallRanges=ranges,
            allowAllTraffic=allow_all_traffic,
            expiresAt=expires_at,
            adminPassword=password,
        )
    answer = {"workspaceGroupID": created.id, "name": name}
    if created.admin_password:
        answer["adminPassword"] = created.admin_password
    given.out.done(f"group {name} is created", answer, created.id)
    _tell(given, created.admin_password)
    _keep(given, connection.owner, created.id, created.admin_password or password or "", save_password)
    given.out.note(f"\nNext: {given.program} workspace create orders --group {shlex.quote(name)}")


def _tell(given: Context, generated: str) -> None:
    """Show a generated password, this once: as data, or beside the id that was asked for."""
    line = f"admin password (shown once): {generated}"
    if generated and given.format is Format.TABLE:
        given.out.text(line)
    elif generated and given.format is Format.NAME:
        given.out.secret(line)


def _keep(given: Context, owner: str, group_id: str, password: str, wanted: bool) -> None:
    if wanted and password:
        profiles.save_password(given.config_folder, owner, group_id, password)
        given.out.note(f"saved for `connect` in {given.config_folder / 'credentials.json'}")


def show(ctx: typer.Context, name: Name) -> None:
    """Show one workspace group."""
    given = of(ctx)
    with given.client() as client:
        given.out.item(SHOW, client.groups.get(names.group(client, name).workspace_group_id))


def update(
    ctx: typer.Context,
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="What to call it from now on.")] = None,
    firewall_range: Firewall = None,
    allow_all_traffic: AllowAll = None,
    expires_at: Expires = None,
) -> None:
    """Change a workspace group."""
    given = of(ctx)
    changes = {
        "name": new_name,
        "firewallRanges": firewall_range,
        "allowAllTraffic": allow_all_traffic,
        "expiresAt": expires_at,
    }
    if all(value is None for value in changes.values()):
        raise UsageError("nothing to change", hint=f"see `{given.program} group update --help`")
    with given.client() as client:
        found = names.group(client, name)
        client.groups.update(found.workspace_group_id, **changes)
    given.out.done(
        f"group {new_name or found.name} is changed",
        {"workspaceGroupID": found.workspace_group_id},
        found.workspace_group_id,
    )


def set_password(
    ctx: typer.Context, name: Name, password_file: PasswordFile = None, save_password: SavePassword = True
) -> None:
    """Give a group a new admin password: a generated one, or that of --password-file."""
    given = of(ctx)
    connection = given.connection()
    wanted = passwords.from_file(given, password_file) if password_file else None
    with given.client(connection) as client:
        found = names.group(client, name)
        password = client.groups.set_password(found.workspace_group_id, wanted)
    answer = {"workspaceGroupID": found.workspace_group_id}
    if wanted is None:
        answer["adminPassword"] = password
    given.out.done(f"group {found.name} gets a new admin password", answer, found.workspace_group_id)
    _tell(given, "" if wanted else password)
    _keep(given, connection.owner, found.workspace_group_id, password, save_password)


def terminate(
    ctx: typer.Context,
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="End its workspaces too.")] = False,
    confirm: Annotated[
        str | None, typer.Option("--confirm", metavar="NAME", help="The group's name, typed again.")
    ] = None,
) -> None:
    """End a workspace group; with --force its workspaces and their data too."""
    given = of(ctx)
    with given.client() as client:
        found = names.group(client, name)
        what = f"this ends the group `{found.name}`"
        what += " and deletes all its workspaces with their data" if force else ""
        given.confirm(found.name, confirm, what)
        try:
            client.groups.terminate(found.workspace_group_id, force=force)
        except Conflict as error:
            hint = error.hint.replace("use force", "add --force")
            raise Conflict(error.message, hint=hint, request_id=error.request_id) from error
    profiles.forget_password(given.config_folder, found.workspace_group_id)
    given.out.done(
        f"group {found.name} is being terminated",
        {"workspaceGroupID": found.workspace_group_id},
        found.workspace_group_id,
    )
