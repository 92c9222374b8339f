"""``byoc cell forward``: a port of this machine that leads to a service of a cell, for a while."""

import asyncio
import re
import signal
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.clock import stamp
from byoc.errors import ByocError, RefusedByCell, Unreachable, UsageError
from byoc_cli import names
from byoc_cli.context import Context, of

if TYPE_CHECKING:
    from byoc.client.models import OpenedService
    from byoc.nimbus.forwarding import LocalEnd, Summary

Service = Annotated[
    str, typer.Argument(metavar="SERVICE", help="As the customer's policy names it (table `services`).")
]
Port = Annotated[int, typer.Argument(metavar="PORT", min=0, max=65535, help="On this machine; 0 for any.")]
_LIFE: Final = re.compile(r"(\d{1,6})([smh])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours"}
_WORDS: Final = {
    "closed": "the forward is closed",
    "expired": "the time of the forward is over",
    "connection-lost": "the connection broke off",
    "tunnel-lost": "the cell's tunnel broke off",
    "agent-stopped": "the cell's agent stops",
}
_QUIET_ENDS: Final = frozenset({"closed", "expired"})
_BROKEN: Final = frozenset({"connection-lost", "tunnel-lost", "agent-stopped"})


def forward(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="CELL", help="Name or id of the cell.")],
    service: Service,
    port: Port,
    life: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long, such as 30m. [default: as allowed]")
    ] = None,
    bind: Annotated[str, typer.Option("--bind", help="Address of this machine to listen on.")] = "127.0.0.1",
) -> None:
    """Open a port here that leads to a service in a cell, if its policy allows; until Ctrl-C."""
    from byoc.nimbus.forwarding import take_port  # noqa: PLC0415 - slow to import

    given = of(ctx)
    seconds = None if life is None else int(_life(life).total_seconds())
    # Before the cell is asked: a port that is taken should open nothing there.
    bound = take_port(bind, port)
    try:
        summary = _run(given, name, service, seconds, bound)
    finally:
        bound.close()
    _end(given, summary)


def _life(text: str) -> timedelta:
    match = _LIFE.fullmatch(text)
    if match is None or not int(match[1]):
        raise UsageError(f"--for: `{text[:32]}` is no time", hint="such as 90s, 30m or 2h")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _run(given: Context, name: str, service: str, seconds: int | None, bound: socket.socket) -> "Summary":
    from byoc.nimbus import inner  # noqa: PLC0415 - slow to import
    from byoc.wire.certificates import make_pinned  # noqa: PLC0415

    mine = make_pinned(name="byoc forward", now=given.clock.now())
    connection = given.connection()
    with given.client(connection) as client:
        cell = names.cell(client, name)
        opened = client.cells.open_service(
            cell.cell_id, service, certificate=mine.certificate.decode(), life_seconds=seconds
        )
    host, taken = bound.getsockname()[:2]
    where = f"[{host}]:{taken}" if ":" in host else f"{host}:{taken}"
    settings = inner.context(mine, opened.certificate, server=False)

    def begun() -> None:
        _say(given, where, service, cell, opened)

    path = f"/byoc/v1/cells/{cell.cell_id}/forwards/{opened.forward_id}"
    return asyncio.run(_carry(given, (connection.url, path, connection.token), settings, bound, begun))


async def _carry(
    given: Context, to: tuple[str, str, str], settings: Any, bound: socket.socket, begun: Callable[[], None]
) -> "Summary":
    from byoc.nimbus.forwarding import LocalEnd, dial  # noqa: PLC0415 - slow to import

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    end = LocalEnd(await dial(*to), settings, bound, given.clock)
    telling = asyncio.create_task(_when_ready(end, begun))
    try:
        return await end.run(stop)
    finally:
        telling.cancel()


async def _when_ready(end: "LocalEnd", begun: Callable[[], None]) -> None:
    await end.ready.wait()
    begun()


def _say(given: Context, where: str, service: str, cell: Any, opened: "OpenedService") -> None:
    facts = {
        "address": where,
        "service": service,
        "cellID": cell.cell_id,
        "forwardID": opened.forward_id,
        "until": stamp(opened.until),
    }
    until = stamp(opened.until.replace(microsecond=0))
    given.out.done(f"{where} leads to {service} in cell {cell.name} until {until}", facts, where)
    given.out.flush()
    given.out.note("Ctrl-C ends it")


def _end(given: Context, summary: "Summary") -> None:
    lines = "connection" if summary.connections == 1 else "connections"
    given.out.note(
        f"{summary.connections} {lines}, {summary.to_service} bytes to the service,"
        f" {summary.from_service} from it"
    )
    word = _WORDS.get(summary.why)
    if summary.why in _QUIET_ENDS:
        given.out.note(word or summary.why)
        return
    error: ByocError
    if summary.why in _BROKEN:
        error = Unreachable(word or summary.why, hint="open it again once the cell is connected")
    else:
        error = RefusedByCell(f"the cell ended the forward: rule `{summary.why[:64]}`")
    raise error
