from pathlib import Path
from typing import Any

import pytest

ORDERS = "22222222-2222-4222-8222-222222222222"
OTHER = "44444444-4444-4444-8444-444444444444"


def test_the_table_of_workspaces(byoc: Any) -> None:
    ended = byoc("workspace", "list")
    assert ended.out == (
        "NAME    GROUP  STATE   SIZE  ENDPOINT         ID\n"
        "orders  sales  ACTIVE  S-00  127.0.0.1:40001  22222222-2222-4222-8222-222222222222\n"
    )
    assert (ended.code, ended.err) == (0, "")


def test_a_list_as_json_is_an_array_of_the_api_s_own_objects(byoc: Any, plane: Any) -> None:
    assert byoc("workspace", "list", "-o", "json").json == plane.workspaces


def test_a_list_of_names_is_one_id_a_line(byoc: Any) -> None:
    assert byoc("-o", "name", "workspace", "list").out == f"{ORDERS}\n"


@pytest.mark.parametrize("form", [(), ("-o", "json"), ("-o", "name")])
def test_an_empty_list_is_no_data(byoc: Any, plane: Any, form: tuple[str, ...]) -> None:
    plane.workspaces.clear()
    ended = byoc("workspace", "list", *form)
    assert ended.code == 0
    assert ended.out == ("[]\n" if "json" in form else "")


def test_create_shows_each_step_with_its_time(byoc: Any, plane: Any) -> None:
    plane.workspaces.clear()
    for kind in ("accepted", "delivered", "provisioning"):
        plane.event(kind)
    plane.event("running", "ACTIVE", text="answered SELECT 1")
    ended = byoc("workspace", "create", "orders", "--group", "sales", "--size", "S-1")
    assert ended.code == 0
    assert ended.out == "orders is ACTIVE\n"
    assert ended.err == (
        "      0.5 s  accepted      accepted it\n"
        "      1.0 s  delivered     delivered it\n"
        "      1.5 s  provisioning  provisioning it\n"
        "      2.0 s  active        answered SELECT 1\n"
        "\n"
        "Connect:   byoc workspace connect orders\n"
    )
    created = [body for method, path, body in plane.asked if (method, path) == ("POST", "/v1/workspaces")]
    assert created == [
        {"name": "orders", "workspaceGroupID": plane.groups[0]["workspaceGroupID"], "size": "S-1"}
    ]


def test_create_as_json_is_one_object_and_steps_stay_on_stderr(byoc: Any, plane: Any) -> None:
    plane.event("running", "ACTIVE")
    ended = byoc("workspace", "create", "orders", "--group", "sales", "-o", "json")
    assert ended.json == {
        "workspaceID": ORDERS,
        "name": "orders",
        "state": "ACTIVE",
        "endpoint": "127.0.0.1:40001",
        "generation": 1,
    }
    assert "active" in ended.err


def test_create_without_waiting_returns_at_once(byoc: Any, plane: Any) -> None:
    ended = byoc("workspace", "create", "orders", "--group", "sales", "--no-wait")
    assert (ended.code, ended.out) == (0, "the change to orders is recorded\n")
    assert not any("events" in path for _, path, _ in plane.asked)


def test_create_sends_every_option(byoc: Any, plane: Any) -> None:
    byoc(
        "workspace", "create", "w", "-g", "sales", "--scale-factor", "2", "--cache", "4",
        "--auto-suspend", "idle:1h", "--auto-scale", "4:high", "--no-wait",
    )  # fmt: skip
    body = next(body for method, _, body in plane.asked if method == "POST")
    assert body["scaleFactor"] == 2
    assert body["cacheConfig"] == 4
    assert body["autoSuspend"] == {"suspendType": "IDLE", "suspendAfterSeconds": 3600}
    assert body["autoScale"] == {"maxScaleFactor": 4, "sensitivity": "HIGH"}


@pytest.mark.parametrize(
    ("words", "state", "request_"),
    [
        (("suspend", "orders"), "SUSPENDED", ("POST", f"/v1/workspaces/{ORDERS}/suspend", {})),
        (("resume", "orders"), "ACTIVE", ("POST", f"/v1/workspaces/{ORDERS}/resume", {})),
        (
            ("resume", "orders", "--disable-auto-suspend"),
            "ACTIVE",
            ("POST", f"/v1/workspaces/{ORDERS}/resume", {"disableAutoSuspend": True}),
        ),
        (
            ("resize", "orders", "--size", "S-0"),
            "ACTIVE",
            ("PATCH", f"/v1/workspaces/{ORDERS}", {"size": "S-0"}),
        ),
        (
            ("update", "orders", "--auto-suspend", "off"),
            "ACTIVE",
            ("PATCH", f"/v1/workspaces/{ORDERS}", {"autoSuspend": {"suspendType": "DISABLED"}}),
        ),
        (
            ("terminate", "orders", "--confirm", "orders"),
            "TERMINATED",
            ("DELETE", f"/v1/workspaces/{ORDERS}", None),
        ),
        (
            ("delete", "orders", "--confirm", "orders"),
            "TERMINATED",
            ("DELETE", f"/v1/workspaces/{ORDERS}", None),
        ),
    ],
)
def test_a_change_is_sent_and_waited_for(
    byoc: Any, plane: Any, words: Any, state: str, request_: Any
) -> None:
    plane.event("accepted")
    plane.event("done", state)
    plane.detail["state"] = "PENDING"
    plane.workspaces[0]["state"] = state
    ended = byoc("workspace", *words)
    assert (ended.code, ended.out) == (0, f"orders is {state}\n")
    assert request_ in plane.asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resume", "orders"), "orders is ACTIVE already\n"),
        (("resize", "orders", "--size", "S-0"), "orders is as asked already, and ACTIVE\n"),
    ],
)
def test_a_change_that_changes_nothing_is_said_and_shows_no_old_steps(
    byoc: Any, plane: Any, words: Any, said: str
) -> None:
    plane.event("running", "ACTIVE")
    plane.detail["state"] = "ACTIVE"
    ended = byoc("workspace", *words)
    assert (ended.code, ended.out, ended.err) == (0, said, "")
    assert not any("events" in path for _, path, _ in plane.asked)


