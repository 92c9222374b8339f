"""Billing usage over the API."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from byoc.ids import OrganizationID, WorkspaceID
from byoc.model.records import UsageRow

PERIOD = {"startTime": "2030-01-01T00:00:00Z", "endTime": "2030-01-02T00:00:00Z"}
WORKSPACE = "11111111-1111-4111-8111-111111111111"


async def _row(world: Any) -> UsageRow:
    who = await world.ok("GET", "/byoc/v1/whoami")
    return UsageRow(
        WorkspaceID(WORKSPACE),
        "orders",
        OrganizationID(who["organizationID"]),
        datetime(2030, 1, 1, tzinfo=UTC),
        datetime(2030, 1, 1, 1, tzinfo=UTC),
        "0.25",
    )


async def test_usage_stands_under_both_names_with_text_values(world: Any) -> None:
    row = await _row(world)
    world.fleet.rows = [row]
    world.fleet.stored_rows = [replace(row, value="41943040")]
    compute, storage = (await world.ok("GET", "/v1/billing/usage", params=PERIOD))["billingUsage"]
    figure = {
        "startTime": "2030-01-01T00:00:00Z",
        "endTime": "2030-01-01T01:00:00Z",
        "ownerId": row.owner_id,
        "resourceId": WORKSPACE,
        "resourceName": "orders",
        "resourceType": "Workspace",
        "value": "0.25",
    }
    bytes_held = figure | {"value": "41943040"}
    assert (compute["metric"], compute["usage"], compute["Usage"]) == ("ComputeCredit", [figure], [figure])
    assert (storage["metric"], storage["usage"], storage["Usage"]) == (
        "StorageAvgByte",
        [bytes_held],
        [bytes_held],
    )
    assert compute["description"]
    assert storage["description"]


@pytest.mark.parametrize("metric", ["ComputeCredit", "computeCredit", "STORAGEAVGBYTE", "storageAvgByte"])
async def test_a_metric_is_read_in_any_letter_case(world: Any, metric: str) -> None:
    found = (await world.ok("GET", "/v1/billing/usage", params=PERIOD | {"metric": metric}))["billingUsage"]
    assert [each["metric"].lower() for each in found] == [metric.lower()]


@pytest.mark.parametrize("aggregate", ["hour", "day", "month", "Day"])
async def test_usage_is_aggregated_as_asked(world: Any, aggregate: str) -> None:
    await world.ok("GET", "/v1/billing/usage", params=PERIOD | {"aggregateBy": aggregate})


@pytest.mark.parametrize(
    "times",
    [
        ("2030-01-01", "2030-01-02"),
        ("2030-01-01T00:00:00.123456Z", "2030-01-02T00:00:00+02:00"),
        ("2030-01-01T00:00:00", "2030-01-02T00:00:00.5"),
    ],
)
async def test_times_come_with_or_without_microseconds(world: Any, times: tuple[str, str]) -> None:
    await world.ok("GET", "/v1/billing/usage", params=dict(zip(PERIOD, times, strict=True)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"startTime": None}, "startTime is required"),
        ({"endTime": None}, "endTime is required"),
        ({"startTime": "x"}, "startTime: not a valid time"),
        ({"endTime": "2029-01-01"}, "endTime: must be after startTime"),
        ({"metric": "Money"}, "metric: must be ComputeCredit or StorageAvgByte"),
        ({"aggregateBy": "minute"}, "aggregateBy: must be hour, day or month"),
        ({"startTime": "0001-01-01", "endTime": "9999-01-01"}, "endTime: too many periods"),
    ],
)
async def test_a_bad_query_is_400(world: Any, change: dict[str, str | None], text: str) -> None:
    query = {name: value for name, value in (PERIOD | change).items() if value is not None}
    assert await world.refused(400, "GET", "/v1/billing/usage", params=query) == text
