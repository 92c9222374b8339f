"""Callers who go too fast, through the whole app."""

from typing import Any

import httpx2
import pytest

from byoc.controlplane.app import build
from byoc.controlplane.settings import ControlPlaneSettings


@pytest.mark.parametrize(("key", "usual"), [("valid", 200), ("wrong", 401)])
async def test_a_caller_who_goes_too_fast_is_answered_429_until_its_pause_is_over(
    world: Any, key: str, usual: int
) -> None:
    slow = ControlPlaneSettings(calls_per_second=1, refusals_per_second=1)
    app = build(slow, world.fleet, world.instance, version="0", clock=world.clock)
    headers = {"Authorization": f"Bearer {world.key if key == 'valid' else key}"}
    line = httpx2.ASGITransport(app.asgi)
    async with httpx2.AsyncClient(transport=line, base_url="http://api", headers=headers) as client:
        answers = [await client.get("/v1/regions") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [usual] * 5 + [429]
        assert answers[-1].headers["retry-after"] == "1"
        assert answers[-1].headers["byoc-error"] == "too_many_requests"
        assert (await client.get("/healthz")).status_code == 200
        await world.clock.elapse(1)
        assert (await client.get("/v1/regions")).status_code == usual
