"""What every command is given: options, environment, streams, time, and the way to a client.

Made once by ``main``; tests make their own, with their own streams and transport. Nothing
heavy is imported before a command asks for it.
"""

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from byoc.clock import Clock, SystemClock
from byoc.errors import Unreachable, UsageError
from byoc_cli import profiles
from byoc_cli.connection import Connection, Running, choose, of_instance
from byoc_cli.output import Format, Output

if TYPE_CHECKING:
    from byoc.bootstrap.aws import Account
    from byoc.client import Client


def _running(environment: Mapping[str, str]) -> list[Running]:
    from byoc.embedded import registry  # noqa: PLC0415 - only commands without a profile need it

    return [Running(each.url, each.data, each.token_file) for each in registry.instances(environment)]


def _account(region: str, profile: str | None) -> "Account":
    from byoc.bootstrap.aws import open_account  # noqa: PLC0415 - loads boto3

    return open_account(region, profile=profile)


@dataclass(slots=True)
class Context:
    """One run of the command line.

    Attributes:
        given: the global options that were given, by name.
        transport: replaces the network of the client, for tests.
        sleep: how to pause, for tests.
        running: finds the instances of this machine.
        account: opens the AWS account in a region, with a profile of the user's.
        program: how to call this program again, for what is printed to be pasted.
    """

    environment: Mapping[str, str]
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    program: str = "byoc"
    clock: Clock = field(default_factory=SystemClock)
    transport: Any = None
    sleep: Callable[[float], None] = time.sleep
    running: Callable[[Mapping[str, str]], list[Running]] = _running
    account: Callable[[str, str | None], "Account"] = _account
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def out(self) -> Output:
        """Where to print, as the options say."""
        return Output(
            self.stdout,
            self.stderr,
            self.environment,
            self.format,
            quiet=bool(self.given.get("quiet")),
            no_color=bool(self.given.get("no_color")),
            program=self.program,
        )

    @property
    def format(self) -> Format:
        """How data is to be printed.

        Raises:
            UsageError: ``BYOC_OUTPUT`` is none of the formats.
        """
        given = self.given.get("output") or self.environment.get("BYOC_OUTPUT") or Format.TABLE
        try:
            return Format(given)
        except ValueError as error:
            raise UsageError("the value of BYOC_OUTPUT is none of table, json, name") from error

    @property
    def verbose(self) -> bool:
        """Whether a traceback is wanted."""
        return bool(self.given.get("verbose"))

    @property
    def interactive(self) -> bool:
        """Whether somebody can be asked."""
        return not self.given.get("no_input") and self.stdin.isatty() and self.stderr.isatty()

    @property
    def config_folder(self) -> Path:
        """Where profiles and saved passwords are."""
        return profiles.folder(self.environment)

    def connection(self) -> Connection:
        """Return which Control Plane to talk to, and with which key."""
        config = profiles.load(self.config_folder)
        chosen = choose(self.given.get("profile"), self.environment, config, self._instances(config))
        if isinstance(chosen, Connection):
            return chosen
        try:
            token = chosen.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Unreachable(
                f"the key of the instance at {chosen.data} cannot be read", hint="byoc status"
            ) from error
        return of_instance(chosen, token)

    def client(self, connection: Connection | None = None) -> "Client":
        """Return a client of the Control Plane to talk to."""
        chosen = connection or self.connection()
        from byoc.client import Client  # noqa: PLC0415 - an HTTP library is slow to import

        return Client(chosen.url, chosen.token, transport=self.transport, clock=self.clock, sleep=self.sleep)

    def hush(self) -> None:
        """Keep the log of code that runs in this process, as of a server, off the streams of a command."""
        from byoc import log  # noqa: PLC0415 - only commands that run such code need it

        log.configure("debug" if self.verbose else "critical", component="cli")

    def confirm(self, name: str, given: str | None, what: str) -> None:
        """Return only if ``name`` was given by ``--confirm``, or is typed now.

        Raises:
            UsageError: another name was given, or nobody can be asked.
        """
        if given is None and self.interactive:
            self.stderr.write(f"{what}\nType `{name}` to go on: ")
            self.stderr.flush()
            given = self.stdin.readline().strip()
        if given is None:
            raise UsageError(what, hint=f"to go on, add `--confirm {shlex.quote(name)}`")
        if given != name:
            raise UsageError(f"`{given[:64]}` is not `{name}`: nothing was done")

    def _instances(self, config: profiles.Config) -> list[Running]:
        named = self.given.get("profile") or self.environment.get("BYOC_PROFILE") or config.current
        pair = self.environment.get("BYOC_URL") or self.environment.get("BYOC_TOKEN")
        return [] if named or pair else self.running(self.environment)


def of(context: typer.Context) -> Context:
    """Return what a command of this run is given."""
    found = context.find_root().obj
    if not isinstance(found, Context):
        raise UsageError("this command was not started by byoc")
    return found


def from_process(environment: Mapping[str, str], program: str) -> Context:
    """Return the context of this very process."""
    return Context(environment, sys.stdin, sys.stdout, sys.stderr, program)
