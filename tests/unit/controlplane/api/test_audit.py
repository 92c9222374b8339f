"""Who did what: each call that changes something, or tries to, is on record when it is answered."""

import json
from typing import Any

import pytest
import structlog

CELL = {"name": "paris", "provider": "AWS", "region": "EU Paris", "regionName": "eu-west-3"}


async def deeds(world: Any, query: str = "") -> list[Any]:
    return await world.ok("GET", f"/byoc/v1/audit{query}")


async def test_each_change_is_on_record_with_who_what_and_how_it_ended(world: Any) -> None:
    workspace = await world.active()
    answer = await world.client.post(f"/v1/workspaces/{workspace}/suspend")
    found = (await deeds(world))[-1]
    assert found == {
        "number": found["number"],
        "at": "2030-01-01T00:00:00Z",
        "by": "owner@acme.example",
        "keyID": found["keyID"],
        "action": "suspend workspace",
        "objectID": workspace,
        "status": 200,
        "requestID": answer.headers["byoc-request-id"],
    }
    made = [(each["action"], each["objectID"]) for each in await deeds(world)]
    assert ("create workspace", workspace) in made
    cell = await world.ok("POST", "/byoc/v1/cells", json=CELL)
    assert [(each["action"], each["objectID"]) for each in await deeds(world)][-1] == (
        "register cell",
        cell["cellID"],
    )


async def test_each_call_is_on_record_once(world: Any) -> None:
    group = await world.group()
    workspace = await world.workspace(group=group)
    await world.client.post("/v1/workspaces", json={"name": "w", "workspaceGroupID": "none"})
    await world.client.patch(f"/v1/workspaceGroups/{group}", json={})
    await world.client.delete(f"/v1/workspaces/{workspace}")
    assert [(each["action"], each.get("objectID"), each["status"]) for each in await deeds(world)] == [
        ("create group", group, 200),
        ("create workspace", workspace, 200),
        ("create workspace", None, 400),
        ("update group", group, 200),
        ("terminate workspace", workspace, 200),
    ]


async def test_what_was_refused_is_on_record_too(world: Any) -> None:
    workspace = await world.workspace()
    assert (await world.client.patch(f"/v1/workspaces/{workspace}", json={"size": "S-0"})).status_code == 409
    assert (await world.client.post("/v1/workspaces", content=b"{")).status_code == 400
    pending, malformed = (await deeds(world))[-2:]
    assert (pending["action"], pending["objectID"], pending["code"]) == (
        "update workspace", workspace, "illegal_state",
    )  # fmt: skip
    assert (malformed["action"], malformed["status"], "objectID" in malformed) == (
        "create workspace",
        400,
        False,
    )


async def test_reads_leave_no_record_but_those_that_bring_text_out_of_a_cell(world: Any) -> None:
    workspace = await world.active()
    before = await deeds(world)
    await world.read(workspace)
    await world.client.get(f"/byoc/v1/workspaces/{workspace}/events")
    assert await deeds(world) == before
    await world.client.get(f"/byoc/v1/workspaces/{workspace}/logs")
    (read,) = (await deeds(world))[len(before) :]
    assert (read["action"], read["objectID"]) == ("get logs", workspace)


async def test_nothing_of_a_body_a_query_or_a_key_is_in_it(world: Any) -> None:
    await world.group(adminPassword="Secret-77-horse")
    await world.client.delete("/v1/workspaceGroups/../..%2Fetc?force=Secret-77-horse")
    await world.client.post("/v1/workspaces/Secret-77%20horse/suspend")
    text = json.dumps(await deeds(world))
    assert "Secret" not in text
    assert world.key not in text


async def test_another_organization_sees_nothing_of_it(world: Any) -> None:
    workspace = await world.active()
    assert (await world.stranger.delete(f"/v1/workspaces/{workspace}")).status_code == 404
    theirs = (await world.stranger.get("/byoc/v1/audit")).json()
    assert [(each["by"], each["code"]) for each in theirs] == [("owner@other.example", "not_found")]
    assert all(each["by"] == "owner@acme.example" for each in await deeds(world))


async def test_who_has_no_key_leaves_no_record(world: Any) -> None:
    before = await deeds(world)
    headers = {"Authorization": "Bearer nobody"}
    assert (await world.client.post("/v1/workspaces", headers=headers, json={})).status_code == 401
    assert await deeds(world) == before


async def test_it_is_read_in_pieces_from_a_number_on(world: Any) -> None:
    for name in ("one", "two", "three"):
        await world.group(name)
    numbers = [each["number"] for each in await deeds(world)]
    assert numbers == sorted(numbers)
    assert [each["number"] for each in await deeds(world, "?newest=2")] == numbers[-2:]
    assert [each["number"] for each in await deeds(world, f"?after={numbers[0]}")] == numbers[1:]


@pytest.mark.parametrize("query", ["?newest=0", "?newest=1001", "?after=-1", "?after=x"])
async def test_a_bad_question_is_400(world: Any, query: str) -> None:
    assert (await world.client.get(f"/byoc/v1/audit{query}")).status_code == 400


async def test_what_cannot_be_recorded_is_not_answered_as_done(world: Any) -> None:
    world.fleet.unwritable = True
    # Taken as it is: laid out with all that the frames hold, it takes seconds.
    with structlog.testing.capture_logs() as told:
        answer = await world.client.post(
            "/v1/workspaceGroups",
            json={"name": "sales", "firewallRanges": [], "provider": "AWS", "regionName": "local"},
        )
    assert "unforeseen" in [each["event"] for each in told]
    assert (answer.status_code, "no space" in answer.text) == (500, False)
