"""Where Lambda calls: reads what is asked, does it once, answers in time.

The stack calls through an invocation resource that adds ``tf: {action, prev_input}`` to its input;
bootstrap calls with ``op`` alone. The invariants: only ``delete`` uninstalls, and an update is no
delete; the bundle that is asked for is the one in the package, or nothing is done; every call may be
repeated.
"""

import base64
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from byoc.cell.installer.api import Api
from byoc.cell.installer.budget import Budget
from byoc.cell.installer.handover import hand_over
from byoc.cell.installer.install import install, uninstall
from byoc.cell.installer.look import diff, status
from byoc.cell.installer.package import BUNDLE_FILE, Package
from byoc.cell.installer.token import of_function
from byoc.errors import Conflict, UsageError

Json = dict[str, Any]

SECONDS: Final = 120
"""After so long Lambda ends the function."""
_SPARE: Final = 10.0
_LOG: Final = logging.getLogger("byoc.installer")


class Context(Protocol):
    """What Lambda tells of the call."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is ended."""
        ...


def handle(event: Mapping[str, Any], context: Context) -> Json:
    """Answer one call.

    Raises:
        ByocError: it was refused or could not be done; Lambda passes the message on.
    """
    environment = os.environ
    text = (Path(environment["LAMBDA_TASK_ROOT"]) / BUNDLE_FILE).read_text(encoding="utf-8")
    package = Package.of(environment["BYOC_CELL"], text)
    seconds = context.get_remaining_time_in_millis() / 1000 - _SPARE
    budget = Budget.of(seconds, time.monotonic, time.sleep)
    api = Api(
        environment["BYOC_CLUSTER_ENDPOINT"],
        base64.b64decode(environment["BYOC_CLUSTER_AUTHORITY"]).decode(),
        of_function(environment),
        budget,
    )
    with closing(api):
        answer = run(event, package, api)
    _LOG.warning("%s took %.1f s", answer["op"], seconds - budget.left)
    return answer


@dataclass(frozen=True, slots=True)
class Asked:
    """What one call asks for.

    Attributes:
        op: ``install``, ``uninstall``, ``diff``, ``status`` or ``enrol``.
        bundle: digest of the bundle that is meant; only an installation names one.
        cell: name of the cell that is meant; empty where the caller relies on the function's name.
    """

    op: str
    bundle: str = ""
    cell: str = ""
    force: bool = False
    event: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read(event: Mapping[str, Any]) -> Asked:
    """Return what ``event`` asks for.

    Raises:
        UsageError: it asks for nothing that this function does.
    """
    lifecycle = event.get("tf")
    if lifecycle is None:
        op, meant = event.get("op"), event
    elif not isinstance(lifecycle, Mapping) or lifecycle.get("action") not in _LIFECYCLE:
        raise UsageError("the stack's call names no action that is known")
    else:
        op = _LIFECYCLE[lifecycle["action"]]
        # At the end the stack has no input any more, only the previous one.
        meant = event if event.get("op") else lifecycle.get("prev_input") or {}
    if op not in _OPS:
        raise UsageError(f"unknown op {op!r}", hint=f"one of {', '.join(_OPS)}")
    return Asked(
        str(op),
        bundle=str(meant.get("bundle", "")),
        cell=str(meant.get("cell", "")),
        force=event.get("force") is True,
        event=event,
    )


def run(event: Mapping[str, Any], package: Package, api: Api) -> Json:
    """Do what ``event`` asks for; return ``{op, ...}``.

    Raises:
        UsageError: it asks for nothing that this function does.
        Conflict: it means another cell or another bundle than the package holds.
    """
    asked = read(event)
    if asked.cell and asked.cell != package.cell:
        raise Conflict(f"this function serves cell {package.cell}, not {asked.cell}")
    if asked.op == "install" and asked.bundle != package.digest:
        raise Conflict(
            f"the function holds bundle {package.digest[:12]}, not {asked.bundle[:12] or 'an unnamed one'}",
            hint="deploy the stack: it changes the function and the bundle together",
        )
    return {"op": asked.op, **_OPS[asked.op](api, package, asked)}


_LIFECYCLE: Final[Mapping[str, str]] = {"create": "install", "update": "install", "delete": "uninstall"}
_OPS: Final[Mapping[str, Callable[[Api, Package, Asked], Json]]] = {
    "install": lambda api, package, _asked: install(api, package),
    "uninstall": lambda api, _package, asked: uninstall(api, force=asked.force),
    "diff": lambda api, package, _asked: diff(api, package),
    "status": lambda api, package, _asked: status(api, package),
    "enrol": lambda api, _package, asked: hand_over(api, asked.event),
}
