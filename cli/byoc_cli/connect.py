"""``byoc workspace connect``: SQL, by statements, by the machine's own client, or by a prompt.

The password goes through a private file or straight into the protocol, never through argv
or the environment of another program.
"""

import contextlib
import importlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.errors import ByocError, EngineFailed, IllegalState, Unreachable, UsageError
from byoc_cli import names, passwords, trust
from byoc_cli.context import Context, of
from byoc_cli.group import is_local
from byoc_cli.output import Format, Output

if TYPE_CHECKING:
    from byoc import sql
    from byoc.client import Client, Group, Workspace

DEFAULT_PORT: Final = 3306
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_CLIENTS: Final = ("mariadb", "mysql")
_LEAVE: Final = frozenset({"exit", "quit", "\\q"})


def connect(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="WORKSPACE", help="Name or id of the workspace.")],
    group: Annotated[
        str | None, typer.Option("--group", "-g", metavar="GROUP", help="Name or id of its group.")
    ] = None,
    statements: Annotated[
        str | None, typer.Option("--exec", "-e", metavar="SQL", help="Run these statements and print.")
    ] = None,
    database: Annotated[str | None, typer.Option("--database", "-D", help="Use this database.")] = None,
    user: Annotated[str, typer.Option("--user", help="As whom.")] = "admin",
    password_file: Annotated[
        str | None,
        typer.Option("--password-file", metavar="FILE", help="Take the password from a file; - is stdin."),
    ] = None,
    ca: Annotated[
        str | None,
        typer.Option("--ca", metavar="FILE", help="Trust the authorities in FILE (PEM), not the cell's."),
    ] = None,
) -> None:
    """Open a SQL session, or run statements with --exec.

    The password comes from --password-file, BYOC_SQL_PASSWORD, the one saved by `group create`, or a
    prompt. Off this machine the engine proves its name by the cell's authority, see `byoc cell ca`.
    """
    given = of(ctx)
    connection = given.connection()
    with given.client(connection) as client:
        found = client.workspaces.get(names.workspace(client, name, group).workspace_id)
        owner = client.groups.get(found.workspace_group_id)
        host, port = _address(found)
        authority = None if host in _LOOPBACK else _authority(given, client, owner, ca)
    password = passwords.find(given, connection.owner, found.workspace_group_id, password_file)
    _say_what_it_is(given.out, owner, at_length=statements is None)
    target = Target(host, port, user, password, database, authority)
    if statements is not None:
        with target.open() as session:
            run(given.out, session, statements)
        return
    program = _client_program(given)
    if program is not None:
        hand_over(program, target)
        return
    with target.open() as session:
        _prompt(given, session)


class Target:
    """Where to connect, and as whom."""

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str | None,
        authority: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.database = database
        self.authority = authority

    @contextmanager
    def open(self) -> Iterator["sql.Session"]:
        """Open a session; it ends with the block."""
        from byoc import sql  # noqa: PLC0415 - the driver is slow to import

        tls = sql.Tls(self.authority, self.host) if self.authority else None
        with sql.connect(
            self.host, self.port, self.user, self.password, database=self.database, tls=tls
        ) as session:
            yield session


