from datetime import UTC, datetime

import pytest

from byoc.client.models import Detail, Event, Group, Workspace, camel, decode, decode_list
from byoc.errors import Failed

WORKSPACE = {
    "workspaceID": "w",
    "workspaceGroupID": "g",
    "name": "orders",
    "state": "ACTIVE",
    "size": "S-00",
    "scaleFactor": 1,
    "createdAt": "2026-02-28T05:33:06.3003Z",
    "autoSuspend": {"suspendType": "IDLE", "idleAfterSeconds": 60},
    "somethingNewer": {"x": 1},
}


def test_a_workspace_is_read_and_keeps_its_json() -> None:
    read = decode(Workspace, WORKSPACE)
    assert (read.workspace_id, read.name, read.scale_factor) == ("w", "orders", 1)
    assert read.created_at == datetime(2026, 2, 28, 5, 33, 6, 300_300, UTC)
    assert read.auto_suspend["suspendType"] == "IDLE"
    assert read.raw["somethingNewer"] == {"x": 1}


def test_absent_and_null_fields_take_their_defaults() -> None:
    read = decode(Detail, {"generation": 3, "since": None})
    assert (read.generation, read.since, read.cell_connected) == (3, None, True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        {"name": "x"},
        WORKSPACE | {"name": 3},
        WORKSPACE | {"size": True},
        WORKSPACE | {"createdAt": "yesterday"},
        WORKSPACE | {"createdAt": "2026-02-28T05:33:06"},
        WORKSPACE | {"autoSuspend": "never"},
        WORKSPACE | {"scaleFactor": "1"},
    ],
)
def test_what_is_no_workspace_is_an_error_of_our_tree(value: object) -> None:
    with pytest.raises(Failed):
        decode(Workspace, value)


def test_a_list_of_ranges_is_read() -> None:
    group = {"workspaceGroupID": "g", "name": "n", "state": "ACTIVE", "firewallRanges": ["10.0.0.0/8"]}
    assert decode_list(Group, [group])[0].firewall_ranges == ("10.0.0.0/8",)
    with pytest.raises(Failed):
        decode(Group, group | {"firewallRanges": "10.0.0.0/8"})
    with pytest.raises(Failed):
        decode_list(Group, group)


def test_a_number_may_be_whole_where_a_fraction_is_allowed_and_not_the_other_way() -> None:
    assert decode(Event, {"number": 1, "kind": "k", "generation": 1, "progress": 50}).progress == 50
    with pytest.raises(Failed):
        decode(Event, {"number": 1.5, "kind": "k", "generation": 1})


def test_names_become_those_of_the_api() -> None:
    assert camel("workspace_group_id") == "workspaceGroupID"
    assert camel("cell_last_seen_at") == "cellLastSeenAt"
