"""The shape that all commands share: global options, help panels, hidden aliases.

Typer parses; this module adds that global options may stand before and after a command, that
help is plain text under the headings of the command line's plan, and that ``delete`` is
``terminate``.
"""

import copy
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from byoc_cli.coerce import lighten
from byoc_cli.context import of
from byoc_cli.output import Format

F = TypeVar("F", bound=Callable[..., Any])

MACHINE: Final = "This machine"
SESSION: Final = "Session"
WORKSPACES: Final = "Workspaces"
ORGANIZATION: Final = "Organization"
ACCOUNT: Final = "Your account"
INSIDE: Final = "Inside the cell"
OPERATE: Final = "Operate"
PANELS: Final = (MACHINE, SESSION, WORKSPACES, ORGANIZATION, ACCOUNT, INSIDE, OPERATE)
_ELSEWHERE: Final = (
    "Global options (-o, -p, -q, -v, --no-color, --no-input) may stand here too: `byoc --help`."
)


def _keep(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    if value and not context.resilient_parsing:
        of(context).given[parameter.name or ""] = value
    return value


def _global(*names: str, text: str) -> Any:
    return typer.Option(*names, help=text, callback=_keep, expose_value=False, is_eager=True)


def _declare(
    output: Annotated[
        Format | None, _global("--output", "-o", text="How to print data. [env: BYOC_OUTPUT]")
    ] = None,
    profile: Annotated[
        str | None, _global("--profile", "-p", text="Which profile to use. [env: BYOC_PROFILE]")
    ] = None,
    no_color: Annotated[bool, _global("--no-color", text="Print without colour. [env: NO_COLOR]")] = False,
    quiet: Annotated[bool, _global("--quiet", "-q", text="Print data and errors only.")] = False,
    verbose: Annotated[bool, _global("--verbose", "-v", text="Print tracebacks.")] = False,
    no_input: Annotated[bool, _global("--no-input", text="Never ask; fail instead.")] = False,
) -> None:
    """Exist to be read by typer."""
    del output, profile, no_color, quiet, verbose, no_input


def _options() -> list[Any]:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(_declare)
    return list(typer.main.get_command(app).params)


_SHOWN: Final = _options()


def _hidden() -> list[Any]:
    options = [copy.copy(option) for option in _SHOWN]
    for option in options:
        option.hidden = True
    return options


_HIDDEN: Final = _hidden()


class Command(TyperCommand):
    """A command: takes the global options too, without listing them again."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params = [*self.params, *_HIDDEN]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, the option ``--help`` included, with readers of our own."""
        return lighten(super().get_params(ctx))

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first sentence, or so much of it as makes sense within ``limit``."""
        sentence = " ".join((self.help or "").split("\n\n")[0].split()).partition(". ")[0].rstrip(".")
        ends = (len(sentence), sentence.find("; "), sentence.find(": "), sentence.rfind(", "))
        fitting = [end for end in ends if 0 < end < limit]
        return f"{sentence[: max(fitting)]}." if fitting else super().get_short_help_str(limit)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Say where the global options are explained."""
        del ctx
        formatter.write_paragraph()
        formatter.write_text(_ELSEWHERE)


class Noun(TyperGroup):
    """A noun with its verbs; ``delete`` stands for ``terminate``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params = [*self.params, *_HIDDEN]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, the option ``--help`` included, with readers of our own."""
        return lighten(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb by its name, or by its hidden alias."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name == "delete":
            return super().get_command(ctx, "terminate")
        return found


class Root(Noun):
    """The program: shows the global options, and its commands under their headings."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params = [option for option in self.params if option not in _HIDDEN] + _SHOWN

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per heading."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(len(name) for name in names)
        for panel in PANELS:
            rows = [
                (name, command.get_short_help_str(limit))
                for name in names
                if (command := self.get_command(ctx, name)) and not command.hidden
                if getattr(command, "rich_help_panel", None) == panel
            ]
            with formatter.section(panel):
                formatter.write_dl(rows)


def noun(text: str) -> typer.Typer:
    """Return an empty noun; ``text`` says what it is about."""
    return typer.Typer(cls=Noun, help=text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def verb(app: typer.Typer, name: str, *, panel: str = "") -> Callable[[F], F]:
    """Add a command called ``name``; its docstring is its help."""
    return app.command(name, cls=Command, rich_help_panel=panel or None)
