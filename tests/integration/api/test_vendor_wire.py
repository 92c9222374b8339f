"""The vendor's own client, unmodified, against our wire; SQL is left to the acceptance tests."""

import asyncio
import datetime as dt
from typing import Any

import pytest
from singlestoredb import manage_regions, manage_workspaces
from singlestoredb.exceptions import ManagementError

pytestmark = pytest.mark.filterwarnings("ignore:manage_workspaces:DeprecationWarning")
POLL = {"wait_interval": 0.05, "wait_timeout": 5}


def _life(url: str, key: str) -> None:
    manager = manage_workspaces(key, base_url=url)
    (region,) = manager.regions
    group = manager.create_workspace_group(
        "sales", region=region, firewall_ranges=["10.0.0.0/8"], update_window={"day": 1, "hour": 2}
    )
    assert (group.name, group.region.id, group.firewall_ranges) == ("sales", region.id, ["10.0.0.0/8"])
    workspace = group.create_workspace(
        "orders",
        size="S-00",
        auto_suspend={"suspend_type": "IDLE", "suspend_after_seconds": 600},
        auto_scale={"max_scale_factor": 2, "sensitivity": "LOW"},
        wait_on_active=True,
        **POLL,
    )
    assert (workspace.state, workspace.endpoint) == ("ACTIVE", "127.0.0.1:33061")
    assert workspace.auto_suspend["idle_after_seconds"] == 600
    assert workspace.auto_scale["sensitivity"] == "LOW"
    assert group.workspaces["orders"].id == workspace.id
    workspace.suspend(wait_on_suspended=True, **POLL)
    assert (workspace.state, workspace.endpoint) == ("SUSPENDED", None)
    workspace.resume(disable_auto_suspend=True, wait_on_resumed=True, **POLL)
    assert (workspace.state, workspace.auto_suspend) == ("ACTIVE", None)
    assert workspace.last_resumed_at is not None
    workspace.update(size="S-1", cache_config=2, scale_factor=2)
    assert workspace.size == "S-1"
    group.update(name="sales 2", expires_at="3h30m", admin_password="Corr3ct-Horse-Batt3ry")
    assert (group.name, group.expires_at > group.created_at) == ("sales 2", True)
    workspace.terminate(wait_on_terminated=True, **POLL)
    assert workspace.terminated_at is not None
    group.terminate(force=True, wait_on_terminated=True, **POLL)
    assert list(manager.workspace_groups) == []


def _rest(url: str, key: str) -> None:
    manager = manage_workspaces(key, base_url=url, organization_id="11111111-1111-4111-8111-111111111111")
    assert manager.organization.name == "acme"
    assert list(manager.shared_tier_regions) == []
    now = dt.datetime.now(tz=dt.UTC)
    start, end = now - dt.timedelta(days=1), now
    for first, last in ((start, end), (start.replace(tzinfo=None), end.replace(tzinfo=None))):
        compute, storage = manager.billing.usage(first, last)
        assert (compute.metric, storage.metric) == ("compute_credit", "storage_avg_byte")
        (compute,) = manager.billing.usage(
            first, last, metric=manager.billing.COMPUTE_CREDIT, aggregate_by=manager.billing.DAY
        )
        assert compute.usage == []
    (region,) = manage_regions(key, version="v1", base_url=url).list_regions()
    assert region.region_name == "local"


def _errors(url: str, key: str) -> None:
    manager = manage_workspaces(key, base_url=url)
    for attempt, status, text in (
        (lambda: manager.get_workspace("nonsense"), 400, "UUID"),
        (lambda: manager.get_workspace("11111111-1111-4111-8111-111111111111"), 404, "workspace not found"),
        (lambda: manager.create_workspace_group("g", "x", []), 400, "UUID"),
        (lambda: manage_workspaces("wrong", base_url=url).organization, 401, "API key"),
    ):
        with pytest.raises(ManagementError) as caught:
            attempt()
        assert caught.value.errno == status
        assert text in caught.value.response


@pytest.mark.parametrize("session", [_life, _rest, _errors])
async def test_the_vendors_client_understands_every_answer(served: Any, session: Any) -> None:
    await asyncio.to_thread(session, served.url, served.key)
