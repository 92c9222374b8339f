"""Metrics of workspaces over the API: the vendor's text for Prometheus, and ours as JSON."""

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from byoc.errors import CellAway, RefusedByCell
from byoc.model.metrics import Metric, Sample


async def measured(world: Any) -> tuple[str, str, str]:
    """Return the ids of an organization, a group and a workspace of which everything is measured."""
    workspace = await world.active()
    group = (await world.read(workspace))["workspaceGroupID"]
    organization = (await world.ok("GET", "/v1/organizations/current"))["orgID"]
    world.fleet.samples[workspace] = tuple(Sample(metric, 2.5, f"node-{workspace}-0") for metric in Metric)
    return organization, group, workspace


@pytest.mark.parametrize(
    ("accept", "kind", "parse"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", prometheus),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            openmetrics,
        ),
    ],
)
async def test_a_stock_prometheus_reads_all_metrics_of_a_group_under_their_known_names(
    world: Any, accept: str, kind: str, parse: Any
) -> None:
    organization, group, workspace = await measured(world)
    path = f"/v2/organizations/{organization}/workspaceGroups/{group}/metrics"
    answer = await world.client.get(path, headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["cache-control"] == "no-store"
    samples = [sample for family in parse(answer.text) for sample in family.samples]
    assert {sample.name for sample in samples} == {f"singlestoredb_cloud_{metric}" for metric in Metric}
    assert {sample.labels["node"] for sample in samples} == {f"node-{workspace}-0"}


async def test_metrics_are_for_the_organization_they_belong_to(world: Any) -> None:
    organization, group, workspace = await measured(world)
    other = (await world.stranger.get("/v1/organizations/current")).json()["orgID"]
    for owner in (organization, other):
        path = f"/v2/organizations/{owner}/workspaceGroups/{group}/metrics"
        assert (await world.stranger.get(path)).status_code == 404
    for path in (f"workspaces/{workspace}", f"workspaceGroups/{group}"):
        assert (await world.stranger.get(f"/byoc/v1/{path}/metrics")).status_code == 404
    await world.refused(404, "GET", f"/v2/organizations/{other}/workspaceGroups/{group}/metrics")
    await world.refused(400, "GET", f"/v2/organizations/x/workspaceGroups/{group}/metrics")


async def test_as_json_they_stand_by_node_and_a_workspace_that_does_not_run_has_none(world: Any) -> None:
    _, group, workspace = await measured(world)
    one = await world.ok("GET", f"/byoc/v1/workspaces/{workspace}/metrics")
    assert one["workspaceID"] == workspace
    assert one["nodes"][f"node-{workspace}-0"]["singlestoredb_cloud_connections"] == 2.5
    assert await world.ok("GET", f"/byoc/v1/workspaceGroups/{group}/metrics") == [one]
    world.fleet.samples.clear()
    assert (await world.ok("GET", f"/byoc/v1/workspaces/{workspace}/metrics"))["nodes"] == {}


@pytest.mark.parametrize(("error", "status"), [(RefusedByCell("no"), 403), (CellAway("away"), 500)])
async def test_what_the_cell_says_no_to_or_cannot_say_is_an_error_that_the_vendors_clients_know(
    world: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    organization, group, _ = await measured(world)

    async def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(world.fleet, "group_metrics", refuse)
    path = f"/v2/organizations/{organization}/workspaceGroups/{group}/metrics"
    await world.refused(status, "GET", path)
