"""Usage of storage: how much each workspace's volume held, running or suspended, weighed in the cell.

The reconciler weighs every volume now and then and feeds it in; reports carry the records out. ``weigh`` is
the pure rule, :class:`VolumeMeter` its records. The invariants: records of one workspace never overlap and
none spans two hours of the clock; between two looks the lesser of both weights counts, and a time in which
nobody looked not at all, so what is wrong is wrong in the customer's favour.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from byoc.dataplane.meter import metered
from byoc.dataplane.storage import Shelf, Storage, write_record
from byoc.ids import IntervalID, NewID, WorkspaceID
from byoc.model.report import Stored

LOOK_SECONDS: Final = 300.0
_GAP: Final = timedelta(seconds=2 * LOOK_SECONDS)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Weighed:
    """The record of a workspace that goes on, and what its volume held when it was last looked at."""

    record: Stored
    held: int


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


class VolumeMeter:
    """The records of a cell, kept until the Control Plane has acknowledged them.

    Raises:
        StateBroken: a record is unknown or cannot be read.
    """

    def __init__(self, kept: Storage, new_id: NewID) -> None:
        self._kept = kept
        self._new_id = new_id
        self._open: dict[WorkspaceID, Weighed] = {}
        # What an agent before this one left open is not gone on with: nobody looked in between.
        self._records = {
            record.id: replace(record, closed=True) for record in metered(kept) if isinstance(record, Stored)
        }
        self._ends: dict[WorkspaceID, datetime] = {}
        self._note_ends(self._records.values())

    def weighed(self, held: Mapping[WorkspaceID, int], now: datetime) -> None:
        """Take in what volumes hold now; a workspace that is not named has none any more.

        Raises:
            Unwritable: nothing was taken in; the next call makes it good.
        """
        opened: dict[WorkspaceID, Weighed] = {}
        changed: dict[IntervalID, Stored] = {}
        for name in held.keys() | self._open.keys():
            before = self._open.get(name)
            # After the clock was set back, nothing is added until it has caught up.
            moment = max(now, self._ends.get(name, now))
            ended, goes_on = weigh(before, name, held.get(name, 0), moment, self._new_id)
            changed |= {record.id: record for record in ended}
            if goes_on is not None:
                opened[name] = goes_on
                changed[goes_on.record.id] = goes_on.record
        if changed:
            texts = {str(own): write_record(record) for own, record in changed.items()}
            self._kept.change(Shelf.INTERVALS, texts)
        self._open = opened
        self._records |= changed
        self._note_ends(changed.values())

    def records(self) -> tuple[Stored, ...]:
        """What a report carries: closed and not acknowledged, and open ones as they are on disk."""
        told = (record for record in self._records.values() if record.byte_seconds or record.closed)
        return tuple(sorted(told, key=lambda record: (record.start, record.id)))

    def acknowledge(self, ids: Iterable[IntervalID]) -> None:
        """Forget closed records that the Control Plane has stored.

        Raises:
            Unwritable: they stay, and are sent again.
        """
        known = {own for own in ids if own in self._records and self._records[own].closed}
        if known:
            self._kept.change(Shelf.INTERVALS, dict.fromkeys(map(str, known)))
            self._records = {own: record for own, record in self._records.items() if own not in known}

    def _note_ends(self, records: Iterable[Stored]) -> None:
        for record in records:
            known = self._ends.get(record.workspace_id, record.until)
            self._ends[record.workspace_id] = max(known, record.until)
