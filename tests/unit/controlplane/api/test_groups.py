"""Workspace groups over the API."""

from typing import Any

import pytest

PASSWORD = "Corr3ct-Horse-Batt3ry"


async def test_a_group_reads_back_at_once_as_it_was_created(world: Any) -> None:
    cell = (await world.ok("GET", "/v1/regions"))[0]["regionID"]
    group = await world.group(
        "my sales group",
        firewallRanges=["192.168.0.0/16", "10.0.0.0/8"],
        updateWindow={"day": 6, "hour": 23},
        expiresAt="2031-05-05",
        deploymentType="NON-PRODUCTION",
        highAvailabilityTwoZones=True,
        optInPreviewFeature=True,
    )
    project = (await world.ok("GET", "/v1/projects"))[0]
    assert await world.read_group(group) == {
        "workspaceGroupID": group,
        "name": "my sales group",
        "state": "PENDING",
        "createdAt": "2030-01-01T00:00:00Z",
        "provider": "AWS",
        "regionID": cell,
        "regionName": "local",
        "projectID": project["projectID"],
        "projectName": "Standard Project",
        "firewallRanges": ["10.0.0.0/8", "192.168.0.0/16"],
        "allowAllTraffic": False,
        "deploymentType": "NON-PRODUCTION",
        "highAvailabilityTwoZones": True,
        "optInPreviewFeature": True,
        "expiresAt": "2031-05-05T00:00:00Z",
        "updateWindow": {"day": 6, "hour": 23},
    }
    await world.settle()
    assert (await world.read_group(group))["state"] == "ACTIVE"


async def test_a_generated_password_is_shown_once(world: Any) -> None:
    body = {"name": "g", "firewallRanges": [], "provider": "aws", "regionName": "local"}
    created = await world.ok("POST", "/v1/workspaceGroups", json=body)
    assert len(created["adminPassword"]) >= 14
    read = (await world.client.get(f"/v1/workspaceGroups/{created['workspaceGroupID']}")).text
    assert created["adminPassword"] not in read


async def test_a_password_that_was_given_is_never_shown(world: Any) -> None:
    body = {
        "name": "g",
        "firewallRanges": [],
        "provider": "AWS",
        "regionName": "local",
        "adminPassword": PASSWORD,
    }
    answer = await world.client.post("/v1/workspaceGroups", json=body)
    assert set(answer.json()) == {"workspaceGroupID"}


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("Sh0rt!", "password must contain at least 14 characters"),
        ("Corr3ctHorseBatt3ry&", "password must contain at least 1 special characters"),
        ("corr3ct-horse-batt3ry", "password must contain at least 1 uppercase characters"),
        ("Corr3ct-Horse-Batt3ry-abc", "password must not contain more than 2 sequential characters"),
    ],
)
async def test_the_password_policy_is_checked_before_the_region(world: Any, password: str, text: str) -> None:
    body = {
        "name": "g",
        "firewallRanges": [],
        "provider": "AWS",
        "regionName": "no",
        "adminPassword": password,
    }
    assert await world.refused(400, "POST", "/v1/workspaceGroups", json=body) == text


@pytest.mark.parametrize("body", [{"name": "g"}, {"name": "g", "firewallRanges": None}])
async def test_firewall_ranges_may_not_be_null(world: Any, body: dict[str, Any]) -> None:
    text = await world.refused(400, "POST", "/v1/workspaceGroups", json=body)
    assert text == "firewallRanges cannot be null (indicate empty list [] to disallow all inbound traffic)"


async def test_the_range_of_everything_is_stored_as_allow_all_traffic(world: Any) -> None:
    group = await world.group(firewallRanges=["0.0.0.0/0", "10.0.0.0/8"])
    read = await world.read_group(group)
    assert (read["allowAllTraffic"], read["firewallRanges"]) == (True, [])
    await world.ok("PATCH", f"/v1/workspaceGroups/{group}", json={"firewallRanges": ["10.0.0.0/8"]})
    read = await world.read_group(group)
    assert (read["allowAllTraffic"], read["firewallRanges"]) == (False, ["10.0.0.0/8"])


@pytest.mark.parametrize("bad", ["x", "10.0.0.0/33", "1.2.3", "", "10.0.0.0/8\n\u202e", "a" * 5000, 7, None])
async def test_a_range_that_is_none_is_400(world: Any, bad: Any) -> None:
    body = {"name": "g", "firewallRanges": ["10.0.0.0/8", bad], "provider": "AWS", "regionName": "local"}
    assert "firewallRanges" in await world.refused(400, "POST", "/v1/workspaceGroups", json=body)


