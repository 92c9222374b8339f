"""Cells, enrolment and identity under /byoc/v1."""

from datetime import UTC, datetime
from typing import Any

import pytest

from byoc.controlplane.api.cells import shape
from byoc.ids import CellID, OrganizationID
from byoc.model.records import CellRecord, CellState
from byoc.model.report import Authority, CellFacts, Zone

CELL = {"name": "paris", "provider": "AWS", "region": "EU Paris", "regionName": "eu-west-3"}


async def test_a_cell_is_registered_enrolled_and_retired(world: Any) -> None:
    made = await world.ok("POST", "/byoc/v1/cells", json=CELL)
    assert {key: made[key] for key in CELL} == CELL
    assert (made["state"], made["connected"]) == ("pending", False)
    path = f"/byoc/v1/cells/{made['cellID']}"
    assert await world.ok("GET", path) == made
    grant = await world.ok("POST", f"{path}/enrolment", json={"thumbprint": "N" * 43})
    assert set(grant) == {"token", "rootKey"}
    assert await world.ok("POST", f"{path}/retire") == {"cellID": made["cellID"]}
    assert (await world.ok("GET", path))["state"] == "retired"
    answer = await world.client.post(f"{path}/enrolment", json={"thumbprint": "N" * 43})
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_state")


async def test_a_cells_keys_are_replaced_by_its_own_organization(world: Any) -> None:
    cell = (await world.ok("GET", "/byoc/v1/cells"))[0]["cellID"]
    path = f"/byoc/v1/cells/{cell}/rotateKeys"
    answer = await world.ok("POST", path)
    assert answer["cellID"] == cell
    assert answer["thumbprint"]
    assert (await world.stranger.post(path)).status_code == 404


def test_a_cell_reads_as_what_it_told_of_itself_machines_included() -> None:
    zones = (Zone("eu-west-3a", 2, 1, 16_000, 2**36, "v1.36.1"),)
    facts = CellFacts("MariaDB", "10.11", "0.1", 1, 0, authorities=(Authority("PEM"),), zones=zones)
    now = datetime(2030, 1, 1, tzinfo=UTC)
    names = (CELL["name"], CELL["provider"], CELL["region"], CELL["regionName"])
    record = CellRecord(CellID("c"), OrganizationID("o"), *names, CellState.ENROLLED, now, facts=facts)
    assert shape(record)["facts"] == {
        "engine": "MariaDB",
        "engineVersion": "10.11",
        "agentVersion": "0.1",
        "specVersion": 1,
        "memoryBytes": 0,
        "authorities": [{"certificate": "PEM", "voucher": ""}],
        "zones": [
            {
                "name": "eu-west-3a",
                "machines": 2,
                "ready": 1,
                "millicores": 16_000,
                "memoryBytes": 2**36,
                "version": "v1.36.1",
            }
        ],
    }


async def test_every_cell_is_a_region(world: Any) -> None:
    made = await world.ok("POST", "/byoc/v1/cells", json=CELL)
    assert {
        "regionID": made["cellID"],
        "region": "EU Paris",
        "regionName": "eu-west-3",
        "provider": "AWS",
    } in await world.ok("GET", "/v1/regions")
    assert await world.ok("GET", "/v1/regions/sharedtier?fields=region") == []


async def test_what_happened_to_a_cell_is_told_to_its_owner_alone(world: Any) -> None:
    cell = await world.ok("POST", "/byoc/v1/cells", json=CELL)
    path = f"/byoc/v1/cells/{cell['cellID']}/events"
    (event,) = await world.ok("GET", path)
    assert event["kind"] == "registered"
    assert set(event) == {"number", "at", "kind", "text", "by"}
    assert (await world.stranger.get(path)).status_code == 404
    assert (await world.client.get(path, headers={"authorization": ""})).status_code == 401


async def test_the_tunnel_sessions_of_a_cell_are_listed(world: Any) -> None:
    cell = (await world.ok("GET", "/byoc/v1/cells"))[0]
    assert cell["lastSeenAt"] == "2030-01-01T00:00:00Z"
    sessions = await world.ok("GET", f"/byoc/v1/cells/{cell['cellID']}/sessions")
    assert [(each["cellID"], each["gateway"], each["epoch"]) for each in sessions] == [
        (cell["cellID"], "gateway-1", 1)
    ]


@pytest.mark.parametrize(
    "change",
    [{"name": "a b"}, {"name": ""}, {"provider": "IBM"}, {"region": "\x00"}, {"nope": 1}, {"name": None}],
)
async def test_a_bad_cell_is_400(world: Any, change: dict[str, Any]) -> None:
    answer = await world.client.post("/byoc/v1/cells", json=CELL | change)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("thumbprint", ["", "short", "x" * 200, "N" * 42 + "\n", 7])
async def test_a_bad_thumbprint_is_400(world: Any, thumbprint: Any) -> None:
    cell = (await world.ok("GET", "/byoc/v1/cells"))[0]["cellID"]
    answer = await world.client.post(f"/byoc/v1/cells/{cell}/enrolment", json={"thumbprint": thumbprint})
    assert answer.status_code == 400


async def test_whoami_names_the_user_and_the_organization_but_no_key(world: Any) -> None:
    who = await world.ok("GET", "/byoc/v1/whoami")
    assert (who["email"], who["organization"]) == ("owner@acme.example", "acme")
    assert world.key not in str(who)
    current = await world.ok("GET", "/v1/organizations/current")
    assert current == {"orgID": who["organizationID"], "name": "acme", "firewallRanges": []}
