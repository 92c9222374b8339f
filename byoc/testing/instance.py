"""A whole embedded instance under test: `byoc up` as a child process, and its API.

For tests that need every process for real. The instance is driven over its public API with
the standard library only, so that nothing of the code under test helps to judge it.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from byoc.errors import Failed

T = TypeVar("T")
_FIRST_PORT: Final = 10_000
_PORTS: Final = 1_300
_WORKERS: Final = 8


def free_port() -> int:
    """Return a TCP port of loopback that is free now, and that nobody gets by chance until it is used.

    Below what the kernel gives to whoever does not care, and each worker of a run has a range of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    while True:
        port = _FIRST_PORT + worker * _PORTS + secrets.randbelow(_PORTS)
        # The next one too: a gateway takes it where it is free.
        with socket.socket() as probe, socket.socket() as beside, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            beside.bind(("127.0.0.1", port + 1))
            return port


def eventually(what: str, probe: Callable[[], T | None], *, seconds: float = 60.0) -> T:
    """Return the first truthy answer of ``probe``.

    Raises:
        Failed: there was none within ``seconds``.
    """
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            message = f"never happened: {what}"
            raise Failed(message)
        time.sleep(0.05)


class Instance:
    """One data folder, and the `byoc up` that runs on it.

    Args:
        data: the data folder; made by the first start.
        environment: added to the child's environment.
    """

    def __init__(self, data: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.port = free_port()
        self.environment = dict(environment or {})
        self.line: dict[str, Any] = {}
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start, wait for the ready line and read it."""
        command = [sys.executable, "-m", "byoc", "up", "--data", str(self.data), "--port", str(self.port)]
        errors = (self.data.parent / f"{self.data.name}.stderr").open("a")
        with errors:
            self.process = subprocess.Popen(
                [*command, "-o", "json"],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                env=os.environ | self.environment,
            )
        assert self.process.stdout is not None  # noqa: S101 - a pipe was asked for
        text = self.process.stdout.readline()
        if not text:
            message = f"byoc up did not become ready: {Path(errors.name).read_text()[-2000:]}"
            raise Failed(message)
        self.line = json.loads(text)
        return self

    def stop(self) -> int:
        """Stop as Ctrl-C does; return the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return code

    def pid(self, name: str) -> int:
        """Return the pid of ``supervisor``, ``controlplane``, ``gateway`` or ``agent`` now."""
        recorded = json.loads((self.data / "run" / "pids.json").read_text())
        pid: int = recorded[name]["pid"] if isinstance(recorded[name], dict) else recorded[name]
        return pid

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request; return status and body, parsed where it is JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.line['token']}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - loopback only
            self.line["url"].rstrip("/") + path, data=data, method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read())

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send one request that must succeed; repeated while nobody listens (a process was killed)."""

        def once() -> tuple[Any] | None:
            try:
                status, answer = self.call(method, path, body)
            except (urllib.error.URLError, OSError):
                return None
            if status >= 500:  # noqa: PLR2004 - server errors
                return None
            if status != 200:  # noqa: PLR2004 - success
                message = f"{method} {path}: {status} {answer}"
                raise Failed(message)
            return (answer,)

        return eventually(f"{method} {path}", once)[0]

    def workspace(self, workspace_id: str) -> dict[str, Any]:
        """Return the workspace as the public API shows it."""
        found: dict[str, Any] = self.ask("GET", f"/v1/workspaces/{workspace_id}")
        return found

    def settled(self, workspace_id: str, state: str, *, seconds: float = 90.0) -> dict[str, Any]:
        """Wait until the workspace is in ``state``; what it was last is said where it never is."""
        last: dict[str, Any] = {}

        def probe() -> dict[str, Any] | None:
            last.update(self.workspace(workspace_id))
            return last if last["state"] == state else None

        try:
            return eventually(f"workspace is {state}", probe, seconds=seconds)
        except Failed as error:
            raise Failed(f"{error.message}: {last}") from error


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode("utf-8", "replace")
