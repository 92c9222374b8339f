import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from byoc.dataplane.files import FileStorage
from byoc.dataplane.keys import PinnedKeys
from byoc.dataplane.ledger import Ledger
from byoc.testing import ManualClock


@pytest.fixture
def cell(tmp_path: Path, clock: ManualClock) -> Path:
    """A cell's folder with a ledger of three records."""
    ledger = Ledger(tmp_path / "cell" / "ledger", clock, lambda: "chain-1")
    ledger.record("received", verb="workspace.create", sub="ann@acme.test")
    ledger.record("outcome", status=202, of=2)
    ledger.close()
    return tmp_path / "cell"


def test_verify_says_what_is_proven(byoc: Any, cell: Path) -> None:
    ended = byoc("ledger", "verify", "--dir", str(cell))
    assert ended.code == 0
    assert ended.out.startswith(
        "result               good\n"
        "means                no record was edited; without a receipt, a cut end cannot be ruled out\n"
        "chain                chain-1\n"
        "records              3\n"
    )


@pytest.mark.parametrize("place", [".", "..", "ledger"])
def test_the_folder_may_be_the_cells_the_instances_or_the_ledgers(byoc: Any, cell: Path, place: str) -> None:
    assert byoc("ledger", "verify", "--dir", str(cell / place), "-o", "json").json["records"] == 3


def test_an_edited_record_is_found_with_its_line(byoc: Any, cell: Path) -> None:
    path = cell / "ledger" / "ledger.jsonl"
    path.write_text(path.read_text().replace("ann@", "eve@"))
    ended = byoc("ledger", "verify", "--dir", str(cell), "-o", "json")
    assert ended.code == 1
    assert (ended.json["ok"], ended.json["problem"], ended.json["firstBadLine"]) == (False, "edited", 2)
    assert ended.error["code"] == "ledger_broken"
    assert "line 2" in ended.error["message"]


def test_no_ledger_is_4(byoc: Any, tmp_path: Path) -> None:
    for verb in ("tail", "verify", "export"):
        ended = byoc("ledger", verb, "--dir", str(tmp_path / "nowhere"))
        assert ended.code == 4
        assert "no ledger" in ended.err


def test_tail_shows_the_newest_records(byoc: Any, cell: Path) -> None:
    lines = byoc("ledger", "tail", "--dir", str(cell), "-n", "2").out.splitlines()
    assert [line.split()[0] for line in lines] == ["2", "3"]
    assert "received        sub=ann@acme.test verb=workspace.create" in lines[0]
    assert byoc("ledger", "tail", "--dir", str(cell), "-o", "name").out == "1\n2\n3\n"
    assert [each["seq"] for each in byoc("ledger", "tail", "--dir", str(cell), "-o", "json").json] == [
        1,
        2,
        3,
    ]


