"""``byoc cell plan``: a whole AWS cell before it exists, without credentials, engine or network."""

import gc
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.errors import UsageError
from byoc_cli.context import of
from byoc_cli.output import Format, Output

if TYPE_CHECKING:
    from byoc.cell.plan import Plan

_SIZES: Final = 6
"""How many sizes the table shows; JSON has all."""


Text = str | None
Name = Annotated[Text, typer.Option("--name", help="Name of the cell.")]
Region = Annotated[Text, typer.Option("--region", help="Where, such as eu-west-1.")]
Zones = Annotated[
    list[str] | None,
    typer.Option("--zone", metavar="ZONE", help="Availability zone; repeat for three or more."),
]
Range = Annotated[Text, typer.Option("--cidr", help="Range of the VPC, /16 to /21.")]
Way = Annotated[
    Text, typer.Option("--nat", metavar="none|single|per-zone", help="Way out of private subnets.")
]
Gateway = Annotated[Text, typer.Option("--gateway", metavar="URL", help="Where the cell dials: wss://…")]
Service = Annotated[Text, typer.Option("--endpoint-service", help="PrivateLink service of the gateway.")]
Proxy = Annotated[
    Text, typer.Option("--egress-proxy", metavar="URL", help="Proxy for all that leaves the cell.")
]
Facts = Annotated[
    Path | None,
    typer.Option("--facts", metavar="FILE", help="What a preflight saw (JSON), with an existing VPC."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings (TOML or JSON), as in Pulumi.yaml."),
]


def plan(
    ctx: typer.Context,
    name: Name = None,
    region: Region = None,
    zone: Zones = None,
    cidr: Range = None,
    nat: Way = None,
    gateway: Gateway = None,
    endpoint_service: Service = None,
    egress_proxy: Proxy = None,
    facts: Facts = None,
    config: Config = None,
) -> None:
    """Show what a cell in AWS is made of, may do, opens and costs; asks nobody and changes nothing.

    What is not given is assumed and named so. Options come before --config, it before --facts.
    """
    given = of(ctx)
    flags = {
        "name": name,
        "region": region,
        "zones": zone or None,
        "cidr": cidr,
        "nat": nat,
        "gatewayUrl": gateway,
        "gatewayEndpointService": endpoint_service,
        "egressProxy": egress_proxy,
    }
    settings = {
        **(settings_in(facts) if facts else {}),
        **(settings_in(config) if config else {}),
        **{key: value for key, value in flags.items() if value is not None},
    }
    made, assumed = _made(settings)
    _show(given.out, made, assumed)


def _made(settings: Mapping[str, Any]) -> "tuple[Plan, tuple[str, ...]]":
    # Loading the provider's library makes a million objects that stay: looking for garbage costs a tenth.
    gc.disable()
    try:
        from byoc.cell.assume import complete  # noqa: PLC0415 - only this command reads the table
        from byoc.cell.plan import make_plan  # noqa: PLC0415 - loads Pulumi

        args, assumed = complete(settings)
        return make_plan(args), assumed
    finally:
        gc.enable()


def settings_in(path: Path) -> dict[str, Any]:
    """Return the settings of a file, TOML or JSON.

    Raises:
        UsageError: it cannot be read as a table.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(
            f"{path} is neither TOML nor JSON: {error}", hint="name it .toml or .json"
        ) from error
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{path} is no table of settings", hint="write settings as in Pulumi.yaml, by their names"
        )
    return dict(value)


def _show(out: Output, made: "Plan", assumed: tuple[str, ...]) -> None:
    if out.format is Format.JSON:
        out.json(made.to_mapping(assumed=assumed))
        return
    from byoc.cell.plan import physical_name  # noqa: PLC0415 - loaded already

    if out.format is Format.NAME:
        out.text("\n".join(each.urn for each in made.resources))
        return
    facts = made.args.facts
    out.text(f"cell {made.args.name} in {facts.region}, account {facts.account}\n\n")
    out.grid(("PART", "RESOURCES"), [*made.counts.items(), ("all", len(made.resources))])
    out.text("\n")
    kept = [(each.name, physical_name(each)) for each in made.resources if each.protect and not each.within]
    out.grid(("PROTECTED", "NAME"), kept)
    out.text("\n")
    out.grid(("POLICY OF", "USE"), sorted({(one.on, one.use) for one in made.policies}))
    out.text("\n")
    out.grid(("OPENED", "PORT", "TO"), [(one.group, one.ports, one.source) for one in made.open_ports])
    out.text("\n")
    out.grid(("PUBLIC", "NAME", "WHY"), [(one.what, one.name, one.why) for one in made.public_addresses])
    out.text("\n")
    _costs(out, made)
    if assumed:
        out.note(f"\nassumed, because nobody said: {', '.join(assumed)}")
    out.note("checked against emulated AWS; with -o json every resource with its inputs and every policy")


def _costs(out: Output, made: "Plan") -> None:
    said = made.cost.to_mapping()
    rows = [(one.item, f"{one.low}", f"{one.high}" if one.why else "") for one in made.cost.fixed]
    low, high = made.cost.total
    out.grid(("USD A MONTH", "FROM", "TO"), [*rows, ("no workspace in it", low, high)])
    out.text("\n")
    sizes = [
        (one.size, *(f"{low} to {high}" for low, high in (one.running, one.suspended)))
        for one in made.cost.sizes[:_SIZES]
    ]
    out.grid(("WORKSPACE", "RUNNING, USD A MONTH", "SUSPENDED"), sizes)
    out.note(f"\nlist prices of {said['pricesOf']}, {said['asOf']}: {said['note']}")
    for each in said["unpriced"]:
        out.note(f"no price is known for {each}: the sums are without it")
