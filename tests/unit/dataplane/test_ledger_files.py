"""A chain over several files, and records that share an fsync."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_files import LEDGER, closed, files, read_line, tail, write_line
from byoc.dataplane.ledger_verify import Problem, read_records, verify
from byoc.errors import Unwritable
from byoc.testing import ManualClock
from byoc.wire.keys import SigningKey
from byoc.wire.tokens import name_report, sign_receipt

FULL = 600
KEY = SigningKey.generate()
KEYS = {KEY.kid: KEY.public}


def opened(folder: Path, clock: ManualClock, full: int = FULL) -> Ledger:
    return Ledger(folder, clock, lambda: "chain-1", full=full)


def filled(folder: Path, clock: ManualClock, records: int = 12) -> Ledger:
    ledger = opened(folder, clock)
    for number in range(records):
        ledger.record("note", number=number)
    return ledger


def numbers(folder: Path) -> list[int]:
    return [record["seq"] for record in read_records(folder)]


def edit(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def test_a_full_file_is_closed_and_the_chain_goes_on_in_the_next(tmp_path: Path, clock: ManualClock) -> None:
    filled(tmp_path, clock)

    names = [path.name for path in files(tmp_path)]
    assert len(names) > 3
    assert names[0] == "ledger-000000000001.jsonl"
    assert names[-1] == LEDGER
    for path in closed(tmp_path):
        first = read_line(path.read_bytes().split(b"\n")[0])
        assert first is not None
        assert path.name == f"ledger-{first[0]['seq']:012d}.jsonl"
    found = verify(tmp_path, {})
    assert (found.ok, found.records, found.chain) == (True, 13, "chain-1")
    assert numbers(tmp_path) == list(range(1, 14))


def test_a_restarted_agent_goes_on_where_the_last_file_ends(tmp_path: Path, clock: ManualClock) -> None:
    filled(tmp_path, clock).close()

    assert opened(tmp_path, clock).record("note") == 14
    assert verify(tmp_path, {}).ok


@pytest.mark.parametrize("left", [None, b"", b'{"at":"20'], ids=["no file", "an empty one", "a torn one"])
def test_an_agent_killed_between_two_files_goes_on(
    tmp_path: Path, clock: ManualClock, left: bytes | None
) -> None:
    filled(tmp_path, clock).close()
    first = read_line((tmp_path / LEDGER).read_bytes().split(b"\n")[0])
    assert first is not None
    (tmp_path / LEDGER).rename(tmp_path / f"ledger-{first[0]['seq']:012d}.jsonl")
    if left is not None:
        (tmp_path / LEDGER).write_bytes(left)
    assert verify(tmp_path, {}).ok

    assert opened(tmp_path, clock).record("note") == (15 if left else 14)

    found = verify(tmp_path, {})
    assert (found.ok, found.chain) == (True, "chain-1")


def test_a_record_removed_edited_or_moved_in_any_file_is_found(tmp_path: Path, clock: ManualClock) -> None:
    filled(tmp_path, clock)
    whole = {path: path.read_bytes() for path in files(tmp_path)}
    changes: dict[Problem, Callable[[list[bytes]], list[bytes]]] = {
        Problem.EDITED: lambda lines: [lines[0].replace(b"2030", b"2031"), *lines[1:]],
        Problem.GAP: lambda lines: lines[1:],
        Problem.REORDERED: lambda lines: [*lines[1:], lines[0]] if len(lines) > 1 else lines * 2,
    }
    for place, path in enumerate(whole):
        for problem, change in changes.items():
            edit(path, change)
            found = verify(tmp_path, {})
            path.write_bytes(whole[path])
            if problem is Problem.GAP and path.name == LEDGER:
                continue  # what is missing at the end is for receipts to find
            assert not found.ok, (place, problem)
            assert found.file, (place, problem)
            assert found.first_bad_line >= 1
    assert verify(tmp_path, {}).ok


def test_an_edit_names_file_and_line(tmp_path: Path, clock: ManualClock) -> None:
    filled(tmp_path, clock)
    second = files(tmp_path)[1]
    edit(second, lambda lines: [lines[0], lines[1].replace(b"note", b"nose"), *lines[2:]])

    found = verify(tmp_path, {})

    assert (found.problem, found.file, found.first_bad_line) == (Problem.EDITED, second.name, 2)
    assert found.summary() == f"line 2 of {second.name} was edited"


def test_a_last_line_with_a_new_hash_is_found_by_the_file_after_it(
    tmp_path: Path, clock: ManualClock
) -> None:
    filled(tmp_path, clock)
    first = files(tmp_path)[0]
    lines = first.read_bytes().splitlines(keepends=True)
    last = read_line(lines[-1][:-1])
    assert last is not None
    first.write_bytes(b"".join([*lines[:-1], write_line(last[0] | {"at": "2031-01-01T00:00:00Z"})[0]]))

    found = verify(tmp_path, {})

    assert (found.problem, found.file, found.first_bad_line) == (Problem.EDITED, first.name, len(lines))


def test_a_file_taken_away_is_a_gap_or_a_cut(tmp_path: Path, clock: ManualClock) -> None:
    ledger = filled(tmp_path, clock)
    head = ledger.head()
    assert head is not None
    report = name_report("life", 1, "r.e.port")
    given = {"chain": head.chain, "seq": head.seq, "hash": head.hash, "report": report, "at": clock.now()}
    ledger.add_receipt(sign_receipt(KEY, cell="c", **given))
    for path, problem in ((files(tmp_path)[1], Problem.GAP), (tmp_path / LEDGER, Problem.CUT)):
        kept = path.read_bytes()
        path.unlink()
        assert verify(tmp_path, KEYS).problem is problem
        path.write_bytes(kept)
    assert verify(tmp_path, KEYS).ok


def test_a_reader_follows_through_files_that_fill_up(tmp_path: Path, clock: ManualClock) -> None:
    ledger = filled(tmp_path, clock, 2)
    turns = iter([7, 1, 9, 0])

    def wait() -> bool:
        more = next(turns)
        for _ in range(more):
            ledger.record("later")
        return bool(more)

    found = [record["seq"] for record in read_records(tmp_path, wait=wait)]

    assert found == list(range(1, 21))


def test_a_reader_misses_nothing_when_files_fill_up_under_it(tmp_path: Path, clock: ManualClock) -> None:
    ledger = filled(tmp_path, clock, 3)
    found = []
    for record in read_records(tmp_path):
        found.append(record["seq"])
        if record["seq"] < 20:
            ledger.record("later")
            ledger.record("later")

    assert found == list(range(1, len(found) + 1))
    assert len(found) >= 20


def test_the_end_of_a_chain_is_read_through_its_files(tmp_path: Path, clock: ManualClock) -> None:
    filled(tmp_path, clock)

    lines, whole = tail(tmp_path, 10**9)
    assert (len(lines), whole) == (13, True)
    lines, whole = tail(tmp_path, 1500)
    assert not whole
    read = [read_line(line) for line in lines]
    assert [found[0]["seq"] for found in read if found] == list(range(14 - len(lines), 14))


# --- one fsync for all who wait --------------------------------------------------------------


@pytest.fixture
def fsyncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        counted.append(descriptor)
        real(descriptor)

    monkeypatch.setattr("byoc.dataplane.ledger.os.fsync", fsync)
    return counted


async def test_those_who_wait_together_share_one_fsync(
    tmp_path: Path, clock: ManualClock, fsyncs: list[int]
) -> None:
    ledger = opened(tmp_path, clock, 10**6)
    ledger.open()
    fsyncs.clear()

    async def command(number: int) -> None:
        await ledger.committed(ledger.write("note", {"number": number}))
        head = ledger.head()
        assert head is not None
        assert head.seq >= number + 2, "it is on disk when it is said to be"

    await asyncio.gather(*(command(number) for number in range(64)))

    assert len(fsyncs) == 1
    assert verify(tmp_path, {}).records == 65


async def test_what_is_written_is_in_the_file_at_once_and_on_disk_soon(
    tmp_path: Path, clock: ManualClock, fsyncs: list[int]
) -> None:
    ledger = opened(tmp_path, clock, 10**6)
    ledger.open()
    fsyncs.clear()

    seq = ledger.write("note", {}).seq

    assert numbers(tmp_path)[-1] == seq, "a process that is killed now keeps it"
    head = ledger.head()
    assert head is not None
    assert head.seq == seq - 1, "no report names a record that a power cut could still take"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    head = ledger.head()
    assert head is not None
    assert (head.seq, len(fsyncs)) == (seq, 1)


async def test_a_disk_that_fails_takes_back_all_who_wait_and_the_chain_goes_on(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(tmp_path, clock, 10**6)
    ledger.record("note")

    def fsync(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("byoc.dataplane.ledger.os.fsync", fsync)
    lost: list[int] = []
    waiting = [asyncio.create_task(ledger.committed(ledger.write("note", {}))) for _ in range(3)]
    ledger.write("outcome", {}, lost=lambda: lost.append(1))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    monkeypatch.undo()

    assert [type(result) for result in results] == [Unwritable] * 3
    assert lost == [1]
    assert numbers(tmp_path) == [1, 2]
    assert ledger.record("note") == 3
    assert verify(tmp_path, {}).ok


async def test_a_record_that_does_not_fit_takes_no_other_with_it(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(tmp_path, clock, 10**6)
    written = ledger.write("note", {})

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("byoc.durable.append_to", refuse)
    with pytest.raises(Unwritable):
        ledger.write("note", {})
    monkeypatch.undo()

    await ledger.committed(written)
    assert ledger.record("note") == written.seq + 1
    assert verify(tmp_path, {}).ok


async def test_one_who_goes_away_holds_up_nobody(tmp_path: Path, clock: ManualClock) -> None:
    ledger = opened(tmp_path, clock, 10**6)

    async def command() -> None:
        await ledger.committed(ledger.write("note", {}))

    gone, stays = asyncio.create_task(command()), asyncio.create_task(command())
    await asyncio.sleep(0)
    gone.cancel()

    await stays
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert verify(tmp_path, {}).records == 3
