"""Operate: the entry points of the processes that production runs, and that ``byoc up`` supervises."""

import asyncio
import signal
import threading
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from byoc import process
from byoc.clock import stamp
from byoc.errors import NotFound, UsageError
from byoc_cli.context import Context, of
from byoc_cli.tree import OPERATE, noun, verb

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of the instance.")]
Lifeline = Annotated[
    int | None,
    typer.Option("--lifeline", metavar="FD", help="Stop when this inherited descriptor reads as ended."),
]
ReadyFD = Annotated[
    int | None,
    typer.Option("--ready-fd", metavar="FD", help="Write one line of JSON here once ready."),
]

if TYPE_CHECKING:
    from byoc.dataplane.settings import AgentSettings


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the environment that the gateway or the agent reads; the docs print them."""

    name: str
    read_by: tuple[str, ...]
    default: str
    description: str


LOG_LEVEL: Final = Variable("BYOC_LOG_LEVEL", ("gateway", "agent"), "info", "debug, info, warning or error")
VARIABLES: Final = (
    LOG_LEVEL,
    Variable(
        "HTTPS_PROXY", ("agent",), "", "proxy by which the gateway is dialled; `NO_PROXY` names exceptions"
    ),
    Variable("POD_NAME", ("agent",), "", "in a cluster: which of the two agents this is"),
    Variable(
        "KUBECONFIG", ("agent",), "", "in a cluster: how to reach its API; else by the pod's service account"
    ),
    Variable("AWS_REGION", ("agent ship-ledger",), "", "of the bucket that the ledger's copies go to"),
)

SERVERS: Final = frozenset({"controlplane", "gateway", "agent"})
_LEVELS: Final = ("debug", "info", "warning", "error")


def add(app: typer.Typer) -> None:
    """Add the nouns to the program."""
    controlplane = noun("Run a control plane.")
    app.add_typer(controlplane, name="controlplane", rich_help_panel=OPERATE)
    verb(controlplane, "init")(controlplane_init)
    verb(controlplane, "serve")(controlplane_serve)
    verb(controlplane, "migrate")(controlplane_migrate)
    verb(controlplane, "rotate-key")(controlplane_rotate_key)
    gateway = noun("Run a Nimbus gateway.")
    app.add_typer(gateway, name="gateway", rich_help_panel=OPERATE)
    verb(gateway, "serve")(gateway_serve)
    agent = noun("Run a cell's agent.")
    app.add_typer(agent, name="agent", rich_help_panel=OPERATE)
    verb(agent, "run")(agent_run)
    verb(agent, "ship-ledger")(agent_ship_ledger)


class Which(StrEnum):
    """The keys that can be replaced."""

    SIGNING = "signing"
    KEY_SET = "key-set"
    ROOT = "root"


def controlplane_init(
    ctx: typer.Context,
    data: Data,
    organization: Annotated[str, typer.Option("--organization", help="Name of the first one.")] = "Local",
    email: Annotated[str, typer.Option("--email", help="Of its owner.")] = "owner@localhost",
    new_owner_key: Annotated[
        bool, typer.Option("--new-owner-key", help="Make another key for the owner and end the ones before.")
    ] = False,
) -> None:
    """Make keys, database, the first organization and its owner's key; may be run again."""
    from byoc.controlplane.fleet.start import DATABASE, OWNER_TOKEN, Owner, init  # noqa: PLC0415 - slow

    given = of(ctx)
    given.hush()
    token_file = data.absolute() / "controlplane" / OWNER_TOKEN
    lost = token_file.with_name(DATABASE).exists() and not token_file.exists()
    init(data.absolute(), Owner(email, organization), clock=given.clock, renew=new_owner_key)
    if lost and not new_owner_key:
        given.out.note("the file with the owner's key was missing: another key was made")
        given.out.note("the owner's earlier keys still work; --new-owner-key ends them")
    given.out.done(
        f"the owner's key is in {token_file}",
        {"data": str(data.absolute()), "tokenFile": str(token_file)},
        str(token_file),
    )


