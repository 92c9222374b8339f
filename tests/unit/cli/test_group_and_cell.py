import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

SALES = "11111111-1111-4111-8111-111111111111"
PROD = "33333333-3333-4333-8333-333333333333"


def _saved(home: Path) -> Any:
    path = home / ".config" / "byoc" / "credentials.json"
    return json.loads(path.read_text()) if path.exists() else None


def test_create_shows_the_password_once_and_saves_it_for_connect(byoc: Any, tmp_path: Path) -> None:
    ended = byoc("group", "create", "demo")
    assert ended.code == 0
    assert ended.out == "group demo is created\nadmin password (shown once): Secret-once-1\n"
    assert "Next: byoc workspace create orders --group demo\n" in ended.err
    path = tmp_path / ".config" / "byoc" / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert _saved(tmp_path) == {"url:http://127.0.0.1:8787": {SALES: "Secret-once-1"}}


def test_create_as_json_has_the_password_in_the_object_only(byoc: Any) -> None:
    ended = byoc("group", "create", "demo", "-o", "json", "-q")
    assert ended.json == {"workspaceGroupID": SALES, "name": "demo", "adminPassword": "Secret-once-1"}
    assert ended.err == ""


def test_a_password_that_is_not_to_be_saved_is_not(byoc: Any, tmp_path: Path) -> None:
    ended = byoc("group", "create", "demo", "--no-save-password", "-q", "-o", "name")
    assert (ended.out, ended.err) == (f"{SALES}\n", "admin password (shown once): Secret-once-1\n")
    assert _saved(tmp_path) is None


def test_a_password_of_ones_own_comes_from_a_file_and_is_not_shown(
    byoc: Any, plane: Any, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("My-own-1\n")
    ended = byoc("group", "create", "demo", "--password-file", str(file))
    assert "My-own-1" not in ended.out + ended.err
    assert plane.asked[-1][2]["adminPassword"] == "My-own-1"
    assert _saved(tmp_path) == {"url:http://127.0.0.1:8787": {SALES: "My-own-1"}}


@pytest.mark.parametrize("content", [None, "", "\n", "x" * 2000])
def test_a_file_without_a_password_is_refused(byoc: Any, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "password").write_text(content)
    assert byoc("group", "create", "demo", "--password-file", str(tmp_path / "password")).code == 2


def test_a_local_group_is_open_to_loopback_and_others_to_nobody(byoc: Any, plane: Any) -> None:
    byoc("group", "create", "demo")
    assert plane.asked[-1][2]["firewallRanges"] == ["127.0.0.0/8"]
    assert plane.asked[-1][2]["regionID"] == PROD
    plane.regions[0]["regionName"] = "us-east-1"
    byoc("group", "create", "demo")
    assert plane.asked[-1][2]["firewallRanges"] == []
    byoc("group", "create", "demo", "--firewall-range", "10.0.0.0/8", "--firewall-range", "10.1.0.0/16")
    assert plane.asked[-1][2]["firewallRanges"] == ["10.0.0.0/8", "10.1.0.0/16"]


def test_one_of_several_regions_must_be_named(byoc: Any, plane: Any) -> None:
    plane.regions.append(
        {"regionID": "r2", "region": "US East", "regionName": "us-east-1", "provider": "AWS"}
    )
    ended = byoc("group", "create", "demo")
    assert ended.code == 2
    assert "--region" in ended.err
    for name in ("US East", "us-east-1", "r2"):
        assert byoc("group", "create", "demo", "--region", name).code == 0
        assert plane.asked[-1][2]["regionID"] == "r2"
    assert byoc("group", "create", "demo", "--region", "US Eats").code == 4
    plane.regions.clear()
    assert byoc("group", "create", "demo").code == 4


def test_groups_are_listed_and_shown(byoc: Any) -> None:
    assert byoc("group", "list").out == (
        "NAME   STATE   REGION  CREATED               ID\n"
        f"sales  ACTIVE  local   2026-01-01T00:00:00Z  {SALES}\n"
    )
    assert byoc("group", "show", "sales").out == (
        "name             sales\n"
        f"id               {SALES}\n"
        "state            ACTIVE\n"
        "region           local\n"
        "provider         AWS\n"
        "firewall ranges  127.0.0.0/8\n"
        "created          2026-01-01T00:00:00Z\n"
    )


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"firewallRanges": []}, "nobody (not enforced on a local cell: loopback only)"),
        ({"allowAllTraffic": True}, "anybody (not enforced on a local cell: loopback only)"),
        ({"regionName": "us-east-1", "firewallRanges": ["10.0.0.0/8"]}, "10.0.0.0/8"),
    ],
)
def test_what_a_local_cell_does_not_enforce_is_said(byoc: Any, plane: Any, change: Any, shown: str) -> None:
    plane.groups[0] |= change
    assert f"firewall ranges  {shown}\n" in byoc("group", "show", "sales").out


