"""One request on its way through the API: who asks, what for, and how the answer goes out.

Called by every route of ``byoc.controlplane.api``. A route gets a :class:`Call`, already
authenticated; bodies are read only then. Answers are 200 with JSON, always: vendor clients
take nothing else for success.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Path, Query
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from byoc.clock import Clock
from byoc.controlplane.api.service import FleetService, Instance
from byoc.controlplane.audit import ATTEMPT, MADE
from byoc.controlplane.guard import Guard
from byoc.controlplane.metrics import Metrics
from byoc.controlplane.pace import Streams
from byoc.errors import UsageError
from byoc.model.records import Attempt, Principal
from byoc.wire.management import MAXIMUM_BODY, Body, decode

B = TypeVar("B", bound=Body)

GENERATION: Final = "Byoc-Generation"


@dataclass(frozen=True, slots=True)
class Context:
    """What the app was built with; one per app, never a global.

    Attributes:
        closing: set when the process stops; endless answers end then.
        keep_alive: seconds between blank lines on a quiet event stream.
    """

    fleet: FleetService
    instance: Instance
    clock: Clock
    metrics: Metrics
    guard: Guard
    version: str
    keep_alive: float
    streams: Streams = field(default_factory=Streams)
    closing: asyncio.Event = field(default_factory=asyncio.Event)


def context(request: Request) -> Context:
    """Return what the app was built with."""
    found: Context = request.app.state.context
    return found


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request."""

    attempt: Attempt
    context: Context
    request: Request

    @property
    def by(self) -> Principal:
        """Who asks."""
        return self.attempt.by

    @property
    def fleet(self) -> FleetService:
        """The service that acts, and records with what it does that it was this request."""
        return self.context.fleet.recording(self.attempt)

    def made(self, own: str) -> None:
        """Say what this request made, for the audit."""
        self.request.scope["state"][MADE] = own

    async def is_admitted(self) -> bool:
        """Whether the caller's key is still good: for answers that go on after it was looked at."""
        return await self.context.guard.admits_still(self.request.headers.get("authorization"))

    async def body(self, model: type[B], *, optional: bool = False) -> B:
        """Read the body as ``model``.

        Raises:
            UsageError: it is too large, or ``decode`` refuses it.
        """
        raw = bytearray()
        async for chunk in self.request.stream():
            raw += chunk
            if len(raw) > MAXIMUM_BODY:
                raise UsageError("request body is larger than 1 MiB")
        return decode(model, bytes(raw), optional=optional)


async def _authenticated(request: Request) -> Call:
    ours = context(request)
    address = request.client.host if request.client is not None else ""
    principal = await ours.guard.admit(request.headers.get("authorization"), address)
    state, action = request.scope["state"], request.scope["route"].name.replace("_", " ")
    attempt = state[ATTEMPT] = Attempt(principal, action, state["request_id"])
    return Call(attempt, ours, request)


Caller = Annotated[Call, Depends(_authenticated)]
"""Parameter type of routes that need a caller."""

Fields = Annotated[str, Query(description="comma list: answer only these keys")]
IncludeTerminated = Annotated[
    bool, Query(alias="includeTerminated", description="also list what is terminated")
]
_UUID: Final = {"format": "uuid"}
WorkspaceInPath = Annotated[str, Path(alias="workspaceID", json_schema_extra=_UUID)]
GroupInPath = Annotated[str, Path(alias="workspaceGroupID", json_schema_extra=_UUID)]
CellInPath = Annotated[str, Path(alias="cellID", json_schema_extra=_UUID)]


def answer(content: object, *, generation: int | None = None) -> Response:
    """Return a success; ``generation`` is that of the one object it is about."""
    headers = {} if generation is None else {GENERATION: str(generation)}
    return Response(to_json(content), headers=headers, media_type="application/json")


def only(items: Iterable[Mapping[str, Any]], fields: str) -> Sequence[Mapping[str, Any]]:
    """Keep of each item the keys that the comma list ``fields`` names; all, if it is empty."""
    wanted = {name.strip().lower() for name in fields.split(",")} - {""}
    if not wanted:
        return list(items)
    return [{key: value for key, value in item.items() if key.lower() in wanted} for item in items]


def documented(answers: str, *, body: str = "") -> dict[str, Any]:
    """Return what a route's decorator needs for the OpenAPI document.

    Args:
        answers: name of a class of ``byoc.wire.management``, in brackets for a list of it.
        body: name of the class of the request body, if there is one.
    """
    extra = {"x-answers": answers} | ({"x-body": body} if body else {})
    return {"response_model": None, "openapi_extra": extra}


def check_name(name: str, what: str, *, spaces: bool) -> str:
    """Return ``name`` if it is 1 to 255 printable characters.

    Raises:
        UsageError: it is not, in the words of the real service.
    """
    blank = " " in name if not spaces else name != name.strip()
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or blank:
        hint = f"1 to {_LONGEST_NAME} printable characters" + ("" if spaces else " without spaces")
        raise UsageError(f"{what}: must be in a valid format", hint=hint)
    return name


_LONGEST_NAME: Final = 255
