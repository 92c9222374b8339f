"""``python -m byoc.embedded FD``: the supervisor that :mod:`byoc.embedded.detached` starts."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from byoc.embedded.detached import error_to_json, ready_to_json
from byoc.embedded.options import Step, UpOptions
from byoc.embedded.up import up
from byoc.errors import ByocError

Tell = Callable[[dict[str, object]], None]


def _teller(descriptor: int) -> Tell:
    def tell(message: dict[str, object]) -> None:
        # Nobody reads any more once the command is gone; the instance goes on.
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, (json.dumps(message) + "\n").encode())

    return tell


def main(descriptor: int) -> int:
    """Run the instance whose options stand on standard input; return the exit code."""
    os.set_inheritable(descriptor, False)
    tell = _teller(descriptor)
    asked = json.load(sys.stdin)
    options = UpOptions(data=Path(asked["data"]), environment=dict(os.environ), port=asked["port"])

    def report(step: Step) -> None:
        tell({"step": asdict(step)})

    try:
        running = up(options, report)
    except ByocError as error:
        tell({"error": error_to_json(error)})
        return error.exit_code
    tell({"ready": ready_to_json(running.ready)})
    os.close(descriptor)
    running.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
