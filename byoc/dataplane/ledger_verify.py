"""Reading and verifying ledgers: what can be proven from lines and witnesses, and what cannot.

Used by the commands ``ledger tail|verify|export``; works on the files alone, also while an
agent writes them. A chain without witnesses proves that no line was changed by somebody who
did not rewrite all that follow. A witness is a receipt of the Control Plane, or the word of the
agent that took over from another: everything up to the record that it names is as it was then.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeGuard

from byoc.dataplane.ledger_files import LEDGER, RECEIPTS, closed, files, read_line
from byoc.dataplane.ledger_walk import Joined, Problem, join, walk
from byoc.errors import BadToken, NotFound
from byoc.wire.keys import PublicKey
from byoc.wire.tokens import Receipt, check_receipt

__all__ = ["Cellwide", "Problem", "Proof", "Verification", "read_records", "verify", "verify_chains"]

_ALONE: Final = 32 * 1024 * 1024
"""Bytes below which a second process costs more than it saves."""


class Proof(StrEnum):
    """What a verification can prove."""

    UNEDITED = "unedited"
    """Every record is the one that the next one, or the last head, names."""
    UNCUT = "uncut"
    """Nothing is missing up to the newest receipt."""
    HANDED_OVER = "handed-over"
    """Nothing is missing up to where another agent took over."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in one chain.

    Attributes:
        receipts: how many were good; ``unknown_receipts`` could not be checked with the keys given.
        receipted: number of the newest record that a good receipt stands for; 0 without.
        first_bad_line: counted from 1 in ``file``; 0 where no line is bad (a cut has none).
        torn: the last line is incomplete: a write under way, or one that a crash cut short.
        file: name of the file with the bad line; "" without one.
        terms: numbers of the terms in which this chain's agent led, in order.
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
    file: str = ""
    terms: tuple[int, ...] = ()

    def summary(self) -> str:
        """Return the result in a sentence."""
        line = f"line {self.first_bad_line}" + (f" of {self.file}" if self.file not in {"", LEDGER} else "")
        match self.problem:
            case Problem.EDITED | Problem.REWRITTEN:
                return f"{line} was {self.problem}"
            case Problem.REORDERED:
                return f"{line} does not stand where it was written"
            case Problem.GAP:
                return f"records are missing before {line}"
            case Problem.CUT:
                return (
                    f"records are missing after line {self.records}: a receipt names record {self.receipted}"
                )
        if Proof.UNCUT in self.proven:
            return f"no record was edited, and none is missing up to record {self.receipted}"
        return "no record was edited; without a receipt, a cut end cannot be ruled out"


@dataclass(frozen=True, slots=True)
class Cellwide:
    """What was found in all chains of a cell.

    Attributes:
        problem: what is wrong between chains, in a sentence; "" where nothing is.
        unproven: what could not be shown to be complete, in sentences.
    """

    chains: tuple[Verification, ...]
    problem: str = ""
    unproven: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every chain is good, and they fit together."""
        return not self.problem and all(chain.ok for chain in self.chains)


def read_records(
    folder: Path, *, after: int = 0, wait: Callable[[], bool] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the records of a ledger in order, hash included, not verified; damaged lines are left out.

    ``after``: number of the last record that is not wanted. ``wait``: called at the end of the
    last file; to follow, it pauses and returns True; None or False ends.

    Raises:
        NotFound: there is no ledger in ``folder``.
    """
    for line in read_lines(folder, wait=wait):
        found = read_line(line)
        if found is not None and found[0].get("seq", 0) > after:
            yield {**found[0], "hash": found[1]}


