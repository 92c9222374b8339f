"""The vendor's own client from the package index, unmodified, against a whole instance."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from singlestoredb import manage_workspaces
from singlestoredb.exceptions import ManagementError

from byoc.testing.instance import Instance

# The client calls its own workspace API deprecated; that is between it and its vendor.
pytestmark = pytest.mark.filterwarnings("ignore:manage_workspaces:DeprecationWarning")

PASSWORD: Final = "Corr3ct-Horse-Batt3ry"
POLL: Final = {"wait_interval": 0.1, "wait_timeout": 60}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("up") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def manager(instance: Instance) -> Any:
    with pytest.warns(DeprecationWarning, match="manage_workspaces"):
        return manage_workspaces(instance.line["token"], base_url=instance.line["url"])


def _query(workspace: Any, statement: str) -> list[Any]:
    with (
        workspace.connect(user="admin", password=PASSWORD) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_the_whole_life_of_a_workspace(manager: Any) -> None:
    (region,) = manager.regions
    assert (region.name, region.provider) == ("US Local", "AWS")
    group = manager.create_workspace_group(
        "vendor", region=region, firewall_ranges=[], admin_password=PASSWORD
    )
    workspace = group.create_workspace("orders", size="S-00", wait_on_active=True, **POLL)
    assert workspace.state == "ACTIVE"
    _query(workspace, "create database shop")
    _query(workspace, "create table shop.t (id int)")
    _query(workspace, "insert into shop.t values (7)")

    workspace.suspend(wait_on_suspended=True, **POLL)
    assert (workspace.state, workspace.endpoint) == ("SUSPENDED", None)
    workspace.resume(wait_on_resumed=True, **POLL)
    assert _query(workspace, "select id from shop.t") == [(7,)]

    workspace.update(size="S-0")
    manager._wait_on_state(workspace, "Active", interval=POLL["wait_interval"], timeout=60)
    assert workspace.refresh().size == "S-0"

    workspace.terminate(wait_on_terminated=True, **POLL)
    assert workspace.state == "TERMINATED"
    group.terminate(force=True, wait_on_terminated=True, **POLL)
    assert "vendor" not in manager.workspace_groups


def test_the_client_shows_our_words_when_something_is_wrong(manager: Any) -> None:
    with pytest.raises(ManagementError, match="UUID") as caught:
        manager.get_workspace("nonsense")
    assert caught.value.errno == 400
    with pytest.raises(ManagementError, match="password must contain at least 14 characters"):
        manager.create_workspace_group("g", manager.regions[0], [], admin_password="Sh0rt!")


def test_the_client_reads_organization_and_usage(manager: Any, instance: Instance) -> None:
    assert manager.organization.id == instance.line["organizationID"]
    metrics = [each.metric for each in manager.billing.usage("2030-01-01", "2030-01-02")]
    assert metrics == ["compute_credit", "storage_avg_byte"]
