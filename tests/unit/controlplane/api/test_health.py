"""Health, readiness, metrics and the status page."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from byoc.controlplane.api.service import Overview
from byoc.controlplane.app import build
from byoc.controlplane.metrics import Metrics
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.testing import ManualClock
from byoc.testing.fleet import MemoryFleet


async def test_the_process_answers_whatever_its_state(world: Any) -> None:
    world.instance.reasons = {"store": "the disk is full"}
    assert (await world.client.get("/healthz")).json() == {"status": "ok"}


async def test_readiness_gives_its_reasons(world: Any) -> None:
    answer = await world.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "reasons": {}})
    world.instance.reasons = {"gateway": "no session", "store": "the disk is full"}
    answer = await world.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "reasons": world.instance.reasons}


async def test_metrics_count_answers_and_refusals_without_ids(world: Any) -> None:
    workspace = await world.active()
    await world.read(workspace)
    await world.refused(404, "GET", "/v1/workspaces/00000000-0000-4000-8000-000000000000")
    answer = await world.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    route = 'method="GET",route="/v1/workspaces/{workspaceID}"'
    assert f'byoc_http_requests_total{{{route},status="200"}} 1.0' in lines
    assert f"byoc_http_request_seconds_count{{{route}}} 2.0" in lines
    assert 'byoc_refused_total{code="not_found"} 1.0' in lines
    assert 'byoc_cells{state="enrolled"} 1.0' in lines
    assert {"byoc_cells_connected 1.0", "byoc_cells_lost 0.0"} <= set(lines)
    assert 'byoc_workspaces{state="ACTIVE"} 2.0' in lines
    assert workspace not in answer.text
    assert "orders" not in answer.text


async def test_paths_that_are_no_route_and_strange_methods_make_no_new_series(world: Any) -> None:
    for index in range(5):
        await world.client.request(f"ODD{index}", f"/v1/{index}")
    text = (await world.client.get("/metrics")).text
    assert 'byoc_http_requests_total{method="OTHER",route="none",status="404"} 5.0' in text


def test_a_label_from_outside_cannot_forge_a_line() -> None:
    metrics = Metrics("0")
    metrics.answered("GET", 'x"} 1\nfake 2', 200, 0.1, "")
    lines = metrics.text(Overview()).decode().splitlines()
    assert not any(line.startswith("fake") for line in lines)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.words += data.split()


async def test_the_status_page_is_self_contained_and_escapes_what_it_shows(world: Any) -> None:
    evil = "<script>alert(1)</script>"
    world.instance.seen = Overview({"enrolled": 1}, 1, 0, 3, {"ACTIVE": 2, evil: 1})
    world.instance.reasons = {"gateway": evil}
    answer = await world.client.get("/")
    page = _Page()
    page.feed(answer.text)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "script" not in page.tags
    assert all(url.startswith("/") for url in page.urls)
    assert {"0.1.0", "connected", "ACTIVE"} <= set(page.words)
    assert evil in page.words


async def test_the_status_page_says_what_there_is_not_yet(world: Any) -> None:
    world.instance.seen = Overview()
    text = (await world.client.get("/")).text
    assert "byoc cell enrol NAME" in text
    assert "byoc workspace create NAME --group GROUP" in text


async def test_the_status_page_names_failures_first_and_in_its_title(world: Any) -> None:
    states = {"ACTIVE": 3, "FAILED": 1, "SUSPENDED": 2}
    world.instance.seen = Overview({"enrolled": 3, "retired": 1}, 2, 1, 1, states)
    text = (await world.client.get("/")).text
    assert "<title>1 workspace FAILED - byoc control plane</title>" in text
    assert "2 of 4 connected" in text
    assert "6 in 1 group<" in text
    assert text.index("<dt>FAILED") < text.index("<dt>ACTIVE") < text.index("<dt>SUSPENDED")
    assert '<dt>not connected</dt><dd class="bad">1</dd>' in text
    assert '<dt>retired</dt><dd class="">1</dd>' in text


async def test_without_a_key_nothing_shows_a_name_or_an_id_of_anybody(world: Any) -> None:
    workspace = await world.active()
    shown = "".join(
        [(await world.client.get(path)).text for path in ("/", "/metrics", "/readyz", "/healthz")]
    )
    cells = await world.ok("GET", "/byoc/v1/cells")
    organization = await world.ok("GET", "/v1/organizations/current")
    names = {workspace, "orders", cells[0]["cellID"], cells[0]["name"], organization["orgID"]}
    assert not [name for name in names if re.search(rf"\b{re.escape(name)}\b", shown)]


async def test_nothing_serves_docs_from_elsewhere(world: Any) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert (await world.client.get(path)).status_code == 404


async def test_no_variable_can_have_requests_told_to_a_tracer(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    app = build(ControlPlaneSettings(), MemoryFleet(ManualClock()), world.instance, version="0")
    assert not app.api._native_telemetry.enabled()
    assert app.api._telemetry["auto_configure"] is False
