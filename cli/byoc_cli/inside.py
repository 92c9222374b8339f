"""Where a command inside the cell acts, and as whom. None of these passes the control plane.

``--dir`` is a cell whose papers are files; ``--context`` one in a cluster that the caller's kubeconfig
reaches; ``--cell`` one in AWS, through its control function and with the caller's own AWS credentials.
"""

import functools
import getpass
import inspect
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from byoc.errors import UsageError
from byoc.model.papers import Papers
from byoc_cli import machine
from byoc_cli.clusters import opener
from byoc_cli.context import Context
from byoc_cli.standing import AwsProfile, Region

Directory = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="The cell's folder. [default: the local instance's cell]"),
]


KubeContext = Annotated[
    str | None, typer.Option("--context", metavar="CTX", help="A cell in a cluster, by your kubeconfig.")
]
InAws = Annotated[
    str | None, typer.Option("--cell", metavar="NAME", help="A cell in AWS, by its control function.")
]
T = TypeVar("T")
_POLL: Final = 0.02
_SLOWEST_POLL: Final = 1.0
_AT_ONCE: Final = timedelta(seconds=5)
_CARRIED: Final = timedelta(seconds=30)
"""The agent looks at the objects every few seconds."""
_PATIENCE: Final = 30.0
"""Seconds for one call of a cluster's API."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which cell is meant; at most one of the three ways.

    Attributes:
        context: a cell in the cluster of a context of the caller's kubeconfig.
        cell: a cell in AWS, in ``region``, with the credentials of ``aws_profile``.
    """

    directory: Path | None = None
    context: str | None = None
    cell: str | None = None
    region: str | None = None
    aws_profile: str | None = None


def at_a_cell(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which cell is meant; it takes them together, as ``where``."""
    options = inspect.signature(_options, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def with_options(*args: Any, **given: Any) -> None:
        command(*args, where=Where(**{name: given.pop(name) for name in options}), **given)

    parameters = [each for name, each in own.parameters.items() if name != "where"]
    both = [*parameters, *options.values()]
    with_options.__signature__ = own.replace(parameters=both)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in both}
    return with_options


def _options(
    directory: Directory = None,
    context: KubeContext = None,
    cell: InAws = None,
    region: Region = None,
    aws_profile: AwsProfile = None,
) -> None:
    """See ``Where``."""


@dataclass(frozen=True, slots=True)
class Inside:
    """A cell from within.

    Attributes:
        who: the caller, as this machine or AWS knows them; it goes into the cell's record.
        patience: how long the cell may take to carry out what was laid down.
        alive: tells whether an agent works there; None where only its own word says so.
    """

    papers: Papers
    who: str
    patience: timedelta
    alive: Callable[[], bool | None] = lambda: None


def await_word(given: Context, way: Inside, look: Callable[[], T], enough: Callable[[T], bool]) -> T:
    """Return what ``look`` finds once it is ``enough``, or when the cell has been waited for long enough."""
    pause, waited = _POLL, 0.0
    while not enough(found := look()) and waited < way.patience.total_seconds():
        given.sleep(pause)
        waited += pause
        pause = min(pause * 1.5, _SLOWEST_POLL)
    return found


def inside(given: Context, where: Where) -> Inside:
    """Return the way into the cell that is meant.

    Raises:
        UsageError: two ways are named at once, or none and two instances run.
    """
    named = {"--dir": where.directory, "--context": where.context, "--cell": where.cell}
    if len(both := [option for option, value in named.items() if value is not None]) > 1:
        raise UsageError(f"{' and '.join(both)} name more than one cell", hint="give one of them")
    if where.cell is not None:
        return _in_aws(given, where.cell, where)
    if where.context is not None:
        return _in_cluster(given, where.context)
    return _folder(given, where.directory)


def _in_cluster(given: Context, context: str) -> Inside:
    from byoc.cell.control.papers import ApiPapers  # noqa: PLC0415 - only for this way

    open_api = opener(given, context, _PATIENCE)
    return Inside(ApiPapers(open_api, f"context {context}"), f"{local_user()} by context {context}", _CARRIED)


def _in_aws(given: Context, cell: str, where: Where) -> Inside:
    from byoc.bootstrap.control import FunctionPapers  # noqa: PLC0415 - loads boto3

    given.hush()
    account = given.account(region_of(given, where.region), where.aws_profile)
    return Inside(FunctionPapers(account, cell), account.identity.arn, _CARRIED)


def region_of(given: Context, region: str | None) -> str:
    """Return the AWS region meant.

    Raises:
        UsageError: none is given.
    """
    found = region or given.environment.get("AWS_REGION") or given.environment.get("AWS_DEFAULT_REGION")
    if not found:
        raise UsageError("the AWS region is not given", hint="add --region")
    return found


def _folder(given: Context, directory: Path | None) -> Inside:
    from byoc.dataplane.desk import FolderPapers, is_worked_on  # noqa: PLC0415 - only these commands need it

    folder = cell_folder(given, directory)
    return Inside(FolderPapers(folder), local_user(), _AT_ONCE, lambda: is_worked_on(folder))


def cell_folder(given: Context, directory: Path | None) -> Path:
    """Return the folder of the cell meant; that of an instance stands for its cell."""
    if directory is None:
        from byoc.embedded.places import Places  # noqa: PLC0415 - only without --dir

        return Places(machine.folder(given, None, "--dir")).cell
    base = directory.expanduser().absolute()
    return base / "cell" if (base / "cell" / "config.json").is_file() else base


def local_user() -> str:
    """Return who calls, as this machine knows them.

    Raises:
        UsageError: it does not know them: the cell's record would name nobody.
    """
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError) as error:
        raise UsageError("this machine does not know who you are", hint="set USER") from error