def test_tail_follows_one_object_a_line(
    byoc: Any, cell: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = type(clock).advance
    turns: list[str] = []

    def turn(itself: ManualClock, seconds: float) -> None:
        advance(itself, seconds)
        turns.append("pause")
        if len(turns) > 1:
            raise KeyboardInterrupt
        ledger = Ledger(cell / "ledger", clock, lambda: "unused")
        ledger.record("added")
        ledger.close()

    monkeypatch.setattr(ManualClock, "advance", turn)
    ended = byoc("ledger", "tail", "--dir", str(cell), "-n", "1", "--follow", "-o", "json")
    assert ended.code == 130
    assert [json.loads(line)["kind"] for line in ended.out.splitlines()] == ["outcome", "added"]


def test_export_prints_the_very_lines(byoc: Any, cell: Path) -> None:
    ended = byoc("ledger", "export", "--dir", str(cell))
    assert ended.out == (cell / "ledger" / "ledger.jsonl").read_text()


def test_an_exported_file_verifies_elsewhere(byoc: Any, cell: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tar.gz"
    ended = byoc("ledger", "export", "--dir", str(cell), "--to", str(target), "-o", "json")
    assert ended.json == {"file": str(target), "holds": ["ledger/ledger.jsonl"]}
    assert target.stat().st_mode & 0o777 == 0o600
    elsewhere = tmp_path / "elsewhere"
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            (elsewhere / member.name).parent.mkdir(parents=True, exist_ok=True)
            (elsewhere / member.name).write_bytes(file.read())
    assert byoc("ledger", "verify", "--dir", str(elsewhere)).code == 0
    assert byoc("ledger", "export", "--dir", str(cell), "--to", str(target)).code == 1


def test_a_cell_without_pinned_keys_has_none_to_check_receipts_with(cell: Path, clock: ManualClock) -> None:
    assert PinnedKeys.load(FileStorage(cell), clock) is None


def test_tail_says_who_asked_for_what_and_what_came_of_it(
    byoc: Any, tmp_path: Path, clock: ManualClock
) -> None:
    ledger = Ledger(tmp_path / "cell" / "ledger", clock, lambda: "chain-1")
    changes = [{"verb": "workspace.create", "generation": 1}, {"verb": "workspace.resize", "generation": 2}]
    target = "/cell/v1/workspaces/w1"
    ledger.record("received", sub="ann@acme.test", target=target, changes=changes, body="00ff", jti="j")
    ledger.record("outcome", request=2, outcome="applied", status=200)
    ledger.record("received", sub="bob@acme.test", target=target + "/logs", verbs=["logs.read"])
    ledger.record("outcome", request=4, outcome="refused", rule="policy-allow", status=403)
    ledger.record("unauthenticated", count=3)
    ledger.close()
    lines = byoc("ledger", "tail", "--dir", str(tmp_path / "cell")).out.splitlines()
    assert [line.split("Z  ")[1] for line in lines[1:]] == [
        "received        workspace.create workspace.resize on workspaces/w1 by ann@acme.test",
        "outcome         applied, request 2 (status 200)",
        "received        logs.read on workspaces/w1/logs by bob@acme.test",
        "outcome         refused by rule policy-allow, request 4 (status 403)",
        "unauthenticated count=3",
    ]


# --- the two agents of a cell ---------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path, clock: ManualClock) -> tuple[Path, Path]:
    """Two agents' folders: the second took over from the first, which wrote on for a moment."""
    first = Ledger(tmp_path / "a" / "ledger", clock, lambda: "chain-a")
    first.record("leader", epoch=1, holder="agent-0")
    first.record("received", sub="ann@acme.test")
    head = first.head()
    assert head is not None
    clock.advance(1)
    second = Ledger(tmp_path / "b" / "ledger", clock, lambda: "chain-b")
    second.record("leader", epoch=2, follows={"chain": head.chain, "seq": head.seq, "hash": head.hash})
    clock.advance(1)
    first.record("note")
    return tmp_path / "a", tmp_path / "b"


def both(pair: tuple[Path, Path]) -> list[str]:
    return [word for folder in pair for word in ("--dir", str(folder))]


def test_two_chains_are_verified_against_each_other(byoc: Any, pair: tuple[Path, Path]) -> None:
    ended = byoc("ledger", "verify", *both(pair), "-o", "json")
    assert ended.code == 0
    assert [(each["chain"], each["terms"]) for each in ended.json] == [("chain-a", [1]), ("chain-b", [2])]
    assert ended.json[0]["proven"] == ["unedited", "handed-over"]


def test_a_chain_cut_before_the_other_took_over_is_found_without_a_receipt(
    byoc: Any, pair: tuple[Path, Path]
) -> None:
    path = pair[0] / "ledger" / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert byoc("ledger", "verify", "--dir", str(pair[0])).code == 0, "alone it cannot be known"

    ended = byoc("ledger", "verify", *both(pair), "-o", "json")

    assert ended.code == 1
    assert ended.json[0]["problem"] == "cut"


def test_a_chain_rewritten_before_the_other_took_over_is_found(
    byoc: Any, pair: tuple[Path, Path], clock: ManualClock
) -> None:
    (pair[0] / "ledger" / "ledger.jsonl").unlink()
    other = Ledger(pair[0] / "ledger", clock, lambda: "chain-a")
    for _ in range(4):
        other.record("note")

    ended = byoc("ledger", "verify", *both(pair), "-o", "json")

    assert (ended.code, ended.json[0]["problem"], ended.json[0]["firstBadLine"]) == (1, "rewritten", 3)


def test_one_term_with_two_leaders_is_found(byoc: Any, pair: tuple[Path, Path], clock: ManualClock) -> None:
    Ledger(pair[0] / "ledger", clock, lambda: "unused").record("leader", epoch=2)

    ended = byoc("ledger", "verify", *both(pair))

    assert ended.code == 1
    assert "term 2 has records in two chains" in ended.err


def test_a_term_that_nobody_has_a_record_of_is_said(
    byoc: Any, pair: tuple[Path, Path], clock: ManualClock
) -> None:
    Ledger(pair[0] / "ledger", clock, lambda: "unused").record("leader", epoch=4)

    ended = byoc("ledger", "verify", *both(pair))

    assert ended.code == 0
    assert "no chain here has a record of term 3" in ended.err


def test_tail_of_two_chains_is_in_the_order_of_their_times(byoc: Any, pair: tuple[Path, Path]) -> None:
    records = byoc("ledger", "tail", *both(pair), "-o", "json").json
    assert [each["kind"] for each in records] == ["chain", "leader", "received", "chain", "leader", "note"]


def test_tail_follows_several_chains_and_repeats_nothing(
    byoc: Any, pair: tuple[Path, Path], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = type(clock).advance
    turns: list[int] = []

    def turn(itself: ManualClock, seconds: float) -> None:
        advance(itself, seconds)
        turns.append(len(turns))
        if len(turns) > 3:
            raise KeyboardInterrupt
        for place in pair if len(turns) < 3 else ():
            ledger = Ledger(place / "ledger", clock, lambda: "unused")
            # The second time more than a look back shows.
            for number in range(1 if len(turns) == 1 else 3):
                ledger.record("added", number=number, text="x" * (1 if len(turns) == 1 else 150_000))
            ledger.close()

    monkeypatch.setattr(ManualClock, "advance", turn)
    ended = byoc("ledger", "tail", *both(pair), "-n", "0", "--follow", "-o", "json")
    assert ended.code == 130
    assert [json.loads(line)["number"] for line in ended.out.splitlines()] == [0, 0, 0, 1, 2, 0, 1, 2]


def test_tail_tells_approvals_policies_and_the_customers_word_in_words(
    byoc: Any, tmp_path: Path, clock: ManualClock
) -> None:
    ledger = Ledger(tmp_path / "cell" / "ledger", clock, lambda: "chain-1")
    named = {"request": "r1", "id": "w1", "generation": 3, "digest": "00ff"}
    asks = [{"setting": "size", "before": "S-00", "after": "S-1"}]
    ledger.record("approval-asked", **named, verbs=["workspace.resize"], sub="ann", asks=asks)
    ledger.record("approval", **named, approved=True, by="bob@laptop")
    ledger.record("approval-died", **named, why="newer")
    policy = {"allow": ["workspace.*"], "deny": [], "approval": ["workspace.resize"]}
    ledger.record(
        "policy", digest="0123456789abcdef", **policy, rate={"workspace.create": "3/day"}, windows={}
    )
    ledger.record("access", revoked=True, by="bob@laptop", reason="an audit", saidAt="x")
    ledger.record("copies", late=True, behind=61)
    ledger.record("leader", epoch=2, holder="byoc-agent-0")
    ledger.close()
    lines = byoc("ledger", "tail", "--dir", str(tmp_path / "cell"), "-n", "7").out.splitlines()
    said = [" ".join(line.split()[3:]) for line in lines if line[0].isdigit()]
    assert said[1] == "w1 generation 3 approved by bob@laptop (r1)"
    assert said[2:] == [
        "w1 generation 3 waits no more: a newer change has come (r1)",
        "in force (0123456789ab): allow workspace.*; approval workspace.resize; a rate for workspace.create",
        "revoked by bob@laptop: an audit",
        "late, 61 s behind",
        "term 2 begins, byoc-agent-0 leads",
    ]
    assert said[0].startswith("workspace.resize of w1 generation 3 waits for approval, asked by ann")


def test_an_export_of_two_chains_holds_both(byoc: Any, pair: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "out.tar.gz"
    ended = byoc("ledger", "export", *both(pair), "--to", str(target), "-o", "json")
    assert ended.json["holds"] == ["1/ledger/ledger.jsonl", "2/ledger/ledger.jsonl"]


def test_a_ledger_over_several_files_is_exported_whole(byoc: Any, tmp_path: Path, clock: ManualClock) -> None:
    ledger = Ledger(tmp_path / "cell" / "ledger", clock, lambda: "chain-1", full=300)
    for _ in range(5):
        ledger.record("note")

    ended = byoc("ledger", "export", "--dir", str(tmp_path / "cell"))

    assert [json.loads(line)["seq"] for line in ended.out.splitlines()] == [1, 2, 3, 4, 5, 6]
