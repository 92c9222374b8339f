import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_files import GENESIS, LEDGER, RECEIPTS, read_line, write_line
from byoc.dataplane.ledger_verify import Problem, Proof, Verification, read_records, verify
from byoc.errors import LedgerBroken, NotFound, Unwritable
from byoc.testing import ManualClock
from byoc.wire.keys import SigningKey
from byoc.wire.tokens import name_report, sign_receipt

KEY = SigningKey.generate()
KEYS = {KEY.kid: KEY.public}
REPORT = name_report("life", 1, "r.e.port")


def opened(folder: Path, clock: ManualClock, chain: str = "chain-1") -> Ledger:
    return Ledger(folder, clock, lambda: chain)


def filled(folder: Path, clock: ManualClock, records: int = 9) -> Ledger:
    """A ledger of a chain record and ``records`` more: records + 1 lines."""
    ledger = opened(folder, clock)
    for number in range(records):
        ledger.record("note", number=number)
    return ledger


def receipt(ledger: Ledger, clock: ManualClock, key: SigningKey = KEY) -> None:
    head = ledger.head()
    assert head is not None
    ledger.add_receipt(
        sign_receipt(
            key, cell="c", chain=head.chain, seq=head.seq, hash=head.hash, report=REPORT, at=clock.now()
        )
    )


def lines(folder: Path) -> list[bytes]:
    return (folder / LEDGER).read_bytes().splitlines(keepends=True)


def put(folder: Path, changed: list[bytes]) -> None:
    (folder / LEDGER).write_bytes(b"".join(changed))


def rechained(changed: list[bytes], start: int) -> list[bytes]:
    """Make hashes fit again from line index ``start`` on, as somebody who covers tracks would."""
    found = list(changed)
    name = json.loads(found[start - 1])["hash"] if start else GENESIS
    for place in range(start, len(found)):
        record = json.loads(found[place])
        record.pop("hash")
        found[place], name = write_line(record | {"prev": name})
    return found


def kinds(folder: Path) -> list[str]:
    return [str(record["kind"]) for record in read_records(folder)]


def test_records_are_numbered_and_chained(tmp_path: Path, clock: ManualClock) -> None:
    ledger = opened(tmp_path, clock)
    assert ledger.head() is None

    assert ledger.record("note", text="é") == 2

    first, second = [json.loads(line) for line in lines(tmp_path)]
    assert (first["seq"], first["prev"], first["kind"], first["chain"]) == (1, GENESIS, "chain", "chain-1")
    assert (second["seq"], second["prev"], second["text"]) == (2, first["hash"], "é")
    head = ledger.head()
    assert head is not None
    assert (head.chain, head.seq, head.hash) == ("chain-1", 2, second["hash"])


def test_a_restarted_agent_goes_on_with_the_chain(tmp_path: Path, clock: ManualClock) -> None:
    filled(tmp_path, clock).close()

    again = opened(tmp_path, clock, "chain-2")
    assert again.record("note") == 11

    found = verify(tmp_path, {})
    assert (found.ok, found.records, found.chain) == (True, 11, "chain-1")


def test_a_record_cannot_name_what_every_record_has(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="reserved"):
        opened(tmp_path, clock).record("note", seq=3)
    assert not (tmp_path / LEDGER).exists()


def test_an_untouched_ledger_verifies_and_says_what_it_cannot_prove(
    tmp_path: Path, clock: ManualClock
) -> None:
    filled(tmp_path, clock)

    found = verify(tmp_path, KEYS)

    assert (found.ok, found.problem, found.first_bad_line) == (True, Problem.NONE, 0)
    assert found.proven == (Proof.UNEDITED,)
    assert "cannot be ruled out" in found.summary()


def test_with_a_receipt_a_complete_end_is_proven(tmp_path: Path, clock: ManualClock) -> None:
    ledger = filled(tmp_path, clock)
    receipt(ledger, clock)
    ledger.record("note")

    found = verify(tmp_path, KEYS)

    assert (found.ok, found.receipts, found.receipted) == (True, 1, 10)
    assert found.proven == (Proof.UNEDITED, Proof.UNCUT)
    assert found.summary() == "no record was edited, and none is missing up to record 10"


@pytest.mark.parametrize("place", [0, 4, 9])
def test_an_edited_record_is_found_with_its_line(tmp_path: Path, clock: ManualClock, place: int) -> None:
    filled(tmp_path, clock)
    changed = lines(tmp_path)
    changed[place] = changed[place].replace(b'"at":"2030', b'"at":"2031')
    put(tmp_path, changed)

    found = verify(tmp_path, {})

    assert (found.ok, found.problem, found.first_bad_line) == (False, Problem.EDITED, place + 1)
    assert found.proven == ()
    assert found.summary() == f"line {place + 1} was edited"


@pytest.mark.parametrize("place", [0, 4, 8])
def test_an_edit_with_a_new_hash_is_found_by_the_record_after_it(
    tmp_path: Path, clock: ManualClock, place: int
) -> None:
    filled(tmp_path, clock)
    changed = lines(tmp_path)
    record = json.loads(changed[place])
    record.pop("hash")
    changed[place] = write_line(record | {"at": "2031-01-01T00:00:00Z"})[0]
    put(tmp_path, changed)

    found = verify(tmp_path, {})

    assert (found.problem, found.first_bad_line) == (Problem.EDITED, place + 1)


