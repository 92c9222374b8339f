"""``byoc access`` and the answers to requests, on a cell whose papers are files."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from byoc.dataplane.desk import AGENT_LOCK, FolderDesk, FolderPapers
from byoc.model.control import Access, Answers, Asked, Request, Requests, Served, Standing
from byoc.model.papers import Paper
from byoc.testing import ManualClock
from byoc.wire.control import dump, load, read_access, request_id


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    (tmp_path / "cell").mkdir()
    return tmp_path / "cell"


@contextmanager
def agent(cell: Path) -> Iterator[None]:
    """Hold the cell's folder as its agent does."""
    descriptor = os.open(cell / AGENT_LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def show(cell: Path, clock: ManualClock, **changes: Any) -> None:
    """Show what an agent would, a moment from now."""
    at = clock.now() + timedelta(seconds=1)
    served = Served("1", "orders", "running", at, "127.0.0.1:3306")
    said = Standing(at, tunnel="connected", sessions=1, workspaces=(served,))
    FolderDesk(cell).show(Paper.STANDING, dump(replace(said, **changes)))


def test_a_revocation_is_stored_and_counts_from_the_next_start_where_no_agent_runs(
    byoc: Any, cell: Path
) -> None:
    ended = byoc("access", "revoke", "--reason", "an audit", "--dir", str(cell))

    assert ended.code == 0
    assert "no agent runs; the next one begins with it" in ended.out
    stored = read_access(FolderPapers(cell).read(Paper.ACCESS).text)
    assert (stored.revoked, stored.reason) == (True, "an audit")
    assert "@" in stored.by


def test_a_revocation_that_the_cell_does_not_confirm_is_still_pending(byoc: Any, cell: Path) -> None:
    with agent(cell):
        ended = byoc("access", "revoke", "--reason", "an audit", "--dir", str(cell))

    assert ended.code == 8
    assert "stored" in ended.err
    assert read_access(FolderPapers(cell).read(Paper.ACCESS).text).revoked


def test_status_says_revoked_where_the_paper_is_gone_and_the_cell_keeps_to_it(
    byoc: Any, cell: Path, clock: ManualClock
) -> None:
    show(cell, clock, heard=clock.now(), revoked=True, tunnel="revoked", sessions=0)
    for worked_on in (True, False):
        with agent(cell) if worked_on else nullcontext():
            ended = byoc("access", "status", "--dir", str(cell), "-o", "json")
        assert (ended.json["access"]["revoked"], ended.json["carriedOut"]) == (True, True)
        assert "access.json is gone" in ended.json["access"]["reason"]
        assert ended.json["controlPlaneCan"].startswith("nothing")


def test_status_proves_it_by_the_cells_own_word(byoc: Any, cell: Path, clock: ManualClock) -> None:
    access = Access(True, "ann@laptop", clock.now(), "an audit")
    FolderPapers(cell).write(Paper.ACCESS, dump(access), FolderPapers(cell).read(Paper.ACCESS).version)
    show(cell, clock, heard=access.at, revoked=True, tunnel="revoked", sessions=0,
         refusing_since=access.at, refused=3)  # fmt: skip
    with agent(cell):
        ended = byoc("access", "status", "--dir", str(cell))
        as_json = byoc("access", "status", "--dir", str(cell), "-o", "json").json

    assert ended.code == 0
    rows = dict(line.split("  ", 1) for line in ended.out.splitlines() if "  " in line)
    said = {name: value.strip() for name, value in rows.items()}
    assert said["access"] == "revoked"
    assert said["by"] == "ann@laptop"
    assert said["tunnels that stand"] == "0"
    assert said["verbs"].startswith("refused since 2")
    assert said["verbs"].endswith("(3 so far)")
    assert said["databases"] == "1 of 1 workspaces serve SQL"
    assert said["control plane can do"] == "nothing: no tunnel stands, and every verb is refused"
    assert (as_json["carriedOut"], as_json["sessions"]) == (True, 0)


def test_what_the_cell_said_before_its_agent_ended_is_not_told_as_if_it_were_so_now(
    byoc: Any, cell: Path, clock: ManualClock
) -> None:
    show(cell, clock)
    ended = byoc("access", "status", "--dir", str(cell))
    (told,) = (line for line in ended.out.splitlines() if line.startswith("databases"))
    assert "no agent runs; when it last looked, 1 of 1 workspaces served SQL" in told


@pytest.mark.parametrize(
    ("copied", "late", "shown"),
    [(False, False, ""), (True, False, "in time"), (True, True, "late: nothing written since 2030")],
)
def test_status_says_whether_the_ledgers_copies_are_in_time(
    byoc: Any, cell: Path, clock: ManualClock, copied: bool, late: bool, shown: str
) -> None:
    show(cell, clock, copied=copied, copies_late_since=clock.now() if late else None)
    with agent(cell):
        ended = byoc("access", "status", "--dir", str(cell))
    assert (shown in ended.out) if copied else ("ledger's copies" not in ended.out)


def test_a_word_of_before_the_revocation_proves_nothing(byoc: Any, cell: Path, clock: ManualClock) -> None:
    show(cell, clock, sessions=1)
    access = Access(True, "ann@laptop", clock.now() + timedelta(seconds=2))
    FolderPapers(cell).write(Paper.ACCESS, dump(access), FolderPapers(cell).read(Paper.ACCESS).version)
    with agent(cell):
        ended = byoc("access", "status", "--dir", str(cell), "-o", "json")

    assert ended.json["carriedOut"] is False
    assert ended.json["controlPlaneCan"].startswith("not known")


def waiting(cell: Path, clock: ManualClock) -> Request:
    name = request_id("own", 3, "d" * 64, ["workspace.terminate"])
    found = Request(
        name, "own", "workspace", "orders", 3, "d" * 64, ("workspace.terminate",), "ann",
        clock.now(), clock.now(), asks=(Asked("desired", "running", "terminated"),),
    )  # fmt: skip
    FolderDesk(cell).show(Paper.REQUESTS, dump(Requests((found,))))
    return found


@pytest.mark.parametrize("word", ["approve", "refuse"])
def test_an_answer_names_who_gave_it_and_what_it_is_for(
    byoc: Any, cell: Path, clock: ManualClock, word: str
) -> None:
    request = waiting(cell, clock)
    listed = byoc("policy", "requests", "--dir", str(cell), "-o", "json").json
    assert [(one["id"], one["stage"], one["verbs"]) for one in listed] == [
        (request.id, "waiting", ["workspace.terminate"])
    ]
    assert listed[0]["asks"] == [{"setting": "desired", "before": "running", "after": "terminated"}]
    ended = byoc("policy", word, request.id, "--dir", str(cell))

    assert ended.code == 0
    said = "workspace.terminate of workspace `orders`, generation 3 (desired: running -> terminated)"
    assert said in ended.out
    (answer,) = load(Answers, FolderPapers(cell).read(Paper.ANSWERS).text, Answers()).answers
    assert (answer.own, answer.generation, answer.digest) == ("own", 3, "d" * 64)
    assert answer.approved is (word == "approve")
    assert "@" in answer.by


def test_what_nobody_asked_is_not_found_and_what_expired_cannot_be_answered(
    byoc: Any, cell: Path, clock: ManualClock
) -> None:
    assert byoc("policy", "approve", "0123456789ab", "--dir", str(cell)).code == 4
    request = waiting(cell, clock)
    clock.advance(24 * 3600)
    assert byoc("policy", "approve", request.id, "--dir", str(cell)).code == 5
    listed = byoc("policy", "requests", "--dir", str(cell), "-o", "json").json
    assert listed[0]["stage"] == "expired"


@pytest.mark.parametrize(
    ("revoked", "later"), [(True, "it stays kept out"), (False, "what the policy allows")]
)
def test_what_the_control_plane_can_do_where_no_agent_runs_is_nothing_yet(
    byoc: Any, cell: Path, revoked: bool, later: str
) -> None:
    word = ("revoke", "--reason", "an audit") if revoked else ("restore",)
    byoc("access", *word, "--dir", str(cell))
    told = byoc("access", "status", "--dir", str(cell)).out
    assert f"nothing: no agent runs; once one does, {later}\n" in told


def test_a_cell_in_a_folder_is_asked_for_no_other_authority(byoc: Any, cell: Path) -> None:
    for where in ((), ("--dir", str(cell))):
        ended = byoc("cell", "renew-ca", *where)
        assert ended.code == 9
        assert "have no authority" in ended.err
    assert not (cell / "control" / Paper.AUTHORITY).exists()
