"""``byoc cell install`` and ``byoc cell destroy --context``: a cell in a cluster that is there already."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.errors import UsageError
from byoc_cli.bootstrap import AgentImage, Gateway, GatewayCa, Policy, image_of, policy_text
from byoc_cli.chosen_engine import EngineFile, engine_file, engine_settings
from byoc_cli.clusters import opener
from byoc_cli.context import Context, of
from byoc_cli.engines import repeatable
from byoc_cli.files import text_of
from byoc_cli.output import Format

if TYPE_CHECKING:
    from byoc.bootstrap.anywhere import Removed, Seen
    from byoc.cell.args import Image
    from byoc.cell.installer.api import Api
    from byoc.cell.installer.package import Package

SECONDS: Final = 120.0
_PROVIDERS: Final = ("AWS", "Azure", "GCP")

Name = Annotated[str, typer.Argument(metavar="CELL", help="Name of the cell.")]
KubeContext = Annotated[
    str, typer.Option("--context", metavar="NAME", help="Context of your kubeconfig. [env: KUBECONFIG]")
]
EgressProxy = Annotated[
    str, typer.Option("--egress-proxy", metavar="URL", help="http://host:port for the way out.")
]
StorageClass = Annotated[
    str, typer.Option("--storage-class", metavar="NAME", help="Of the volumes; else the default one.")
]
Provider = Annotated[str, typer.Option("--provider", help="AWS, Azure or GCP.")]
RegionName = Annotated[
    str | None, typer.Option("--region-name", help="Short name of its region; else what machines say.")
]
WaitTimeout = Annotated[
    float, typer.Option("--wait-timeout", metavar="SECONDS", help="For the cell to connect.")
]


@repeatable()
def install(
    ctx: typer.Context,
    name: Name,
    *,
    context: KubeContext,
    gateway: Gateway = None,
    gateway_ca: GatewayCa = None,
    agent_image: AgentImage = None,
    policy: Policy = None,
    egress_proxy: EgressProxy = "",
    storage_class: StorageClass = "",
    engine: EngineFile = None,
    provider: Provider = "AWS",
    region_name: RegionName = None,
    wait_timeout: WaitTimeout = 900.0,
) -> None:
    """Make a cell of a Kubernetes cluster that is there already, and connect it; may be run again."""
    given = of(ctx)
    given.hush()
    if provider not in _PROVIDERS:
        raise UsageError(f"--provider: `{provider}` is none of {', '.join(_PROVIDERS)}")
    url = gateway or given.environment.get("BYOC_GATEWAY")
    if not url:
        raise UsageError("the address of the gateway is not given", hint="add --gateway wss://…")
    runtime = engine_settings(engine_file(given, engine))
    open_api = opener(given, context, SECONDS)
    connection = given.connection()
    given.client(connection).whoami()
    seen = _look(open_api, name, storage_class)
    made = _package(
        name,
        seen,
        gateway=(url, text_of(gateway_ca) or ""),
        agent=_agent(agent_image),
        policy=policy_text(policy) or "",
        egress_proxy=egress_proxy,
        runtime=runtime,
    )
    region = region_name or seen.region or name
    cell = asyncio.run(_bring_in(given, made, open_api, (connection.url, connection.token), provider, region,
                                 wait_timeout))  # fmt: skip
    given.out.done(f"cell {name} is connected", {"cellID": cell, "name": name, "bundle": made.digest}, cell)
    given.out.note(f"\nNext: {given.program} group create demo --region {name}")


def take_out(given: Context, name: str, context: str, *, keep_data: bool, force: bool) -> "Removed":
    """Take a cell out of the cluster of ``context``; return what is there of it."""
    from byoc.bootstrap.anywhere import remove  # noqa: PLC0415 - for this kind of cell only

    return remove(opener(given, context, SECONDS), cell=name, keep_data=keep_data, force=force)


def show_left(given: Context, name: str, removed: "Removed", context: str) -> None:
    """Print the end of a removal."""
    if given.format is Format.JSON:
        said = {"cell": name, "left": _rows(removed.left, "leftover")}
        given.out.json(said | ({"kept": _rows(removed.kept, "kept")} if removed.kept else {}))
        return
    if removed.left:
        given.out.grid(("LEFT IN THE CLUSTER",), [(each,) for each in removed.left])
    elif not removed.kept:
        given.out.text(f"cell {name} is gone; nothing of it is left in the cluster")
    if removed.kept:
        given.out.grid(("KEPT IN THE CLUSTER",), [(each,) for each in removed.kept])
        again = f"{given.program} cell install {name} --context {context} …"
        given.out.note(f"\nto go on with the same keys, workspaces and data: {again}")
        ends = f"{given.program} cell destroy {name} --context {context}"
        given.out.note(f"to end them too: {ends}")


def _rows(titles: list[str], fate: str) -> list[dict[str, str]]:
    return [{"kind": each.partition(" ")[0], "id": each.partition(" ")[2], "fate": fate} for each in titles]


def _look(open_api: Callable[[], "Api"], name: str, storage_class: str) -> "Seen":
    from contextlib import closing  # noqa: PLC0415

    from byoc.bootstrap.anywhere import look  # noqa: PLC0415

    with closing(open_api()) as api:
        return look(api, cell=name, storage_class=storage_class)


def _agent(reference: str | None) -> "Image":
    from byoc.cell.args import Image  # noqa: PLC0415
    from byoc.cell.images import released_agent  # noqa: PLC0415

    if reference is not None:
        said = image_of(reference)
        return Image(repository=said["agentRepository"], digest=said["agentDigest"])
    released = released_agent()
    if released is None:
        raise UsageError(
            "this is no release: it names no image of the agent",
            hint="build and push one (docs/release.md), then add --agent-image repository@sha256:…",
        )
    return released


def _package(
    name: str,
    seen: "Seen",
    *,
    gateway: tuple[str, str],
    agent: "Image",
    policy: str,
    egress_proxy: str,
    runtime: dict[str, Any],
) -> "Package":
    from byoc.cell.anywhere import Anywhere, bundle_anywhere  # noqa: PLC0415
    from byoc.cell.args import Gateway as Where  # noqa: PLC0415
    from byoc.cell.installer.package import Package  # noqa: PLC0415

    cell = Anywhere(
        name=name,
        gateway=Where(url=gateway[0], ca_pem=gateway[1]),
        agent=agent,
        kubernetes=seen.kubernetes,
        api=seen.api,
        storage=seen.storage,
        egress_proxy=egress_proxy,
        policy=policy,
        runtime=runtime,
    )
    return Package.of(name, bundle_anywhere(cell).text)


async def _bring_in(
    given: Context,
    package: "Package",
    open_api: Callable[[], "Api"],
    control_plane: tuple[str, str],
    provider: str,
    region: str,
    patience: float,
) -> str:
    from byoc.bootstrap.anywhere import Direct  # noqa: PLC0415
    from byoc.bootstrap.join import Joining, join  # noqa: PLC0415
    from byoc.client import AsyncClient  # noqa: PLC0415

    installer = Direct(open_api, package)
    done: dict[str, Any] = await installer.install()
    given.out.note(f"{done['objects']} objects are installed")
    joining = Joining(
        name=package.cell,
        region=region,
        timeout=patience,
        tell=given.out.note,
        provider=provider,
        again="byoc cell install",
    )
    client = AsyncClient(*control_plane, clock=given.clock)
    return await join(joining, installer, client.cells, given.clock)
