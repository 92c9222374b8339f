"""What the whole system promises, each promise tried on a whole instance of its own."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pymysql
import pytest

from byoc.testing.instance import Instance, eventually

PASSWORD = "Correct-Horse-7531-Battery"
SECRET_ROW = "row-value-9d1f4b7a-that-must-never-leave"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    running = Instance(tmp_path / "data")
    with running:
        yield running


def group(instance: Instance, name: str = "sales") -> str:
    body = {
        "name": name,
        "regionID": instance.line["cellID"],
        "firewallRanges": [],
        "adminPassword": PASSWORD,
    }
    return str(instance.ask("POST", "/v1/workspaceGroups", body)["workspaceGroupID"])


def create(instance: Instance, group_id: str, name: str = "orders", **fields: Any) -> str:
    body = {"name": name, "workspaceGroupID": group_id, "size": "S-00", **fields}
    created = str(instance.ask("POST", "/v1/workspaces", body)["workspaceID"])
    instance.settled(created, "ACTIVE")
    return created


def sql(instance: Instance, workspace: str, text: str, password: str = PASSWORD) -> Any:
    host, port = instance.workspace(workspace)["endpoint"].split(":")
    connection = pymysql.connect(host=host, port=int(port), user="admin", password=password, autocommit=True)
    with connection, connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchall()


def engine(instance: Instance, workspace: str) -> psutil.Process:
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if "mariadbd" in line and workspace in line and str(instance.data) in line:
            return process
    message = f"no engine of {workspace}"
    raise AssertionError(message)


def test_a_second_up_finds_everything_as_it_was(instance: Instance) -> None:
    workspace = create(instance, group(instance))
    sql(instance, workspace, "create table cluster.t (id int primary key)")
    sql(instance, workspace, "insert into cluster.t values (1)")
    asleep = create(instance, instance.workspace(workspace)["workspaceGroupID"], "asleep")
    instance.ask("POST", f"/v1/workspaces/{asleep}/suspend")
    instance.settled(asleep, "SUSPENDED")
    before = instance.workspace(workspace)
    token = instance.line["token"]
    assert instance.stop() == 0
    assert [
        p for p in psutil.process_iter(["cmdline"]) if str(instance.data) in " ".join(p.info["cmdline"] or [])
    ] == []
    instance.start()
    assert instance.line["token"] == token
    after = instance.settled(workspace, "ACTIVE")
    assert after["endpoint"] == before["endpoint"]
    assert eventually("the row is still there", lambda: rows(instance, workspace)) == ((1,),)
    assert instance.workspace(asleep)["state"] == "SUSPENDED"


def rows(instance: Instance, workspace: str) -> Any:
    try:
        return sql(instance, workspace, "select id from cluster.t order by id")
    except (pymysql.err.OperationalError, KeyError):
        return None


def test_a_killed_engine_is_healed_and_keeps_what_it_acknowledged(instance: Instance) -> None:
    workspace = create(instance, group(instance))
    sql(instance, workspace, "create table cluster.t (id int primary key)")
    sql(instance, workspace, "insert into cluster.t values (1)")
    first = engine(instance, workspace)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(10)
    assert eventually("healed", lambda: rows(instance, workspace)) == ((1,),)
    assert engine(instance, workspace).pid != first.pid
    events = instance.ask("GET", f"/byoc/v1/workspaces/{workspace}/events")
    assert "engine-exited" in str(events)


def test_nothing_of_the_control_plane_holds_a_password_or_a_row(instance: Instance) -> None:
    workspace = create(instance, group(instance))
    sql(instance, workspace, "create table cluster.t (v longtext)")
    stopped = threading.Event()

    def insert() -> None:
        while not stopped.is_set():
            try:
                sql(
                    instance,
                    workspace,
                    f"insert into cluster.t values (concat('{SECRET_ROW}', repeat('x', 100000)))",
                )
            except (pymysql.err.MySQLError, OSError, KeyError):
                time.sleep(0.05)

    writer = threading.Thread(target=insert)
    writer.start()
    time.sleep(0.5)
    os.kill(engine(instance, workspace).pid, signal.SIGKILL)
    eventually(
        "healed",
        lambda: "engine-exited" in str(instance.ask("GET", f"/byoc/v1/workspaces/{workspace}/events")),
    )
    stopped.set()
    writer.join()
    changed = PASSWORD + "-2"
    group_id = instance.workspace(workspace)["workspaceGroupID"]
    instance.ask("PATCH", f"/v1/workspaceGroups/{group_id}", {"adminPassword": changed})
    generated = instance.ask("POST", f"/byoc/v1/workspaceGroups/{group_id}/password", {})["adminPassword"]
    instance.settled(workspace, "ACTIVE")
    instance.stop()
    for folder in ("controlplane", "gateway", "log", "run"):
        for file in (instance.data / folder).rglob("*"):
            if not file.is_file():
                continue
            content = file.read_bytes()
            for secret in (PASSWORD, changed, generated, SECRET_ROW):
                assert secret.encode() not in content, f"{file} holds {secret}"
            if "owner" not in file.name:
                assert instance.line["token"].encode() not in content, f"{file} holds the API key"


def test_a_cell_that_lost_its_state_adopts_what_is_there_and_initialises_nothing(instance: Instance) -> None:
    workspace = create(instance, group(instance))
    sql(instance, workspace, "create table cluster.t (id int primary key)")
    sql(instance, workspace, "insert into cluster.t values (1)")
    instance.stop()
    shutil.rmtree(instance.data / "cell" / "state")
    instance.start()
    assert eventually("adopted", lambda: rows(instance, workspace)) == ((1,),)


def test_a_cell_whose_state_was_restored_from_a_copy_gets_what_it_lacks(
    instance: Instance, tmp_path: Path
) -> None:
    group_id = group(instance)
    workspace = create(instance, group_id)
    gone = create(instance, group_id, "gone")
    sql(instance, workspace, "create table cluster.t (id int primary key)")
    sql(instance, workspace, "insert into cluster.t values (1)")
    instance.stop()
    state, kept = instance.data / "cell" / "state", tmp_path / "kept"
    shutil.copytree(state, kept)
    instance.start()
    instance.settled(workspace, "ACTIVE")
    instance.ask("PATCH", f"/v1/workspaces/{workspace}", {"size": "S-0"})
    instance.settled(workspace, "ACTIVE")
    instance.ask("DELETE", f"/v1/workspaces/{gone}")
    instance.settled(gone, "TERMINATED")
    instance.stop()
    shutil.rmtree(state)
    shutil.copytree(kept, state)
    instance.start()

    def whole() -> bool:
        size = json.loads((state / "workspaces" / f"{workspace}.json").read_bytes())["spec"]["size"]
        return size == "S-0" and (state / "tombstones" / f"{gone}.json").exists()

    eventually("the cell has what it lacked", whole)
    assert instance.settled(workspace, "ACTIVE")["size"] == "S-0"
    instance.settled(gone, "TERMINATED")
    assert rows(instance, workspace) == ((1,),)
    assert '"kind":"incarnation"' in (instance.data / "cell" / "ledger" / "ledger.jsonl").read_text()


def test_a_lost_volume_is_said_and_never_made_anew(instance: Instance) -> None:
    workspace = create(instance, group(instance))
    instance.stop()
    shutil.rmtree(instance.data / "cell" / "volumes" / workspace)
    instance.start()
    instance.settled(workspace, "FAILED")
    detail = instance.ask("GET", f"/byoc/v1/workspaces/{workspace}")
    assert detail["reason"] == "volume-missing"
    assert not (instance.data / "cell" / "volumes" / workspace).exists()


def test_a_control_plane_restored_to_an_older_database_takes_over_what_the_cell_says(
    instance: Instance, tmp_path: Path
) -> None:
    group_id = group(instance)
    old = create(instance, group_id, "old")
    instance.stop()
    kept = tmp_path / "kept"
    shutil.copytree(instance.data / "controlplane", kept)
    instance.start()
    new = create(instance, group_id, "new")
    instance.ask("PATCH", f"/v1/workspaces/{old}", {"size": "S-0"})
    instance.settled(old, "ACTIVE")
    instance.stop()
    shutil.rmtree(instance.data / "controlplane")
    shutil.copytree(kept, instance.data / "controlplane")
    instance.start()
    eventually("the newer size is adopted", lambda: instance.workspace(old)["size"] == "S-0")
    instance.settled(new, "ACTIVE")
    assert instance.workspace(new)["name"] == "new"
    assert "adopted" in str(instance.ask("GET", f"/byoc/v1/workspaces/{old}/events"))
    instance.ask("PATCH", f"/v1/workspaces/{old}", {"size": "S-00"})
    eventually("changes go on", lambda: instance.settled(old, "ACTIVE")["size"] == "S-00")


def test_changes_made_while_the_tunnel_is_cut_are_answered_at_once_and_delivered_later(
    instance: Instance,
) -> None:
    workspace = create(instance, group(instance))
    gateway = instance.pid("gateway")
    os.kill(gateway, signal.SIGSTOP)
    try:
        began = time.monotonic()
        five = {
            "size": "S-0",
            "scaleFactor": 2,
            "cacheConfig": 2,
            "autoSuspend": {"suspendType": "IDLE", "suspendAfterSeconds": 7200},
            "autoScale": {"maxScaleFactor": 2, "sensitivity": "LOW"},
        }
        instance.ask("PATCH", f"/v1/workspaces/{workspace}", five)
        instance.ask("POST", f"/v1/workspaces/{workspace}/suspend")
        instance.ask("POST", f"/v1/workspaces/{workspace}/resume")
        assert time.monotonic() - began < 3
        assert instance.workspace(workspace)["state"] == "PENDING"
    finally:
        os.kill(gateway, signal.SIGCONT)
    found = instance.settled(workspace, "ACTIVE", seconds=90)
    assert (found["size"], found["scaleFactor"], found["cacheConfig"]) == ("S-0", 2, 2)
    assert found["autoSuspend"]["idleAfterSeconds"] == 7200


def test_fifty_creates_at_once_and_never_more_than_five_in_a_group(instance: Instance) -> None:
    groups = [group(instance, f"g{n}") for n in range(4)]

    def attempt(n: int) -> int:
        body = {"name": f"w{n}", "workspaceGroupID": groups[n % 4], "size": "S-00"}
        status, _ = instance.call("POST", "/v1/workspaces", body)
        return status

    with ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(attempt, range(50)))
    assert statuses.count(200) == 20
    assert statuses.count(409) == 30
    for group_id in groups:
        listed = instance.ask("GET", f"/v1/workspaces?workspaceGroupID={group_id}")
        assert len(listed) == 5
        for one in listed:
            instance.settled(one["workspaceID"], "ACTIVE", seconds=90)


def test_two_writers_on_one_workspace_cannot_both_win(instance: Instance) -> None:
    workspace = create(instance, group(instance))

    def resize(size: str) -> int:
        return instance.call("PATCH", f"/v1/workspaces/{workspace}", {"size": size})[0]

    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(resize, ["S-0", "S-1"]))
    assert statuses == [200, 409]
    instance.settled(workspace, "ACTIVE")