def test_a_rewritten_chain_is_found_by_a_receipt_only(tmp_path: Path, clock: ManualClock) -> None:
    receipt(filled(tmp_path, clock), clock)
    changed = lines(tmp_path)
    changed[4] = changed[4].replace(b'"number":3', b'"number":7')
    put(tmp_path, rechained(changed, 4))

    assert verify(tmp_path, {}).ok
    found = verify(tmp_path, KEYS)
    assert (found.ok, found.problem, found.first_bad_line) == (False, Problem.REWRITTEN, 10)


@pytest.mark.parametrize(
    ("change", "problem"),
    [("removed", Problem.GAP), ("doubled", Problem.REORDERED), ("swapped", Problem.REORDERED)],
)
def test_records_removed_doubled_or_swapped_are_found(
    tmp_path: Path, clock: ManualClock, change: str, problem: Problem
) -> None:
    filled(tmp_path, clock)
    changed = lines(tmp_path)
    if change == "removed":
        del changed[4]
    elif change == "doubled":
        changed.insert(4, changed[3])
    else:
        changed[4], changed[5] = changed[5], changed[4]
    put(tmp_path, changed)

    found = verify(tmp_path, {})

    assert (found.ok, found.problem, found.first_bad_line) == (False, problem, 5)


def test_a_cut_tail_is_found_against_a_receipt(tmp_path: Path, clock: ManualClock) -> None:
    receipt(filled(tmp_path, clock), clock)
    put(tmp_path, lines(tmp_path)[:6])

    assert verify(tmp_path, {}).ok, "without keys nothing can be said of the end"
    found = verify(tmp_path, KEYS)
    assert (found.ok, found.problem, found.records, found.receipted) == (False, Problem.CUT, 6, 10)
    assert found.proven == (Proof.UNEDITED,)
    assert found.summary() == "records are missing after line 6: a receipt names record 10"


def test_a_cut_tail_is_found_also_when_an_agent_wrote_on(tmp_path: Path, clock: ManualClock) -> None:
    ledger = filled(tmp_path, clock)
    receipt(ledger, clock)
    ledger.close()
    put(tmp_path, lines(tmp_path)[:6])
    again = opened(tmp_path, clock)
    for number in range(10):
        again.record("other", number=number)

    found = verify(tmp_path, KEYS)

    assert (found.ok, found.problem, found.first_bad_line) == (False, Problem.REWRITTEN, 10)


def test_a_chain_that_was_taken_away_whole_is_found_against_its_receipt(
    tmp_path: Path, clock: ManualClock
) -> None:
    receipt(filled(tmp_path, clock, 3), clock)
    (tmp_path / LEDGER).unlink()
    new = opened(tmp_path, clock, "chain-2")
    for _ in range(9):
        new.record("note")

    assert verify(tmp_path, KEYS).problem is Problem.CUT


def test_receipts_of_strangers_and_garbage_prove_nothing(tmp_path: Path, clock: ManualClock) -> None:
    ledger = filled(tmp_path, clock)
    receipt(ledger, clock, SigningKey.generate())
    with (tmp_path / RECEIPTS).open("ab") as stream:
        stream.write(b"\xff\xfe garbage\n" + b"x" * 20_000 + b"\n")

    found = verify(tmp_path, KEYS)

    assert (found.ok, found.receipts, found.unknown_receipts) == (True, 0, 3)
    assert found.proven == (Proof.UNEDITED,)


def test_a_receipt_for_another_cell_proves_nothing(tmp_path: Path, clock: ManualClock) -> None:
    receipt(filled(tmp_path, clock), clock)

    assert verify(tmp_path, KEYS, cell="c").receipts == 1
    assert verify(tmp_path, KEYS, cell="d").receipts == 0


def test_one_head_is_receipted_once_also_across_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    ledger = filled(tmp_path, clock)
    receipt(ledger, clock)
    receipt(ledger, clock)
    (tmp_path / RECEIPTS).write_bytes((tmp_path / RECEIPTS).read_bytes() + b"torn")
    again = opened(tmp_path, clock)
    again.open()
    receipt(again, clock)
    again.record("note")
    receipt(again, clock)

    found = verify(tmp_path, KEYS)
    assert (found.receipts, found.unknown_receipts, found.receipted) == (2, 1, 11)


@pytest.mark.parametrize("left", [1, 40, -1])
def test_a_torn_last_line_is_healed_and_named(tmp_path: Path, clock: ManualClock, left: int) -> None:
    filled(tmp_path, clock).close()
    whole = lines(tmp_path)
    put(tmp_path, [*whole[:-1], whole[-1][:left]])
    assert verify(tmp_path, {}).torn

    assert opened(tmp_path, clock).record("note") == 11

    assert kinds(tmp_path)[-2:] == ["torn", "note"]
    found = verify(tmp_path, {})
    assert (found.ok, found.torn, found.records) == (True, False, 11)


