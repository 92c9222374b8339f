"""How the cell stands with its Control Plane, in a small file beside its state.

Written by the agent at each change, read by ``byoc status`` and ``byoc doctor``: it answers
"why is this cell not connected" without the Control Plane. Nothing depends on it.
"""

import json
from pathlib import Path
from typing import Final

from byoc import durable, log
from byoc.clock import Clock, stamp
from byoc.errors import Unwritable

FILE: Final = "status.json"
WAITING_FOR_ENROLMENT: Final = "waiting for enrolment"
_LOG: Final = log.get(__name__)


class Standing:
    """The file ``status.json``: {phase, reason, since}."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / FILE
        self._clock = clock
        self._said = ("", "")

    def say(self, phase: str, reason: str) -> None:
        """Note how the cell stands; said twice, it is written once."""
        if (phase, reason) == self._said:
            return
        self._said = (phase, reason)
        _LOG.info("standing", phase=phase, reason=reason)
        value = {"phase": phase, "reason": reason, "since": stamp(self._clock.now())}
        try:
            durable.write_file(self._path, json.dumps(value) + "\n")
        except Unwritable as error:
            _LOG.warning("standing not written", error=error.message)
