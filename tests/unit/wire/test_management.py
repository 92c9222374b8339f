"""How request bodies are read."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import UsageError
from byoc.wire.management import (
    CellCreate,
    GroupCreate,
    WorkspaceCreate,
    WorkspaceResume,
    WorkspaceUpdate,
    camel,
    decode,
)

GROUP = "11111111-1111-4111-8111-111111111111"


def _raw(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("name", "name"),
        ("workspace_group_id", "workspaceGroupID"),
        ("smart_dr", "smartDR"),
        ("backup_bucket_kms_key_id", "backupBucketKMSKeyID"),
        ("high_availability_two_zones", "highAvailabilityTwoZones"),
    ],
)
def test_json_names_spell_initials_in_capitals(name: str, spelt: str) -> None:
    assert camel(name) == spelt


def test_keys_are_read_in_any_letter_case_at_every_depth() -> None:
    raw = _raw(
        {
            "NAME": "w",
            "workspacegroupid": GROUP,
            "AutoSuspend": {"SUSPENDTYPE": "idle", "suspendafterseconds": 9},
        }
    )
    body = decode(WorkspaceCreate, raw)
    assert body.auto_suspend is not None
    assert (body.auto_suspend.suspend_type, body.auto_suspend.suspend_after_seconds) == ("IDLE", 9)


def test_of_two_spellings_of_one_key_the_last_wins() -> None:
    assert decode(WorkspaceUpdate, b'{"size":"S-1","SIZE":"S-2"}').size == "S-2"


def test_null_is_absent_at_every_depth() -> None:
    body = decode(
        WorkspaceUpdate, _raw({"size": None, "autoScale": {"maxScaleFactor": 2, "sensitivity": None}})
    )
    assert body.size is None
    assert body.auto_scale is not None
    assert body.auto_scale.sensitivity is None


@pytest.mark.parametrize("raw", [b"", b" ", b"\n"])
def test_an_empty_body_is_nothing_only_where_it_may_be(raw: bytes) -> None:
    assert decode(WorkspaceResume, raw, optional=True) == WorkspaceResume()
    with pytest.raises(UsageError, match="not valid JSON"):
        decode(WorkspaceResume, raw)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"workspaceGroupID": GROUP}, "name is required"),
        ({"name": "w"}, "workspaceGroupID is required"),
        ({"name": 7, "workspaceGroupID": GROUP}, "name: must be a valid string"),
        ({"name": "w", "workspaceGroupID": GROUP, "scaleFactor": "2"}, "scaleFactor: must be a valid number"),
        ({"name": "w", "workspaceGroupID": GROUP, "enableKai": 1}, "enableKai: must be a valid boolean"),
        ({"name": "w", "workspaceGroupID": GROUP, "autoSuspend": {}}, "autoSuspend.suspendType is required"),
        ({"nope": 1}, "request body contains an unknown field"),
        ([], "request body must be a JSON object"),
    ],
)
def test_the_first_fault_is_named_in_one_line(value: Any, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        decode(WorkspaceCreate, _raw(value))
    assert caught.value.message == text


def test_an_unknown_field_is_named_in_the_hint_without_what_cannot_be_printed() -> None:
    with pytest.raises(UsageError) as caught:
        decode(WorkspaceUpdate, b'{"workspaceName":1}')
    assert caught.value.hint == "unknown field: workspaceName"
    with pytest.raises(UsageError) as caught:
        decode(WorkspaceUpdate, b'{"\\u0000":1}')
    assert caught.value.hint == "unknown field: unreadable"


@pytest.mark.parametrize(("spelt", "read"), [("aws", "AWS"), ("AZURE", "Azure"), ("Gcp", "GCP")])
def test_providers_are_read_in_any_letter_case(spelt: str, read: str) -> None:
    body = decode(CellCreate, _raw({"name": "c", "provider": spelt, "region": "r", "regionName": "r"}))
    assert body.provider == read


def test_clients_may_send_what_is_out_of_scope() -> None:
    raw = _raw(
        {
            "name": "g",
            "firewallRanges": [],
            "smartDR": True,
            "backupBucketKMSKeyID": "k",
            "dataBucketKMSKeyID": "k",
        }
    )
    assert decode(GroupCreate, raw).name == "g"


@given(raw=st.binary() | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(_raw))
def test_whatever_is_sent_is_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(decode(WorkspaceUpdate, raw), WorkspaceUpdate)
