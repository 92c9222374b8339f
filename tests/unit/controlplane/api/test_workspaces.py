"""Workspaces over the API."""

from typing import Any

import pytest

from byoc.model.report import Phase, Reason


async def test_the_life_of_a_workspace_as_a_client_sees_it(world: Any) -> None:
    workspace = await world.workspace()
    read = await world.read(workspace)
    assert (read["state"], "endpoint" in read) == ("PENDING", False)
    await world.settle()
    read = await world.read(workspace)
    assert (read["state"], read["endpoint"]) == ("ACTIVE", "127.0.0.1:33061")
    await world.ok("POST", f"/v1/workspaces/{workspace}/suspend")
    assert (await world.read(workspace))["state"] == "PENDING"
    await world.settle()
    read = await world.read(workspace)
    assert (read["state"], "endpoint" in read) == ("SUSPENDED", False)
    world.clock.advance(60)
    await world.ok("POST", f"/v1/workspaces/{workspace}/resume", json={"disableAutoSuspend": False})
    await world.settle()
    read = await world.read(workspace)
    assert (read["state"], read["lastResumedAt"]) == ("ACTIVE", "2030-01-01T00:01:00Z")
    assert read["endpoint"]
    assert read["resumeAttachments"] == []
    await world.ok("DELETE", f"/v1/workspaces/{workspace}?force=false")
    await world.settle()
    read = await world.read(workspace)
    assert (read["state"], read["terminatedAt"]) == ("TERMINATED", "2030-01-01T00:01:00Z")
    listed = await world.ok("GET", f"/v1/workspaces?workspaceGroupID={read['workspaceGroupID']}")
    assert listed == []
    listed = await world.ok(
        "GET", f"/v1/workspaces?workspaceGroupID={read['workspaceGroupID']}&includeTerminated=true"
    )
    assert [each["workspaceID"] for each in listed] == [workspace]


async def test_a_list_says_what_each_workspace_says_however_often_and_in_part_it_was_read(world: Any) -> None:
    workspace = await world.active()
    group = (await world.read(workspace))["workspaceGroupID"]
    path = f"/v1/workspaces?workspaceGroupID={group}"
    for _ in range(2):
        assert await world.ok("GET", path) == [await world.read(workspace)]
        assert await world.ok("GET", f"{path}&fields=name") == [{"name": "orders"}]
    await world.ok("POST", f"/v1/workspaces/{workspace}/suspend")
    await world.settle()
    (listed,) = await world.ok("GET", path)
    assert (listed["state"], "endpoint" in listed) == ("SUSPENDED", False)
    assert listed == await world.read(workspace)


async def test_a_new_workspace_has_the_defaults(world: Any) -> None:
    workspace = await world.workspace()
    read = await world.read(workspace)
    assert read == {
        "workspaceID": workspace,
        "workspaceGroupID": read["workspaceGroupID"],
        "name": "orders",
        "state": "PENDING",
        "size": "S-00",
        "createdAt": "2030-01-01T00:00:00Z",
        "scaleFactor": 1,
        "cacheConfig": 1,
        "deploymentType": "PRODUCTION",
        "kaiEnabled": False,
    }


async def test_one_patch_of_all_five_fields_is_one_generation(world: Any) -> None:
    workspace = await world.active()
    answer = await world.client.patch(
        f"/v1/workspaces/{workspace}",
        json={
            "size": "s-2",
            "cacheConfig": 2,
            "scaleFactor": 2.0,
            "autoScale": {"maxScaleFactor": 4, "sensitivity": "high"},
            "autoSuspend": {"suspendType": "SCHEDULED", "suspendAfterSeconds": 3600},
        },
    )
    assert answer.headers["byoc-generation"] == "2"
    await world.settle()
    read = await world.read(workspace)
    assert {name: read[name] for name in ("size", "cacheConfig", "scaleFactor", "state")} == {
        "size": "S-2",
        "cacheConfig": 2,
        "scaleFactor": 2,
        "state": "ACTIVE",
    }
    assert read["autoScale"] == {
        "maxScaleFactor": 4,
        "sensitivity": "HIGH",
        "changedAt": "2030-01-01T00:00:00Z",
    }
    assert read["autoSuspend"] == {
        "suspendType": "SCHEDULED",
        "suspendTypeChangedAt": "2030-01-01T00:00:00Z",
        "scheduledAfterSeconds": 3600,
        "scheduledChangedAt": "2030-01-01T00:00:00Z",
        "scheduledSuspendAt": "2030-01-01T01:00:00Z",
    }


