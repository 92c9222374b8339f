"""Usage of storage: how much each workspace's volume held, running or suspended, weighed in the cell.

The reconciler weighs every volume now and then and feeds it in; reports carry the records out. ``weigh`` is
the pure rule, :class:`VolumeMeter` its records. A record is written when it begins, when its weight changes
and when it ends; that all of them still weigh the same is one word for all, which may ride where something is
written anyhow. The invariants: records of one workspace never overlap and none spans two hours of the clock;
between two looks the lesser of both weights counts, and a time in which nobody looked not at all; what is
reported is what a crash would leave, so what is wrong is wrong in the customer's favour.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from byoc.dataplane import storage
from byoc.dataplane.meter import metered
from byoc.dataplane.storage import Shelf, Storage
from byoc.errors import Unwritable
from byoc.ids import IntervalID, NewID, WorkspaceID
from byoc.model.report import Stored

LOOK_SECONDS: Final = 300.0
LOOKED: Final = "weighed"
"""Name of the word on when all volumes were looked at last."""
_WEIGHT: Final = b'"held":'
_GAP: Final = timedelta(seconds=2 * LOOK_SECONDS)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Weighed:
    """The record of a workspace that goes on, and what its volume held when it was last looked at."""

    record: Stored
    held: int

    def until(self, looked: datetime | None) -> Stored:
        """Return the record, where the volume still held as much at the look ``looked``."""
        record = self.record
        if not self.held or looked is None or looked <= record.until:
            return record
        return _grown(record, self.held, looked)


@dataclass(frozen=True, slots=True)
class Looked:
    """Every record that is open and older than ``at`` was looked at then, and its weight was as it says."""

    at: datetime


def weigh(
    before: Weighed | None, workspace: WorkspaceID, held: int, now: datetime, new_id: NewID
) -> tuple[tuple[Stored, ...], Weighed | None]:
    """Say which records have ended, and which goes on; ``held`` is 0 where there is no volume."""
    ended: list[Stored] = []
    record = before.record if before else None
    if before and record and now - record.until > _GAP:
        ended, record = [replace(record, closed=True)], None
    elif before and record:
        weight = min(before.held, held)
        while record.until < now:
            record = _grown(record, weight, now)
            if record.until == _hour(record.start) + _HOUR:
                ended.append(replace(record, closed=True))
                record = _begun(workspace, record.until, new_id)
    if held:
        return tuple(ended), Weighed(record or _begun(workspace, now, new_id), held)
    return (*ended, *([replace(record, closed=True)] if record else [])), None


def _begun(workspace: WorkspaceID, now: datetime, new_id: NewID) -> Stored:
    return Stored(IntervalID(new_id()), workspace, now, now, 0)


def _grown(record: Stored, weight: int, now: datetime) -> Stored:
    until = min(now, _hour(record.start) + _HOUR)
    more = int(weight * (until - record.until).total_seconds())
    return replace(record, until=until, byte_seconds=record.byte_seconds + more)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _same(*looks: Weighed) -> bool:
    """Whether it is one record all along, of one weight."""
    return len({(each.record.id, each.held) for each in looks}) == 1


class VolumeMeter:
    """The records of a cell, kept until the Control Plane has acknowledged them.

    Raises:
        StateBroken: a record is unknown or cannot be read.
    """

    def __init__(self, kept: Storage, new_id: NewID) -> None:
        self._kept = kept
        self._new_id = new_id
        self._open: dict[WorkspaceID, Weighed] = {}
        self._closed: dict[IntervalID, Stored] = {}
        self._ends: dict[WorkspaceID, datetime] = {}
        # Records of which it is not certain that they are kept the way they are known here.
        self._unsure: set[IntervalID] = set()
        # The least that volumes held at looks that could not be stored.
        self._missed: dict[WorkspaceID, int] = {}
        self._looked = self._said()
        for each in _load(kept):
            self._take_over(each)

    def _take_over(self, left: Weighed) -> None:
        """End what an agent before this one left open where that one looked last: nobody did in between."""
        if not left.record.closed:
            self._unsure.add(left.record.id)
        record = replace(left.until(self._looked), closed=True)
        self._closed[record.id] = record
        self._note_end(record)

    def weighed(self, held: Mapping[WorkspaceID, int], now: datetime) -> None:
        """Take in what volumes hold now; a workspace that is not named has none any more.

        Raises:
            Unwritable: nothing was taken in, or of unchanged ones not that they were seen; the next call
                makes it good.
        """
        seen = max((each for each in (self._looked, self._said()) if each), default=now)
        opened: dict[WorkspaceID, Weighed] = {}
        changed: dict[IntervalID, Stored | Weighed] = {}
        for name in held.keys() | self._open.keys():
            known, before = self._open.get(name), self._before(name, seen)
            # After the clock was set back, nothing is added until it has caught up.
            moment = max(now, seen, self._ends.get(name, now))
            ended, goes_on = weigh(before, name, held.get(name, 0), moment, self._new_id)
            changed |= {record.id: record for record in ended}
            if known and before and goes_on and _same(known, before, goes_on) and now >= seen:
                opened[name] = known
            elif goes_on:
                opened[name] = changed[goes_on.record.id] = goes_on
        self._take_in(changed, held)
        self._open = opened
        self._say(now)

    def _before(self, name: WorkspaceID, seen: datetime) -> Weighed | None:
        known = self._open.get(name)
        if known is None:
            return None
        return Weighed(known.until(seen), min(known.held, self._missed.get(name, known.held)))

    def _take_in(
        self, changed: Mapping[IntervalID, Stored | Weighed], held: Mapping[WorkspaceID, int]
    ) -> None:
        try:
            self._store(changed)
        except Unwritable:
            for name, open_ in self._open.items():
                self._missed[name] = min(self._missed.get(name, open_.held), held.get(name, 0))
            raise
        self._missed.clear()

    def _store(self, changed: Mapping[IntervalID, Stored | Weighed]) -> None:
        known = {**self._closed, **{each.record.id: each for each in self._open.values()}}
        wanted = {**{name: known.get(name) for name in self._unsure}, **changed}
        if wanted:
            texts = {str(name): storage.write_record(each) if each else None for name, each in wanted.items()}
            self._unsure |= wanted.keys()
            self._kept.change(Shelf.INTERVALS, texts)
            self._unsure.clear()
        for each in changed.values():
            record = each.record if isinstance(each, Weighed) else each
            self._note_end(record)
            if record.closed:
                self._closed[record.id] = record

    def _say(self, now: datetime) -> None:
        """Store that what is open still weighs what it did: never before all that does not is stored."""
        if self._open:
            storage.put(self._kept, Shelf.LIFE, LOOKED, Looked(now))
            self._looked = now

    def _said(self) -> datetime | None:
        """When all were looked at last, as a crash would leave it."""
        word = storage.get(self._kept, Shelf.LIFE, LOOKED, Looked)
        return word.at if word else None

    def records(self) -> tuple[Stored, ...]:
        """What a report carries: closed and not acknowledged, and open as far as a crash would leave them."""
        said = self._said()
        still_open = (each.until(said) for each in self._open.values())
        told = [*self._closed.values(), *(record for record in still_open if record.byte_seconds)]
        return tuple(sorted(told, key=lambda record: (record.start, record.id)))

    def acknowledge(self, ids: Iterable[IntervalID]) -> None:
        """Forget closed records that the Control Plane has stored.

        Raises:
            Unwritable: they stay, and are sent again.
        """
        known = {own for own in ids if own in self._closed}
        if known:
            self._kept.change(Shelf.INTERVALS, dict.fromkeys(map(str, known)))
            self._closed = {own: record for own, record in self._closed.items() if own not in known}
            self._unsure -= known

    def _note_end(self, record: Stored) -> None:
        known = self._ends.get(record.workspace_id, record.until)
        self._ends[record.workspace_id] = max(known, record.until)


def _load(kept: Storage) -> Iterator[Weighed]:
    for name, text in metered(kept, volumes=True):
        where = kept.where(Shelf.INTERVALS, name)
        if _WEIGHT in text:
            weighed = storage.read_record(text, Weighed, where)
        else:
            # One that has ended, or of a version that wrote no weight: it goes no further than it says.
            weighed = Weighed(storage.read_record(text, Stored, where), 0)
        if weighed.record.id != name:
            raise storage.broken(where, "does not hold what its name says")
        yield weighed