def read_lines(folder: Path, *, wait: Callable[[], bool] | None = None) -> Iterator[bytes]:
    """Yield the whole lines of a ledger, newline excluded, through all its files; see :func:`read_records`.

    Raises:
        NotFound: there is no ledger in ``folder``.
    """
    _files(folder)
    done: set[str] = set()
    while True:
        with ExitStack() as opened:
            # The one being written first: it may be full, and have another name, at any moment.
            stream = _open(opened, folder / LEDGER)
            for path in closed(folder):
                if path.name not in done and not _same(path, stream):
                    yield from _whole(path)
                    done.add(path.name)
            if stream is None:
                return
            yield from _follow(folder / LEDGER, stream, wait)
            if _same(folder / LEDGER, stream):
                return
            done |= {path.name for path in closed(folder) if _same(path, stream)}


def _open(opened: ExitStack, path: Path) -> BinaryIO | None:
    try:
        return opened.enter_context(path.open("rb"))
    except FileNotFoundError:
        return None


def _follow(path: Path, stream: BinaryIO, wait: Callable[[], bool] | None) -> Iterator[bytes]:
    """Yield lines until nobody waits any more, or all of a file that another one has replaced."""
    rest = b""
    while True:
        rest += stream.readline()
        if rest.endswith(b"\n"):
            yield rest[:-1]
            rest = b""
        elif not _same(path, stream):
            yield from (line[:-1] for line in stream if line.endswith(b"\n"))
            return
        elif wait is None or not wait():
            return


