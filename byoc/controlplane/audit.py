"""Sees to it that who did what through the Management API is on record before the answer goes out.

Wrapped around the routes, inside the edge. What the fleet did, it has recorded in the very transaction that
did it; what was refused, or was done elsewhere than in the store, is recorded here. The invariants: whatever
a caller with a key asked for that changes something, or that brings raw text out of a cell, is on record
when it is answered, refused or not; what cannot be recorded is answered 500. Nothing of a query or a body is
in it, so no secret is.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from byoc.clock import Clock
from byoc.controlplane.api.service import Audit
from byoc.model.records import DONE, Attempt

ATTEMPT: Final = "attempt"
MADE: Final = "made"
"""Members of ``scope["state"]``: who asks for what, and the id of what was made."""
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OUT_OF_THE_CELL: Final = frozenset({"get_logs"})
_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")


class Audited:
    """The routes, with a record of what was done through them."""

    def __init__(self, app: ASGIApp, audit: Audit, clock: Clock) -> None:
        self._app = app
        self._audit = audit
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""

        async def recorded(message: Message) -> None:
            if message["type"] == "http.response.start" and is_deed(scope):
                await self._record(scope, message)
            await send(message)

        await self._app(scope, receive, recorded)

    async def _record(self, scope: Scope, answer: Message) -> None:
        attempt, status = scope["state"][ATTEMPT], answer["status"]
        if attempt.on_record and status == DONE:
            return
        codes = [value.decode() for name, value in answer.get("headers", ()) if name == b"byoc-error"]
        await self._audit.note(
            attempt.deed(
                self._clock.now(),
                scope["state"].get(MADE) or _named(scope.get("path_params") or {}),
                status=status,
                code=codes[0] if codes else "",
            )
        )


def is_deed(scope: Scope) -> bool:
    """Whether a request is to be recorded: it has a caller, and does more than read what is here."""
    if scope["type"] != "http" or not isinstance(scope.get("state", {}).get(ATTEMPT), Attempt):
        return False
    name = getattr(scope.get("route"), "name", "")
    return bool(name) and (scope["method"] not in _READS or name in _OUT_OF_THE_CELL)


def _named(parameters: Mapping[str, Any]) -> str:
    """Return the id in a path, where it looks like one: whoever asks writes the path."""
    found = [str(value) for name, value in parameters.items() if name.lower().endswith("id")]
    return found[-1] if found and _ID.fullmatch(found[-1]) else ""