def controlplane_rotate_key(
    ctx: typer.Context,
    which: Annotated[Which, typer.Argument(metavar="signing|key-set|root", help="Which key is replaced.")],
    data: Data,
    kms: Annotated[
        str | None, typer.Option("--kms", metavar="KEY", help="The new signing key is this one of AWS KMS.")
    ] = None,
    public: Annotated[
        Path | None,
        typer.Option(
            "--public", metavar="FILE", help="It is behind BYOC_SIGNER_COMMAND; this is its public half, PEM."
        ),
    ] = None,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once",
            help="The signing key is in wrong hands: the new one signs now, no other is believed.",
        ),
    ] = False,
) -> None:
    """Replace one of the control plane's keys, while it runs; nobody is left behind."""
    from byoc.controlplane import rotation  # noqa: PLC0415 - slow to import

    given = of(ctx)
    hint = "byoc controlplane rotate-key signing"
    if (kms or public) and which is not Which.SIGNING:
        raise UsageError("only the signing key can be kept elsewhere", hint=hint)
    if at_once and which is not Which.SIGNING:
        raise UsageError("only the signing key waits for a day, which --at-once leaves out", hint=hint)
    folder, now = data.absolute() / "controlplane", given.clock.now()
    if which is Which.SIGNING:
        key = _signing_key(kms, public)
        kid, since = rotation.rotate_signing(folder, key, now, at_once=at_once)
        line = f"the key {kid} is published, and signs from {since:%Y-%m-%d %H:%M} UTC on"
        if at_once:
            line = f"the key {kid} signs from now on and no other does; cells follow with their next report"
        facts = {"usedFrom": stamp(since)}
    elif which is Which.KEY_SET:
        kid, facts = rotation.rotate_key_set_key(folder, now), {}
        line = f"the key {kid} signs the key set"
    else:
        kid, facts = rotation.rotate_root(folder), {}
        line = f"the root is {kid}; cells follow, for the old one has signed it"
    given.out.done(line, {"key": kid, **facts}, kid)


def _signing_key(kms: str | None, public: Path | None) -> dict[str, object]:
    from byoc.controlplane import rotation  # noqa: PLC0415 - slow to import

    if kms and public:
        raise UsageError("--kms and --public name two places for one key", hint="choose one")
    if kms:
        return rotation.kept_in_kms(kms)
    if public is None:
        return rotation.made_here()
    try:
        return rotation.kept_behind_command(public.read_bytes())
    except OSError as error:
        raise UsageError(f"{public} cannot be read") from error


def controlplane_serve(
    ctx: typer.Context,
    data: Data,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the Management API; 0 for any.")],
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    lifeline: Lifeline = None,
    ready_fd: ReadyFD = None,
) -> None:
    """Serve the Management API; more settings are in BYOC_* variables."""
    from byoc import log  # noqa: PLC0415 - only servers log
    from byoc.controlplane.serve import serve  # noqa: PLC0415
    from byoc.controlplane.settings import ControlPlaneSettings, from_environment  # noqa: PLC0415

    given = of(ctx)
    log.configure(_level(ctx), component="controlplane")
    settings = from_environment(given.environment, base=ControlPlaneSettings())
    settings = replace(settings, data=data.absolute(), port=port, host=host or settings.host)

    async def work(announce: process.Announce, stop: asyncio.Event) -> None:
        await serve(settings, stop, on_ready=announce)

    asyncio.run(process.run_until_stopped(work, lifeline_fd=lifeline, ready_fd=ready_fd))


def controlplane_migrate(ctx: typer.Context, data: Data) -> None:
    """Bring the database of a stopped control plane to this version."""
    from byoc.controlplane.fleet.start import DATABASE  # noqa: PLC0415 - slow to import
    from byoc.store.schema import migrate  # noqa: PLC0415
    from byoc.store.sqlite import url_of  # noqa: PLC0415

    given = of(ctx)
    given.hush()
    database = data.absolute() / "controlplane" / DATABASE
    if not database.exists():
        raise NotFound(f"there is no database at {database}", hint="byoc controlplane init --data DIR")
    version = migrate(url_of(database))
    answer = {"database": str(database), "schema": version}
    given.out.done(f"{database} has schema {version}", answer, version)


