"""The papers between a customer and a cell as JSON, and the changes a customer makes to them. Pure.

Used by the commands, by the agent and by break-glass. The invariant: an edit is made of the newest
version or not at all.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from byoc.errors import Conflict, IllegalState, NotFound, UsageError
from byoc.model.control import (
    APPROVAL_LIFE,
    Access,
    Answer,
    Answers,
    GlassNote,
    GlassNotes,
    Renewal,
    Request,
    Requests,
    Stage,
    Standing,
)
from byoc.model.papers import Paper, Papers
from byoc.wire.canonical import sha256
from byoc.wire.cell import decode, encode

T = TypeVar("T")

_TRIES: Final = 8
_MOST_NOTES: Final = 100
_LONGEST_REASON: Final = 500


def dump(value: object) -> str:
    """Return the text of a paper."""
    return json.dumps(encode(value), indent=1) + "\n"


def load(kind: type[T], text: str, empty: T) -> T:
    """Read a paper; one without text is ``empty``.

    Raises:
        UsageError: it is not understood.
    """
    if not text.strip():
        return empty
    try:
        value = json.loads(text)
        # Half of a pair of surrogates is no text: nothing could write it down again.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise UsageError("it is not JSON") from error
    read = decode(kind, value)
    if not _plain(value, encode(read)):
        raise UsageError("a yes or no is neither true nor false")
    return read


def _plain(given: object, read: object) -> bool:
    """Whether each yes or no was given as one: the text "no" is none."""
    if isinstance(given, dict) and isinstance(read, dict):
        return all(_plain(value, read.get(name)) for name, value in given.items())
    if isinstance(given, list) and isinstance(read, list):
        return all(map(_plain, given, read))
    return isinstance(given, bool) == isinstance(read, bool)


def edit(papers: Papers, paper: Paper, change: Callable[[str], str]) -> str:
    """Replace a paper by what ``change`` makes of its newest text, and tell the cell; return the new text.

    Raises:
        Conflict: others write it all the time.
    """
    for _ in range(_TRIES):
        sheet = papers.read(paper)
        text = change(sheet.text)
        try:
            papers.write(paper, text, sheet.version)
        except Conflict:
            continue
        papers.ring()
        return text
    raise Conflict(f"{paper} at {papers.place} is written by somebody else all the time", hint="try again")


# --- access -----------------------------------------------------------------------------


def set_access(papers: Papers, access: Access) -> None:
    """Lay down whether the Control Plane may reach into the cell.

    Raises:
        UsageError: the reason is too long or not printable.
    """
    _check_reason(access.reason)
    edit(papers, Paper.ACCESS, lambda _: dump(access))


def ask_renewal(papers: Papers, wish: Renewal) -> None:
    """Lay down that another authority is to follow.

    Raises:
        UsageError: the reason is too long or not printable.
    """
    _check_reason(wish.reason)
    edit(papers, Paper.AUTHORITY, lambda _: dump(wish))


def _check_reason(reason: str) -> None:
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise UsageError(f"a reason is printable and has {_LONGEST_REASON} characters at most")


def read_access(text: str) -> Access:
    """Read the paper on access; one that nobody understands keeps the Control Plane out.

    A customer who wrote anything there meant to say something about access, and only the safe reading
    of it cannot do harm.
    """
    try:
        return load(Access, text, Access())
    except UsageError as error:
        return Access(revoked=True, reason=f"{Paper.ACCESS} is not understood: {error.message}")


# --- approvals --------------------------------------------------------------------------


def request_id(own: str, generation: int, digest: str, verbs: Iterable[str]) -> str:
    """Return the short name that stands for one change: another content has another, and so has other work.

    The same content does something else where the object was changed in between.
    """
    return sha256(f"{own}|{generation}|{digest}|{' '.join(sorted(verbs))}".encode())[:12]


def requests(papers: Papers) -> tuple[Request, ...]:
    """Return the changes that wait for approval or were answered lately, the oldest first."""
    return load(Requests, papers.read(Paper.REQUESTS).text, Requests()).requests


def answer(papers: Papers, name: str, *, approved: bool, by: str, now: datetime) -> Request:
    """Answer the change that is listed as ``name``; return it.

    Raises:
        NotFound: no such change waits; a newer one has another name.
        IllegalState: it was answered before, or has expired.
    """
    found = next((one for one in requests(papers) if one.id == name), None)
    if found is None:
        raise NotFound(f"no change `{name}` waits for approval", hint="byoc policy requests")
    if found.stage is not Stage.WAITING:
        raise IllegalState(f"change `{name}` is {found.stage} already")
    if now >= found.until:
        raise IllegalState(f"change `{name}` has expired: nobody answered it within a day")
    word = Answer(found.id, found.own, found.generation, found.digest, approved, by, now)
    edit(papers, Paper.ANSWERS, lambda text: dump(_with(text, word, now)))
    return replace(found, stage=Stage.APPROVED if approved else Stage.REFUSED, by=by, answered_at=now)


def _with(text: str, word: Answer, now: datetime) -> Answers:
    before = load(Answers, text, Answers()).answers
    kept = tuple(one for one in before if one.own != word.own and now - one.at < 2 * APPROVAL_LIFE)
    return Answers((*kept, word))


# --- break-glass and standing -----------------------------------------------------------


def note_glass(papers: Papers, note: GlassNote) -> None:
    """Lay down what happened to a break-glass session, for the cell's own record."""

    def add(text: str) -> str:
        before = load(GlassNotes, text, GlassNotes()).notes
        same = (note.session, note.what)
        others = tuple(one for one in before if (one.session, one.what) != same)
        return dump(GlassNotes((*others, note)[-_MOST_NOTES:]))

    edit(papers, Paper.GLASS, add)


def standing(papers: Papers) -> Standing | None:
    """Return the cell's own word on how it stands; None before it said any."""
    text = papers.read(Paper.STANDING).text
    return decode(Standing, json.loads(text)) if text.strip() else None


def is_fresh(said: Standing | None, now: datetime, within: timedelta) -> bool:
    """Whether the cell has said so lately."""
    return said is not None and now - said.at <= within
