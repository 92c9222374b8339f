"""``byoc workspace metrics`` and ``byoc top``: what workspaces use, read from their cells now."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.errors import ByocError, UsageError
from byoc.model.metrics import Metric
from byoc_cli import names
from byoc_cli.context import Context, of
from byoc_cli.output import Column, Format, View
from byoc_cli.tree import WORKSPACES, verb

if TYPE_CHECKING:
    from byoc.client import Client, Group, Metrics, Workspace

Name = Annotated[str, typer.Argument(metavar="WORKSPACE", help="Name or id of the workspace.")]
InGroup = Annotated[
    str | None, typer.Option("--group", "-g", metavar="GROUP", help="Name or id of its group.")
]
_MIB: Final = 2**20
_CLEAR: Final = "\x1b[H\x1b[J"
_SHORTEST: Final = 0.5

METRICS: Final = View(
    (
        Column("METRIC", lambda row: row[1]),
        Column("VALUE", lambda row: _value(row[2])),
        Column("NODE", lambda row: row[0], spare=True),
    ),
    id=lambda row: str(row[1]),
    json=lambda row: row,
)


def add(app: typer.Typer, workspaces: typer.Typer) -> None:
    """Add the verb to the noun and the command to the program."""
    verb(workspaces, "metrics")(metrics)
    verb(app, "top", panel=WORKSPACES)(top)


def metrics(ctx: typer.Context, name: Name, group: InGroup = None) -> None:
    """Show what a workspace uses now, in the raw values that monitoring gets."""
    given = of(ctx)
    with given.client() as client:
        found = names.workspace(client, name, group)
        measured = client.workspaces.metrics(found.workspace_id)
    if given.out.format is Format.JSON:
        given.out.json(measured.raw)
        return
    rows = [(node, one, value) for node, values in measured.nodes.items() for one, value in values.items()]
    given.out.rows(METRICS, rows, empty=f"workspace {found.name} does not run, so nothing is measured")


@dataclass(frozen=True, slots=True)
class Use:
    """One line of ``top``: what a workspace used between two looks; None where nobody counts it."""

    workspace: "Workspace"
    group: "Group"
    cpu: float | None = None
    memory: float | None = None
    memory_limit: float | None = None
    disk: float | None = None
    connections: float | None = None
    reads: float | None = None
    writes: float | None = None
    failures: float | None = None


def _value(value: float) -> str:
    """Return a count in all its digits, and anything else in as many as tell something."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.10g}"


def _number(value: float | None, unit: float = 1.0, form: str = ".1f") -> str | None:
    return None if value is None else format(value / unit, form)


TOP: Final = View(
    (
        Column("NAME", lambda use: use.workspace.name),
        Column("GROUP", lambda use: use.group.name, spare=True),
        Column("CPU %", lambda use: _number(use.cpu)),
        Column("MEM MiB", lambda use: _number(use.memory, _MIB, ".0f")),
        Column("OF MiB", lambda use: _number(use.memory_limit, _MIB, ".0f")),
        Column("DISK MiB", lambda use: _number(use.disk, _MIB, ".0f")),
        Column("CONN", lambda use: _number(use.connections, 1, ".0f")),
        Column("READS/S", lambda use: _number(use.reads)),
        Column("WRITES/S", lambda use: _number(use.writes)),
        Column("FAIL/S", lambda use: _number(use.failures)),
    ),
    id=lambda use: str(use.workspace.workspace_id),
    json=lambda use: {
        "workspaceID": use.workspace.workspace_id,
        "name": use.workspace.name,
        "workspaceGroupID": use.group.workspace_group_id,
        "cpuPercent": use.cpu,
        "memoryBytes": use.memory,
        "memoryLimitBytes": use.memory_limit,
        "diskBytes": use.disk,
        "connections": use.connections,
        "readsPerSecond": use.reads,
        "writesPerSecond": use.writes,
        "failedPerSecond": use.failures,
    },
)


def use_between(workspace: "Workspace", group: "Group", before: "Metrics", after: "Metrics") -> Use:
    """Compare two looks at one workspace; what began anew in between counts from zero."""
    seconds = (after.at - before.at).total_seconds()

    def rate(*wanted: Metric) -> float | None:
        rates = [_rate(before, after, metric.public_name, seconds) for metric in wanted]
        known = [each for each in rates if each is not None]
        return sum(known) if known else None

    cpu, cores = rate(Metric.CPU_USAGE_SECONDS_TOTAL), after.total(Metric.CPU_RESOURCE_LIMITS.public_name)
    return Use(
        workspace,
        group,
        cpu=None if cpu is None or not cores else 100 * cpu / cores,
        memory=after.total(Metric.MEM_USED_B.public_name),
        memory_limit=after.total(Metric.MEM_TOTAL_B.public_name),
        disk=after.total(Metric.DISK_USED_B.public_name),
        connections=after.total(Metric.THREADS_CONNECTED.public_name),
        reads=rate(Metric.SUCCESSFUL_READ_QUERIES),
        writes=rate(Metric.SUCCESSFUL_WRITE_QUERIES),
        failures=rate(Metric.FAILED_READ_QUERIES, Metric.FAILED_WRITE_QUERIES),
    )


def _rate(before: "Metrics", after: "Metrics", name: str, seconds: float) -> float | None:
    first, last = before.total(name), after.total(name)
    if first is None or last is None or seconds <= 0:
        return None
    return (last - first if last >= first else last) / seconds


def top(
    ctx: typer.Context,
    group: Annotated[str | None, typer.Option("--group", "-g", metavar="GROUP", help="Of one group.")] = None,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", help="Time between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
) -> None:
    """Show what running workspaces use, the busiest first; on a terminal again and again until Ctrl-C."""
    given = of(ctx)
    if interval < _SHORTEST:
        raise UsageError(f"--interval: must be {_SHORTEST:g} seconds or more")
    forever = not once and given.out.stdout.isatty() and given.out.format is Format.TABLE
    with given.client() as client:
        for uses, away in _watch(given, client, group, interval):
            if forever:
                given.out.stdout.write(_CLEAR)
            given.out.rows(
                TOP, uses, empty="no workspace runs" if not away else "no workspace is seen to run"
            )
            for line in away:
                given.out.note(line)
            given.out.flush()
            if not forever:
                return


def _watch(
    given: Context, client: "Client", group: str | None, interval: float
) -> Iterator[tuple[Sequence[Use], Sequence[str]]]:
    before, _ = _look(client, group)
    while True:
        given.sleep(interval)
        after, away = _look(client, group)
        uses = [
            use_between(workspace, its, before[name][2], measured)
            for name, (workspace, its, measured) in after.items()
            if name in before
        ]
        yield sorted(uses, key=lambda use: (-(use.cpu or 0.0), use.workspace.name)), away
        before = after


def _look(client: "Client", wanted: str | None) -> tuple[Mapping[str, tuple[Any, Any, Any]], Sequence[str]]:
    """Return the running workspaces with their group and what they use, and what cannot be seen now."""
    groups = [names.group(client, wanted)] if wanted else client.groups.list()
    found: dict[str, tuple[Any, Any, Any]] = {}
    away = []
    for each in groups:
        workspaces = {one.workspace_id: one for one in client.workspaces.list(each.workspace_group_id)}
        if not workspaces:
            continue
        try:
            measured = client.groups.metrics(each.workspace_group_id)
        except ByocError as error:
            if wanted:
                raise
            away.append(f"group {each.name}: {error.message}")
            continue
        for one in measured:
            if one.nodes and one.workspace_id in workspaces:
                found[one.workspace_id] = (workspaces[one.workspace_id], each, one)
    return found, away
