"""Where a command inside the cell acts, and as whom. None of these passes the control plane.

``--dir`` is a cell whose papers are files; ``--context`` one in a cluster that this machine's kubeconfig
reaches; ``--cell`` one in AWS, through its control function, with the caller's own AWS credentials.
"""

import getpass
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from byoc.errors import UsageError
from byoc.model.papers import Papers
from byoc_cli import machine
from byoc_cli.context import Context

Directory = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="The cell's folder. [default: the local instance's cell]"),
]


_AT_ONCE: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Where:
    """Which cell is meant."""

    directory: Path | None = None


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


def inside(given: Context, where: Where) -> Inside:
    """Return the way into the cell that is meant.

    Raises:
        UsageError: two ways are named at once, or none and two instances run.
    """
    return _folder(given, where.directory)


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
