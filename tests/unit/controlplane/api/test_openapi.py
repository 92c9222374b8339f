"""The API's description of itself, held against what it answers and what vendor clients know."""

from typing import Any

import pytest
from jsonschema_rs import validator_for

# What vendor clients read: the published names of the types of tier one, `!` for required ones.
VENDOR = {
    "Region": {"regionID", "region", "provider"},
    "Organization": {"orgID", "name", "firewallRanges"},
    "Project": {"projectID", "name", "edition", "createdAt"},
    "Workspace": {
        "autoScale", "autoSuspend", "cacheConfig", "createdAt", "deploymentType", "endpoint", "kaiEnabled",
        "lastResumedAt", "name", "resumeAttachments", "scaleFactor", "scalingProgress", "size", "state",
        "terminatedAt", "workspaceGroupID", "workspaceID",
    },
    "WorkspaceGroup": {
        "allowAllTraffic", "createdAt", "deploymentType", "expiresAt", "firewallRanges",
        "highAvailabilityTwoZones", "name", "optInPreviewFeature", "projectID", "projectName", "provider",
        "regionID", "regionName", "state", "terminatedAt", "updateWindow", "workspaceGroupID",
    },
    "AutoSuspend": {
        "idleAfterSeconds", "idleChangedAt", "scheduledAfterSeconds", "scheduledChangedAt",
        "scheduledSuspendAt", "suspendType", "suspendTypeChangedAt",
    },
    "WorkspaceCreate": {
        "autoScale", "autoSuspend", "cacheConfig", "enableKai", "name", "scaleFactor", "size",
        "workspaceGroupID",
    },
    "WorkspaceUpdate": {
        "autoScale", "autoSuspend", "cacheConfig", "deploymentType", "enableKai", "scaleFactor", "size",
    },
    "GroupUpdate": {
        "adminPassword", "allowAllTraffic", "deploymentType", "expiresAt", "firewallRanges", "name",
        "updateWindow",
    },
}  # fmt: skip


@pytest.fixture
async def description(world: Any) -> Any:
    return (await world.client.get("/byoc/v1/openapi.json")).json()


@pytest.mark.parametrize("name", sorted(VENDOR))
async def test_types_have_the_vendors_fields(description: Any, name: str) -> None:
    ours = set(description["components"]["schemas"][name]["properties"])
    assert ours - {"regionName"} == VENDOR[name] - {"regionName"}


async def test_every_route_is_described_with_its_answers(description: Any) -> None:
    assert {
        "/v1/workspaces/{workspaceID}/resume",
        "/v1/billing/usage",
        "/byoc/v1/workspaces/{workspaceID}/events",
        "/byoc/v1/cells/{cellID}/enrolment",
    } <= set(description["paths"])
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            assert {"200", "400", "401", "404", "409"} <= set(operation["responses"])
            kind = "application/problem+json" if path.startswith("/byoc/") else "text/plain"
            assert set(operation["responses"]["400"]["content"]) == {kind}
            assert not [key for key in operation if key.startswith("x-")]


async def test_every_reference_leads_somewhere(description: Any) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(each) for each in node.values()))
        return set().union(*(references(each) for each in node)) if isinstance(node, list) else set()

    schemas = description["components"]["schemas"]
    assert references(description) == {f"#/components/schemas/{name}" for name in schemas} & references(
        description
    )
    assert all("$defs" not in schema for schema in schemas.values())


async def test_answers_are_as_described(world: Any, description: Any) -> None:
    workspace = await world.active(
        autoSuspend={"suspendType": "SCHEDULED", "suspendAfterSeconds": 60}, autoScale={"maxScaleFactor": 2}
    )
    await world.ok("POST", f"/v1/workspaces/{workspace}/suspend")
    await world.settle()
    await world.ok("POST", f"/v1/workspaces/{workspace}/resume")
    await world.settle()
    group = (await world.read(workspace))["workspaceGroupID"]
    for path, name in (
        (f"/v1/workspaces/{workspace}", "Workspace"),
        (f"/v1/workspaceGroups/{group}", "WorkspaceGroup"),
        (f"/byoc/v1/workspaces/{workspace}", "WorkspaceDetail"),
        ("/byoc/v1/whoami", "Who"),
        ("/v1/organizations/current", "Organization"),
        ("/v1/billing/usage?startTime=2030-01-01&endTime=2030-01-02", "Billing"),
    ):
        schema = {"$ref": f"#/components/schemas/{name}", "components": description["components"]}
        answer = await world.ok("GET", path)
        errors = [error.message for error in validator_for(schema).iter_errors(answer)]
        assert errors == [], (path, errors)
        properties = description["components"]["schemas"][name]["properties"]
        assert set(answer) <= set(properties), path