def test_the_newest_events_are_asked_for(byoc: Any, plane: Any) -> None:
    plane.event("running", "ACTIVE")
    assert byoc("workspace", "events", "orders", "-n", "3").code == 0
    assert any(path.endswith("/events?after=0&follow=false&newest=3") for _, path, _ in plane.asked)


def test_a_refused_change_is_7_and_names_the_rule(byoc: Any, plane: Any) -> None:
    plane.event("accepted")
    plane.event("refused", "ACTIVE", reason="no-suspends", text="suspends are not allowed on fridays")
    ended = byoc("workspace", "suspend", "orders", "-o", "json")
    assert (ended.code, ended.out) == (7, "")
    assert ended.error["code"] == "refused_by_cell"
    assert "no-suspends" in ended.error["message"]


def test_a_failed_workspace_is_1_with_its_coded_reason(byoc: Any, plane: Any) -> None:
    plane.event("failed", "FAILED", reason="engine-cannot-start")
    plane.detail["state"] = "FAILED"
    ended = byoc("workspace", "resume", "orders")
    assert ended.code == 1
    assert "engine-cannot-start" in ended.err


def test_an_absent_cell_is_said_and_repeated_and_only_the_timeout_is_8(byoc: Any, plane: Any) -> None:
    plane.event("accepted")
    plane.detail |= {
        "state": "PENDING",
        "cellConnected": False,
        "cellLastSeenAt": "2020-01-01T00:00:00Z",
    }
    ended = byoc("workspace", "suspend", "orders", "--wait-timeout", "2m")
    assert ended.code == 8
    assert ended.err.count("waiting       cell `prod` is not connected (last seen ") == 4
    assert "is recorded and is delivered when the cell reconnects" in ended.err
    assert ended.err.endswith("\nhint: see why with `byoc doctor --cell prod`\n")


def test_show_says_how_many_databases_came_back_and_how_many_did_not(byoc: Any, plane: Any) -> None:
    assert "databases" not in byoc("workspace", "show", "orders").out
    plane.detail |= {"databasesAttached": 2, "databasesMissing": 1}
    assert "2 attached again, 1 not" in byoc("workspace", "show", "orders").out


def test_an_interrupt_is_130_and_says_what_goes_on(byoc: Any, plane: Any) -> None:
    plane.event("accepted")
    plane.story.append("interrupt")
    ended = byoc("workspace", "suspend", "orders")
    assert ended.code == 130
    assert "the change to `orders` is recorded and goes on" in ended.err


def test_a_misspelt_name_is_4_and_offers_the_nearest(byoc: Any) -> None:
    ended = byoc("workspace", "suspend", "ordrs", "-o", "json")
    assert (ended.code, ended.out) == (4, "")
    assert ended.error == {
        "code": "not_found",
        "message": "no workspace named `ordrs`; did you mean `orders`?",
        "hint": "byoc workspace list",
        "requestID": "",
    }


def test_a_name_in_two_groups_is_2_until_the_group_is_named(byoc: Any, plane: Any) -> None:
    plane.groups.append(plane.groups[0] | {"workspaceGroupID": OTHER, "name": "ops"})
    plane.workspaces.append(plane.workspaces[0] | {"workspaceGroupID": OTHER, "workspaceID": OTHER})
    ended = byoc("workspace", "show", "orders")
    assert ended.code == 2
    assert "--group" in ended.err
    assert byoc("workspace", "show", "orders", "--group", "ops", "-o", "name").out == f"{OTHER}\n"


def test_an_id_is_taken_as_it_is(byoc: Any, plane: Any) -> None:
    assert byoc("workspace", "show", ORDERS, "-o", "name").out == f"{ORDERS}\n"
    assert ("GET", f"/v1/workspaces/{ORDERS}", None) in plane.asked


