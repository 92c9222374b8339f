"""One file of a ledger walked line by line, as fast as hashing goes. Pure but for the reading.

Used by ``byoc.dataplane.ledger_verify``, for large ledgers in several processes at once: each file
says how it begins and ends, and whoever joins them sees whether they fit. The invariant: a line
counts only if its own hash, its number and the hash before it are right. What a line says is
parsed only where it matters; the bytes of all are hashed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from byoc.dataplane.ledger_files import GENESIS, read_line

_SEAL_BYTES: Final = len(b',"hash":"') + 64 + len(b'"}\n')
_LEADER: Final = b'"kind":"leader"'


class Problem(StrEnum):
    """What is wrong with a ledger."""

    NONE = ""
    EDITED = "edited"
    """The record in the line named was changed."""
    REWRITTEN = "rewritten"
    """The chain fits together, but it is not the one that a witness was given for."""
    REORDERED = "reordered"
    """The record in the line named stands in another place than it was written in."""
    GAP = "gap"
    """Records are missing before the line named."""
    CUT = "cut"
    """Records that a witness was given for are missing from the end."""


@dataclass(slots=True)
class Piece:
    """What one file shows.

    Attributes:
        first: number of its first record; 0 where it has none.
        before: the hash that the first record names as the one before it.
        last: number of the last good record, and ``hash`` its hash.
        chain: the chain's name, in the file that begins it.
        bad_line: counted from 1 in this file; 0 means the last line of the file before.
        torn: the last line is incomplete.
        marks: hashes of the records that were asked for, by number.
        leaders: the ``leader`` records.
    """

    name: str
    first: int = 0
    before: str = GENESIS
    last: int = 0
    hash: str = GENESIS
    chain: str = ""
    problem: Problem = Problem.NONE
    bad_line: int = 0
    torn: bool = False
    marks: dict[int, str] = field(default_factory=dict)
    leaders: list[dict[str, Any]] = field(default_factory=list)


def walk(path: Path, wanted: frozenset[int]) -> Piece:
    """Check the lines of one file against each other.

    ``wanted``: numbers of the records whose hash is asked for.
    """
    piece = Piece(path.name)
    with path.open("rb") as stream:
        _begin(piece, stream.readline(), wanted)
        if piece.problem is Problem.NONE and piece.first:
            _go_on(piece, stream, wanted)
        if piece.problem in {Problem.GAP, Problem.EDITED} and piece.first:
            _look_for_missing(piece, stream)
    return piece


def _begin(piece: Piece, line: bytes, wanted: frozenset[int]) -> None:
    if not line.endswith(b"\n"):
        piece.torn = bool(line)
        return
    found = read_line(line[:-1])
    if found is None or not isinstance(found[0].get("seq"), int):
        piece.problem, piece.bad_line = Problem.EDITED, 1
        return
    record, name = found
    piece.first = piece.last = record["seq"]
    piece.before, piece.hash = str(record.get("prev", "")), name
    piece.chain = str(record.get("chain", ""))
    if piece.first in wanted:
        piece.marks[piece.first] = name
    if record.get("kind") == "leader":
        piece.leaders.append(record)


def _go_on(piece: Piece, lines: Iterable[bytes], wanted: frozenset[int]) -> None:
    sha256, name, number = hashlib.sha256, piece.hash.encode(), piece.first
    for line in lines:
        hasher = sha256(line[:-_SEAL_BYTES])
        hasher.update(b"}")
        found = hasher.hexdigest().encode()
        # The keys of a record are sorted, so `seq` is never the last; a quote inside a text is escaped.
        if not (
            line.endswith(b',"hash":"%b"}\n' % found)
            and b'"prev":"%b"' % name in line
            and b'"seq":%d,' % (number + 1) in line
        ):
            _fail(piece, line, number + 1)
            break
        number, name = number + 1, found
        if number in wanted:
            piece.marks[number] = name.decode()
        if _LEADER in line:
            _note_leader(piece, line)
    piece.last, piece.hash = number, name.decode()


def _note_leader(piece: Piece, line: bytes) -> None:
    found = read_line(line[:-1])
    if found is not None and found[0].get("kind") == "leader":
        piece.leaders.append(found[0])


def _fail(piece: Piece, line: bytes, expected: int) -> None:
    """Say what is wrong with a line that is not the record ``expected``."""
    place = expected - piece.first + 1
    if not line.endswith(b"\n"):
        piece.torn = True
        return
    found = read_line(line[:-1])
    if found is None:
        piece.problem, piece.bad_line = Problem.EDITED, place
        return
    seq = found[0].get("seq")
    if seq == expected:
        # This line is what its own hash says, so it is the one before that was changed.
        piece.problem, piece.bad_line = Problem.EDITED, place - 1
    elif isinstance(seq, int) and seq < expected:
        piece.problem, piece.bad_line = Problem.REORDERED, place
    else:
        piece.problem, piece.bad_line = Problem.GAP, place


def _look_for_missing(piece: Piece, rest: Iterable[bytes]) -> None:
    """A gap whose record stands further down is no gap."""
    if piece.problem is Problem.GAP and any(seq == piece.last + 1 for seq in _numbers(rest)):
        piece.problem = Problem.REORDERED


def _numbers(lines: Iterable[bytes]) -> Iterator[int]:
    for line in lines:
        found = read_line(line.rstrip(b"\n"))
        if found is not None and isinstance(found[0].get("seq"), int):
            yield found[0]["seq"]


@dataclass(frozen=True, slots=True)
class Joined:
    """The files of one chain, put together.

    Attributes:
        bad_file, bad_line: where the first problem is; "" and 0 without one.
        marks: by number, the hashes that were asked for.
    """

    chain: str
    last: int
    hash: str
    problem: Problem
    bad_file: str
    bad_line: int
    torn: bool
    marks: Mapping[int, str]
    leaders: tuple[dict[str, Any], ...]
    starts: tuple[tuple[int, str], ...]

    def place(self, seq: int) -> tuple[str, int]:
        """Return file and line of record ``seq``."""
        first, name = [start for start in self.starts if start[0] <= seq][-1]
        return name, seq - first + 1


def join(pieces: Iterable[Piece]) -> Joined:
    """Put the files of a chain together, oldest first, and see whether each goes on where the last ended."""
    last, name, torn, chain = 0, GENESIS, False, ""
    problem, bad_file, bad_line = Problem.NONE, "", 0
    marks: dict[int, str] = {}
    leaders: list[dict[str, Any]] = []
    starts: list[tuple[int, str]] = []
    before: Piece | None = None
    for piece in pieces:
        problem, bad_file, bad_line = _link(before, piece, last, name, torn=torn)
        if problem is not Problem.NONE:
            break
        torn = piece.torn
        if piece.first:
            chain = chain or piece.chain
            last, name = piece.last, piece.hash
            marks |= piece.marks
            leaders += piece.leaders
            starts.append((piece.first, piece.name))
            before = piece
        problem, bad_file, bad_line = piece.problem, piece.name if piece.problem else "", piece.bad_line
        if problem is not Problem.NONE:
            break
    return Joined(chain, last, name, problem, bad_file, bad_line, torn, marks, tuple(leaders), tuple(starts))


def _link(
    before: Piece | None, piece: Piece, last: int, name: str, *, torn: bool
) -> tuple[Problem, str, int]:
    """Say whether ``piece`` goes on after record ``last``."""
    if torn:
        # Only the file that is written may end in the middle of a line.
        torn_line = last - before.first + 2 if before else 1
        return Problem.EDITED, before.name if before else piece.name, torn_line
    if not piece.first:
        return Problem.NONE, "", 0
    if piece.first != last + 1:
        return (Problem.GAP if piece.first > last + 1 else Problem.REORDERED), piece.name, 1
    if piece.before != name:
        if before is None:
            return Problem.EDITED, piece.name, 1
        return Problem.EDITED, before.name, last - before.first + 1
    return Problem.NONE, "", 0