def test_a_torn_end_longer_than_a_block_is_healed(tmp_path: Path, clock: ManualClock) -> None:
    filled(tmp_path, clock).close()
    with (tmp_path / LEDGER).open("ab") as stream:
        stream.write(b"\0" * 200_000)

    opened(tmp_path, clock).open()

    assert verify(tmp_path, {}).ok
    assert kinds(tmp_path)[-1] == "torn"


def test_a_torn_first_line_begins_the_chain_anew(tmp_path: Path, clock: ManualClock) -> None:
    put(tmp_path, [b'{"at":"20'])

    opened(tmp_path, clock).open()

    assert kinds(tmp_path) == ["chain", "torn"]
    assert verify(tmp_path, {}).ok


def test_a_whole_last_line_that_is_not_a_record_is_never_written_over(
    tmp_path: Path, clock: ManualClock
) -> None:
    filled(tmp_path, clock).close()
    put(tmp_path, [*lines(tmp_path), b"something\n"])
    before = lines(tmp_path)
    again = opened(tmp_path, clock)

    with pytest.raises(LedgerBroken):
        again.record("note")

    assert lines(tmp_path) == before
    put(tmp_path, before[:-1])
    assert again.record("note") == 11, "mended, it is written again"


def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make appending write half and fail; return how to free space again."""

    def append(descriptor: int, data: bytes, *, sync: bool = True) -> None:
        import os  # noqa: PLC0415

        os.write(descriptor, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("byoc.durable.append_to", append)
    return monkeypatch.undo


def test_a_full_disk_raises_and_the_chain_goes_on_when_there_is_space(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = filled(tmp_path, clock)
    before = ledger.head()
    free = full_disk(monkeypatch)

    for _ in range(2):
        with pytest.raises(Unwritable, match="No space left"):
            ledger.record("note")
    assert ledger.head() == before
    free()

    ledger.record("note")
    found = verify(tmp_path, {})
    assert found.ok
    assert kinds(tmp_path)[-2:] == ["torn", "note"]


def test_a_folder_that_is_away_raises_until_it_is_back(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "ledger").write_text("in the way")
    ledger = opened(tmp_path / "ledger", clock)
    with pytest.raises(Unwritable):
        ledger.record("note")

    (tmp_path / "ledger").unlink()

    assert ledger.record("note") == 2


def test_a_ledger_taken_away_from_a_running_agent_goes_on_with_its_chain_and_shows_the_gap(
    tmp_path: Path, clock: ManualClock
) -> None:
    ledger = filled(tmp_path, clock)
    (tmp_path / LEDGER).rename(tmp_path / "stolen")

    assert ledger.record("note") == 12

    assert kinds(tmp_path) == ["moved", "note"]
    assert verify(tmp_path, {}).problem is Problem.GAP


def test_a_ledger_rewritten_under_a_running_agent_forks_no_chain(tmp_path: Path, clock: ManualClock) -> None:
    ledger = filled(tmp_path, clock)
    kept = lines(tmp_path)[:6]
    (tmp_path / LEDGER).unlink()
    put(tmp_path, kept)

    assert ledger.record("note") == 12

    found = verify(tmp_path, {})
    assert (found.problem, found.first_bad_line) == (Problem.GAP, 7)


def test_records_are_read_from_where_one_wants_and_followed(tmp_path: Path, clock: ManualClock) -> None:
    ledger = filled(tmp_path, clock, 3)
    turns = iter([True, True, False])

    def wait() -> bool:
        go_on = next(turns)
        if go_on:
            ledger.record("later")
        return go_on

    found = [(record["seq"], record["kind"]) for record in read_records(tmp_path, after=3, wait=wait)]

    assert found == [(4, "note"), (5, "later"), (6, "later")]


def test_without_a_ledger_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(read_records(tmp_path))
    with pytest.raises(NotFound):
        verify(tmp_path, {})


@pytest.mark.parametrize("line", [b"", b"{}", b"x" * 200, b"\xff" * 100, write_line({})[0][:-2]])
def test_what_is_not_a_line_is_not_read(line: bytes) -> None:
    assert read_line(line) is None


def test_a_result_of_an_empty_file_is_no_proof_of_anything(tmp_path: Path) -> None:
    put(tmp_path, [])

    found: Verification = verify(tmp_path, KEYS)

    assert (found.records, found.receipts) == (0, 0)
    assert Proof.UNCUT not in found.proven


def test_a_disk_that_takes_neither_a_record_nor_its_removal_forks_no_chain(
    tmp_path: Path, clock: ManualClock
) -> None:
    ledger = filled(tmp_path, clock, records=2)

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", broken)
        patch.setattr("os.ftruncate", broken)
        for _ in range(2):
            with pytest.raises(Unwritable):
                ledger.record("note", number=-1)

    assert ledger.record("note", number=3) == 4
    assert [record.get("number") for record in read_records(tmp_path)] == [None, 0, 1, 3]
    found = verify(tmp_path, KEYS)
    assert (found.ok, found.records) == (True, 4)