async def test_a_region_is_named_by_id_or_by_provider_and_name(world: Any) -> None:
    cell = (await world.ok("GET", "/v1/regions"))[0]["regionID"]
    by_id = await world.ok(
        "POST", "/v1/workspaceGroups", json={"name": "a", "firewallRanges": [], "regionID": cell}
    )
    assert (await world.read_group(by_id["workspaceGroupID"]))["regionID"] == cell
    for body, status, text in (
        ({}, 400, "regionID is required"),
        ({"provider": "AWS"}, 400, "regionID is required"),
        ({"provider": "GCP", "regionName": "local"}, 404, "region not found"),
        ({"regionID": "00000000-0000-4000-8000-000000000000"}, 404, "region not found"),
        ({"regionID": "x"}, 400, "regionID: incorrect UUID `x`"),
    ):
        made = {"name": "b", "firewallRanges": []} | body
        assert await world.refused(status, "POST", "/v1/workspaceGroups", json=made) == text
    made = {"name": "b", "firewallRanges": [], "provider": "Oracle", "regionName": "x"}
    assert "provider" in await world.refused(400, "POST", "/v1/workspaceGroups", json=made)


async def test_a_retired_cell_is_no_region(world: Any) -> None:
    cell = (await world.ok("GET", "/v1/regions"))[0]["regionID"]
    await world.ok("POST", f"/byoc/v1/cells/{cell}/retire")
    assert await world.ok("GET", "/v1/regions") == []
    body = {"name": "a", "firewallRanges": [], "regionID": cell}
    assert await world.refused(404, "POST", "/v1/workspaceGroups", json=body) == "region not found"


async def test_a_region_belongs_to_one_cell(world: Any) -> None:
    cell = {"name": "second", "provider": "AWS", "region": "US Local", "regionName": "local"}
    answer = await world.client.post("/byoc/v1/cells", json=cell)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("3h30m", "2030-01-01T03:30:00Z"),
        ("1.5h", "2030-01-01T01:30:00Z"),
        ("2030-06-01", "2030-06-01T00:00:00Z"),
        ("2030-06-01T10:00:00+02:00", "2030-06-01T08:00:00Z"),
        ("2030-06-01T10:00:00.123456789Z", "2030-06-01T10:00:00.123456Z"),
    ],
)
async def test_an_expiry_is_a_timestamp_a_date_or_a_duration(world: Any, text: str, stamp: str) -> None:
    assert (await world.read_group(await world.group(expiresAt=text)))["expiresAt"] == stamp


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "3",
        "h",
        "-3h",
        "2029-12-31",
        "0s",
        "2030-13-01",
        "9" * 400 + "h",
        "0001-01-01T00:00:00+23:59",
    ],
)
async def test_an_expiry_that_is_none_or_past_is_400(world: Any, text: str) -> None:
    body = {"name": "g", "firewallRanges": [], "provider": "AWS", "regionName": "local", "expiresAt": text}
    assert "expiresAt" in await world.refused(400, "POST", "/v1/workspaceGroups", json=body)


async def test_an_expiry_can_be_moved_and_null_leaves_it(world: Any) -> None:
    group_id = await world.group(expiresAt="3h")
    path = f"/v1/workspaceGroups/{group_id}"
    await world.ok("PATCH", path, json={"expiresAt": None, "name": "renamed"})
    assert (await world.read_group(group_id))["expiresAt"] == "2030-01-01T03:00:00Z"
    assert "expiresAt" in await world.refused(400, "PATCH", path, json={"expiresAt": ""})
    await world.ok("PATCH", path, json={"expiresAt": "9999-12-31"})
    assert (await world.read_group(group_id))["expiresAt"] == "9999-12-31T00:00:00Z"


@pytest.mark.parametrize(
    "window",
    [{"day": 7, "hour": 0}, {"day": 0, "hour": 24}, {"day": 1.5, "hour": 0}, {"day": 1}, {}, [], "x", 1],
)
async def test_an_update_window_is_a_day_and_an_hour(world: Any, window: Any) -> None:
    body = {
        "name": "g",
        "firewallRanges": [],
        "provider": "AWS",
        "regionName": "local",
        "updateWindow": window,
    }
    assert "updateWindow" in await world.refused(400, "POST", "/v1/workspaceGroups", json=body)


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a\n", "a\x00b", "x" * 256, "a\u200bb", "\u202eabc", 7, [], {}]
)
async def test_a_group_name_is_printable_and_not_too_long(world: Any, name: Any) -> None:
    body = {"name": name, "firewallRanges": [], "provider": "AWS", "regionName": "local"}
    assert "name" in await world.refused(400, "POST", "/v1/workspaceGroups", json=body)