async def test_auto_suspend_reads_back_in_its_other_shape_and_disabled_is_absent(world: Any) -> None:
    workspace = await world.active(autoSuspend={"suspendType": "IDLE", "suspendAfterSeconds": 600})
    assert (await world.read(workspace))["autoSuspend"] == {
        "suspendType": "IDLE",
        "suspendTypeChangedAt": "2030-01-01T00:00:00Z",
        "idleAfterSeconds": 600,
        "idleChangedAt": "2030-01-01T00:00:00Z",
    }
    body = {"autoSuspend": {"suspendType": "DISABLED", "suspendAfterSeconds": 600}}
    await world.ok("PATCH", f"/v1/workspaces/{workspace}", json=body)
    assert "autoSuspend" not in await world.read(workspace)


@pytest.mark.parametrize("off", [{"maxScaleFactor": 1}, {"maxScaleFactor": 1, "sensitivity": "LOW"}, {}])
async def test_auto_scale_is_turned_off_by_one_or_by_nothing(world: Any, off: dict[str, Any]) -> None:
    workspace = await world.active(autoScale={"maxScaleFactor": 2, "changedAt": "2020-01-01T00:00:00Z"})
    assert (await world.read(workspace))["autoScale"]["sensitivity"] == "NORMAL"
    await world.ok("PATCH", f"/v1/workspaces/{workspace}", json={"autoScale": off})
    assert "autoScale" not in await world.read(workspace)


async def test_resume_can_clear_auto_suspend_and_needs_no_body(world: Any) -> None:
    workspace = await world.active(autoSuspend={"suspendType": "IDLE", "suspendAfterSeconds": 600})
    for request in ({}, {"json": {}}, {"json": {"disableautosuspend": None}}, {"content": b" \n"}):
        await world.ok("POST", f"/v1/workspaces/{workspace}/suspend")
        await world.settle()
        await world.ok("POST", f"/v1/workspaces/{workspace}/resume", **request)
        await world.settle()
        assert "autoSuspend" in await world.read(workspace)
    await world.ok("POST", f"/v1/workspaces/{workspace}/suspend")
    await world.settle()
    await world.ok("POST", f"/v1/workspaces/{workspace}/resume", json={"disableAutoSuspend": True})
    assert "autoSuspend" not in await world.read(workspace)


async def test_a_patch_while_one_is_under_way_is_409(world: Any) -> None:
    workspace = await world.active()
    await world.ok("PATCH", f"/v1/workspaces/{workspace}", json={"size": "S-1"})
    await world.refused(409, "PATCH", f"/v1/workspaces/{workspace}", json={"size": "S-2"})
    await world.ok("PATCH", f"/v1/workspaces/{workspace}", json={})
    await world.settle()
    await world.ok("PATCH", f"/v1/workspaces/{workspace}", json={"size": "S-2"})


async def test_suspending_what_is_suspended_has_no_effect(world: Any) -> None:
    workspace = await world.active()
    for _ in range(2):
        answer = await world.client.post(f"/v1/workspaces/{workspace}/suspend")
        await world.settle()
        assert answer.headers["byoc-generation"] == "2"


async def test_terminating_always_wins_and_may_be_repeated(world: Any) -> None:
    workspace = await world.workspace()
    for _ in range(2):
        await world.ok("DELETE", f"/v1/workspaces/{workspace}")
    await world.refused(409, "POST", f"/v1/workspaces/{workspace}/resume")
    await world.settle()
    await world.ok("DELETE", f"/v1/workspaces/{workspace}")
    await world.refused(409, "POST", f"/v1/workspaces/{workspace}/suspend")


