"""Receipts are kept sparse, and what they prove is as much as before."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane import receipts
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_files import LEDGER, RECEIPTS
from byoc.dataplane.ledger_verify import Problem, Proof, verify
from byoc.dataplane.receipts import DAYS, NEWEST, Kept, Receipts, thinned
from byoc.errors import BadToken, Unwritable
from byoc.testing import ManualClock
from byoc.wire.keys import SigningKey
from byoc.wire.tokens import name_report, sign_receipt

KEY = SigningKey.generate()
KEYS = {KEY.kid: KEY.public}
REPORT = name_report("life", 1, "r.e.port")


class Book:
    """A ledger whose every record is receipted, with time going on between."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.folder = folder
        self.clock = clock
        self.ledger = Ledger(folder, clock, lambda: "chain")

    def grow(self, records: int, *, hours: float = 1) -> None:
        for _ in range(records):
            self.ledger.record("note")
            self.receipt()
            self.clock.advance(timedelta(hours=hours).total_seconds())

    def receipt(self) -> None:
        head = self.ledger.head()
        assert head is not None
        text = sign_receipt(
            KEY, cell="c", chain=head.chain, seq=head.seq, hash=head.hash, report=REPORT, at=self.clock.now()
        )
        self.ledger.add_receipt(text)

    @property
    def lines(self) -> list[str]:
        return (self.folder / RECEIPTS).read_text().splitlines()

    def cut(self, keep: int) -> None:
        lines = (self.folder / LEDGER).read_bytes().splitlines(keepends=True)
        (self.folder / LEDGER).write_bytes(b"".join(lines[:keep]))


@pytest.fixture
def book(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Book:
    monkeypatch.setattr(receipts, "NEWEST", 10)
    return Book(tmp_path, clock)


def test_their_number_is_bounded_by_days_and_the_newest_stay(book: Book) -> None:
    most = 0
    for _ in range(6):
        book.grow(50)
        most = max(most, len(book.lines))
    days = 300 // 24 + 1
    assert most <= 2 * 10 + days + 1
    kept = [receipts.read(line) for line in book.lines]
    assert [one.seq for one in kept[-10:]] == list(range(292, 302))
    assert len({one.day for one in kept}) == days


@pytest.mark.parametrize("keep", [1, 150, 200, 299, 300])
def test_a_cut_tail_is_found_after_they_were_thinned(book: Book, keep: int) -> None:
    book.grow(300)
    found = verify(book.folder, KEYS)
    assert (found.ok, found.receipted, Proof.UNCUT in found.proven) == (True, 301, True)
    book.cut(keep)
    found = verify(book.folder, KEYS)
    assert (found.problem, found.records, found.receipted) == (Problem.CUT, keep, 301)


def test_a_tail_that_was_cut_and_grew_again_is_found_however_many_receipts_follow(book: Book) -> None:
    book.grow(100)
    book.ledger.close()
    book.cut(60)
    book.ledger = Ledger(book.folder, book.clock, lambda: "chain")
    book.grow(500)
    found = verify(book.folder, KEYS)
    assert (found.ok, found.problem) == (False, Problem.REWRITTEN)
    assert len(book.lines) < 60


def test_a_chain_that_was_taken_away_is_missed_however_many_receipts_of_the_next_follow(book: Book) -> None:
    book.grow(20)
    book.ledger.close()
    (book.folder / LEDGER).unlink()
    book.ledger = Ledger(book.folder, book.clock, lambda: "next")
    book.grow(500)
    assert verify(book.folder, KEYS).problem is Problem.CUT


def test_a_long_file_of_before_is_thinned(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(receipts, "NEWEST", 10_000)
        book.grow(300)
    assert len(book.lines) == 300
    book.ledger = Ledger(book.folder, book.clock, lambda: "chain")
    book.grow(11)
    assert len(book.lines) < 60
    assert verify(book.folder, KEYS).receipted == 312


def test_a_head_of_another_chain_or_hash_is_another_head(tmp_path: Path) -> None:
    kept = Receipts(tmp_path / RECEIPTS)
    for chain, digest in (("a", "1"), ("a", "1"), ("b", "1"), ("b", "2"), ("b", "2")):
        at = ManualClock().now()
        kept.add(sign_receipt(KEY, cell="c", chain=chain, seq=4, hash=digest, report=REPORT, at=at))
    assert len((tmp_path / RECEIPTS).read_text().splitlines()) == 3


def test_a_full_disk_while_thinning_loses_nothing_and_is_tried_again(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unwritable("no space")

    with monkeypatch.context() as disk:
        disk.setattr("byoc.durable.write_file", full)
        book.grow(40)
        assert len(book.lines) == 40
    book.grow(1)
    assert len(book.lines) < 30
    assert verify(book.folder, KEYS).receipted == 42


def test_what_is_no_receipt_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(BadToken):
        Receipts(tmp_path / RECEIPTS).add("no token")
    assert not (tmp_path / RECEIPTS).exists()


RECEIPT = st.builds(
    Kept,
    text=st.uuids().map(str),
    chain=st.sampled_from("ab"),
    seq=st.integers(1, 50),
    hash=st.just(""),
    day=st.integers(1, 28).map(lambda day: f"2030-01-{day:02}"),
)


@given(st.lists(RECEIPT, max_size=2 * NEWEST))
def test_what_is_kept_is_bounded_in_order_and_proves_as_much(given: list[Kept]) -> None:
    kept = thinned(given)
    assert [one for one in given if one in set(kept)] == kept
    assert thinned(kept) == kept
    assert kept[-NEWEST:] == given[-NEWEST:]
    for chain in "ab":
        whole, some = ([one for one in many if one.chain == chain] for many in (given, kept))
        assert some[-1:] == whole[-1:]
        ends = [one for one, after in pairwise(whole) if after.seq <= one.seq]
        assert set(ends) <= set(some)


def test_an_honest_chain_of_years_is_bounded() -> None:
    start = ManualClock().now()
    years = [
        Kept(str(n), "a", n + 1, "", (start + timedelta(hours=n)).date().isoformat())
        for n in range(24 * 365 * 3)
    ]
    assert NEWEST + DAYS - 10 < len(thinned(years)) <= NEWEST + DAYS
