"""Keys: which are let in, and what another organization's objects look like."""

from typing import Any

import pytest

ROUTES = [
    ("GET", "/v1/regions"),
    ("GET", "/v1/organizations/current"),
    ("GET", "/v1/projects"),
    ("GET", "/v1/workspaceGroups"),
    ("POST", "/v1/workspaceGroups"),
    ("GET", "/v1/workspaces/x"),
    ("POST", "/v1/workspaces"),
    ("GET", "/v1/workspaces"),
    ("GET", "/v1/billing/usage"),
    ("GET", "/byoc/v1/cells"),
    ("GET", "/byoc/v1/whoami"),
    ("GET", "/byoc/v1/workspaces/x/events"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic abc", "Bearer é", "Bearer " + "a" * 9000]
)
async def test_without_a_valid_key_every_route_is_401(
    world: Any, method: str, path: str, header: str | None
) -> None:
    del world.client.headers["authorization"]
    headers = [] if header is None else [(b"authorization", header.encode())]
    answer = await world.client.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["byoc-error"] == "not_authenticated"


async def test_the_scheme_is_read_in_any_letter_case(world: Any) -> None:
    answer = await world.client.get("/v1/regions", headers={"Authorization": f"bearer  {world.key} "})
    assert answer.status_code == 200


async def test_health_metrics_and_the_status_page_need_no_key(world: Any) -> None:
    del world.client.headers["authorization"]
    for path in ("/healthz", "/readyz", "/metrics", "/", "/byoc/v1/openapi.json"):
        assert (await world.client.get(path)).status_code == 200


async def test_what_another_organization_has_does_not_exist(world: Any) -> None:
    workspace = await world.active()
    group = (await world.read(workspace))["workspaceGroupID"]
    cell = (await world.read_group(group))["regionID"]
    for method, path in (
        ("GET", f"/v1/workspaces/{workspace}"),
        ("PATCH", f"/v1/workspaces/{workspace}"),
        ("DELETE", f"/v1/workspaces/{workspace}"),
        ("POST", f"/v1/workspaces/{workspace}/suspend"),
        ("POST", f"/v1/workspaces/{workspace}/resume"),
        ("GET", f"/v1/workspaceGroups/{group}"),
        ("PATCH", f"/v1/workspaceGroups/{group}"),
        ("DELETE", f"/v1/workspaceGroups/{group}?force=true"),
        ("GET", f"/v1/workspaces?workspaceGroupID={group}"),
        ("GET", f"/byoc/v1/workspaces/{workspace}"),
        ("GET", f"/byoc/v1/workspaces/{workspace}/events?follow=true"),
        ("GET", f"/byoc/v1/workspaces/{workspace}/logs"),
        ("GET", f"/byoc/v1/cells/{cell}"),
        ("POST", f"/byoc/v1/cells/{cell}/retire"),
        ("POST", f"/byoc/v1/workspaceGroups/{group}/password"),
    ):
        body = {"json": {}} if method == "PATCH" else {}
        answer = await world.stranger.request(method, path, **body)
        assert answer.status_code == 404, (method, path, answer.text)
    body = {"name": "g", "firewallRanges": [], "regionID": cell}
    assert (await world.stranger.post("/v1/workspaceGroups", json=body)).status_code == 404
    assert (await world.stranger.get("/v1/workspaceGroups")).json() == []
    assert (await world.read(workspace))["state"] == "ACTIVE"


async def test_a_body_is_not_read_before_the_key_is_checked(world: Any) -> None:
    answer = await world.client.post(
        "/v1/workspaces", content=b"{" * 100, headers={"Authorization": "Bearer wrong"}
    )
    assert answer.status_code == 401
