"""A process that writes and is killed in the midst of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path


def write_until_killed(program: str, place: Path, lines: int) -> set[str]:
    """Run ``program`` on ``place`` until it has told so many lines, kill it, and return what it told."""
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(place)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if len(told) == lines:
            process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    # The kill may cut the last line short.
    return {line.strip() for line in told if line.endswith("\n")}
