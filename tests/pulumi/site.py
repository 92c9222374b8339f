"""A user's home beside an emulated account: commands as they are typed, all of them killed at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.emulated.account import Account
from tests.pulumi.world import ROOT

Ended = subprocess.CompletedProcess[str]


@dataclass
class Site:
    """The account, the home, and the folder of the engine."""

    account: Account
    home: Path
    path: str

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.path}:{os.environ['PATH']}"
        return {"HOME": str(self.home), "PATH": path, "NO_COLOR": "1", **self.account.environment}

    def byoc(self, *words: str, code: int = 0, env: Mapping[str, str] | None = None) -> Ended:
        """Run one command as a user would."""
        ended = subprocess.run(
            [sys.executable, "-m", "byoc", *words],
            cwd=ROOT,
            env={**self.environment, **(env or {})},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=900,
            check=False,
        )
        if ended.returncode != code:
            pytest.fail(f"{ended.returncode}\n{ended.stdout}\n{ended.stderr}\n{self.said()}")
        return ended

    def said(self) -> str:
        """Return what else may tell why a command ended as it did."""
        return ""

    def begun(self, *words: str, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Begin a command, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "byoc", *words],
            cwd=ROOT,
            env={**self.environment, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def processes(self) -> list[int]:
        """Return what runs of this home's commands: byoc, the engine, its plugins."""
        mark = f"HOME={self.home}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def lose_power(self) -> None:
        """End all of them at once; no chance to say goodbye."""
        while found := self.processes():
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
