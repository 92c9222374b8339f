"""Why an engine ended, read from its own words: only a code ever leaves the machine. Pure."""

import re
from typing import Final

from byoc.model.report import Reason

_SIGNS: Final = {
    Reason.DISK_FULL: re.compile(r"No space left on device|Disk is full|(errno:|[Ee]rror|number) 28\b"),
    Reason.PORT_TAKEN: re.compile(r"Bind on TCP/IP port|already have another server running on port"),
    # An older series did not stop cleanly: only it can read its log.
    Reason.DATA_NOT_UPGRADED: re.compile(r"Upgrade after a crash is not supported"),
}


def why_it_ended(words: str) -> Reason | None:
    """Return the cause that ``words`` name; None where they name none that we know."""
    return next((reason for reason, sign in _SIGNS.items() if sign.search(words)), None)
