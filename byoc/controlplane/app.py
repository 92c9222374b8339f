"""The Control Plane's HTTP app: routes, error answers and the outermost layer, put together.

Called by ``byoc.controlplane.serve`` and by tests. Everything it needs is a parameter, so
that the same app runs on SQLite, on PostgreSQL and on the twin in memory.
"""

from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from byoc.clock import Clock, SystemClock
from byoc.controlplane import problems
from byoc.controlplane.api import (
    audit,
    billing,
    cells,
    document,
    figures,
    forwards,
    groups,
    health,
    identity,
    regions,
    story,
    workspaces,
)
from byoc.controlplane.api.calls import Context
from byoc.controlplane.api.service import FleetService, Instance
from byoc.controlplane.audit import Audited
from byoc.controlplane.edge import Edge
from byoc.controlplane.guard import Guard
from byoc.controlplane.metrics import Metrics
from byoc.controlplane.pace import Pace
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.errors import ByocError
from byoc.ids import NewID, new_id

_DESCRIPTION = (
    "The Management API (`/v1`) as vendor clients expect it, and this product's own routes (`/byoc/v1`)."
    " Names are used for compatibility; there is no affiliation or endorsement."
)
# Requests hold passwords; no variable of the environment may send them anywhere.
_NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
_ROUTERS = (regions, groups, workspaces, billing, cells, forwards, story, identity, audit, health, figures)


class ControlPlaneApp:
    """The ASGI app, and the handle by which its endless answers are ended."""

    def __init__(self, asgi: ASGIApp, context: Context, api: FastAPI) -> None:
        self.asgi = asgi
        self.api = api
        self._context = context

    def close(self) -> None:
        """End every event stream; to be called when the process begins to stop."""
        self._context.closing.set()


def build(
    settings: ControlPlaneSettings,
    fleet: FleetService,
    instance: Instance,
    *,
    version: str,
    clock: Clock | None = None,
    make_id: NewID = new_id,
    metrics: Metrics | None = None,
) -> ControlPlaneApp:
    """Put the app together.

    Args:
        settings: only ``keep_alive`` and the rates matter here.
        fleet: the service that acts.
        instance: what the process knows of itself.
        version: of this software, shown on the status page.
        clock: time; the machine's own by default.
        make_id: makes the ids of requests.
        metrics: counters to use; fresh ones by default.
    """
    clock, metrics = clock or SystemClock(), metrics or Metrics(version)
    guard = _guard(settings, fleet, clock)
    context = Context(fleet, instance, clock, metrics, guard, version, settings.keep_alive)
    api = FastAPI(
        title="byoc",
        version=version,
        description=_DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    api.state.context = context
    for module in _ROUTERS:
        api.include_router(module.router)
    api.add_api_route(document.PATH, _openapi, include_in_schema=False)
    for kind in (ByocError, HTTPException, RequestValidationError):
        api.add_exception_handler(kind, _problem)
    edge = Edge(Audited(api, fleet, clock), clock=clock, new_id=make_id, metrics=metrics)
    return ControlPlaneApp(edge, context, api)


def _guard(settings: ControlPlaneSettings, fleet: FleetService, clock: Clock) -> Guard:
    calls = Pace(settings.calls_per_second, "calls with this key", clock)
    refusals = Pace(settings.refusals_per_second, "refused keys from this address", clock)
    return Guard(fleet, calls=calls, refusals=refusals)


async def _openapi(request: Request) -> Response:
    return JSONResponse(document.document(request.app))


async def _problem(request: Request, error: Exception) -> Response:
    state, path = request.scope["state"], request.scope["path"]
    return problems.render(problems.of_exception(error), path, state["request_id"])
