"""The outermost layer."""

from typing import Any

import httpx2
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from byoc.controlplane.api.service import Overview
from byoc.controlplane.edge import Edge
from byoc.controlplane.metrics import Metrics
from byoc.testing import ManualClock


def _edge(app: ASGIApp) -> tuple[Edge, Metrics]:
    metrics = Metrics("0")
    ids = iter(f"id-{number}" for number in range(100))
    return Edge(app, clock=ManualClock(), new_id=lambda: next(ids), metrics=metrics), metrics


def _client(app: ASGIApp) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://api.example")


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/x", "text/plain; charset=utf-8"), ("/byoc/v1/x", "application/problem+json")]
)
async def test_an_unforeseen_error_is_a_500_without_detail(
    path: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("the secret detail")

    edge, _ = _edge(broken)
    async with _client(edge) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (500, kind)
    assert answer.headers.get_list("byoc-request-id") == ["id-0"]
    assert answer.headers["byoc-error"] == "internal"
    assert "secret" not in answer.text
    assert "the secret detail" in capsys.readouterr().out


async def test_an_error_after_the_head_is_only_logged(capsys: pytest.CaptureFixture[str]) -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("too late")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    edge, _ = _edge(half)
    await edge({"type": "http", "method": "GET", "path": "/v1/x"}, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert "too late" in capsys.readouterr().out


async def test_a_caller_who_goes_away_is_no_error() -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    async def nothing(*_: Any) -> Any:
        return None

    edge, metrics = _edge(reads)
    await edge({"type": "http", "method": "POST", "path": "/v1/x"}, nothing, nothing)
    assert 'byoc_refused_total{code="client_gone"} 1.0' in metrics.text(Overview()).decode()


async def test_what_is_not_http_passes_through() -> None:
    seen: list[str] = []

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        return None

    edge, _ = _edge(lifespan)
    await edge({"type": "lifespan"}, nothing, nothing)
    assert seen == ["lifespan"]
