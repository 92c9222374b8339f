"""``byoc workspace``: workspaces. Changing verbs record the intent, then wait for its effect."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.clock import stamp
from byoc.errors import UsageError
from byoc_cli import figures, names, values
from byoc_cli.connect import connect
from byoc_cli.context import Context, of
from byoc_cli.group import firewall_text, is_local
from byoc_cli.output import Column, Format, View
from byoc_cli.progress import shown
from byoc_cli.tree import WORKSPACES, noun, verb

if TYPE_CHECKING:
    from byoc.client import Changed, Client, Detail, Goal, Workspace

Name = Annotated[str, typer.Argument(metavar="WORKSPACE", help="Name or id of the workspace.")]
InGroup = Annotated[
    str | None, typer.Option("--group", "-g", metavar="GROUP", help="Name or id of its group.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has taken effect.")]
WaitTimeout = Annotated[
    str, typer.Option("--wait-timeout", metavar="TIME", help="How long to wait, such as 90s or 30m.")
]
Size = Annotated[str | None, typer.Option("--size", help="S-00, S-0, S-1, S-2 … S-384.")]
ScaleFactor = Annotated[int | None, typer.Option("--scale-factor", metavar="1|2|4", help="Scale factor.")]
Cache = Annotated[int | None, typer.Option("--cache", metavar="1|2|4", help="Cache config.")]
AutoSuspend = Annotated[
    str | None,
    typer.Option("--auto-suspend", metavar="RULE", help="idle:3600, scheduled:2h or off."),
]
AutoScale = Annotated[str | None, typer.Option("--auto-scale", metavar="RULE", help="off, 2, 4 or 4:high.")]
DEFAULT_WAIT: Final = "30m"
_AFTER_TIME: Final = 22


def _auto_suspend(raw: Any) -> str | None:
    if not raw:
        return None
    kind = str(raw.get("suspendType", "")).lower()
    after = raw.get("idleAfterSeconds") if kind == "idle" else raw.get("scheduledAfterSeconds")
    at = f", at {raw['scheduledSuspendAt']}" if raw.get("scheduledSuspendAt") else ""
    return f"{kind} after {after:g} s{at}" if isinstance(after, int | float) else kind


def _auto_scale(raw: Any) -> str | None:
    if not raw:
        return None
    return f"up to {raw.get('maxScaleFactor')}, sensitivity {str(raw.get('sensitivity', 'normal')).lower()}"


LIST: Final = View(
    (
        Column("NAME", lambda row: row[0].name),
        Column("GROUP", lambda row: row[1].name),
        Column("STATE", lambda row: row[0].state),
        Column("SIZE", lambda row: row[0].size),
        Column("ENDPOINT", lambda row: row[0].endpoint),
        Column("ID", lambda row: row[0].workspace_id, spare=True),
    ),
    id=lambda row: str(row[0].workspace_id),
    json=lambda row: row[0].raw,
)
SHOW: Final = View(
    (
        Column("name", lambda each: each["workspace"].name),
        Column("id", lambda each: each["workspace"].workspace_id),
        Column("group", lambda each: each["group"].name),
        Column("cell", lambda each: each["detail"].cell_name),
        Column("cell connected", lambda each: each["detail"].cell_connected),
        Column("state", lambda each: each["workspace"].state),
        Column("reason", lambda each: each["detail"].reason_text or each["detail"].reason),
        Column("since", lambda each: stamp(at) if (at := each["detail"].since) else None),
        Column("size", lambda each: each["workspace"].size),
        Column("scale factor", lambda each: float(each["workspace"].scale_factor)),
        Column("cache config", lambda each: float(each["workspace"].cache_config)),
        Column("endpoint", lambda each: each["workspace"].endpoint),
        Column("generation", lambda each: _generation(each["detail"])),
        Column("auto-suspend", lambda each: _auto_suspend(each["workspace"].auto_suspend) or "off"),
        Column(
            "auto-suspended", lambda each: stamp(at) if (at := each["detail"].auto_suspended_at) else None
        ),
        Column("databases", lambda each: _databases(each["detail"])),
        Column("auto-scale", lambda each: _auto_scale(each["workspace"].auto_scale) or "off"),
        Column("firewall ranges", lambda each: firewall_text(each["group"])),
        Column("last resumed", lambda each: each["workspace"].raw.get("lastResumedAt")),
        Column("created", lambda each: stamp(at) if (at := each["workspace"].created_at) else None),
        Column("terminated", lambda each: stamp(at) if (at := each["workspace"].terminated_at) else None),
    ),
    id=lambda each: str(each["workspace"].workspace_id),
    json=lambda each: {**each["detail"].raw, **each["workspace"].raw},
)


def _databases(detail: Any) -> str | None:
    """Say what became of databases that had been detached; the cell alone knows their names."""
    if detail.databases_missing is None:
        return None
    missing = f", {detail.databases_missing} not" if detail.databases_missing else ""
    return f"{detail.databases_attached} attached again{missing}"


def _generation(detail: Any) -> str:
    if detail.acknowledged >= detail.generation:
        return str(detail.generation)
    return f"{detail.generation} (the cell has acknowledged {detail.acknowledged})"


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    workspaces = noun("Make, run and end workspaces.")
    app.add_typer(workspaces, name="workspace", rich_help_panel=WORKSPACES)
    for name, command in (
        ("list", list_workspaces),
        ("create", create),
        ("show", show),
        ("update", update),
        ("resize", resize),
        ("suspend", suspend),
        ("resume", resume),
        ("terminate", terminate),
        ("connect", connect),
        ("events", events),
        ("logs", logs),
    ):
        verb(workspaces, name)(command)
    figures.add(app, workspaces)


def list_workspaces(
    ctx: typer.Context,
    group: InGroup = None,
    terminated: Annotated[bool, typer.Option("--terminated", help="List ended ones too.")] = False,
) -> None:
    """List workspaces, of one group or of all."""
    given = of(ctx)
    with given.client() as client:
        found = names.workspaces(client, group, include_terminated=terminated)
    given.out.rows(
        LIST, found, empty="no workspaces; make one with `byoc workspace create NAME --group GROUP`"
    )


def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    group: Annotated[str, typer.Option("--group", "-g", metavar="GROUP", help="Name or id of its group.")],
    size: Size = "S-00",
    scale_factor: ScaleFactor = None,
    cache: Cache = None,
    auto_suspend: AutoSuspend = None,
    auto_scale: AutoScale = None,
    wait: Wait = True,
    wait_timeout: WaitTimeout = DEFAULT_WAIT,
) -> None:
    """Make a workspace."""
    given = of(ctx)
    timeout = values.seconds(wait_timeout, "--wait-timeout")
    fields = _fields(size, scale_factor, cache, auto_suspend, auto_scale)
    with given.client() as client:
        from byoc.client import Goal  # noqa: PLC0415 - see Context.client

        owner = names.group(client, group)
        change = client.workspaces.create(name=name, workspaceGroupID=owner.workspace_group_id, **fields)
        _finish(given, client, change, name, Goal.RUNNING, timeout if wait else None)
        if wait:
            place = "" if is_local(owner) else " from inside the VPC"
            given.out.note(f"\nConnect{place}:   {given.program} workspace connect {shlex.quote(name)}")


def show(ctx: typer.Context, name: Name, group: InGroup = None) -> None:
    """Show one workspace: its state, why, since when, and what it is made of."""
    given = of(ctx)
    with given.client() as client:
        found = client.workspaces.get(names.workspace(client, name, group).workspace_id)
        everything = {
            "workspace": found,
            "group": client.groups.get(found.workspace_group_id),
            "detail": client.workspaces.detail(found.workspace_id),
        }
    given.out.item(SHOW, everything)


def update(
    ctx: typer.Context,
    name: Name,
    group: InGroup = None,
    auto_suspend: AutoSuspend = None,
    auto_scale: AutoScale = None,
    wait: Wait = True,
    wait_timeout: WaitTimeout = DEFAULT_WAIT,
) -> None:
    """Change the automatic rules of a workspace."""
    _patch(
        of(ctx),
        name,
        group,
        _fields(None, None, None, auto_suspend, auto_scale),
        values.seconds(wait_timeout, "--wait-timeout") if wait else None,
    )


def resize(
    ctx: typer.Context,
    name: Name,
    group: InGroup = None,
    size: Size = None,
    scale_factor: ScaleFactor = None,
    cache: Cache = None,
    wait: Wait = True,
    wait_timeout: WaitTimeout = DEFAULT_WAIT,
) -> None:
    """Change size, scale factor or cache config of a workspace."""
    _patch(
        of(ctx),
        name,
        group,
        _fields(size, scale_factor, cache, None, None),
        values.seconds(wait_timeout, "--wait-timeout") if wait else None,
    )


def suspend(
    ctx: typer.Context,
    name: Name,
    group: InGroup = None,
    wait: Wait = True,
    wait_timeout: WaitTimeout = DEFAULT_WAIT,
) -> None:
    """Stop a workspace and keep its data."""
    given = of(ctx)
    timeout = values.seconds(wait_timeout, "--wait-timeout")
    with given.client() as client:
        from byoc.client import Goal  # noqa: PLC0415 - see Context.client

        found = names.workspace(client, name, group)
        before = client.workspaces.detail(found.workspace_id)
        change = client.workspaces.suspend(found.workspace_id)
        _finish(given, client, change, found.name, Goal.SUSPENDED, timeout if wait else None, before)


def resume(
    ctx: typer.Context,
    name: Name,
    group: InGroup = None,
    disable_auto_suspend: Annotated[
        bool, typer.Option("--disable-auto-suspend", help="And turn auto-suspend off.")
    ] = False,
    wait: Wait = True,
    wait_timeout: WaitTimeout = DEFAULT_WAIT,
) -> None:
    """Start a suspended workspace."""
    given = of(ctx)
    timeout = values.seconds(wait_timeout, "--wait-timeout")
    with given.client() as client:
        from byoc.client import Goal  # noqa: PLC0415 - see Context.client

        found = names.workspace(client, name, group)
        before = client.workspaces.detail(found.workspace_id)
        change = client.workspaces.resume(found.workspace_id, disable_auto_suspend=disable_auto_suspend)
        _finish(given, client, change, found.name, Goal.RUNNING, timeout if wait else None, before)


def terminate(
    ctx: typer.Context,
    name: Name,
    group: InGroup = None,
    confirm: Annotated[
        str | None, typer.Option("--confirm", metavar="NAME", help="The workspace's name, typed again.")
    ] = None,
    wait: Wait = True,
    wait_timeout: WaitTimeout = DEFAULT_WAIT,
) -> None:
    """End a workspace and delete its data."""
    given = of(ctx)
    timeout = values.seconds(wait_timeout, "--wait-timeout")
    with given.client() as client:
        from byoc.client import Goal  # noqa: PLC0415 - see Context.client

        found = names.workspace(client, name, group)
        given.confirm(found.name, confirm, f"this ends the workspace `{found.name}` and deletes its data")
        change = client.workspaces.terminate(found.workspace_id)
        _finish(given, client, change, found.name, Goal.TERMINATED, timeout if wait else None)


def events(
    ctx: typer.Context,
    name: Name,
    group: InGroup = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens next.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events with a higher number.")] = 0,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=1, help="How many of the newest. [default: all]")
    ] = None,
) -> None:
    """Show what a workspace has been through, each step with its reason."""
    given = of(ctx)
    out = given.out
    with given.client() as client:
        found = names.workspace(client, name, group)
        stream = client.workspaces.events(found.workspace_id, after=after, newest=lines, follow=follow)
        if out.format is Format.JSON and not follow:
            out.json([event.raw for event in stream])
            return
        for event in stream:
            if out.format is Format.JSON:
                out.json(event.raw)
            elif out.format is Format.NAME:
                out.text(str(event.number))
            else:
                out.line(_event_line(event), indent=_AFTER_TIME)
                out.flush()


def _event_line(event: Any) -> str:
    at = stamp(event.at.replace(microsecond=0)) if event.at else "-"
    by = f" by {event.by}" if event.by else ""
    return f"{at}  {event.number:<5} {event.state:<10} {event.kind:<13} {event.text or event.reason}{by}"


def logs(ctx: typer.Context, name: Name, group: InGroup = None) -> None:
    """Show the SQL engine's own log, if the cell's policy names `logs.read`."""
    given = of(ctx)
    with given.client() as client:
        given.out.text(client.workspaces.logs(names.workspace(client, name, group).workspace_id))


def _fields(
    size: str | None,
    scale_factor: int | None,
    cache: int | None,
    auto_suspend: str | None,
    auto_scale: str | None,
) -> dict[str, Any]:
    given = {
        "size": size,
        "scaleFactor": scale_factor,
        "cacheConfig": cache,
        "autoSuspend": values.auto_suspend(auto_suspend) if auto_suspend else None,
        "autoScale": values.auto_scale(auto_scale) if auto_scale else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _patch(
    given: Context, name: str, group: str | None, fields: dict[str, Any], timeout: float | None
) -> None:
    if not fields:
        raise UsageError("nothing to change", hint="name at least one option; see `--help`")
    with given.client() as client:
        from byoc.client import Goal  # noqa: PLC0415 - see Context.client

        found = names.workspace(client, name, group)
        before = client.workspaces.detail(found.workspace_id)
        change = client.workspaces.update(found.workspace_id, **fields)
        _finish(given, client, change, found.name, Goal.SETTLED, timeout, before)


def _finish(
    given: Context,
    client: "Client",
    change: "Changed",
    name: str,
    goal: "Goal",
    timeout: float | None,
    before: "Detail | None" = None,
) -> None:
    """Wait for a change and say what came of it; one that changes nothing, by ``before``, is said at once."""
    if before and change.generation == before.generation and before.state in goal.value:
        from byoc.client import Goal  # noqa: PLC0415 - see Context.client

        so = f"as asked already, and {before.state}" if goal is Goal.SETTLED else f"{before.state} already"
        _emit(given, client.workspaces.get(change.id), change, f"{name} is {so}")
        return
    if timeout is None:
        _emit(given, client.workspaces.get(change.id), change, f"the change to {name} is recorded")
        return
    goes_on = f"the change to `{name}` is recorded and goes on"
    with shown(given.out, given.clock, goes_on=goes_on) as progress:
        done = client.workspaces.wait(change, goal, timeout=timeout, name=name, on_step=progress.show)
    _emit(given, done, change, f"{name} is {done.state}")


def _emit(given: Context, workspace: "Workspace", change: "Changed", line: str) -> None:
    answer = {
        "workspaceID": workspace.workspace_id,
        "name": workspace.name,
        "state": workspace.state,
        "endpoint": workspace.endpoint,
        "generation": change.generation,
    }
    present = {key: value for key, value in answer.items() if value not in ("", 0)}
    given.out.done(line, present, workspace.workspace_id)
