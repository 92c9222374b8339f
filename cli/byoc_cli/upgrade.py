"""``byoc cell upgrade``: a cell in AWS taken to this byoc's program and to what AWS offers now."""

from typing import Annotated

import typer

from byoc.errors import UsageError
from byoc_cli.bootstrapping import Run
from byoc_cli.context import of
from byoc_cli.engines import repeatable

Name = Annotated[str, typer.Argument(metavar="CELL", help="Name of the cell, as bootstrap was given it.")]


@repeatable()
def upgrade(
    ctx: typer.Context,
    name: Name,
    region: Annotated[str | None, typer.Option("--region", help="Where it is. [env: AWS_REGION]")] = None,
    aws_profile: Annotated[
        str | None, typer.Option("--aws-profile", help="AWS profile. [env: AWS_PROFILE]")
    ] = None,
    kubernetes: Annotated[
        str | None, typer.Option("--kubernetes", metavar="VERSION", help="The next minor version.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Go on without asking.")] = False,
    wait_timeout: Annotated[
        float, typer.Option("--wait-timeout", metavar="SECONDS", help="For the client to be ready again.")
    ] = 3600.0,
) -> None:
    """Show what a newer program would change and may newly do, then change it."""
    from byoc.bootstrap.flow import Asked  # noqa: PLC0415 - loads boto3

    given = of(ctx)
    given.hush()
    where = region or given.environment.get("AWS_REGION") or given.environment.get("AWS_DEFAULT_REGION")
    if not where:
        raise UsageError("the AWS region is not given", hint="add --region")
    settings = {"name": name, "region": where, **({"kubernetes": kubernetes} if kubernetes else {})}
    Run(given, Asked(settings=settings, fresh=True), aws_profile, install=False).upgrade(
        yes=yes, dry_run=dry_run, patience=wait_timeout
    )