def _whole(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from (line[:-1] for line in stream if line.endswith(b"\n"))


def _same(path: Path, stream: BinaryIO | None) -> bool:
    try:
        return stream is not None and os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def _files(folder: Path) -> list[Path]:
    found = files(folder)
    if not found:
        raise NotFound(f"there is no ledger in {folder}")
    return found


def verify(folder: Path, keys: Mapping[str, PublicKey], *, cell: str = "") -> Verification:
    """Check the ledger in ``folder`` against itself and against its receipts.

    ``keys``: every key that the Control Plane ever signed receipts with; without any, a cut end
    cannot be found. ``cell``: receipts for other cells do not count; empty takes any.

    Raises:
        NotFound: there is no ledger in ``folder``.
    """
    # Receipts first: the agent writes a record before it gets the receipt for it.
    receipts, unknown = _receipts(folder, keys, cell)
    return _judge(_read(folder, receipts), receipts, unknown)


def verify_chains(folders: Sequence[Path], keys: Mapping[str, PublicKey], *, cell: str = "") -> Cellwide:
    """Check several chains of one cell, each against itself and against what the others say of it.

    Raises:
        NotFound: there is no ledger in one of ``folders``.
    """
    found = [_receipts(folder, keys, cell) for folder in folders]
    pool = [receipt for receipts, _ in found for receipt in receipts]
    read = [_read(folder, pool) for folder in folders]
    names = {joined.chain for joined in read}
    chains = []
    for folder, joined, (_, unknown) in zip(folders, read, found, strict=True):
        own = [receipt for receipt in pool if receipt.chain == joined.chain]
        judged = _judge(joined, own, unknown)
        chains.append(_handed_over(judged, folder, joined, read))
    missing = sorted({receipt.chain for receipt in pool} - names)
    problem = f"a whole chain is missing: {missing[0]} has receipts and no records" if missing else ""
    return Cellwide(tuple(chains), problem or _twice(read), _gaps(read))


def _read(folder: Path, receipts: Sequence[Receipt]) -> Joined:
    wanted = frozenset(receipt.seq for receipt in receipts)
    while True:
        paths = _files(folder)
        try:
            joined = _walk_all(paths, wanted)
        except FileNotFoundError:
            continue
        # A file that was full meanwhile has another name, and what was read is not all there was.
        if files(folder) == paths:
            return joined


def _walk_all(paths: Sequence[Path], wanted: frozenset[int]) -> Joined:
    size = sum(path.stat().st_size for path in paths)
    if len(paths) == 1 or size < _ALONE:
        return join(walk(path, wanted) for path in paths)
    with ProcessPoolExecutor(min(len(paths), os.cpu_count() or 1), get_context("spawn")) as pool:
        return join(pool.map(partial(walk, wanted=wanted), paths))


def _judge(joined: Joined, receipts: Sequence[Receipt], unknown: int) -> Verification:
    receipted, rewritten = 0, 0
    for receipt in sorted(receipts, key=lambda one: one.seq):
        if receipt.chain != joined.chain or receipt.seq not in joined.marks:
            continue
        if joined.marks[receipt.seq] != receipt.hash:
            rewritten = receipt.seq
            break
        receipted = receipt.seq
    problem, file, line = joined.problem, joined.bad_file, joined.bad_line
    if rewritten:
        problem, (file, line) = Problem.REWRITTEN, joined.place(rewritten)
    # A receipt for a chain that is not here at all means that the whole chain was taken away.
    beyond = [one for one in receipts if one.seq > joined.last or one.chain != joined.chain]
    if problem is Problem.NONE and beyond:
        problem, receipted = Problem.CUT, max(one.seq for one in receipts)
    return Verification(
        ok=problem is Problem.NONE,
        records=rewritten or joined.last,
        receipts=len(receipts),
        unknown_receipts=unknown,
        receipted=receipted,
        problem=problem,
        first_bad_line=line,
        proven=_proven(problem, receipted),
        chain=joined.chain,
        torn=joined.torn,
        file=file,
        terms=tuple(term for term, _ in _terms(joined)),
    )


def _proven(problem: Problem, receipted: int) -> tuple[Proof, ...]:
    if problem not in {Problem.NONE, Problem.CUT}:
        return ()
    if problem is Problem.CUT or not receipted:
        return (Proof.UNEDITED,)
    return (Proof.UNEDITED, Proof.UNCUT)


# --- between chains ------------------------------------------------------------------------


def _terms(joined: Joined) -> list[tuple[int, dict[str, Any]]]:
    return [(one["epoch"], one) for one in joined.leaders if isinstance(one.get("epoch"), int)]


def _handed_over(judged: Verification, folder: Path, joined: Joined, read: Sequence[Joined]) -> Verification:
    """Hold a chain against what agents that took over from it said of its end."""
    words = [one.get("follows") for other in read for one in other.leaders]
    witnesses = sorted(
        (word["seq"], str(word["hash"])) for word in words if _is_head(word) and word["chain"] == joined.chain
    )
    if not judged.ok or not witnesses:
        return judged
    for seq, name in witnesses:
        if seq > joined.last:
            cut = max(judged.receipted, witnesses[-1][0])
            return replace(
                judged, ok=False, problem=Problem.CUT, receipted=cut, proven=_proven(Problem.CUT, 0)
            )
        if _hash_of(folder, joined, seq) != name:
            file, line = joined.place(seq)
            return replace(
                judged, ok=False, problem=Problem.REWRITTEN, file=file, first_bad_line=line, proven=()
            )
    return replace(judged, proven=(*judged.proven, Proof.HANDED_OVER))


def _is_head(word: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(word, dict) and isinstance(word.get("seq"), int) and {"chain", "hash"} <= word.keys()


def _hash_of(folder: Path, joined: Joined, seq: int) -> str:
    name, line = joined.place(seq)
    return walk(folder / name, frozenset({seq})).marks.get(seq, "") if line else ""


def _twice(read: Sequence[Joined]) -> str:
    """Say in a sentence that one term has two leaders, which the Lease rules out."""
    led: dict[int, str] = {}
    for joined in read:
        for term in {term for term, _ in _terms(joined)}:
            if led.setdefault(term, joined.chain) != joined.chain:
                return f"term {term} has records in two chains: {led[term]} and {joined.chain}"
    return ""


def _gaps(read: Sequence[Joined]) -> tuple[str, ...]:
    terms = sorted({term for joined in read for term, _ in _terms(joined)})
    return tuple(
        f"no chain here has a record of term {term}"
        for lower, upper in pairwise(terms)
        for term in range(lower + 1, min(upper, lower + 4))
    )


# --- receipts ------------------------------------------------------------------------------

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
