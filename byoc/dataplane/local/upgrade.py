"""Brings the data of an older series of the engine up to the one that runs: its own tool does it.

Called by the local runtime, from a thread, for a volume that an older series has written. What is under way
stands in the volume's record, so a kill at any point leads to the same tool being run again, which may be.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from byoc.dataplane.engine_sql import INTERNAL
from byoc.dataplane.local.engine import Engine, process_environment
from byoc.errors import EngineFailed

TOOL: Final = "mariadb-upgrade"
_NEEDS: Final = ("mariadb", "mariadb-check")
"""Programs that the tool runs; in Debian's packages they are those of a client."""
_SECONDS: Final = 1800


def find_tool(engine: Engine, environment: Mapping[str, str]) -> Path | None:
    """Return the tool that belongs to ``engine``; None where it, or what it runs, is not there."""
    own = os.pathsep.join((str(engine.program.parent), str(engine.program.parent.parent / "bin")))
    everywhere = os.pathsep.join((own, environment.get("PATH", os.defpath)))
    # One of another series would refuse; beside an engine that we unpacked is the one of its own.
    found = shutil.which(TOOL, path=everywhere if engine.root is None else own)
    return Path(found) if found and all(shutil.which(name, path=everywhere) for name in _NEEDS) else None


def bring_up_to_date(tool: Path, engine: Engine, socket: Path, password: str, words: Path) -> None:
    """Run the tool against the engine behind ``socket``; what it says goes into ``words``.

    Raises:
        EngineFailed: it did not succeed.
    """
    with tempfile.TemporaryDirectory(prefix="byoc-") as private:
        options = Path(private) / "my.cnf"
        options.touch(mode=0o600)
        options.write_text(f"[client]\nuser={INTERNAL}\npassword={password}\n", "utf-8")
        path = os.pathsep.join((str(tool.parent), os.environ.get("PATH", os.defpath)))
        try:
            with words.open("ab") as said:
                done = subprocess.run(
                    [tool, f"--defaults-file={options}", f"--socket={socket}", f"--tmpdir={private}"],
                    env=process_environment(engine.libraries) | {"PATH": path},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    timeout=_SECONDS,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise EngineFailed("the data was not brought up to date in time", hint=f"see {words}") from error
    if done.returncode != 0:
        raise EngineFailed("the data cannot be brought up to date", hint=f"see {words}")