def test_a_group_is_changed(byoc: Any, plane: Any) -> None:
    assert byoc("group", "update", "sales", "--name", "new", "--no-allow-all-traffic").code == 0
    assert plane.asked[-1] == (
        "PATCH",
        f"/v1/workspaceGroups/{SALES}",
        {"name": "new", "allowAllTraffic": False},
    )
    assert byoc("group", "update", "sales").code == 2


def test_a_new_password_is_generated_or_given(byoc: Any, plane: Any, tmp_path: Path) -> None:
    assert "admin password (shown once): generated!\n" in byoc("group", "set-password", "sales").out
    assert _saved(tmp_path) == {"url:http://127.0.0.1:8787": {SALES: "generated!"}}
    ended = byoc("group", "set-password", "sales", "--password-file", "-", stdin="given!\n")
    assert "given!" not in ended.out + ended.err
    assert plane.asked[-1][2] == {"adminPassword": "given!"}
    assert byoc("group", "set-password", "sales", "-o", "json").json["adminPassword"] == "generated!"


def test_terminate_asks_for_the_name_and_forgets_the_password(byoc: Any, plane: Any, tmp_path: Path) -> None:
    byoc("group", "set-password", "sales")
    assert byoc("group", "terminate", "sales").code == 2
    ended = byoc("group", "terminate", "sales", "--force", "--confirm", "sales")
    assert ended.out == "group sales is being terminated\n"
    assert plane.asked[-1][:2] == ("DELETE", f"/v1/workspaceGroups/{SALES}?force=true")
    assert "generated!" not in json.dumps(_saved(tmp_path))


def test_cells_are_listed_and_shown(byoc: Any, plane: Any) -> None:
    plane.cells[0]["facts"] = {"engine": "MariaDB", "engineVersion": "10.11.6", "agentVersion": "0.1.0"}
    assert byoc("cell", "list").out.splitlines()[1].split()[:4] == ["prod", "enrolled", "yes", "local"]
    shown = byoc("cell", "show", "prod").out
    assert "engine         MariaDB 10.11.6\n" in shown
    assert "connected      yes\n" in shown
    assert "machines" not in shown
    assert "AWS to clients of the API; it is this machine\n" in shown
    plane.cells[0] |= {"regionName": "us-east-1"}
    zone = {"name": "us-east-1a", "machines": 3, "ready": 2, "millicores": 15890, "memoryBytes": 60 * 2**30}
    plane.cells[0]["facts"]["zones"] = [{**zone, "version": "v1.36.1"}]
    shown = byoc("cell", "show", "prod").out
    assert "provider       AWS\n" in shown
    offered = "us-east-1a: 2 of 3 ready, 15.89 vCPU and 60 GiB, Kubernetes v1.36.1"
    assert f"machines       {offered}\n" in shown
    plane.cells[0]["facts"]["zones"] = [{**zone, "version": ""}]
    assert "15.89 vCPU and 60 GiB\n" in byoc("cell", "show", "prod").out


def test_the_tunnel_sessions_of_a_cell_are_listed(byoc: Any, plane: Any) -> None:
    assert byoc("cell", "connections", "prod").err == "cell prod is not connected\n"
    plane.sessions.append(
        {"sessionID": "s-1", "gateway": "gateway", "epoch": 3, "openedAt": "2026-01-01T00:00:00Z"}
    )
    assert byoc("cell", "connections", "prod").out == (
        "SESSION  GATEWAY  EPOCH  OPENED\ns-1      gateway  3      2026-01-01T00:00:00Z\n"
    )