async def test_scaling_shows_its_progress(world: Any) -> None:
    workspace = await world.active()
    await world.ok("PATCH", f"/v1/workspaces/{workspace}", json={"size": "S-1"})
    await world.report(workspace, Phase.UPDATING, Reason.RESTARTING_FOR_SIZE, progress=40)
    read = await world.read(workspace)
    assert (read["state"], read["scalingProgress"], "endpoint" in read) == ("PENDING", 40, False)
    await world.settle()
    assert "scalingProgress" not in await world.read(workspace)


async def test_a_workspace_that_cannot_start_is_failed_and_can_be_resumed(world: Any) -> None:
    workspace = await world.active()
    await world.report(workspace, Phase.FAILED, Reason.ENGINE_CANNOT_START)
    assert (await world.read(workspace))["state"] == "FAILED"
    await world.ok("POST", f"/v1/workspaces/{workspace}/resume")
    assert (await world.read(workspace))["state"] == "PENDING"


async def test_a_group_holds_five_workspaces_and_names_are_taken_once(world: Any) -> None:
    group = await world.group()
    for index in range(5):
        await world.workspace(f"w{index}", group)
    body = {"name": "w5", "workspaceGroupID": group}
    answer = await world.client.post("/v1/workspaces", json=body)
    assert (answer.status_code, answer.headers["byoc-error"]) == (409, "limit_reached")
    await world.refused(409, "POST", "/v1/workspaces", json=body | {"name": "w0"})


@pytest.mark.parametrize("name", ["w", "0", "a-1", "a--b", "x" * 32])
async def test_a_name_may_be_anything_that_a_host_may_be_called(world: Any, name: str) -> None:
    assert (await world.read(await world.workspace(name)))["name"] == name


@pytest.mark.parametrize(
    "name", ["", "Bad_Name!", "Orders", "a_b", "a.b", "a b", "a\n", "a\x00", "-a", "a-", "-", "é", "x" * 33]
)
async def test_any_other_name_is_refused_in_the_words_of_the_real_service(world: Any, name: str) -> None:
    body = {"name": name, "workspaceGroupID": await world.group()}
    answer = await world.client.post("/v1/workspaces", json=body)
    assert (answer.status_code, answer.text) == (400, "name: must be in a valid format")
    assert "lower-case letters, digits and hyphens" in answer.headers["byoc-hint"]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": None},
        {"size": "S-3"},
        {"size": 1},
        {"size": ""},
        {"scaleFactor": 3},
        {"scaleFactor": "2"},
        {"scaleFactor": True},
        {"scaleFactor": 10**300},
        {"cacheConfig": 1.5},
        {"enableKai": "yes"},
        {"autoSuspend": {}},
        {"autoSuspend": {"suspendType": "SOMETIMES"}},
        {"autoSuspend": {"suspendType": "IDLE"}},
        {"autoSuspend": {"suspendType": "IDLE", "suspendAfterSeconds": 0}},
        {"autoSuspend": {"suspendType": "IDLE", "suspendAfterSeconds": -1}},
        {"autoSuspend": {"suspendType": "IDLE", "suspendAfterSeconds": 1e18}},
        {"autoSuspend": []},
        {"autoScale": {"maxScaleFactor": 8}},
        {"autoScale": {"sensitivity": "LOW"}},
        {"autoScale": {"maxScaleFactor": 2, "sensitivity": "EXTREME"}},
        {"workspaceGroupID": "x"},
        {"workspaceGroupID": 7},
    ],
)
async def test_a_bad_value_is_400_and_names_its_field(world: Any, fields: dict[str, Any]) -> None:
    body = {"name": "w", "workspaceGroupID": await world.group()} | fields
    text = await world.refused(400, "POST", "/v1/workspaces", json=body)
    assert next(iter(fields)) in text


async def test_listing_needs_a_group(world: Any) -> None:
    assert await world.refused(400, "GET", "/v1/workspaces") == "workspaceGroupID is required"
    await world.refused(400, "GET", "/v1/workspaces?workspaceGroupID=x")


async def test_a_workspace_has_no_private_connections(world: Any) -> None:
    workspace = await world.workspace()
    path = f"/v1/workspaces/{workspace}/privateConnections"
    assert await world.ok("GET", path, params={"workspaceGroupID": "x"}) == []
