"""Process x step: whatever dies, and wherever, the change completes, once in effect.

Each cell of the table arms one step (or kills one process outright) while one change is
under way, and then looks for the change in full: the public state, the row in the database,
one engine process, one data folder, no gap and no repetition in the ledger.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pymysql
import pytest

from byoc.errors import Failed
from byoc.faults import Step
from byoc.testing.instance import eventually

PASSWORD = "Correct-Horse-7531-Battery"
CHANGES = ("create", "suspend", "resume", "resize", "set-password", "terminate")
PROCESSES = ("controlplane", "gateway", "agent", "engine")
OF_KEYS = (Step.KEYS_PREPARED, Step.KEYS_BELIEVED, Step.KEYS_TAKEN_OVER)
CELLS = [*[str(step) for step in Step if step not in OF_KEYS], *[f"kill {name}" for name in PROCESSES]]
# Steps that a change never passes: arming them would wait for nothing.
NOT_PASSED = {
    ("create", Step.PASSWORD_STORED),
    ("suspend", Step.PASSWORD_STORED),
    ("resume", Step.PASSWORD_STORED),
    ("resize", Step.PASSWORD_STORED),
    ("terminate", Step.PASSWORD_STORED),
    ("create", "kill engine"),
    ("resume", "kill engine"),
    ("set-password", Step.INTERVAL_STORED),
}


def engines(data: Path, workspace: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        line = process.info["cmdline"] or []
        if any(str(data) in word and workspace in word for word in line) and "mariadbd" in line[0]:
            found.append(process)
    return found


def volume(data: Path, workspace: str) -> Path:
    return data / "cell" / "volumes" / workspace


class Subject:
    """One workspace with one row in it, and the six changes."""

    def __init__(self, loop: Any, name: str) -> None:
        self.loop = loop
        self.name = "orders"
        self.password = PASSWORD
        self.group = loop.group(name)
        loop.instance.ask("PATCH", f"/v1/workspaceGroups/{self.group}", {"adminPassword": PASSWORD})
        self.id = ""

    def sql(self, text: str) -> Any:
        host, port = self.loop.instance.workspace(self.id)["endpoint"].split(":")
        connection = pymysql.connect(
            host=host, port=int(port), user="admin", password=self.password, autocommit=True
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall()

    def prepare(self, change: str) -> None:
        if change == "create":
            return
        self.id = self.loop.create(self.name, self.group)
        self.loop.instance.settled(self.id, "ACTIVE")
        self.sql("create table cluster.t (id int primary key)")
        self.sql("insert into cluster.t values (7)")
        if change == "resume":
            self.loop.instance.ask("POST", f"/v1/workspaces/{self.id}/suspend")
            self.loop.instance.settled(self.id, "SUSPENDED")

    def apply(self, change: str) -> None:
        path = f"/v1/workspaces/{self.id}"
        if change == "create":
            self.id = self.create_once()
        elif change == "resize":
            self.again("PATCH", path, {"size": "S-0"})
        elif change == "set-password":
            self.password = PASSWORD + "-new"
            self.again("PATCH", f"/v1/workspaceGroups/{self.group}", {"adminPassword": self.password})
        elif change == "terminate":
            self.again("DELETE", path, None)
        else:
            self.again("POST", f"{path}/{change}", None)

    def create_once(self) -> str:
        """A client whose connection broke looks before it asks again, as the SDK does."""

        def attempt() -> str | None:
            listed = self.loop.instance.ask("GET", f"/v1/workspaces?workspaceGroupID={self.group}")
            if listed:
                return str(listed[0]["workspaceID"])
            body = {"name": self.name, "workspaceGroupID": self.group, "size": "S-00"}
            try:
                status, answer = self.loop.instance.call("POST", "/v1/workspaces", body)
            except OSError:
                return None
            assert status == 200, answer
            return str(answer["workspaceID"])

        return eventually("create is accepted", attempt)

    def again(self, method: str, path: str, body: object) -> None:
        """Repeat until accepted, or refused because it is accepted already."""

        def attempt() -> bool:
            try:
                status, _ = self.loop.instance.call(method, path, body)
            except OSError:
                return False
            return status in {200, 409}

        eventually(f"{method} {path} is accepted", attempt)

    def check(self, change: str) -> None:
        instance = self.loop.instance
        if change == "terminate":
            found = instance.settled(self.id, "TERMINATED")
            assert "endpoint" not in found
            assert engines(instance.data, self.id) == []
            assert not volume(instance.data, self.id).exists()
            return
        if change == "suspend":
            found = instance.settled(self.id, "SUSPENDED")
            assert "endpoint" not in found
            assert engines(instance.data, self.id) == []
            assert volume(instance.data, self.id).exists()
            return
        # An engine killed in the middle is still being healed: what counts is where it all ends.
        assert eventually("the password works, and the row is there", lambda: self.works(change))
        instance.settled(self.id, "ACTIVE")
        assert len(engines(instance.data, self.id)) == 1
        if change == "create":
            assert len(instance.ask("GET", f"/v1/workspaces?workspaceGroupID={self.group}")) == 1
        if change == "resize":
            assert instance.workspace(self.id)["size"] == "S-0"

    def works(self, change: str) -> bool:
        try:
            if change == "create":
                return self.sql("select 1") == ((1,),)
            return self.sql("select id from cluster.t") == ((7,),)
        except (pymysql.err.OperationalError, KeyError):
            return False  # the password is old, or the workspace is being healed and has no endpoint


@pytest.fixture
def clean(loop: Any) -> Iterator[None]:
    yield
    loop.disarm()


def strike(loop: Any, cell: str, subject: Subject, change: str) -> None:
    if not cell.startswith("kill "):
        loop.arm(Step(cell))
        subject.apply(change)
        return
    name = cell.removeprefix("kill ")
    if name == "engine":
        (engine,) = engines(loop.instance.data, subject.id)
        pid = engine.pid
    else:
        pid = loop.instance.pid(name)
    subject.apply(change)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_completes_once_whatever_is_killed(loop: Any, clean: None, change: str, cell: str) -> None:
    if (change, cell) in NOT_PASSED:
        assert cell in CELLS
        return
    subject = Subject(loop, f"{change} {cell}")
    subject.prepare(change)
    strike(loop, cell, subject, change)
    subject.check(change)
    if not cell.startswith("kill "):
        eventually(f"{cell} was passed", lambda: not loop.armed(Step(cell)))
    loop.instance.ask("DELETE", f"/v1/workspaceGroups/{subject.group}?force=true")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_completes_once_when_the_supervisor_is_killed(loop: Any, change: str) -> None:
    subject = Subject(loop, f"{change} supervisor")
    subject.prepare(change)
    subject.apply(change)
    instance = loop.instance
    os.kill(instance.pid("supervisor"), signal.SIGKILL)
    instance.process.wait(timeout=30)
    instance.process.stdout.close()
    instance.start()
    subject.check(change)
    instance.ask("DELETE", f"/v1/workspaceGroups/{subject.group}?force=true")


@pytest.mark.parametrize("step", OF_KEYS)
def test_a_cell_connects_whatever_is_killed_while_its_keys_are_replaced(
    loop: Any, clean: None, step: Step
) -> None:
    instance = loop.instance
    path = f"/byoc/v1/cells/{instance.line['cellID']}"
    shown = instance.data / "cell" / "thumbprint"
    before = shown.read_text().strip()
    eventually("the cell is connected", lambda: instance.ask("GET", path)["connected"])
    loop.arm(step)
    with contextlib.suppress(OSError):
        instance.call("POST", f"{path}/rotateKeys", {})
    eventually(f"{step} was passed", lambda: not loop.armed(step))

    def again() -> str:
        try:
            status, answer = instance.call("POST", f"{path}/rotateKeys", {})
        except OSError:
            return ""
        return answer["thumbprint"] if status == 200 else ""

    new = eventually("the keys are replaced", again)
    assert shown.read_text().strip() == new != before
    group = loop.group(f"after {step}")
    loop.instance.ask("DELETE", f"/v1/workspaceGroups/{group}?force=true")


def test_after_all_of_it_nothing_is_left_over_and_the_ledger_verifies(loop: Any) -> None:
    instance = loop.instance

    def left() -> list[str]:
        folders = (instance.data / "cell" / "volumes", instance.data / "cell" / "state" / "workspaces")
        return [str(path) for folder in folders for path in folder.iterdir()]

    with contextlib.suppress(Failed):
        eventually("nothing is left", lambda: not left())
    assert {path: instance.call("GET", f"/byoc/v1/workspaces/{Path(path).stem}") for path in left()} == {}
    running = [p for p in psutil.process_iter(["cmdline"]) if "mariadbd" in " ".join(p.info["cmdline"] or [])]
    assert [p for p in running if str(instance.data) in " ".join(p.info["cmdline"])] == []
    verified = subprocess.run(
        [sys.executable, "-m", "byoc", "ledger", "verify", "--dir", str(instance.data / "cell")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
