"""What holds for every route: success, errors, headers, ids, booleans, keys, bodies."""

import json
from typing import Any

import pytest

UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def test_a_change_answers_200_with_json_and_the_id_only(world: Any) -> None:
    workspace = await world.active()
    for method, path in (
        ("PATCH", ""),
        ("POST", "/suspend"),
        ("POST", "/resume"),
        ("DELETE", ""),
    ):
        body = {"json": {}} if method == "PATCH" else {}
        assert await world.ok(method, f"/v1/workspaces/{workspace}{path}", **body) == {
            "workspaceID": workspace
        }


async def test_an_error_is_one_line_of_text_with_its_code_and_hint_in_headers(world: Any) -> None:
    answer = await world.client.patch(f"/v1/workspaces/{await world.active()}", json={"size": "S-77"})
    assert answer.status_code == 400
    assert answer.text == "size: `S-77` is not a size"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["byoc-error"] == "bad_request"
    assert answer.headers["byoc-hint"].startswith("sizes are S-00, S-0, S-1")


async def test_every_answer_has_a_request_id_of_its_own(world: Any) -> None:
    answers = [await world.client.get(path) for path in ("/v1/regions", "/v1/nowhere", "/healthz", "/")]
    ids = [answer.headers.get_list("byoc-request-id") for answer in answers]
    assert all(len(each) == 1 for each in ids)
    assert len({each[0] for each in ids}) == len(answers)


async def test_answers_about_one_object_carry_its_generation(world: Any) -> None:
    group = await world.group()
    created = await world.client.post("/v1/workspaces", json={"name": "w", "workspaceGroupID": group})
    assert created.headers["byoc-generation"] == "1"
    workspace = created.json()["workspaceID"]
    await world.settle()
    changed = await world.client.patch(f"/v1/workspaces/{workspace}", json={"size": "S-1"})
    assert changed.headers["byoc-generation"] == "2"
    read = await world.client.get(f"/v1/workspaces/{workspace}")
    assert read.headers["byoc-generation"] == "2"


@pytest.mark.parametrize("text", ["x", "1234", UNKNOWN + "0", "%00", "ü"])
async def test_a_malformed_id_is_400_and_says_uuid(world: Any, text: str) -> None:
    assert "UUID" in await world.refused(400, "GET", f"/v1/workspaces/{text}")


async def test_an_unknown_id_is_404(world: Any) -> None:
    assert await world.refused(404, "GET", f"/v1/workspaces/{UNKNOWN}") == "workspace not found"
    assert await world.refused(404, "GET", f"/v1/workspaceGroups/{UNKNOWN}") == "workspace group not found"
    await world.refused(404, "GET", "/v1/workspaces", params={"workspaceGroupID": UNKNOWN})
    await world.refused(404, "POST", "/v1/workspaces", json={"name": "w", "workspaceGroupID": UNKNOWN})


async def test_an_upper_case_id_is_the_same_id(world: Any) -> None:
    group = await world.group()
    assert (await world.read_group(group.upper()))["workspaceGroupID"] == group


@pytest.mark.parametrize("truth", ["true", "True", "1", "TRUE"])
async def test_query_booleans_are_read_in_every_spelling_that_clients_use(world: Any, truth: str) -> None:
    group = await world.group()
    await world.workspace(group=group)
    await world.ok("DELETE", f"/v1/workspaceGroups/{group}?force={truth}")
    await world.settle()
    assert await world.ok("GET", "/v1/workspaceGroups") == []
    listed = await world.ok("GET", f"/v1/workspaceGroups?includeTerminated={truth}")
    assert [each["workspaceGroupID"] for each in listed] == [group]


async def test_a_query_boolean_that_is_none_is_400(world: Any) -> None:
    assert "includeTerminated" in await world.refused(400, "GET", "/v1/workspaceGroups?includeTerminated=x")


async def test_the_organization_in_the_query_is_never_refused(world: Any) -> None:
    for path in ("/v1/regions", "/v1/organizations/current", "/v1/workspaceGroups", "/v1/projects"):
        await world.ok("GET", path, params={"organizationID": UNKNOWN})
    await world.ok("GET", f"/v1/workspaceGroups/{await world.group()}?includeTerminated=false")


async def test_keys_are_read_in_any_letter_case(world: Any) -> None:
    workspace = await world.active(
        autoSuspend={"suspendtype": "IDLE", "suspendafterseconds": 600}, autoscale={"maxscalefactor": 2}
    )
    read = await world.read(workspace)
    assert read["autoSuspend"]["idleAfterSeconds"] == 600
    assert read["autoScale"]["maxScaleFactor"] == 2


