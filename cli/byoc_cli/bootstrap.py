"""``byoc bootstrap``: from an empty AWS account to a connected cell, in one command that may be repeated."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.errors import UsageError
from byoc_cli.bootstrapping import Run
from byoc_cli.chosen_engine import EngineFile, cell_settings, engine_file
from byoc_cli.context import Context, of
from byoc_cli.engines import repeatable
from byoc_cli.files import text_of
from byoc_cli.plan import settings_in
from byoc_cli.tree import ACCOUNT, verb

if TYPE_CHECKING:
    from byoc.bootstrap.flow import Asked

Name = Annotated[str | None, typer.Option("--name", help="Name of the cell. [env: BYOC_CELL]")]
Region = Annotated[str | None, typer.Option("--region", help="Where, such as eu-west-1. [env: AWS_REGION]")]
Gateway = Annotated[
    str | None,
    typer.Option("--gateway", metavar="URL", help="Where the cell dials: wss://… [env: BYOC_GATEWAY]"),
]
GatewayCa = Annotated[
    Path | None, typer.Option("--gateway-ca", metavar="FILE", help="Authority of the gateway (PEM).")
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings (TOML or JSON), as in Pulumi.yaml."),
]
Cidr = Annotated[str | None, typer.Option("--cidr", help="Range of a new VPC, /16 to /21.")]
Nat = Annotated[
    str | None, typer.Option("--nat", metavar="none|single|per-zone", help="Way out of a new VPC.")
]
Vpc = Annotated[str | None, typer.Option("--vpc", metavar="ID", help="Use this VPC of yours.")]
Subnet = Annotated[
    list[str] | None, typer.Option("--subnet", metavar="ID", help="Private subnet of it; repeat.")
]
Kubernetes = Annotated[
    str | None, typer.Option("--kubernetes", metavar="VERSION", help="Minor version, such as 1.34.")
]
AgentImage = Annotated[
    str | None, typer.Option("--agent-image", metavar="REF", help="repository@sha256:… of the client.")
]
ImageRegistry = Annotated[
    str | None, typer.Option("--image-registry", help="Registry that mirrors the images.")
]
Policy = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="Your policy of the cell (TOML).")
]
AwsProfile = Annotated[
    str | None, typer.Option("--aws-profile", help="AWS profile to use. [env: AWS_PROFILE]")
]
ValidateOnly = Annotated[bool, typer.Option("--validate-only", help="Check the account; stop.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be made; stop.")]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="With --dry-run: 10 = changes.")]
InstallPulumi = Annotated[
    bool, typer.Option("--install-pulumi", help="Get the tested Pulumi into byoc's own folder.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Go on without asking.")]
WaitTimeout = Annotated[
    float, typer.Option("--wait-timeout", metavar="SECONDS", help="For the cell to connect.")
]


def add(app: typer.Typer) -> None:
    """Add the command to the program."""
    verb(app, "bootstrap", panel=ACCOUNT)(bootstrap)


@repeatable()
def bootstrap(
    ctx: typer.Context,
    *,
    name: Name = None,
    region: Region = None,
    gateway: Gateway = None,
    gateway_ca: GatewayCa = None,
    config: Config = None,
    cidr: Cidr = None,
    nat: Nat = None,
    vpc: Vpc = None,
    subnet: Subnet = None,
    kubernetes: Kubernetes = None,
    agent_image: AgentImage = None,
    image_registry: ImageRegistry = None,
    engine: EngineFile = None,
    policy: Policy = None,
    aws_profile: AwsProfile = None,
    validate_only: ValidateOnly = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
    install_pulumi: InstallPulumi = False,
    yes: Yes = False,
    wait_timeout: WaitTimeout = 3600.0,
) -> None:
    """Make a cell in your AWS account and connect it; run again, it goes on where it stopped."""
    given = of(ctx)
    given.hush()
    if exit_code and not dry_run:
        raise UsageError("--exit-code goes with --dry-run")
    settings = _settings(
        given,
        settings_in(config) if config else {},
        {"name": name, "region": region, "gatewayUrl": gateway, "gatewayCa": text_of(gateway_ca)}
        | {"cidr": cidr, "nat": nat, "kubernetes": kubernetes, "imageRegistry": image_registry}
        | {"policy": policy_text(policy), **image_of(agent_image)}
        | cell_settings(engine_file(given, engine)),
    )
    run = Run(given, _asked(settings, vpc, subnet), aws_profile, install=install_pulumi)
    if validate_only or dry_run:
        raise typer.Exit(run.look(only=validate_only, exit_code=exit_code))
    run.make(yes=yes, patience=wait_timeout)


def _settings(given: Context, file: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings: a flag beats the environment, it beats the file; what is missing is asked for."""
    environment = {
        "name": given.environment.get("BYOC_CELL"),
        "region": given.environment.get("AWS_REGION") or given.environment.get("AWS_DEFAULT_REGION"),
        "gatewayUrl": given.environment.get("BYOC_GATEWAY"),
    }
    said = {key: value for key, value in flags.items() if value is not None}
    settings = {**file, **{key: value for key, value in environment.items() if value}, **said}
    ours = settings.get("engine") == "singlestore"
    for key, flag, question in (*_QUESTIONS, *(_OF_SINGLESTORE if ours else ())):
        if not settings.get(key):
            settings[key] = _ask(given, flag, question)
    return settings


_QUESTIONS: Final = (
    ("name", "--name", "the name of the cell"),
    ("region", "--region", "the AWS region, such as eu-west-1"),
    ("gatewayUrl", "--gateway", "the address of the gateway, wss://…"),
)
_OF_SINGLESTORE: Final = (
    ("engineImage", "--engine FILE", "the image of SingleStore's nodes, REPOSITORY@sha256:…"),
    ("operatorImage", "--engine FILE", "the image of SingleStore's operator, REPOSITORY@sha256:…"),
)


def _ask(given: Context, flag: str, question: str) -> str:
    if not given.interactive:
        raise UsageError(f"{question} is not given", hint=f"add {flag}")
    given.stderr.write(f"{question[0].upper()}{question[1:]}: ")
    given.stderr.flush()
    answer = given.stdin.readline().strip()
    if not answer:
        raise UsageError(f"{question} is not given", hint=f"add {flag}")
    return answer


def policy_text(path: Path | None) -> str | None:
    """Return the text of a policy, which is TOML."""
    text = text_of(path)
    if text is not None:
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{path} is no TOML: {error}", hint="byoc policy check FILE") from error
    return text


def image_of(reference: str | None) -> dict[str, str]:
    """Return the settings that name the agent's image."""
    if reference is None:
        return {}
    repository, at, digest = reference.partition("@")
    if not at:
        raise UsageError(f"image `{reference}` has no digest", hint="name it as repository@sha256:…")
    return {"agentRepository": repository, "agentDigest": digest}


def _asked(settings: Mapping[str, Any], vpc: str | None, subnets: list[str] | None) -> "Asked":
    from byoc.bootstrap.flow import Asked  # noqa: PLC0415 - loads boto3

    if subnets and not vpc:
        raise UsageError("--subnet goes with --vpc", hint="name the VPC that the subnets are in")
    if vpc and not subnets:
        raise UsageError("--vpc goes with --subnet", hint="name one private subnet in each of three zones")
    return Asked(settings=settings, vpc_id=vpc or "", subnet_ids=tuple(subnets or ()))
