"""The program: builds the tree of commands, runs one, and turns what went wrong into words.

The one ``try`` of the command line is here. Verbs raise; this prints the message and the
hint, or the JSON envelope, and chooses the exit code.
"""

import os
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from byoc import __version__
from byoc.errors import ByocError, Cancelled, Failed, UsageError
from byoc_cli import context, operate, tree
from byoc_cli.context import Context
from byoc_cli.output import Format

_ISSUES: Final = "this is a fault of byoc: run it again with -v and report what it prints"
_BETTER: Final = (
    (r"'([^']*)'", r"`\1`"),
    (r"\. Did you mean (`[^`]*`)\?", r"; did you mean \1?"),
    (r" \(Possible options: (\S+)\)", r"; did you mean `\1`?"),
    (r"No such option: (\S+?)(;|$)", r"no such option `\1`\2"),
    (r"Got unexpected extra arguments? \((.*)\)", r"`\1` is more than this command takes"),
    (r"Got unexpected extra argument\(s\) \((.*)\)", r"`\1` is more than this command takes"),
)


def _version(ctx: typer.Context, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        context.of(ctx).out.text(f"byoc {__version__}")
        raise typer.Exit


def build(first: str = "") -> typer.Typer:
    """Return the tree of all commands, in the order of the help.

    ``first``: the first word that was typed. Where it names a server, the tree has no other branch: a server
    lives long, and the rest of the command line would be 2 MB of it.
    """
    app = typer.Typer(
        cls=tree.Root,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def byoc(
        version: Annotated[
            bool,
            typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
        ] = False,
    ) -> None:
        """Managed database workspaces whose data never leaves your own account."""
        del version

    if first not in operate.SERVERS:
        _add_what_people_use(app)
    operate.add(app)
    return app


def _add_what_people_use(app: typer.Typer) -> None:
    from byoc_cli import (  # noqa: PLC0415 - no server needs them
        access,
        audit,
        bootstrap,
        breakglass,
        cell,
        engine,
        group,
        ledger,
        machine,
        policy,
        session,
        workspace,
    )

    for noun in (
        machine,
        engine,
        session,
        group,
        workspace,
        audit,
        bootstrap,
        cell,
        policy,
        access,
        breakglass,
        ledger,
    ):
        noun.add(app)


def program(argument: str, environment: dict[str, str]) -> str:
    """Return how to call this program again, so that what is printed works as pasted."""
    called = Path(argument)
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m byoc"
    absolute = Path(os.path.abspath(called))  # noqa: PTH100 - a link to a program keeps its name
    found = shutil.which("byoc", path=environment.get("PATH"))
    if found and Path(found).exists() and Path(found).samefile(absolute if absolute.exists() else found):
        return "byoc"
    try:
        return shlex.quote(str(absolute.relative_to(Path.cwd())))
    except (ValueError, OSError):
        return shlex.quote(str(absolute))


def main(arguments: Sequence[str], given: Context) -> int:
    """Run one command; return the exit code. Never raises."""
    try:
        result = build(next(iter(arguments), ""))(
            list(arguments), prog_name="byoc", standalone_mode=False, obj=given
        )
        given.out.flush()
    except BrokenPipeError:
        return _nobody_reads()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - this is the end of the program
        return _fail(error, arguments, given)
    # Typer turns an interrupt into this result.
    if result == Cancelled.exit_code:
        return _fail(Cancelled("interrupted"), arguments, given)
    return result if isinstance(result, int) else 0


def run() -> None:
    """Run the command that this process was started with."""
    environment = dict(os.environ)
    given = context.from_process(environment, program(sys.argv[0], environment))
    sys.exit(main(sys.argv[1:], given))


def _fail(error: BaseException, arguments: Sequence[str], given: Context) -> int:
    known = _known(error)
    try:
        out = given.out
        if _asked_for_json(arguments):
            out.format = Format.JSON
    except UsageError:
        given.environment = {**given.environment, "BYOC_OUTPUT": Format.TABLE}
        out = given.out
    try:
        if type(error).__name__ == "NoArgsIsHelpError" and out.format is not Format.JSON:
            given.stderr.write(f"{error.ctx.get_help()}\n")  # type: ignore[attr-defined]
            return known.exit_code
        if given.verbose:
            given.stderr.write("".join(traceback.format_exception(error)))
        out.error(known)
    except BrokenPipeError:
        return _nobody_reads()
    return known.exit_code


def _known(error: BaseException) -> ByocError:
    if isinstance(error, ByocError):
        return error
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Cancelled("interrupted")
    if hasattr(error, "format_message"):
        return _usage(error)
    if isinstance(error, OSError) and error.filename:
        return Failed(f"{error.filename}: {error.strerror}")
    return Failed(f"unexpected {type(error).__name__}: {error}"[:500], hint=_ISSUES)


def _usage(error: Any) -> ByocError:
    """Say in our own tree what typer found wrong with the arguments."""
    command = getattr(getattr(error, "ctx", None), "command_path", "byoc")
    if type(error).__name__ == "NoArgsIsHelpError":
        return UsageError(f"`{command}` needs a command", hint=f"see `{command} --help`")
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message.replace("`", "'")
    for pattern, better in _BETTER:
        message = re.sub(pattern, better, message)
    return UsageError(message[:1].lower() + message[1:], hint=f"see `{command} --help`")


def _asked_for_json(arguments: Sequence[str]) -> bool:
    """Whether JSON was asked for, also where the arguments could not be parsed."""
    asked = {"-o": "json", "--output": "json"}
    return any(asked.get(option) == value for option, value in pairwise(arguments)) or any(
        each in {"--output=json", "-ojson"} for each in arguments
    )


def _nobody_reads() -> int:
    # The interpreter flushes once more at its end and would complain.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):
            continue
    return 1
