"""This machine: ``up``, ``down``, ``status`` and ``doctor`` of an instance of everything."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from byoc.errors import PreconditionFailed, Unreachable
from byoc_cli import names, profiles
from byoc_cli.connection import only
from byoc_cli.context import Context, of
from byoc_cli.output import Column, Format, View, pad, safe
from byoc_cli.progress import elapsed
from byoc_cli.tree import MACHINE, verb

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of the instance. [default: ~/.local/share/byoc]"),
]
Confirm = Annotated[
    str | None, typer.Option("--confirm", metavar="NAME", help="The folder's name, typed again.")
]
_NAME: Final = 16
_MIB: Final = 1024**2

PROCESSES: Final = View(
    (
        Column("PROCESS", lambda each: f"workspace {each.workspace}" if each.workspace else each.name),
        Column("PID", lambda each: each.pid),
        Column("STATE", lambda each: "running" if each.alive else "gone"),
        Column("MEMORY", lambda each: f"{each.resident // _MIB} MiB" if each.alive else None),
        Column("UP", lambda each: elapsed(each.seconds) if each.alive else None),
    ),
    id=lambda each: str(each.pid),
    json=lambda each: {
        "name": each.name,
        **({"workspace": each.workspace} if each.workspace else {}),
        "pid": each.pid,
        "alive": each.alive,
        "residentBytes": each.resident,
        "seconds": round(each.seconds, 1),
    },
)
_RESULT: Final = 6
_CHECK: Final = 14
_STYLES: Final = {"pass": "32", "fail": "31;1", "skip": "2"}


def add(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for name, command in (("up", up), ("down", down), ("status", status), ("doctor", doctor)):
        verb(app, name, panel=MACHINE)(command)


def folder(given: Context, data: Path | None, option: str = "--data") -> Path:
    """Return the data folder meant: the one named, else the only running one's, else the default.

    Args:
        given: of this command.
        data: the folder named, if any.
        option: what to name one with, for the hint.

    Raises:
        UsageError: none is named and two instances run.
    """
    from byoc.embedded.places import default_data  # noqa: PLC0415 - only these commands need it

    if data is not None:
        return data.expanduser().absolute()
    running = given.running(given.environment)
    return only(running, hint=f"say which with {option}").data if running else default_data(given.environment)


def up(
    ctx: typer.Context,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once all is ready.")] = False,
    data: Data = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Of the Management API. [default: 8787]"),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Delete the instance's data first.")] = False,
    confirm: Confirm = None,
) -> None:
    """Start a control plane, a gateway and a cell on this machine."""
    from byoc.embedded.options import UpOptions  # noqa: PLC0415 - slow to import
    from byoc.embedded.places import default_data  # noqa: PLC0415
    from byoc.embedded.up import up as start  # noqa: PLC0415

    given = of(ctx)
    given.hush()
    where = (data or default_data(given.environment)).expanduser().absolute()
    if reset and where.exists():
        given.confirm(where.name, confirm, f"this deletes the instance in {where} with all its data")
    options = UpOptions(where, given.environment, port=port, detach=detach, reset=reset)
    running = start(options, lambda step: given.out.note(f"  {pad(step.name, _NAME)}{step.detail}"))
    facts = running.facts()
    if given.format is Format.JSON:
        given.out.json(facts)
    else:
        line = str(facts["data"]) if given.format is Format.NAME else f"byoc is ready at {facts['url']}"
        given.out.text(line)
    given.out.note(f"\nNext: {given.program} group create demo")
    if detach:
        given.out.note(f"Stop: {given.program} down")
    else:
        given.out.note("Ctrl-C stops it; the data stays.")
        running.wait()
        given.out.note("stopped")


def down(
    ctx: typer.Context,
    data: Data = None,
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Delete its data too.")] = False,
    confirm: Confirm = None,
) -> None:
    """Stop the instance on this machine; its data stays unless told otherwise."""
    from byoc.embedded.down import down as stop  # noqa: PLC0415 - slow to import

    given = of(ctx)
    given.hush()
    where = folder(given, data)
    if delete_data and where.exists():
        given.confirm(where.name, confirm, f"this deletes the instance in {where} with all its data")
    stopped = stop(where, delete_data=delete_data, environment=given.environment)
    if stopped.deleted:
        profiles.forget_owner(given.config_folder, f"instance:{stopped.data}")
    did = "stopped" if stopped.processes else "nothing was running"
    answer = {"data": str(stopped.data), "stopped": list(stopped.processes), "deleted": stopped.deleted}
    given.out.done(f"{did}{', data deleted' if stopped.deleted else ''}", answer, str(stopped.data))


def status(ctx: typer.Context, data: Data = None) -> None:
    """Show what of the instance runs on this machine."""
    from byoc.embedded.status import status as look  # noqa: PLC0415 - slow to import

    given = of(ctx)
    given.hush()
    found = look(folder(given, data), environment=given.environment)
    everything = [*found.processes, *found.engines]
    if found.running and given.format is Format.TABLE:
        given.out.note(f"{found.url}  data in {found.data}\n")
    if given.format is Format.JSON:
        given.out.json(
            {
                "data": str(found.data),
                "running": found.running,
                "url": found.url,
                "gateway": found.gateway,
                "cellID": found.cell_id,
                "processes": [PROCESSES.json(each) for each in found.processes],
                "engines": [PROCESSES.json(each) for each in found.engines],
            }
        )
    elif everything:
        given.out.rows(PROCESSES, everything, empty="")
    if not found.running:
        raise Unreachable(f"no instance runs on {found.data}", hint=f"start one with `{given.program} up`")


def doctor(
    ctx: typer.Context,
    data: Data = None,
    cell: Annotated[
        str | None,
        typer.Option("--cell", metavar="NAME", help="Examine a cell, as the control plane sees it."),
    ] = None,
    only_check: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="Only this check; repeat for several.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="FILE", help="Write a support bundle without secrets.")
    ] = None,
) -> None:
    """Examine this machine and its instance, or a cell; each finding with what to do."""
    from byoc.embedded import doctor as physician  # noqa: PLC0415 - slow to import

    given = of(ctx)
    given.hush()
    if cell is not None:
        _report(given, _examine_cell(given, cell))
        return
    where = folder(given, data)
    checks = physician.doctor(where, environment=given.environment, only=only_check or ())
    if bundle is not None:
        from byoc.embedded.bundle import bundle as pack  # noqa: PLC0415

        pack(bundle.expanduser().absolute(), where, checks)
        given.out.note(f"wrote {bundle}; look into it before you send it")
    _report(given, [_check(each.name, str(each.result), each.detail, each.action) for each in checks])


def _check(name: str, result: str, detail: str, action: str = "") -> dict[str, Any]:
    return {"name": name, "result": result, "detail": detail, "action": action}


def _report(given: Context, checks: list[dict[str, Any]]) -> None:
    if given.format is Format.TABLE:
        for each in checks:
            _line(given, each)
    else:
        checks_only = View((), id=lambda each: str(each["name"]), json=lambda each: each)
        given.out.rows(checks_only, checks, empty="no checks")
    failed = [each for each in checks if each["result"] == "fail"]
    if failed:
        raise PreconditionFailed(
            f"{len(failed)} of {len(checks)} checks failed", hint=failed[0]["action"] or failed[0]["detail"]
        )


def _line(given: Context, check: dict[str, Any]) -> None:
    """Print one check: how it ended, its name, what was found, and below it what to do."""
    indent = _RESULT + _CHECK
    text = f"{pad(check['name'], _CHECK)}{safe(check['detail'])}"
    given.out.verdict(pad(check["result"], _RESULT), _STYLES[check["result"]], text, indent=indent)
    if check["action"]:
        given.out.verdict("", "", f"{' ' * indent}-> {safe(check['action'])}", indent=indent + 3)


def _examine_cell(given: Context, name: str) -> list[dict[str, Any]]:
    from byoc.client.waiting import ago  # noqa: PLC0415 - see Context.client

    with given.client() as client:
        cell = names.cell(client, name)
        sessions = client.cells.connections(cell.cell_id)
    seen = ago(cell.last_seen_at, given.clock.now()) if cell.last_seen_at else "never"
    enrolled = cell.state == "enrolled"
    checks = [
        _check(
            "enrolment",
            "pass" if enrolled else "fail",
            f"the cell is {cell.state}",
            "" if enrolled else f"byoc cell enrol {cell.name} --dir FOLDER",
        )
    ]
    if not enrolled:
        return [*checks, _check("tunnel", "skip", "not checked: enrolment failed")]
    detail = (
        f"{len(sessions)} tunnel session{'s' * (len(sessions) != 1)}"
        if cell.connected
        else f"not connected, last seen {seen}"
    )
    action = "" if cell.connected else "see the agent's log in the cell; it dials out to the gateway"
    return [*checks, _check("tunnel", "pass" if cell.connected else "fail", detail, action)]
