"""Reading and verifying a ledger: what can be proven from its lines and receipts, and what cannot.

Used by the commands ``ledger tail|verify|export``; works on the files alone, also while an
agent writes them. A chain without receipts proves that no line was changed by somebody who
did not rewrite all that follow; a receipt proves that everything up to its record is as the
Control Plane was told at the time, and that nothing was cut from there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from byoc.dataplane.ledger import GENESIS, LEDGER, RECEIPTS, read_line
from byoc.errors import BadToken, NotFound
from byoc.wire.keys import PublicKey
from byoc.wire.tokens import Receipt, check_receipt


class Problem(StrEnum):
    """What is wrong with a ledger."""

    NONE = ""
    EDITED = "edited"
    """The record in the line named was changed."""
    REWRITTEN = "rewritten"
    """The chain fits together, but it is not the one that a receipt was given for."""
    GAP = "gap"
    """Records are missing before the line named."""
    CUT = "cut"
    """Records that a receipt was given for are missing from the end."""


class Proof(StrEnum):
    """What a verification can prove."""

    UNEDITED = "unedited"
    """Every record is the one that the next one, or the last head, names."""
    UNCUT = "uncut"
    """Nothing is missing up to the newest receipt."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        receipts: how many were good; ``unknown_receipts`` could not be checked with the keys given.
        receipted: number of the newest record that a good receipt stands for; 0 without.
        first_bad_line: counted from 1; 0 where no line is bad (a cut has none).
        torn: the last line is incomplete: a write under way, or one that a crash cut short.
    """

    ok: bool
    records: int
    receipts: int
    unknown_receipts: int
    receipted: int
    problem: Problem
    first_bad_line: int
    proven: tuple[Proof, ...]
    chain: str
    torn: bool = False

    def summary(self) -> str:
        """Return the result in a sentence."""
        if self.problem in {Problem.EDITED, Problem.REWRITTEN}:
            return f"line {self.first_bad_line} was {self.problem}"
        if self.problem is Problem.GAP:
            return f"records are missing before line {self.first_bad_line}"
        if self.problem is Problem.CUT:
            return f"records are missing after line {self.records}: a receipt names record {self.receipted}"
        if Proof.UNCUT in self.proven:
            return f"no record was edited, and none is missing up to record {self.receipted}"
        return "no record was edited; without a receipt, a cut end cannot be ruled out"


def read_records(
    folder: Path, *, after: int = 0, wait: Callable[[], bool] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the records of a ledger in order, hash included, not verified; damaged lines are left out.

    ``after``: number of the last record that is not wanted. ``wait``: called at the end of the
    file; to follow, it pauses and returns True; None or False ends.

    Raises:
        NotFound: there is no ledger in ``folder``.
    """
    rest = b""
    with _open(folder) as stream:
        while True:
            chunk = stream.readline()
            if not chunk.endswith(b"\n"):
                rest += chunk
                if not chunk and (wait is None or not wait()):
                    return
                continue
            found, rest = read_line((rest + chunk)[:-1]), b""
            if found is not None and found[0].get("seq", 0) > after:
                yield {**found[0], "hash": found[1]}


def _open(folder: Path) -> Any:
    try:
        return (folder / LEDGER).open("rb")
    except FileNotFoundError as error:
        raise NotFound(f"there is no ledger in {folder}") from error


@dataclass(slots=True)
class _Walk:
    """Where the walk over the lines stands."""

    receipts: Mapping[int, list[Receipt]]
    chain: str = ""
    line: int = 0
    seq: int = 0
    hash: str = GENESIS
    problem: Problem = Problem.NONE
    bad_line: int = 0
    torn: bool = False
    receipted: int = 0

    def fail(self, problem: Problem, line: int) -> None:
        self.problem = problem
        self.bad_line = line

    def take(self, line: bytes) -> bool:
        """Check one line; return whether to go on."""
        self.line += 1
        found = read_line(line)
        if found is None:
            self.fail(Problem.EDITED, self.line)
            return False
        record, name = found
        if record.get("seq") != self.seq + 1:
            self.fail(Problem.GAP, self.line)
        elif record.get("prev") != self.hash:
            # This line is what its own hash says, so it is the one before that was changed.
            self.fail(Problem.EDITED, max(self.line - 1, 1))
        else:
            self._accept(record, name)
        return self.problem is Problem.NONE

    def _accept(self, record: Mapping[str, Any], name: str) -> None:
        self.seq += 1
        self.hash = name
        if self.seq == 1:
            self.chain = str(record.get("chain", ""))
        for receipt in self.receipts.get(self.seq, ()):
            if receipt.chain != self.chain:
                continue
            if receipt.hash == name:
                self.receipted = self.seq
            else:
                self.fail(Problem.REWRITTEN, self.line)


def verify(folder: Path, keys: Mapping[str, PublicKey], *, cell: str = "") -> Verification:
    """Check the ledger in ``folder`` against itself and against its receipts.

    ``keys``: every key that the Control Plane ever signed receipts with; without any, a cut end
    cannot be found. ``cell``: receipts for other cells do not count; empty takes any.

    Raises:
        NotFound: there is no ledger in ``folder``.
    """
    # Receipts first: the agent writes a record before it gets the receipt for it.
    receipts, unknown = _receipts(folder, keys, cell)
    by_seq: dict[int, list[Receipt]] = {}
    for receipt in receipts:
        by_seq.setdefault(receipt.seq, []).append(receipt)
    walk = _Walk(by_seq)
    with _open(folder) as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                walk.torn = True
                break
            if not walk.take(line[:-1]):
                break
    newest = max((receipt.seq for receipt in receipts), default=0)
    if walk.problem is Problem.NONE and any(_missing(receipt, walk) for receipt in receipts):
        walk.problem = Problem.CUT
    return Verification(
        ok=walk.problem is Problem.NONE,
        records=walk.seq,
        receipts=len(receipts),
        unknown_receipts=unknown,
        receipted=newest if walk.problem is Problem.CUT else walk.receipted,
        problem=walk.problem,
        first_bad_line=walk.bad_line,
        proven=_proven(walk),
        chain=walk.chain,
        torn=walk.torn,
    )


def _missing(receipt: Receipt, walk: _Walk) -> bool:
    # A receipt for a chain that is not here at all means that the whole chain was taken away.
    return receipt.seq > walk.seq or receipt.chain != walk.chain


def _proven(walk: _Walk) -> tuple[Proof, ...]:
    if walk.problem in {Problem.EDITED, Problem.REWRITTEN, Problem.GAP}:
        return ()
    if walk.problem is Problem.CUT or not walk.receipted:
        return (Proof.UNEDITED,)
    return (Proof.UNEDITED, Proof.UNCUT)


_MAX_RECEIPT: Final = 8192


def _receipts(folder: Path, keys: Mapping[str, PublicKey], cell: str) -> tuple[list[Receipt], int]:
    good: list[Receipt] = []
    unknown = 0
    path = folder / RECEIPTS
    if not path.exists():
        return good, unknown
    with path.open("rb") as stream:
        for line in stream:
            text = line[:_MAX_RECEIPT].decode("ascii", "replace").strip()
            if not text:
                continue
            try:
                receipt = check_receipt(text, keys)
            except BadToken:
                unknown += 1
                continue
            if cell in {"", receipt.cell}:
                good.append(receipt)
    return good, unknown