async def test_a_name_that_is_taken_is_409(world: Any) -> None:
    await world.group("sales")
    body = {"name": "sales", "firewallRanges": [], "provider": "AWS", "regionName": "local"}
    await world.refused(409, "POST", "/v1/workspaceGroups", json=body)


async def test_a_project_is_used_if_it_exists(world: Any) -> None:
    project = (await world.ok("GET", "/v1/projects"))[0]["projectID"]
    assert (await world.read_group(await world.group(projectID=project)))["projectID"] == project
    body = {"name": "h", "firewallRanges": [], "provider": "AWS", "regionName": "local"}
    unknown = body | {"projectID": "00000000-0000-4000-8000-000000000000"}
    assert await world.refused(404, "POST", "/v1/workspaceGroups", json=unknown) == "project not found"


async def test_the_preview_option_needs_a_non_production_group(world: Any) -> None:
    body = {
        "name": "g",
        "firewallRanges": [],
        "provider": "AWS",
        "regionName": "local",
        "optInPreviewFeature": True,
    }
    assert "NON-PRODUCTION" in await world.refused(400, "POST", "/v1/workspaceGroups", json=body)


async def test_a_patch_changes_what_it_names_and_nothing_else(world: Any) -> None:
    group = await world.group(firewallRanges=["10.0.0.0/8"])
    before = await world.read_group(group)
    changes = {
        "name": "new name",
        "expiresAt": "1h",
        "updateWindow": {"day": 0, "hour": 3},
        "adminPassword": PASSWORD,
    }
    answer = await world.ok("PATCH", f"/v1/workspaceGroups/{group}", json=changes)
    assert answer == {"workspaceGroupID": group}
    assert await world.read_group(group) == before | {
        "name": "new name",
        "expiresAt": "2030-01-01T01:00:00Z",
        "updateWindow": {"day": 0, "hour": 3},
    }


async def test_an_empty_patch_changes_nothing(world: Any) -> None:
    group = await world.group()
    answer = await world.client.patch(f"/v1/workspaceGroups/{group}", json={"name": None})
    assert (answer.status_code, answer.headers["byoc-generation"]) == (200, "1")


@pytest.mark.parametrize(
    "field", ["regionID", "projectID", "highAvailabilityTwoZones", "optInPreviewFeature"]
)
async def test_what_cannot_change_is_an_unknown_field_of_a_patch(world: Any, field: str) -> None:
    text = await world.refused(400, "PATCH", f"/v1/workspaceGroups/{await world.group()}", json={field: True})
    assert text == "request body contains an unknown field"


async def test_an_empty_password_is_refused_not_generated(world: Any) -> None:
    group = await world.group()
    await world.refused(400, "PATCH", f"/v1/workspaceGroups/{group}", json={"adminPassword": ""})


async def test_our_own_route_generates_a_password(world: Any) -> None:
    group = await world.group()
    for request in ({}, {"json": {}}):
        made = await world.ok("POST", f"/byoc/v1/workspaceGroups/{group}/password", **request)
        assert len(made["adminPassword"]) >= 14


async def test_a_group_with_live_workspaces_goes_only_by_force(world: Any) -> None:
    group = await world.group()
    workspace = await world.workspace(group=group)
    await world.refused(409, "DELETE", f"/v1/workspaceGroups/{group}")
    await world.refused(409, "DELETE", f"/v1/workspaceGroups/{group}?force=false")
    assert await world.ok("DELETE", f"/v1/workspaceGroups/{group}?force=true") == {"workspaceGroupID": group}
    assert (await world.read_group(group))["state"] == "PENDING"
    await world.settle()
    read = await world.read_group(group)
    assert (read["state"], read["terminatedAt"]) == ("TERMINATED", "2030-01-01T00:00:00Z")
    assert (await world.read(workspace))["state"] == "TERMINATED"
    assert await world.ok("GET", "/v1/workspaceGroups") == []


async def test_a_group_has_no_private_connections(world: Any) -> None:
    group = await world.group()
    assert await world.ok("GET", f"/v1/workspaceGroups/{group}/privateConnections") == []
