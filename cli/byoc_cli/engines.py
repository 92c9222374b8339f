"""The Pulumi engine of this machine, as commands need it: found or offered, with folders of byoc's own."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from byoc.errors import Cancelled, PreconditionFailed
from byoc.model.check import Check, Result
from byoc_cli.context import Context

if TYPE_CHECKING:
    from byoc.bootstrap.engine.session import Run


def engine_run(given: Context, cell: str, *, profile: str | None, install: bool) -> "Run":
    """Return what one run of the engine is given.

    Args:
        given: the command's context.
        cell: whose run it is; names its log folder.
        profile: AWS profile that the engine's plugins use too.
        install: get the tested engine where there is none, without asking.

    Raises:
        PreconditionFailed: there is no engine that fits, and none was to be got.
    """
    from byoc.bootstrap.engine import find  # noqa: PLC0415 - loads Pulumi
    from byoc.bootstrap.engine.session import Run  # noqa: PLC0415

    data = _folder(given)
    try:
        pulumi = find.find(data, given.environment)
    except PreconditionFailed:
        if not install and not _offered(given):
            raise
        given.out.note(f"getting Pulumi {find.TESTED} into {find.own(data).parent}")
        pulumi = find.install(data, given.environment)
    if pulumi.warning:
        given.out.note(f"warning: {pulumi.warning}")
    started = given.clock.now().strftime("%Y%m%dT%H%M%SZ")
    return Run(
        pulumi=pulumi,
        home=data / "home",
        folder=data / "runs" / f"{cell}-{started}-{os.getpid()}",
        hostname=hostname(),
        tell=given.out.note,
        env={"AWS_PROFILE": profile} if profile else {},
    )


def engine_check(given: Context) -> Check:
    """Return whether the engine is here; that it is not stands in the way of nothing but a run of it."""
    from byoc.bootstrap.engine import find  # noqa: PLC0415 - loads Pulumi

    try:
        pulumi = find.find(_folder(given), given.environment)
    except PreconditionFailed as error:
        return Check("engine", Result.WARN, error.message, error.hint)
    return Check(
        "engine", Result.WARN if pulumi.warning else Result.PASS, pulumi.warning or f"pulumi {pulumi.text}"
    )


def hostname() -> str:
    """Return this machine's name, as the engine writes it into locks."""
    return platform.node()


def _folder(given: Context) -> Path:
    from byoc.embedded.places import default_data  # noqa: PLC0415

    return default_data(given.environment).parent / "byoc-pulumi"


@contextmanager
def repeatable() -> Iterator[None]:
    """Let Ctrl-C outside the engine's operations, which hear it themselves, say how to go on.

    Raises:
        Cancelled: somebody pressed it.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Cancelled(
            "interrupted; what was made stays and is known",
            hint="run the same command again: it goes on where it stopped",
        ) from interrupt


def state_endpoint(given: Context) -> str:
    """Return another S3 than AWS's own for the state, as AWS's own tools are told; empty for AWS's."""
    environment = given.environment
    return environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or ""


def _offered(given: Context) -> bool:
    if not given.interactive:
        return False
    given.stderr.write("Pulumi is not installed. Get the tested version into byoc's own folder? [y/N] ")
    given.stderr.flush()
    return given.stdin.readline().strip().lower() in {"y", "yes"}