def gateway_serve(
    ctx: typer.Context,
    data: Data,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the gateway; 0 for any.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    name: Annotated[str, typer.Option("--name", help="Differs for each gateway.")] = "gateway",
    lifeline: Lifeline = None,
    ready_fd: ReadyFD = None,
) -> None:
    """Serve the tunnel: one TLS port, to which cells and control planes dial in."""
    from byoc import log  # noqa: PLC0415 - only servers log
    from byoc.nimbus.serve import GatewaySettings  # noqa: PLC0415
    from byoc.nimbus.serve import serve as serve_gateway  # noqa: PLC0415

    log.configure(_level(ctx), component="gateway")
    settings = GatewaySettings(data.absolute(), port, host, name)

    async def work(announce: process.Announce, stop: asyncio.Event) -> None:
        await serve_gateway(settings, stop, on_ready=lambda bound: announce({"port": bound}))

    asyncio.run(process.run_until_stopped(work, lifeline_fd=lifeline, ready_fd=ready_fd))


def agent_run(
    ctx: typer.Context,
    data: Data,
    keep_engines: Annotated[
        bool,
        typer.Option(
            "--keep-engines", help="Leave SQL servers running at a stop; the next start adopts them."
        ),
    ] = False,
    lifeline: Lifeline = None,
    ready_fd: ReadyFD = None,
) -> None:
    """Be the cell: dial the gateway, carry out what its policy allows, keep workspaces running."""
    from byoc import log  # noqa: PLC0415 - only servers log
    from byoc.dataplane.settings import AgentSettings, RuntimeName  # noqa: PLC0415

    log.configure(_level(ctx), component="agent")
    settings = AgentSettings.load(data.absolute(), stop_engines=not keep_engines)
    in_cluster = settings.runtime is RuntimeName.KUBERNETES
    work = _in_a_cluster(settings, of(ctx)) if in_cluster else _on_this_machine(settings, of(ctx))
    asyncio.run(process.run_until_stopped(work, lifeline_fd=lifeline, ready_fd=ready_fd))


def _on_this_machine(settings: "AgentSettings", given: Context) -> process.Main:
    from byoc.dataplane.agent import run  # noqa: PLC0415 - slow to import
    from byoc.dataplane.local.runtime import LocalRuntime  # noqa: PLC0415

    async def work(announce: process.Announce, stop: asyncio.Event) -> None:
        runtime = LocalRuntime(settings.cell, given.clock, given.environment)
        await run(settings, runtime, stop, announce)

    return work


def _in_a_cluster(settings: "AgentSettings", given: Context) -> process.Main:
    from byoc.dataplane.kubernetes.lead import run  # noqa: PLC0415 - slow to import
    from byoc.dataplane.kubernetes.runtime import open_runtime  # noqa: PLC0415
    from byoc.dataplane.kubernetes.settings import ClusterSettings  # noqa: PLC0415

    cluster = ClusterSettings.from_json(settings.kubernetes)

    async def work(announce: process.Announce, stop: asyncio.Event) -> None:
        await run(
            settings,
            given.environment,
            lambda config, valid: open_runtime(config, valid, given.clock, cluster),
            stop,
            announce,
        )

    return work


def agent_ship_ledger(
    ctx: typer.Context,
    data: Data,
    bucket: Annotated[
        str | None, typer.Option("--bucket", metavar="NAME", help="[default: the cell's configuration]")
    ] = None,
) -> None:
    """Copy the cell's ledger to a bucket, as it grows; a process of its own beside the agent."""
    from byoc import log  # noqa: PLC0415 - only servers log
    from byoc.dataplane.agent import LEDGER  # noqa: PLC0415
    from byoc.dataplane.bucket import Bucket  # noqa: PLC0415
    from byoc.dataplane.settings import AgentSettings  # noqa: PLC0415
    from byoc.dataplane.shipping import EVERY_SECONDS, Shipper  # noqa: PLC0415

    log.configure(_level(ctx), component="ledger-shipper")
    settings = AgentSettings.load(data.absolute())
    name = bucket or settings.ledger_bucket
    if not name:
        raise UsageError("the configuration names no bucket for the ledger", hint="--bucket NAME")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    copies = Bucket(name, of(ctx).environment.get("AWS_REGION"))
    Shipper(settings.cell / LEDGER, copies, of(ctx).clock, lambda: not stop.wait(EVERY_SECONDS)).run()


def _level(ctx: typer.Context) -> str:
    given = of(ctx)
    level = "debug" if given.verbose else given.environment.get(LOG_LEVEL.name) or LOG_LEVEL.default
    if level.lower() not in _LEVELS:
        raise UsageError(f"{LOG_LEVEL.name}: `{level[:64]}` is no level", hint=", ".join(_LEVELS))
    return level.lower()
