"""How the cell stands with its Control Plane, in a small file beside its state.

Written by the agent at each change, read by ``byoc status`` and ``byoc doctor``: it answers
"why is this cell not connected" without the Control Plane. Nothing depends on it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from byoc import durable, log
from byoc.clock import Clock, stamp
from byoc.errors import Unwritable

FILE: Final = "status.json"
WAITING_FOR_ENROLMENT: Final = "waiting for enrolment"
REVOKED: Final = "revoked"
"""The phase of a cell that keeps the control plane out."""
_LOG: Final = log.get(__name__)


class Standing:
    """The file ``status.json``: {phase, reason, since}.

    Args:
        also: told each reason too.
    """

    def __init__(self, folder: Path, clock: Clock, also: Callable[[str], None] | None = None) -> None:
        self._path = folder / FILE
        self._clock = clock
        self._also = also
        self._said = ("", "")

    def say(self, phase: str, reason: str) -> None:
        """Note how the cell stands; said twice, it is written once."""
        if (phase, reason) == self._said:
            return
        self._said = (phase, reason)
        _LOG.info("standing", phase=phase, reason=reason)
        if self._also is not None:
            self._also(reason)
        value = {"phase": phase, "reason": reason, "since": stamp(self._clock.now())}
        try:
            durable.write_file(self._path, json.dumps(value) + "\n")
        except Unwritable as error:
            _LOG.warning("standing not written", error=error.message)


def read(folder: Path) -> tuple[str, str]:
    """Return phase and reason as the agent noted them last; empty where it noted none that can be read."""
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return str(said["phase"]), str(said["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""