def test_what_happened_to_a_cell_is_told_and_two_keys_are_warned_of(byoc: Any, plane: Any) -> None:
    assert byoc("cell", "events", "prod").err == "nothing has happened to cell prod\n"
    told = {"number": 7, "at": "2026-01-01T00:00:00Z", "kind": "contested", "text": "another key came"}
    plane.cell_events.append(told)
    assert byoc("cell", "events", "prod").out == (
        "AT                    KIND       BY  WHAT\n2026-01-01T00:00:00Z  contested  -   another key came\n"
    )
    assert byoc("cell", "events", "prod", "-o", "json").json == [told]
    assert "two keys" not in byoc("cell", "list").err
    plane.cells[0]["state"] = "contested"
    assert byoc("cell", "list").err == "two keys claim to be cell prod: see `byoc cell events prod`\n"


def test_an_enrolment_is_handed_over_in_the_cells_own_folder(byoc: Any, plane: Any, tmp_path: Path) -> None:
    (tmp_path / "thumbprint").write_text("thumb\n")
    assert byoc("cell", "enrol", "prod", "--dir", str(tmp_path)).code == 0
    handed = tmp_path / "enrolment.json"
    assert json.loads(handed.read_text()) == {"token": "t", "rootKey": {"kty": "OKP"}}
    assert stat.S_IMODE(handed.stat().st_mode) == 0o600
    assert plane.asked[-1] == ("POST", f"/byoc/v1/cells/{PROD}/enrolment", {"thumbprint": "thumb"})


def test_an_enrolment_can_be_carried_by_hand_to_a_new_cell(byoc: Any, plane: Any) -> None:
    assert byoc("cell", "enrol", "new", "--thumbprint", "x").code == 4
    ended = byoc("cell", "enrol", "new", "--thumbprint", "x", "--region-name", "us-east-1")
    assert ended.json == {"cellID": PROD, "token": "t", "rootKey": {"kty": "OKP"}}
    assert ("POST", "/byoc/v1/cells", {
        "name": "new", "provider": "AWS", "region": "us-east-1", "regionName": "us-east-1",
    }) in plane.asked  # fmt: skip


def test_an_enrolment_needs_the_keys_named_once(byoc: Any, tmp_path: Path) -> None:
    assert byoc("cell", "enrol", "prod").code == 2
    assert byoc("cell", "enrol", "prod", "--thumbprint", "x", "--dir", str(tmp_path)).code == 2
    assert byoc("cell", "enrol", "prod", "--dir", str(tmp_path)).code == 9


def test_a_cells_keys_are_replaced_by_one_command(byoc: Any, plane: Any) -> None:
    assert byoc("cell", "rotate-keys", "prod").out == "cell prod uses new keys: new-thumb\n"
    assert byoc("cell", "rotate-keys", "prod", "-o", "json").json == {
        "cellID": PROD,
        "thumbprint": "new-thumb",
    }
    assert plane.asked[-1] == ("POST", f"/byoc/v1/cells/{PROD}/rotateKeys", {})


def test_a_cell_is_retired_by_its_name_typed_again(byoc: Any, plane: Any) -> None:
    assert byoc("cell", "retire", "prod").code == 2
    assert byoc("cell", "retire", "prod", "--confirm", "prod").out == "cell prod is retired\n"
    assert plane.asked[-1][1] == f"/byoc/v1/cells/{PROD}/retire"


def test_doctor_examines_a_cell_from_here(byoc: Any, plane: Any, clock: Any) -> None:
    assert byoc("doctor", "--cell", "prod").code == 0
    seen = datetime.fromtimestamp(clock.now().timestamp() - 120, UTC).isoformat()
    plane.cells[0] |= {"connected": False, "lastSeenAt": seen}
    ended = byoc("doctor", "--cell", "prod", "-o", "json")
    assert ended.code == 9
    assert [each["result"] for each in ended.json] == ["pass", "fail"]
    assert "not connected, last seen 2 min ago" in ended.json[1]["detail"]
    plane.cells[0]["state"] = "pending"
    assert [each["result"] for each in byoc("doctor", "--cell", "prod", "-o", "json").json] == [
        "fail",
        "skip",
    ]
