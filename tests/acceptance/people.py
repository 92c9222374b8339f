"""Somebody with a home of their own, who types commands."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byoc.testing.instance import free_port

BYOC = Path(sys.executable).with_name("byoc")


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which must be one JSON value."""
        return json.loads(self.out)


@dataclass
class User:
    """Somebody with a home, who types commands."""

    home: Path
    environment: dict[str, str]
    folders: list[Path] = field(default_factory=list)

    def byoc(self, *arguments: str, timeout: float = 90) -> Ran:
        """Run `byoc` and wait for its end."""
        ended = subprocess.run(
            [str(BYOC), *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    def data(self, name: str = "data") -> Path:
        """A data folder whose instance is stopped when the test ends."""
        folder = self.home / name
        self.folders.append(folder)
        return folder

    def up(self, data: Path, *arguments: str, port: int | None = None) -> Ran:
        """Run `byoc up --detach -o json` on ``data``."""
        ports = ("--port", str(port or free_port()))
        return self.byoc("up", "--detach", "--data", str(data), *ports, *arguments, "-o", "json")
