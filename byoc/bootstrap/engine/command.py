"""The ``pulumi`` program as a child that is ours: it survives us, and one Ctrl-C never reaches it alone.

The SDK runs it through :class:`OwnedCommand`. The stock class gives the child our terminal's
session and pipes; a Ctrl-C or our death then kills it in the middle of a call and loses what
was just created. Here the child has a session of its own and writes to files, so it outlives
us long enough to record what it began. Arguments never hold a secret; what a command prints is
kept only for commands that change or compare things, which mask secrets themselves.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Final

from pulumi.automation import CommandResult, PulumiCommand
from pulumi.automation.errors import create_command_error
from semver import VersionInfo

from byoc.bootstrap.engine.find import Pulumi
from byoc.bootstrap.engine.interrupts import Interrupts, Order, Patience, decide
from byoc.durable import PRIVATE

Tell = Callable[[str], None]
"""Shows one sentence to the person who waits."""

OnLine = Callable[[str], object]

_KEPT: Final = frozenset({"up", "preview", "refresh", "destroy", "import"})
_PAUSE: Final = 0.05
_ORDERS: Final = {Order.FINISH: 1, Order.ABANDON: 2, Order.KILL: 3}


def environment(user: Mapping[str, str], own: Mapping[str, str], program: Path) -> dict[str, str]:
    """What the engine and its plugins see: the user's environment without its ``PULUMI_*``, and ours.

    One such variable would send the state to another backend, sign in elsewhere or change a
    flag, silently; what the engine needs is in ``own``.
    """
    kept = {name: value for name, value in user.items() if not name.startswith("PULUMI_")}
    path = os.pathsep.join([str(program.parent), kept.get("PATH", os.defpath)])
    return {**kept, **own, "PATH": path, "PULUMI_AUTOMATION_API": "true"}


class OwnedCommand(PulumiCommand):
    """Runs ``pulumi``, owns the child, passes on the wish to stop.

    Args:
        pulumi: the program, already judged.
        folder: where the output of kept commands goes, readable by its owner only.
        interrupts: wishes to stop.
        patience: seconds for one command.
        tell: shows the sentence after a wish to stop.
        in_flight: how many calls to providers run now.
    """

    def __init__(
        self,
        pulumi: Pulumi,
        *,
        folder: Path,
        interrupts: Interrupts,
        patience: Patience,
        tell: Tell,
        in_flight: Callable[[], int],
    ) -> None:
        # Not the parent's: it runs the program again to ask for a version that is known.
        self.command = str(pulumi.path)
        self.version = VersionInfo(*pulumi.version)
        self.folder = folder
        self.stopped = False
        self.abandoned = False
        self._interrupts = interrupts
        self._patience = patience
        self._tell = tell
        self._in_flight = in_flight
        # Another session of the same run may have written here before.
        self._count = len(list(folder.glob("*.out")))

    def begin(self) -> None:
        """Forget how the operation before ended."""
        self.stopped = self.abandoned = False

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: OnLine | None = None,
        on_error: OnLine | None = None,
    ) -> CommandResult:
        """Run one command to its end, whatever is wished in the meantime.

        Raises:
            CommandError: it ended with another code than 0; translated by the stack.
        """
        command = [self.command, "--non-interactive", *(arg for arg in args if arg != "--non-interactive")]
        with ExitStack() as open_files:
            out, err = (open_files.enter_context(self._file(args, end)) for end in ("out", "err"))
            child = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment(os.environ, additional_env, Path(self.command)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            followed = [_Tail(out, on_output), _Tail(err, on_error)]
            try:
                self._watch(child, followed, kept=args[0] in _KEPT)
            finally:
                if child.returncode is not None:
                    end_session(child.pid)
            result = CommandResult(followed[0].text, followed[1].text, child.returncode)
        if result.code:
            raise create_command_error(result)
        return result

    def _file(self, args: list[str], end: str) -> IO[bytes]:
        if args[0] not in _KEPT:
            # State and outputs pass here: a file without a name is gone with us, however we end.
            return tempfile.TemporaryFile(dir=self.folder)
        self._count += end == "out"
        path = self.folder / f"{self._count:02d}-{args[0]}.{end}"
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE), "w+b")

    def _watch(self, child: subprocess.Popen[bytes], followed: "list[_Tail]", *, kept: bool) -> None:
        began = ordered = time.monotonic()
        given = 0
        # A command that only reads or stores the state is over in a moment: the first wish lets it
        # end. The others begin only where nothing was wished before.
        before = 0 if kept else self._interrupts.asks + 1
        while child.poll() is None:
            now = time.monotonic()
            order = decide(
                max(self._interrupts.asks - before, 0), given, now - began, now - ordered, self._patience
            )
            if order is not Order.WAIT:
                given, ordered = _ORDERS[order], now
                self._give(child, order)
            for tail in followed:
                tail.pull()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_PAUSE)
        for tail in followed:
            tail.pull(last=True)

    def _give(self, child: subprocess.Popen[bytes], order: Order) -> None:
        self.stopped = True
        if order is Order.FINISH:
            calls = self._in_flight()
            what = f"{calls} call{'s' * (calls != 1)} in flight" if calls else "what it is doing"
            self._tell(f"finishing {what}; press Ctrl-C again to abandon")
        else:
            self.abandoned = True
        if order is Order.ABANDON:
            self._tell("abandoning the calls in flight")
        # The child may have ended this moment; then there is nobody to tell.
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGKILL if order is Order.KILL else signal.SIGINT)


class _Tail:
    """Follows a file that another process writes; keeps all of it."""

    def __init__(self, file: IO[bytes], on_line: OnLine | None) -> None:
        self._descriptor = file.fileno()
        self._on_line = on_line
        self._read = 0
        self._told = 0
        self._content = bytearray()

    def pull(self, *, last: bool = False) -> None:
        while chunk := os.pread(self._descriptor, 1 << 16, self._read):
            self._read += len(chunk)
            self._content += chunk
        if self._on_line is None:
            return
        end = len(self._content) if last else self._content.rfind(b"\n") + 1
        fresh = self._content[self._told : max(end, self._told)].decode("utf-8", "replace")
        self._told = max(end, self._told)
        for line in fresh.splitlines():
            self._on_line(line.rstrip())

    @property
    def text(self) -> str:
        return self._content.decode("utf-8", "replace").rstrip("\n")


def end_session(leader: int, processes: Path = Path("/proc")) -> list[int]:
    """End what a dead engine left in its session: plugins that would wait for it for ever.

    The number of a session is not given again while a member lives, so this can hit nobody else.
    Where the machine shows no processes this does nothing.
    """
    left = [pid for pid, session in _sessions(processes) if session == leader != pid]
    for pid in left:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    return left


def _sessions(processes: Path) -> Iterator[tuple[int, int]]:
    for stat in processes.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything; after it come state, parent, group, session.
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            yield int(stat.parent.name), int(fields[3])
