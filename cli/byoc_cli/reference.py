"""The page ``docs/cli.md``, from the tree of commands; ``scripts/docs`` writes it.

A test compares the page with what this module returns, so that the page is always what the
program does.
"""

import inspect
import io
from collections.abc import Iterator
from typing import Any, Final

import typer

from byoc import errors
from byoc_cli.context import Context
from byoc_cli.main import build
from byoc_cli.tree import PANELS

WIDTH: Final = 80
EXIT_CODES: Final = {
    0: "done",
    1: "failed: a workspace is FAILED, a ledger does not verify, something unexpected",
    2: "usage: an option or value is wrong, or a question could not be asked",
    3: "not authenticated: no key, or one that is unknown, revoked or expired",
    4: "not found",
    5: "conflict or illegal state: a name taken, a workspace PENDING, a data folder in use",
    6: "unreachable: the control plane, or the SQL server",
    7: "forbidden, or refused by the cell's policy; the message names the permission or the rule",
    8: "still pending: the wait is over or the cell is away; nothing failed, the intent is recorded",
    9: "a precondition is missing: port taken, no engine, Python too old, a failed check",
    10: "changes are pending (kept for commands that compare)",
    130: "cancelled; the message says what goes on",
}
_INTRODUCTION: Final = """# The command line

Made by `scripts/docs`; a test keeps it current.

Data goes to stdout, everything else to stderr. `-o table` (the default), `-o json` and `-o name` are
three forms of the same data: a table, JSON (a list is an array; with `--follow` one object a line), one
id a line. Global options may stand before and after a command. `byoc --install-completion` sets up
completion for the shell in use. `delete` is a hidden alias of `terminate`.

Which control plane a command talks to: `--profile`, else `BYOC_URL` with `BYOC_TOKEN`, else
`BYOC_PROFILE`, else the current profile, else the only instance that runs on this machine. Profiles and
keys are in `$XDG_CONFIG_HOME/byoc/config.json`, saved SQL passwords in `credentials.json` beside it, both
0600.

| variable | is |
|---|---|
| `BYOC_URL`, `BYOC_TOKEN` | address of a control plane, and a key for it |
| `BYOC_PROFILE` | like `--profile` |
| `BYOC_OUTPUT` | like `--output` |
| `BYOC_SQL_PASSWORD` | password for `workspace connect` |
| `NO_COLOR` | any value: like `--no-color` |
"""


def render() -> str:
    """Return the page."""
    parts = [_INTRODUCTION, "## Exit codes\n", _exit_codes(), "## Error codes\n", _error_codes()]
    root = typer.main.get_command(build())
    parts += ["## Global options\n", _help(root, "byoc", None)]
    for panel in PANELS:
        parts.append(f"## {panel}\n")
        parts += list(_panel(root, panel))
    return "\n".join(parts).rstrip() + "\n"


def commands() -> list[str]:
    """Return the words of every command that does something."""
    root = typer.main.get_command(build())
    return [words for panel in PANELS for words, _ in _walk(root, panel)]


def summaries(panel: str) -> list[tuple[str, str]]:
    """Return the words of each command of a panel with the first sentence of its help."""
    root = typer.main.get_command(build())
    return [(words, _summary(command.help or "")) for words, command in _walk(root, panel)]


def _summary(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())


def _exit_codes() -> str:
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    return f"| code | means |\n|---|---|\n{rows}"


def error_kinds() -> list[type[errors.ByocError]]:
    """Return every error a user can meet, by exit code."""
    found = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.ByocError) and kind is not errors.ByocError
    ]
    return sorted(found, key=lambda kind: (kind.exit_code, kind.code))


def _error_codes() -> str:
    rows = "".join(
        f"| `{kind.code}` | {kind.exit_code} | {kind.http_status} | {_first_line(kind)} |\n"
        for kind in error_kinds()
    )
    return (
        "With `-o json` an error is one line on stderr:\n"
        '`{"error":{"code":…,"message":…,"hint":…,"requestID":…}}`.\n\n'
        f"| code | exit | HTTP | means |\n|---|---|---|---|\n{rows}"
    )


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]


def _panel(root: Any, panel: str) -> Iterator[str]:
    for words, command in _walk(root, panel):
        yield f"### byoc {words}\n"
        yield _help(command, f"byoc {words}", root)


def _walk(root: Any, panel: str) -> Iterator[tuple[str, Any]]:
    for name, command in root.commands.items():
        if command.hidden or command.rich_help_panel != panel:
            continue
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command
        else:
            yield from ((f"{name} {verb}", each) for verb, each in below.items() if not each.hidden)


def _help(command: Any, path: str, parent: Any) -> str:
    nowhere = Context({}, io.StringIO(), io.StringIO(), io.StringIO())
    *above, name = path.split()
    settings = (parent or command).context_settings
    outer = parent and typer.Context(parent, info_name=" ".join(above), obj=nowhere, **settings)
    own = {} if parent else settings
    context = typer.Context(command, info_name=name, parent=outer, obj=nowhere, terminal_width=WIDTH, **own)
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"```\n{text}\n```\n"
