"""Where Lambda calls: reads or writes one paper, and answers in time.

Called by the commands inside the cell, with the customer's own AWS credentials. What may be done is in the
function's rights in the cluster, not here: it can touch the papers and nothing else. The invariants: a
refusal is an answer with a code, so that the caller can tell a race from a fault; every call may be repeated.
"""

import base64
import logging
import os
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final, Protocol

from byoc.cell.control.objects import read, write
from byoc.cell.installer.api import Api
from byoc.cell.installer.budget import Budget
from byoc.cell.installer.token import of_function
from byoc.errors import ByocError, Conflict, UsageError
from byoc.model.papers import Paper

Json = dict[str, Any]

SECONDS: Final = 60
"""After so long Lambda ends the function."""
_SPARE: Final = 10.0
_LOG: Final = logging.getLogger("byoc.control")


class Context(Protocol):
    """What Lambda tells of the call."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is ended."""
        ...


def handle(event: Mapping[str, Any], context: Context) -> Json:
    """Answer one call: what was asked for, or ``{"error": {code, message, hint}}``."""
    environment = os.environ
    seconds = context.get_remaining_time_in_millis() / 1000 - _SPARE
    api = Api(
        environment["BYOC_CLUSTER_ENDPOINT"],
        base64.b64decode(environment["BYOC_CLUSTER_AUTHORITY"]).decode(),
        of_function(environment),
        Budget.of(seconds, time.monotonic, time.sleep),
    )
    with closing(api):
        answer = run(event, environment["BYOC_CELL"], api)
    # Who did it is in CloudTrail, and in the paper; what stands in it is nobody's but the customer's.
    _LOG.warning("%s %s", event.get("op"), event.get("paper"))
    return answer


def run(event: Mapping[str, Any], cell: str, api: Api) -> Json:
    """Do what ``event`` {op, paper, cell, text, version} asks for."""
    try:
        return _run(event, cell, api)
    except ByocError as error:
        return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def _run(event: Mapping[str, Any], cell: str, api: Api) -> Json:
    if event.get("cell") != cell:
        raise Conflict(f"this function serves cell {cell}")
    try:
        paper = Paper(str(event.get("paper")))
    except ValueError as error:
        raise UsageError("there is no such paper") from error
    match event.get("op"), event.get("text"), event.get("version"):
        case "read", _, _:
            sheet = read(api, paper)
            return {"text": sheet.text, "version": sheet.version}
        case "write", str(text), str(version):
            write(api, paper, text, version)
            return {"written": paper.value}
        case _:
            raise UsageError("unknown op, or text and version are missing")
