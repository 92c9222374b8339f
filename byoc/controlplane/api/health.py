"""What the process says of itself, without a key: health, readiness, metrics, its status page."""

from fastapi import APIRouter, Request
from pydantic_core import to_json
from starlette.responses import HTMLResponse, Response

from byoc.controlplane import metrics
from byoc.controlplane.api.calls import context
from byoc.controlplane.portal import status

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> Response:
    """The process answers."""
    return Response(b'{"status":"ok"}', media_type="application/json")


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Whether requests can be served now, and if not why."""
    reasons = await context(request).instance.unready()
    content = {"status": "not ready" if reasons else "ready", "reasons": reasons}
    return Response(to_json(content), 503 if reasons else 200, media_type="application/json")


@router.get("/metrics")
async def get_metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    ours = context(request)
    text = ours.metrics.text(await ours.instance.overview())
    return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})


@router.get("/")
async def get_status_page(request: Request) -> Response:
    """One page for people; it loads nothing from anywhere."""
    ours = context(request)
    page = status.render(
        await ours.instance.overview(),
        await ours.instance.unready(),
        version=ours.version,
        now=ours.clock.now(),
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": status.POLICY, "Cache-Control": "no-store"})
