"""``workspace metrics`` and ``top``."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from byoc.client import Group, Metrics, Workspace
from byoc.model.metrics import Metric
from byoc_cli.figures import use_between
from tests.unit.cli.conftest import ORDERS, SALES

START = datetime(2026, 1, 1, tzinfo=UTC)
NODE = "node-1"


def look(seconds: float, **values: float) -> dict[str, Any]:
    """What is measured of the workspace so many seconds later."""
    at = (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    named = {f"singlestoredb_cloud_{name}": value for name, value in values.items()}
    return {"workspaceID": ORDERS, "at": at, "nodes": {NODE: named} if named else {}}


def test_metrics_are_a_table_and_the_answer_itself_as_json(byoc: Any, plane: Any) -> None:
    plane.looks.append(look(0, connections=3, cpu_usage_seconds_total=0.25))
    shown = byoc("workspace", "metrics", "orders")
    assert shown.out.splitlines() == [
        "METRIC                                       VALUE  NODE",
        "singlestoredb_cloud_connections              3      node-1",
        "singlestoredb_cloud_cpu_usage_seconds_total  0.25   node-1",
    ]
    assert byoc("workspace", "metrics", "orders", "-o", "json").json == plane.looks[0]


def test_a_large_count_is_shown_in_all_its_digits(byoc: Any, plane: Any) -> None:
    plane.looks.append(look(0, disk_total_b=270553174016.0))
    assert byoc("workspace", "metrics", "orders").out.splitlines()[1].split()[1] == "270553174016"


def test_of_a_suspended_workspace_there_is_nothing_to_show_and_that_is_said(byoc: Any, plane: Any) -> None:
    plane.looks.append(look(0))
    ended = byoc("workspace", "metrics", "orders")
    assert (ended.code, ended.out) == (0, "")
    assert "does not run" in ended.err


def test_top_shows_rates_between_two_looks(byoc: Any, plane: Any) -> None:
    first = {"cpu_usage_seconds_total": 10.0, "cpu_resource_limits": 4, "successful_read_queries": 100}
    plane.looks += [look(0, **first), look(2, **(first | {"cpu_usage_seconds_total": 14.0}))]
    title, line = byoc("top").out.splitlines()
    assert title.split()[:3] == ["NAME", "GROUP", "CPU"]
    assert line.split() == ["orders", "sales", "50.0", "-", "-", "-", "-", "0.0", "-", "-"]
    plane.looks[:] = [look(0, **first), look(1, **(first | {"successful_read_queries": 130}))]
    (use,) = byoc("top", "-o", "json").json
    assert (use["readsPerSecond"], use["cpuPercent"], use["failedPerSecond"]) == (30, 0, None)


def test_top_of_nothing_says_so_and_too_short_an_interval_is_refused(byoc: Any, plane: Any) -> None:
    plane.looks += [look(0), look(1)]
    assert byoc("top").err == "no workspace runs\n"
    assert byoc("top", "--interval", "0.1").code == 2


def test_a_cell_that_is_away_is_said_and_ends_nothing_else(byoc: Any, plane: Any) -> None:
    path = f"GET /byoc/v1/workspaceGroups/{SALES}/metrics"
    plane.errors[path] = (503, "the cell is not connected", {"byoc-error": "cell_away"})
    ended = byoc("top")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.count("group sales:") == 1
    assert "no workspace is seen to run" in ended.err
    assert byoc("top", "--group", "sales").code != 0


def test_a_counter_that_began_anew_counts_from_zero() -> None:
    workspace, group = Workspace(ORDERS, SALES, "orders", "ACTIVE"), Group(SALES, "sales", "ACTIVE")
    name = Metric.SUCCESSFUL_READ_QUERIES.public_name
    before = Metrics(ORDERS, START, {NODE: {name: 1000}})
    after = Metrics(ORDERS, START + timedelta(seconds=2), {NODE: {name: 10}})
    assert use_between(workspace, group, before, after).reads == pytest.approx(5)
    assert use_between(workspace, group, after, after).reads is None
