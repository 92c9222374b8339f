"""``byoc cell drift|repair|upgrade|destroy``: a cell in AWS, on the days after its bootstrap."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.errors import ByocError, Conflict, Unreachable, UsageError
from byoc_cli import installing
from byoc_cli.applying import applying
from byoc_cli.context import Context, of
from byoc_cli.engines import engine_run, repeatable, state_endpoint
from byoc_cli.output import Format

if TYPE_CHECKING:
    from byoc.bootstrap.leftovers import Leftover
    from byoc.bootstrap.standing import Drift, StandingCell

CHANGES: Final = 10
"""Exit code where something is not as the program says."""
LEFT: Final = 1
"""Exit code where a destroy left something that it should not have."""

Name = Annotated[str, typer.Argument(metavar="CELL", help="Name of the cell, as bootstrap was given it.")]
Region = Annotated[str | None, typer.Option("--region", help="Where it is. [env: AWS_REGION]")]
AwsProfile = Annotated[str | None, typer.Option("--aws-profile", help="AWS profile. [env: AWS_PROFILE]")]
Confirm = Annotated[
    str | None, typer.Option("--confirm", metavar="NAME", help="The cell's name, typed again.")
]


@repeatable()
def drift(ctx: typer.Context, name: Name, region: Region = None, aws_profile: AwsProfile = None) -> None:
    """Show what of a cell is not as the program says; exit 10 if anything.

    Looks at the account and into the cluster, and changes nothing.
    """
    given = of(ctx)
    found = asyncio.run(_cell(given, name, region, aws_profile).drift())
    _show_drift(given, found)
    raise typer.Exit(0 if found.none else CHANGES)


@repeatable()
def repair(
    ctx: typer.Context,
    name: Name,
    region: Region = None,
    aws_profile: AwsProfile = None,
    unlock: Annotated[bool, typer.Option("--unlock", help="Remove the lock of a run that died.")] = False,
    confirm: Confirm = None,
) -> None:
    """Adopt what an interrupted run made; proves by a preview that the next run breaks nothing."""
    given = of(ctx)
    if unlock:
        given.confirm(name, confirm, f"if another run of cell `{name}` is alive, both are lost")
    with applying(given.out) as listener:
        done = _cell(given, name, region, aws_profile).repair(listener, unlock=unlock)
    rows = [(one.pending.subject.name, one.pending.subject.type, one.fate.value) for one in done.decisions]
    if given.format is Format.JSON:
        keys = ("name", "type", "fate")
        decisions = [dict(zip(keys, row, strict=True)) for row in rows]
        given.out.json({"decisions": decisions, "backup": done.backup, "changes": dict(done.plan.counts)})
        return
    if not rows:
        given.out.text("nothing was pending")
        return
    given.out.grid(("NAME", "TYPE", "DONE"), rows)
    given.out.note(f"\nthe state before is kept as {done.backup}")


@repeatable()
def destroy(
    ctx: typer.Context,
    name: Name,
    region: Region = None,
    aws_profile: AwsProfile = None,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Leave buckets, volumes and key.")] = False,
    cluster_gone: Annotated[
        bool, typer.Option("--cluster-gone", help="The cluster does not answer: uninstall nothing in it.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Although the cell has workspaces, or nobody can say.")
    ] = False,
    context: Annotated[
        str | None,
        typer.Option(
            "--context", metavar="NAME", help="Of your kubeconfig: for a cell made by `cell install`."
        ),
    ] = None,
    confirm: Confirm = None,
) -> None:
    """Remove a cell from the account or its cluster, then look for what is left; exit 1 if anything is."""
    given = of(ctx)
    if context is not None:
        _take_out(given, name, context, keep_data=keep_data, force=force, confirm=confirm)
        return
    cell = _cell(given, name, region, aws_profile)
    if not force:
        _refuse_workspaces(given, name)
    what = "buckets, volumes and key stay" if keep_data else "with every database in it"
    facts = cell.args.facts
    given.confirm(
        name, confirm, f"this destroys cell {name} in account {facts.account}, {facts.region}, {what}"
    )
    with applying(given.out) as listener:
        left = cell.destroy(listener, keep_data=keep_data, cluster_gone=cluster_gone)
    _show_left(given, name, left)
    raise typer.Exit(LEFT if any(one.fate.value == "leftover" for one in left) else 0)


def _take_out(
    given: Context, name: str, context: str, *, keep_data: bool, force: bool, confirm: str | None
) -> None:
    """End a cell in a cluster that goes on without it."""
    if not force:
        _refuse_workspaces(given, name)
    what = "volumes, keys and state stay" if keep_data else "with every database in it"
    given.confirm(name, confirm, f"this takes cell {name} out of the cluster of context {context}, {what}")
    removed = installing.take_out(given, name, context, keep_data=keep_data, force=force)
    installing.show_left(given, name, removed, context)
    if not keep_data:
        given.out.note(f"its record stays until `{given.program} cell retire {name}`")
    raise typer.Exit(LEFT if removed.left else 0)


def _refuse_workspaces(given: Context, name: str) -> None:
    """Raise if the cell has workspaces, or the control plane cannot say whether it has."""
    try:
        with given.client() as client:
            cells = {cell.cell_id for cell in client.cells.list() if cell.name == name}
            groups = [group for group in client.groups.list() if group.region_id in cells]
            found = [one.name for group in groups for one in client.workspaces.list(group.workspace_group_id)]
    except ByocError as error:
        raise Unreachable(
            f"whether cell {name} has workspaces cannot be found out: {error.message}",
            hint="log in to its control plane, or add --force",
        ) from error
    if found:
        raise Conflict(
            f"cell {name} has {len(found)} workspace{'s' * (len(found) != 1)}: {', '.join(found[:5])}",
            hint="terminate them first, or add --force",
        )


def _cell(given: Context, name: str, region: str | None, profile: str | None) -> "StandingCell":
    from byoc.bootstrap.standing import StandingCell  # noqa: PLC0415 - loads Pulumi

    given.hush()
    where = region or given.environment.get("AWS_REGION") or given.environment.get("AWS_DEFAULT_REGION")
    if not where:
        raise UsageError("the AWS region is not given", hint="add --region")
    account = given.account(where, profile)
    run = engine_run(given, name, profile=profile, install=False)
    return StandingCell(account, name, run, given.clock, endpoint=state_endpoint(given))


def _show_drift(given: Context, found: "Drift") -> None:
    account = [
        (one.subject.name, one.subject.type, one.op, ", ".join(one.keys)) for one in found.account.steps
    ]
    cluster = [(one["object"], "", one["change"], ", ".join(one["fields"])) for one in found.cluster]
    if given.format is Format.JSON:
        keys = ("name", "type", "change", "fields")
        steps: list[dict[str, Any]] = [dict(zip(keys, row, strict=True)) for row in account]
        given.out.json({"account": steps, "cluster": list(found.cluster)})
    elif found.none:
        given.out.text("no drift")
    else:
        given.out.grid(("WHAT", "TYPE", "CHANGE", "FIELDS"), [*account, *cluster])


def _show_left(given: Context, name: str, left: "list[Leftover]") -> None:
    if given.format is Format.JSON:
        rows = [{"kind": one.kind, "id": one.id, "fate": one.fate.value} for one in left]
        given.out.json({"cell": name, "left": rows})
        return
    given.out.text(f"cell {name} is destroyed" + ("" if left else "; nothing of it is left"))
    if left:
        given.out.grid(("KIND", "ID", "WHY"), [(one.kind, one.id, one.fate.value) for one in left])
    if any(one.fate.value == "kept on purpose" for one in left):
        given.out.note(f"\nuse them again: {given.program} bootstrap --name {name}")