def _authority(given: Context, client: "Client", owner: "Group", file: str | None) -> str:
    """Return whom to trust, PEM: what was given, else what the cell tells."""
    if file is None:
        return trust.bundle(trust.learn(given, client.cells.get(owner.region_id)))
    try:
        return Path(file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--ca: `{file[:200]}` cannot be read") from error


def _address(workspace: "Workspace") -> tuple[str, int]:
    if workspace.state == "SUSPENDED":
        raise IllegalState(
            f"workspace `{workspace.name}` is suspended",
            hint=f"byoc workspace resume {shlex.quote(workspace.name)}",
        )
    if not workspace.endpoint:
        raise IllegalState(
            f"workspace `{workspace.name}` is {workspace.state} and has no endpoint",
            hint=f"see why with `byoc workspace show {shlex.quote(workspace.name)}`",
        )
    host, _, port = workspace.endpoint.rpartition(":")
    return (host, int(port)) if host and port.isdecimal() else (workspace.endpoint, DEFAULT_PORT)


def _say_what_it_is(out: Output, owner: "Group", *, at_length: bool) -> None:
    if is_local(owner):
        from byoc.embedded.doctor import DIFFERENCES, LOCAL_ENGINE  # noqa: PLC0415 - slow to import

        out.note(LOCAL_ENGINE)
        if at_length:
            out.note(f"  {DIFFERENCES}", indent=2)


def run(out: Output, session: "sql.Session", statements: str) -> None:
    """Run statements one after the other and print what each answers; stops at the first error.

    Raises:
        EngineFailed: a statement failed; those before it stay done.
    """
    results = []
    try:
        for result in session.run(statements):
            if out.format is Format.JSON:
                results.append(
                    {
                        "columns": list(result.columns),
                        "rows": [[_value(value) for value in row] for row in result.rows],
                        "affectedRows": result.affected,
                    }
                )
            else:
                _print(out, result)
    finally:
        if out.format is Format.JSON:
            out.json(results)


def _print(out: Output, result: Any) -> None:
    if not result.columns:
        out.note(f"OK, {_rows(result.affected)} affected")
    else:
        out.grid(result.columns, result.rows)
        out.note(_rows(len(result.rows)))


def _rows(number: int) -> str:
    return f"{number} row" if number == 1 else f"{number} rows"


def _value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _client_program(given: Context) -> str | None:
    path = given.environment.get("PATH", os.defpath)
    return next((found for name in _CLIENTS if (found := shutil.which(name, path=path))), None)


def hand_over(program: str, target: Target) -> None:
    """Let the machine's own client take the terminal; its password is in a file only we can read."""
    with tempfile.TemporaryDirectory(prefix="byoc-") as folder:
        options = Path(folder) / "client.cnf"
        options.touch(mode=0o600)
        # Whoever has taken the engine's port may ask for the password itself, by a plugin, or for files.
        lines = (
            "[client]",
            f"password={_quoted(target.password)}",
            f"plugin-dir={_quoted(folder)}",
            "loose-local-infile=0",
            *_verifying(program, Path(folder), target.authority),
        )
        options.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        command = [
            program,
            f"--defaults-extra-file={options}",
            f"--host={target.host}",
            f"--port={target.port}",
            f"--user={target.user}",
            "--protocol=tcp",
        ]
        if target.database:
            command.append(f"--database={target.database}")
        # Ctrl-C belongs to the client: it cancels a statement there.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = subprocess.run(command, check=False).returncode
        finally:
            signal.signal(signal.SIGINT, before)
    if code:
        raise EngineFailed(f"{Path(program).name} ended with code {code}")


def _verifying(program: str, folder: Path, authority: str | None) -> tuple[str, ...]:
    """Return the options by which a client believes nobody but the engine that is meant."""
    if authority is None:
        return ()
    trusted = folder / "ca.pem"
    trusted.write_text(authority, encoding="ascii")
    said = subprocess.run([program, "--version"], check=False, capture_output=True, text=True).stdout
    # The two makers' clients have different words for it, and either takes the other's for a mistake.
    demand = "ssl-verify-server-cert" if "MariaDB" in said else "ssl-mode=VERIFY_IDENTITY"
    return (f"ssl-ca={_quoted(str(trusted))}", demand)


def _quoted(password: str) -> str:
    escaped = password.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _prompt(given: Context, session: "sql.Session") -> None:
    """Read statements up to their semicolon and run them, until the end of input."""
    asking = given.stdin.isatty()
    if asking:
        given.out.note("End a statement with `;`. Ctrl-C forgets a line, Ctrl-D or `exit` leaves.")
    for text in _statements(given, asking=asking):
        try:
            run(given.out, session, text)
        except Unreachable:
            raise
        except ByocError as error:
            if not asking:
                raise
            given.out.error(error)
        given.out.flush()


def _statements(given: Context, *, asking: bool) -> Iterator[str]:
    held = ""
    while True:
        try:
            line = _line(given, "    -> " if held else "sql> ", asking=asking)
        except KeyboardInterrupt:
            if not asking:
                raise
            given.out.note()
            held = ""
            continue
        if asking and not held and line.strip().rstrip(";").lower() in _LEAVE:
            return
        held = f"{held}{line}" if held or line.strip() else ""
        if held.strip() and (not line or held.rstrip().endswith(";")):
            yield held
            held = ""
        if not line:
            if asking:
                given.out.note()
            return


def _line(given: Context, prompt: str, *, asking: bool) -> str:
    """Return the next line with its end; an empty one is the end of input."""
    if not asking or given.stdin is not sys.stdin or not given.stdout.isatty():
        if asking:
            given.stderr.write(prompt)
            given.stderr.flush()
        return given.stdin.readline()
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # gives `input` its keys and its memory
    try:
        return input(prompt) + "\n"
    except EOFError:
        return ""