async def test_null_means_absent_and_out_of_scope_fields_are_accepted(world: Any) -> None:
    group = await world.group(
        adminPassword=None, backupBucketKMSKeyID=None, dataBucketKMSKeyID=None, expiresAt=None, smartDR=None,
        allowAllTraffic=None, updateWindow=None, deploymentType=None, highAvailabilityTwoZones=None,
        optInPreviewFeature=None, projectID=None, regionID=None,
    )  # fmt: skip
    workspace = await world.workspace(
        group=group,
        size=None,
        autoSuspend=None,
        cacheConfig=None,
        enableKai=None,
        autoScale=None,
        scaleFactor=None,
    )
    assert (await world.read(workspace))["size"] == "S-00"


async def test_an_unknown_field_is_400_in_the_words_of_the_real_service(world: Any) -> None:
    workspace = await world.active()
    for body in ({"nope": 1}, {"autoSuspend": {"suspendType": "IDLE", "nope": None}}, {"name": "x"}):
        text = await world.refused(400, "PATCH", f"/v1/workspaces/{workspace}", json=body)
        assert text == "request body contains an unknown field"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"{} {}",
        b"\xff",
        b'{"name":"\\ud800"}',
        b"[" * 5000,
        b"{'a':1}",
    ],
)
async def test_a_body_that_is_no_json_object_is_400(world: Any, raw: bytes) -> None:
    await world.refused(400, "POST", "/v1/workspaces", content=raw)


async def test_the_content_type_of_a_request_does_not_matter(world: Any) -> None:
    body = json.dumps({"name": "w", "workspaceGroupID": await world.group()}).encode()
    for index, kind in enumerate(
        ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "§")
    ):
        content = body.replace(b'"w"', b'"w%d"' % index)
        headers = [(b"content-type", kind.encode())]
        assert (
            await world.client.post("/v1/workspaces", content=content, headers=headers)
        ).status_code == 200


async def test_a_body_of_more_than_a_mebibyte_is_400(world: Any) -> None:
    text = await world.refused(400, "POST", "/v1/workspaces", content=b'{"name":"' + b"x" * 2**20 + b'"}')
    assert text == "request body is larger than 1 MiB"


async def test_fields_keeps_only_what_it_names(world: Any) -> None:
    workspace = await world.active()
    assert await world.ok("GET", f"/v1/workspaces/{workspace}?fields=state") == {"state": "ACTIVE"}
    group = (await world.read(workspace))["workspaceGroupID"]
    listed = await world.ok("GET", f"/v1/workspaces?workspaceGroupID={group}&fields=name,%20state,endpoint")
    assert listed == [{"name": "orders", "state": "ACTIVE", "endpoint": "127.0.0.1:33061"}]
    assert await world.ok("GET", "/v1/workspaceGroups?fields=name") == [{"name": "sales"}]
    assert await world.ok("GET", "/v1/regions?fields=provider") == [{"provider": "AWS"}]


async def test_no_answer_holds_a_null(world: Any) -> None:
    workspace = await world.workspace()
    group = (await world.read(workspace))["workspaceGroupID"]
    for path in (
        f"/v1/workspaces/{workspace}",
        f"/v1/workspaceGroups/{group}",
        f"/byoc/v1/workspaces/{workspace}",
    ):
        assert None not in (await world.ok("GET", path)).values()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/secrets"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/sharedtier/virtualWorkspaces"),
        ("GET", "/v1/stage/x/fs"),
        ("POST", "/v1/projects"),
        ("GET", "/v2/clusters"),
        ("GET", "/v1"),
        ("GET", "/v1/workspaces/"),
        ("TRACE", "/v1/regions"),
    ],
)
async def test_routes_out_of_scope_are_404_text(world: Any, method: str, path: str) -> None:
    await world.refused(404, method, path)


async def test_own_routes_answer_problem_json(world: Any) -> None:
    answer = await world.client.get(f"/byoc/v1/workspaces/{UNKNOWN}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "workspace not found",
        "code": "not_found",
        "requestID": answer.headers["byoc-request-id"],
    }
    assert (await world.client.put("/byoc/v1/cells")).status_code == 405
    assert (await world.client.get("/byoc/v1/nowhere")).headers["content-type"] == "application/problem+json"
