"""`byoc up` and `byoc down` for real: what they print, what runs, what is left."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from byoc.testing.instance import eventually, free_port
from tests.acceptance.people import BYOC, User

CHILDREN = ("controlplane", "gateway", "agent")


def pids(data: Path) -> dict[str, int]:
    recorded = json.loads((data / "run" / "pids.json").read_text())
    return {name: value["pid"] for name, value in recorded.items()}


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def on_folder(data: Path) -> list[int]:
    """Every process that was started with the folder's name."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(data) in word for word in process.info["cmdline"] or ()) and is_alive(process.pid)
    ]


def ask(facts: dict[str, Any], path: str) -> Any:
    request = urllib.request.Request(
        facts["url"] + path, headers={"Authorization": f"Bearer {facts['token']}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def connected(facts: dict[str, Any]) -> bool:
    try:
        return bool(ask(facts, f"/byoc/v1/cells/{facts['cellID']}")["connected"])
    except OSError:
        return False


def test_one_line_of_json_says_all_that_a_program_needs(user: User) -> None:
    data = user.data()
    ran = user.up(data)
    assert ran.code == 0, ran.err
    assert ran.out.count("\n") == 1
    facts = ran.json
    assert set(facts) == {"url", "token", "organizationID", "cellID", "gateway", "data", "pids"}
    assert set(facts["pids"]) == {"supervisor", *CHILDREN}
    assert facts["data"] == str(data)
    assert ask(facts, "/v1/organizations/current")["orgID"] == facts["organizationID"]
    assert connected(facts)


def test_down_leaves_no_process_and_keeps_the_data(user: User) -> None:
    data = user.data()
    facts = user.up(data).json
    ran = user.byoc("down", "--data", str(data))
    assert ran.code == 0, ran.err
    assert not any(is_alive(pid) for pid in facts["pids"].values())
    assert on_folder(data) == []
    assert (data / "controlplane" / "owner.token").exists()
    assert user.byoc("down", "--data", str(data)).code == 0


def test_ctrl_c_stops_everything(user: User) -> None:
    data = user.data()
    process = subprocess.Popen(
        [str(BYOC), "up", "--data", str(data), "--port", str(free_port()), "-o", "json"],
        env=user.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as out:
        facts = json.loads(out.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert facts["pids"]["supervisor"] == process.pid
    assert on_folder(data) == []


def test_a_second_up_finds_everything_as_it_was(user: User) -> None:
    data = user.data()
    port = free_port()
    first = user.up(data, port=port).json
    assert user.byoc("down", "--data", str(data)).code == 0
    second = user.byoc("up", "--detach", "--data", str(data), "-o", "json").json
    for name in ("url", "token", "organizationID", "cellID", "gateway"):
        assert second[name] == first[name], name
    assert second["pids"] != first["pids"]
    assert len(ask(second, "/byoc/v1/cells")) == 1


def test_a_folder_in_use_is_refused_and_goes_on(user: User) -> None:
    data = user.data()
    facts = user.up(data).json
    again = user.up(data)
    assert again.code == 5
    assert again.out == ""
    assert str(facts["pids"]["supervisor"]) in again.err
    assert connected(facts)


@pytest.mark.parametrize("name", CHILDREN)
def test_a_killed_process_is_back_at_once(user: User, name: str) -> None:
    data = user.data()
    facts = user.up(data).json
    os.kill(facts["pids"][name], signal.SIGKILL)
    eventually("a new process", lambda: pids(data)[name] != facts["pids"][name], seconds=1)
    eventually("the cell is connected", lambda: connected(facts), seconds=20)
    others = {other: pid for other, pid in facts["pids"].items() if other != name}
    assert others.items() <= pids(data).items()


def test_nothing_outlives_a_supervisor_that_was_killed(user: User) -> None:
    data = user.data()
    facts = user.up(data).json
    os.kill(facts["pids"]["supervisor"], signal.SIGKILL)
    eventually("all are gone", lambda: on_folder(data) == [], seconds=30)
    again = user.up(data)
    assert again.code == 0, again.err
    assert again.json["cellID"] == facts["cellID"]


def test_up_takes_over_right_after_a_kill(user: User) -> None:
    data = user.data()
    facts = user.up(data).json
    os.kill(facts["pids"]["supervisor"], signal.SIGKILL)
    again = user.up(data)
    assert again.code == 0, again.err
    assert not any(is_alive(pid) for pid in facts["pids"].values())


def test_a_first_start_killed_at_any_moment_is_finished_by_the_next(user: User) -> None:
    data = user.data()
    for marker in ("layout.json", "controlplane/byoc.sqlite", "cell/thumbprint", "controlplane/owner.token"):
        process = subprocess.Popen(
            [str(BYOC), "up", "--data", str(data), "--port", str(free_port())],
            env=user.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(marker, (data / marker).exists)
        process.kill()
        process.wait()
    ran = user.up(data)
    assert ran.code == 0, ran.err
    assert connected(ran.json)
    assert len(ask(ran.json, "/byoc/v1/cells")) == 1


def test_a_taken_port_is_named_and_nothing_is_left(user: User) -> None:
    data = user.data()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        ran = user.up(data, port=server.getsockname()[1])
    assert ran.code == 9
    assert "is taken" in ran.err
    assert "--port" in ran.err
    assert on_folder(data) == []


def test_data_of_a_newer_version_is_not_touched(user: User) -> None:
    data = user.data()
    data.mkdir()
    (data / "layout.json").write_text('{"layout": 2, "schema": 1, "engineVersion": "10.11.6"}')
    (data / "novelty").mkdir()
    before = {path: path.stat().st_mtime_ns for path in (data, *data.rglob("*"))}
    ran = user.up(data)
    assert ran.code == 5
    assert "newer" in ran.err
    assert {path: path.stat().st_mtime_ns for path in (data, *data.rglob("*"))} == before


def test_delete_data_removes_the_folder_and_reset_begins_anew(user: User) -> None:
    data = user.data()
    first = user.up(data).json
    assert user.byoc("down", "--data", str(data), "--delete-data", "--confirm", data.name).code == 0
    assert not data.exists()
    second = user.up(data).json
    assert second["cellID"] != first["cellID"]
    third = user.up(data, "--reset", "--confirm", data.name)
    assert third.code == 0, third.err
    assert third.json["cellID"] != second["cellID"]
    assert not is_alive(second["pids"]["supervisor"])


def test_no_secret_is_in_arguments_or_environment(user: User) -> None:
    data = user.data()
    user.environment["BYOC_SQL_PASSWORD"] = "s3cret-of-the-caller"
    facts = user.up(data).json
    for name, pid in facts["pids"].items():
        process = psutil.Process(pid)
        shown = [*process.cmdline()]
        if name != "supervisor":
            shown += process.environ().values()
        assert facts["token"] not in " ".join(shown), name
        assert "s3cret-of-the-caller" not in " ".join(shown), name


def test_files_are_for_their_owner_only(user: User) -> None:
    data = user.data()
    user.up(data)
    assert data.stat().st_mode & 0o777 == 0o700
    for pattern in ("controlplane/owner.token", "controlplane/keys/*", "gateway/tls.key", "cell/keys.json"):
        found = list(data.glob(pattern))
        assert found, pattern
        assert [path for path in found if path.stat().st_mode & 0o077] == []


def test_doctor_finds_a_healthy_instance_healthy(user: User) -> None:
    data = user.data()
    user.up(data)
    ran = user.byoc("doctor", "--data", str(data), "-o", "json")
    assert ran.code == 0, ran.out + ran.err
    assert {check["name"]: check["result"] for check in ran.json}["tunnel"] == "pass"
    assert "a stand-in for SingleStore" in ran.out + ran.err


def test_status_shows_what_runs(user: User) -> None:
    data = user.data()
    facts = user.up(data).json
    shown = user.byoc("status", "--data", str(data), "-o", "json").json
    assert {each["name"]: each["pid"] for each in shown["processes"]} == facts["pids"]
    assert all(each["alive"] for each in shown["processes"])


def test_running_workspaces_run_again_on_their_ports(user: User) -> None:
    data = user.data()
    user.up(data)
    assert user.byoc("group", "create", "sales").code == 0
    made = user.byoc("workspace", "create", "orders", "--group", "sales", "--size", "S-00", "-o", "json")
    assert made.code == 0, made.err
    assert user.byoc("down", "--data", str(data)).code == 0
    assert on_folder(data) == [], "no engine is left"

    again = user.up(data)
    assert again.code == 0, again.err
    eventually("SQL", lambda: user.byoc("workspace", "connect", "orders", "--exec", "do 1").code == 0)
    assert "workspace orders  " in user.byoc("status", "--data", str(data)).out
    shown = user.byoc("workspace", "show", "orders", "-o", "json").json
    assert (shown["state"], shown["endpoint"]) == ("ACTIVE", made.json["endpoint"])


def test_an_engine_does_not_outlive_a_killed_supervisor_for_ever(user: User) -> None:
    data = user.data()
    facts = user.up(data).json
    assert user.byoc("group", "create", "sales").code == 0
    assert user.byoc("workspace", "create", "orders", "--group", "sales", "--size", "S-00").code == 0
    os.kill(facts["pids"]["agent"], signal.SIGKILL)
    os.kill(facts["pids"]["supervisor"], signal.SIGKILL)
    stopped = user.byoc("down", "--data", str(data))
    assert stopped.code == 0, stopped.err
    assert on_folder(data) == []
