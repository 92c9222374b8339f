"""What stands for the agent's image: this tree under this Python, as the pod's own user, in its paths."""

import sys
import sysconfig
from pathlib import Path

from tests.emulated.machines.container import PATH, Mount
from tests.emulated.machines.images import Program

ROOT = Path(__file__).parents[2]
REFERENCE = f"registry.example/byoc-agent@sha256:{'a' * 64}"
_COMMAND = """#!/bin/sh
exec {python} -m byoc "$@"
"""


def agent_program(folder: Path) -> Program:
    """Return the program; ``folder`` takes the command that starts it."""
    base = Path(sys.base_prefix)
    python = f"/opt/python/bin/{Path(sys.executable).resolve().name}"
    commands = folder / "agent-commands"
    commands.mkdir(mode=0o755)
    command = commands / "byoc"
    command.write_text(_COMMAND.format(python=python))
    command.chmod(0o755)
    mounts = [
        Mount(base, "/opt/python", read_only=True),
        Mount(Path(sysconfig.get_path("purelib")), "/opt/site", read_only=True),
        Mount(ROOT / "byoc", "/opt/byoc/byoc", read_only=True),
        Mount(ROOT / "cli", "/opt/byoc/cli", read_only=True),
        Mount(commands, "/opt/commands", read_only=True),
    ]
    environment = {
        "PATH": f"/opt/commands:{PATH}",
        "PYTHONPATH": "/opt/byoc:/opt/byoc/cli:/opt/site",
        # Where this Python is a library of its own, the machine's other one must not be taken for it.
        "LD_LIBRARY_PATH": "/opt/python/lib",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return Program(mounts=mounts, environment=environment)
