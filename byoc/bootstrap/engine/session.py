"""One run of byoc with the engine: its program, its backend, its folders, and commands outside a stack.

Made by whoever opens a stack or prepares one. The invariant: the engine is told its backend and
its home explicitly, and a backend other than the one asked for is refused before anything runs.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pulumi import automation
from pulumi.automation.errors import CommandError

from byoc import durable
from byoc.bootstrap.engine import plugins
from byoc.bootstrap.engine.command import OwnedCommand, Tell
from byoc.bootstrap.engine.events import Tracker, clean
from byoc.bootstrap.engine.find import Pulumi
from byoc.bootstrap.engine.interrupts import Interrupts, Patience
from byoc.bootstrap.engine.objects import Objects
from byoc.clock import Clock
from byoc.errors import Failed, PreconditionFailed, Unreachable

Program = Callable[[], None]

_QUIET: Final = {
    "PULUMI_SKIP_UPDATE_CHECK": "1",
    # A provider that happens to lie on the user's PATH is not the one that was tested.
    "PULUMI_IGNORE_AMBIENT_PLUGINS": "1",
}
# The SDK's server for inline programs dies of the engine's death with a traceback that nobody needs.
logging.getLogger("grpc").addHandler(logging.NullHandler())

_ERROR: Final = re.compile(r"^\s*(?:stderr: )?error: (?P<text>.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Backend:
    """Where a state lives and what encrypts its secrets.

    Args:
        url: ``file:///folder`` or ``s3://bucket?region=…``.
        objects: the same place, for what stands beside the state.
        secrets: ``awskms://alias/NAME?region=…``, or ``passphrase``; then the environment of the
            run names its file by ``PULUMI_CONFIG_PASSPHRASE_FILE``.
    """

    url: str
    objects: Objects
    secrets: str


@dataclass(frozen=True)
class Run:
    """What one run of byoc gives the engine.

    Args:
        pulumi: the program.
        home: ``PULUMI_HOME``: plugins and settings of byoc's own, never the user's.
        folder: log folder of this run; made if missing, readable by its owner only.
        hostname: name of this machine, as the engine writes it into locks.
        env: more variables for the engine and its plugins; the only ``PULUMI_*`` they see.
        patience: seconds for one command.
        interrupts: wishes to stop, shared by all operations of the run.
        tell: shows a sentence to the person who waits.
    """

    pulumi: Pulumi
    home: Path
    folder: Path
    hostname: str
    tell: Tell
    env: Mapping[str, str] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)
    interrupts: Interrupts = field(default_factory=Interrupts)


class Session:
    """The engine, ready to be asked.

    Args:
        run: what it is given; its folders are made here.
        clock: time of durations and stamps.

    Raises:
        Unwritable: the folders cannot be made.
    """

    def __init__(self, run: Run, clock: Clock) -> None:
        self.run = run
        self.clock = clock
        self.tracker = Tracker(clock.monotonic)
        self.folder = run.folder / "work"
        durable.make_folder(self.folder)
        durable.make_folder(run.home)
        self.command = OwnedCommand(
            run.pulumi,
            folder=run.folder,
            interrupts=run.interrupts,
            patience=run.patience,
            tell=run.tell,
            in_flight=lambda: self.tracker.in_flight,
        )

    def ask(self, *args: str, backend: str = "") -> str:
        """What ``pulumi ARGS`` prints.

        Raises:
            Failed: it ended badly; the message is the engine's.
        """
        try:
            return self.command.run([*args], str(self.folder), self._environment(backend)).stdout
        except CommandError as error:
            raise Failed(f"pulumi {args[0]}: {reason(error)}", hint=self.where) from error

    @property
    def where(self) -> str:
        """Where to read more."""
        return f"the engine's own output is in {self.run.folder}"

    def _environment(self, backend: str) -> dict[str, str]:
        home = {"PULUMI_HOME": str(self.run.home)}
        return {**self.run.env, **_QUIET, **home, **({"PULUMI_BACKEND_URL": backend} if backend else {})}

    def workspace(
        self, project: str, stack: str, program: Program, backend: Backend
    ) -> automation.LocalWorkspace:
        """A workspace of the SDK for ``program``, on ``backend`` and no other.

        The stack's settings name what encrypts its secrets, as another run's folder would: without them
        some of the engine's commands ask for a passphrase, whatever the state itself says.

        Raises:
            PreconditionFailed: the engine says that it uses another one.
            Failed: the backend cannot be used.
        """
        said = json.loads(self.ask("whoami", "--json", backend=backend.url)).get("url", "")
        if said != backend.url:
            raise PreconditionFailed(
                f"pulumi uses the state in {said} and not in {backend.url}",
                hint="report this: the backend was set explicitly",
            )
        return automation.LocalWorkspace(
            work_dir=str(self.folder),
            pulumi_home=str(self.run.home),
            program=program,
            env_vars=self._environment(backend.url),
            secrets_provider=backend.secrets,
            stack_settings={stack: automation.StackSettings(secrets_provider=backend.secrets)},
            project_settings=automation.ProjectSettings(
                project,
                runtime="python",
                main=str(self.folder),
                backend=automation.ProjectBackend(backend.url),
            ),
            pulumi_command=self.command,
        )

    def missing_plugins(self, wanted: Iterable[plugins.Plugin]) -> tuple[plugins.Plugin, ...]:
        """Those of ``wanted`` that the engine would have to download.

        Raises:
            Failed: the engine does not list what it has.
        """
        return plugins.missing(wanted, plugins.installed(self.ask("plugin", "ls", "--json")))

    def download(self, plugin: plugins.Plugin) -> None:
        """Get one provider plugin into byoc's own home.

        Raises:
            Unreachable: it could not be downloaded.
        """
        args = ["plugin", "install", "resource", plugin.name, f"v{plugin.version}"]
        try:
            self.command.run(args, str(self.folder), self._environment(""))
        except CommandError as error:
            raise Unreachable(
                f"cannot download the {plugin.name} provider {plugin.version}: {reason(error)}",
                hint="check the network or a proxy's variables; without one: pulumi plugin install --file",
            ) from error


def reason(error: CommandError) -> str:
    """The engine's own sentence in what it printed, redacted; its code where it said nothing."""
    found = _ERROR.search(str(error))
    return clean(found["text"]) if found else "ended without a reason"