def test_show_says_what_and_why(byoc: Any, plane: Any) -> None:
    plane.workspaces[0]["autoSuspend"] = {"suspendType": "IDLE", "idleAfterSeconds": 600}
    plane.groups[0]["firewallRanges"] = ["10.0.0.0/8"]
    assert byoc("workspace", "show", "orders").out == (
        "name             orders\n"
        f"id               {ORDERS}\n"
        "group            sales\n"
        "cell             prod\n"
        "cell connected   yes\n"
        "state            ACTIVE\n"
        "reason           answered SELECT 1\n"
        "since            2026-01-01T00:00:01Z\n"
        "size             S-00\n"
        "scale factor     1\n"
        "cache config     1\n"
        "endpoint         127.0.0.1:40001\n"
        "generation       1\n"
        "auto-suspend     idle after 600 s\n"
        "auto-scale       off\n"
        "firewall ranges  10.0.0.0/8 (not enforced on a local cell: loopback only)\n"
        "created          2026-01-01T00:00:00Z\n"
    )


def test_show_says_that_the_cell_is_behind(byoc: Any, plane: Any) -> None:
    plane.detail["generation"] = 3
    assert "3 (the cell has acknowledged 1)" in byoc("workspace", "show", "orders").out


def test_terminate_needs_the_name_again(byoc: Any, plane: Any) -> None:
    ended = byoc("workspace", "terminate", "orders")
    assert ended.code == 2
    assert "--confirm orders" in ended.err
    assert byoc("workspace", "terminate", "orders", "--confirm", "order").code == 2
    assert not any(method == "DELETE" for method, _, _ in plane.asked)


def test_on_a_terminal_the_name_is_asked_for(byoc: Any, plane: Any) -> None:
    plane.event("terminated", "TERMINATED")
    ended = byoc("workspace", "terminate", "orders", stdin="orders\n", terminal=True)
    assert ended.code == 0
    assert "Type `orders` to go on" in ended.err
    assert byoc("workspace", "terminate", "orders", "--no-input", terminal=True).code == 2


def test_nothing_to_change_is_2(byoc: Any) -> None:
    assert byoc("workspace", "resize", "orders").code == 2
    assert byoc("workspace", "update", "orders").code == 2


def test_events_are_lines_arrays_and_streams(byoc: Any, plane: Any) -> None:
    plane.event("accepted", by="ann@acme.test")
    plane.event("running", "ACTIVE")
    story = plane.story[:]
    assert byoc("workspace", "events", "orders").out == (
        "2026-01-01T00:00:00Z  1     PENDING    accepted      accepted it by ann@acme.test\n"
        "2026-01-01T00:00:00Z  2     ACTIVE     running       running it\n"
    )
    plane.story = story[:]
    assert byoc("workspace", "events", "orders", "-o", "json").json == story
    plane.story = [*story, "interrupt"]
    followed = byoc("workspace", "events", "orders", "--follow", "-o", "json")
    assert followed.code == 130
    assert len(followed.out.splitlines()) == 2


def test_logs_are_shown_as_they_are(byoc: Any) -> None:
    assert "the engine's log" in byoc("workspace", "logs", "orders").out


def test_on_a_terminal_the_newest_step_is_one_line_drawn_again(byoc: Any, plane: Any) -> None:
    plane.event("accepted")
    plane.event("suspended", "SUSPENDED")
    err = byoc("workspace", "suspend", "orders", terminal=True).err
    seen: list[str] = []
    for piece in err.replace("\n", "\n\r\x1b[K").split("\r\x1b[K"):
        seen = [*seen, piece] if seen and seen[-1].endswith("\n") else [*seen[:-1], piece]
    assert [line.split()[2] for line in seen if line.strip()] == ["accepted", "suspended"]


def test_quiet_leaves_only_data(byoc: Any, plane: Any) -> None:
    plane.event("suspended", "SUSPENDED")
    ended = byoc("workspace", "suspend", "orders", "-q")
    assert (ended.out, ended.err) == ("orders is ACTIVE\n", "")


def test_connect_to_a_suspended_workspace_says_how_to_resume(byoc: Any, plane: Any) -> None:
    plane.workspaces[0] |= {"state": "SUSPENDED", "endpoint": ""}
    ended = byoc("workspace", "connect", "orders", "--exec", "select 1")
    assert ended.code == 5
    assert "byoc workspace resume orders" in ended.err


def test_connect_without_a_password_names_the_ways_to_give_one(byoc: Any) -> None:
    ended = byoc("workspace", "connect", "orders", "--exec", "select 1")
    assert ended.code == 2
    assert "BYOC_SQL_PASSWORD" in ended.err


def test_connect_says_what_the_local_engine_is(
    byoc: Any, plane: Any, environment: Any, tmp_path: Path
) -> None:
    plane.workspaces[0]["endpoint"] = "127.0.0.1:1"
    environment["BYOC_SQL_PASSWORD"] = "x"
    ended = byoc("workspace", "connect", "orders", "--exec", "select 1")
    assert ended.code == 6
    assert "local engine: MariaDB, a stand-in for SingleStore" in ended.err
