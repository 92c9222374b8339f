"""No input makes a 5xx: whatever is sent, the answer is one of the vendor's and of the right form."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

STATUSES = {200, 400, 401, 404, 409}
KEYS = st.sampled_from(
    [
        "name", "NAME", "workspaceGroupID", "size", "autoSuspend", "suspendType", "suspendAfterSeconds",
        "autoScale", "maxScaleFactor", "sensitivity", "cacheConfig", "scaleFactor", "enableKai",
        "firewallRanges", "regionID", "provider", "regionName", "adminPassword", "expiresAt", "updateWindow",
        "day", "hour", "deploymentType", "projectID", "smartDR", "disableAutoSuspend", "thumbprint", "region",
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    [
        "S-00",
        "s-1",
        "IDLE",
        "AWS",
        "local",
        "0.0.0.0/0",
        "3h",
        "2030-01-01",
        "",
        "x",
        "PRODUCTION",
        "\x00",
        "é",
    ]
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, 1, 2, 4, -1])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text() | WORDS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=4)
)
BODIES = st.dictionaries(KEYS, VALUES, max_size=8)
HUNDRED = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def _check(world: Any, method: str, path: str, **request: Any) -> None:
    answer = await world.client.request(method, path, **request)
    assert answer.status_code in STATUSES, (method, path, request, answer.text)
    if answer.status_code != 200 and not path.startswith("/byoc/"):
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert len(answer.text.splitlines()) == 1


@HUNDRED
@given(body=BODIES)
async def test_any_json_body_is_answered(world: Any, body: dict[str, Any]) -> None:
    group = (await world.ok("GET", "/v1/workspaceGroups") or [{"workspaceGroupID": await world.group()}])[0]
    workspaces = f"/v1/workspaces?workspaceGroupID={group['workspaceGroupID']}"
    listed = await world.ok("GET", workspaces)
    workspace = listed[0]["workspaceID"] if listed else await world.workspace(group=group["workspaceGroupID"])
    await world.settle()
    for method, path in (
        ("POST", "/v1/workspaceGroups"),
        ("POST", "/v1/workspaces"),
        ("PATCH", f"/v1/workspaces/{workspace}"),
        ("PATCH", f"/v1/workspaceGroups/{group['workspaceGroupID']}"),
        ("POST", f"/v1/workspaces/{workspace}/resume"),
        ("POST", "/byoc/v1/cells"),
    ):
        await _check(world, method, path, json=body)


@HUNDRED
@given(name=st.text(max_size=300))
async def test_any_name_is_either_refused_or_read_back_unchanged(world: Any, name: str) -> None:
    body = {"name": name, "firewallRanges": [], "provider": "AWS", "regionName": "local"}
    answer = await world.client.post("/v1/workspaceGroups", json=body)
    assert answer.status_code in {200, 400, 409}
    if answer.status_code == 200:
        assert (await world.read_group(answer.json()["workspaceGroupID"]))["name"] == name


@HUNDRED
@given(raw=st.binary(max_size=200))
async def test_any_bytes_are_answered(world: Any, raw: bytes) -> None:
    for path in ("/v1/workspaces", "/v1/workspaceGroups", "/byoc/v1/cells"):
        await _check(world, "POST", path, content=raw)


@HUNDRED
@given(text=st.text(max_size=60), other=st.text(max_size=60))
async def test_any_query_and_any_path_is_answered(world: Any, text: str, other: str) -> None:
    query = dict.fromkeys(("fields", "includeTerminated", "workspaceGroupID", "force", "startTime"), text)
    query |= {"endTime": other, "metric": other, "aggregateBy": other, "after": other, text: other}
    for path in (
        "/v1/workspaces",
        "/v1/workspaceGroups",
        "/v1/regions",
        "/v1/billing/usage",
        "/byoc/v1/cells",
    ):
        await _check(world, "GET", path, params=query)


@HUNDRED
@given(value=st.binary(max_size=60).filter(lambda raw: b"\n" not in raw and b"\r" not in raw))
async def test_any_authorization_header_is_answered(world: Any, value: bytes) -> None:
    answer = await world.client.get("/v1/regions", headers=[(b"authorization", value)])
    assert answer.status_code == 401
