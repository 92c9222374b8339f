"""Usage: the times in which a workspace ran, at one size each, measured in the cell.

The reconciler feeds every observation in; reports carry intervals out. ``follow`` is the pure
rule, :class:`Meter` its records. The invariants: intervals of one workspace never overlap, one
is on disk before its transition is reported, and none bills more than was seen: after a crash
of everything it ends where the last heartbeat saw it, in the customer's favour.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from byoc import faults
from byoc.dataplane import storage
from byoc.dataplane.storage import Shelf, Storage
from byoc.ids import IntervalID, NewID, WorkspaceID
from byoc.model.report import Interval

HEARTBEAT_SECONDS: Final = 30.0
HEARTBEAT: Final = "heartbeat"
_STORED: Final = b'"byteSeconds":'
_TOGETHER: Final = timedelta(seconds=15)
"""Intervals seen within so little of each other share one moment: the earliest of them."""
_GAP: Final = timedelta(seconds=HEARTBEAT_SECONDS)


@dataclass(frozen=True, slots=True)
class Compute:
    """What a running engine was given."""

    size: str
    scale_factor: int
    cache_config: int


@dataclass(frozen=True, slots=True)
class Engine:
    """What was just seen of a workspace's engine.

    Attributes:
        alive: its process is there.
        ready: it answers ``SELECT 1``.
        compute: what it runs with; None where that is not known.
        started_at: when its process started; None where that is not known.
    """

    alive: bool = False
    ready: bool = False
    compute: Compute | None = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What follows from one observation: an interval that ended, and the one that is open now."""

    closed: Interval | None = None
    open: Interval | None = None


def follow(
    current: Interval | None,
    engine: Engine,
    workspace: WorkspaceID,
    now: datetime,
    *,
    witnessed: bool,
    new_id: NewID,
) -> Turn:
    """Say what becomes of the open interval.

    ``witnessed`` means that this process has itself seen the engine run during ``current``.
    """
    if current is None:
        return Turn(open=_begin(engine, workspace, now, new_id))
    if not engine.alive:
        return Turn(closed=_end(current, now, witnessed=witnessed))
    # Another process than the one that was metered: what lies between the two is not billed.
    other = engine.started_at is not None and engine.started_at > max(current.last_seen, current.start)
    if other or (engine.compute is not None and engine.compute != _compute(current)):
        closed = _end(current, now, witnessed=not other)
        return Turn(closed, _begin(engine, workspace, max(now, closed.last_seen), new_id))
    return Turn(open=replace(current, last_seen=max(current.last_seen, now)))


def _begin(engine: Engine, workspace: WorkspaceID, now: datetime, new_id: NewID) -> Interval | None:
    if not engine.alive or not engine.ready or engine.compute is None:
        return None
    size = engine.compute
    return Interval(
        id=IntervalID(new_id()),
        workspace_id=workspace,
        size=size.size,
        scale_factor=size.scale_factor,
        cache_config=size.cache_config,
        start=now,
        last_seen=now,
    )


def _end(current: Interval, now: datetime, *, witnessed: bool) -> Interval:
    seen = current.last_seen
    end = now if witnessed and seen <= now <= seen + _GAP else seen
    return replace(current, end=max(end, current.start), last_seen=max(end, current.start))


def _compute(interval: Interval) -> Compute:
    return Compute(interval.size, interval.scale_factor, interval.cache_config)


@dataclass(frozen=True, slots=True)
class _Heartbeat:
    """Until when open intervals were seen: all until ``at``, but for those that ``seen`` names.

    So it is short however many there are, and one who keeps it may do so where there is little room.
    """

    seen: dict[str, datetime] = field(default_factory=dict)
    at: datetime | None = None

    @classmethod
    def of(cls, intervals: Iterable[Interval]) -> "_Heartbeat":
        """Say it of ``intervals``: never later than the truth, and for most by a few seconds earlier."""
        seen = {str(each.id): each.last_seen for each in intervals}
        newest = max(seen.values())
        at = min(each for each in seen.values() if newest - each <= _TOGETHER)
        return cls({name: each for name, each in seen.items() if each < at}, at)

    def until(self, interval: Interval) -> datetime:
        """Return until when an interval was seen."""
        said = self.seen.get(interval.id, self.at)
        return interval.last_seen if said is None else max(interval.last_seen, said)


def metered(kept: Storage, *, volumes: bool) -> Iterator[tuple[str, bytes]]:
    """Yield what is kept of usage by name: what volumes held, or the times in which engines ran.

    Raises:
        StateBroken: there is something that does not belong there.
    """
    return ((name, text) for name, text in kept.each(Shelf.INTERVALS) if (_STORED in text) is volumes)


class Meter:
    """The intervals of a cell, kept until the Control Plane has acknowledged them.

    Raises:
        StateBroken: a record is unknown or cannot be read.
    """

    def __init__(self, kept: Storage, new_id: NewID) -> None:
        self._kept = kept
        self._new_id = new_id
        self._open: dict[WorkspaceID, Interval] = {}
        self._closed: dict[IntervalID, Interval] = {}
        self._ends: dict[WorkspaceID, datetime] = {}
        self._witnessed: set[IntervalID] = set()
        self._load()
        self._stored = {interval.id: interval for interval in self._open.values()}

    def _load(self) -> None:
        beat = storage.get(self._kept, Shelf.LIFE, HEARTBEAT, _Heartbeat) or _Heartbeat()
        for name, text in metered(self._kept, volumes=False):
            where = self._kept.where(Shelf.INTERVALS, name)
            interval = storage.read_record(text, Interval, where)
            if interval.id != name:
                raise storage.broken(where, "does not hold what its name says")
            if interval.end is not None:
                self._closed[interval.id] = interval
                self._note_end(interval)
            else:
                self._open[interval.workspace_id] = replace(interval, last_seen=beat.until(interval))

    def follow(self, workspace: WorkspaceID, engine: Engine, now: datetime) -> bool:
        """Take in an observation; returns whether an interval began or ended, which is then on disk.

        Raises:
            Unwritable: an interval could not be stored; feed the next observation in as usual.
        """
        current = self._open.get(workspace)
        moment = max(now, self._ends.get(workspace, now))
        witnessed = current is not None and current.id in self._witnessed
        turn = follow(current, engine, workspace, moment, witnessed=witnessed, new_id=self._new_id)
        if turn.closed is not None:
            self._close(turn.closed)
        opened = turn.open is not None and (current is None or turn.open.id != current.id)
        if turn.open is not None:
            if opened:
                self._store(turn.open)
            self._open[workspace] = turn.open
            self._witnessed.add(turn.open.id)
        return opened or turn.closed is not None

    def _close(self, interval: Interval) -> None:
        self._store(interval)
        self._closed[interval.id] = interval
        self._open.pop(interval.workspace_id, None)
        self._witnessed.discard(interval.id)
        self._note_end(interval)

    def _note_end(self, interval: Interval) -> None:
        if interval.end is not None:
            known = self._ends.get(interval.workspace_id, interval.end)
            self._ends[interval.workspace_id] = max(known, interval.end)

    def heartbeat(self) -> None:
        """Store until when each open interval was seen to run. Call every 30 s.

        Raises:
            Unwritable: disk full; intervals then end where the heartbeat before saw them.
        """
        if not self._open:
            return
        current = {interval.id: interval for interval in self._open.values()}
        storage.put(self._kept, Shelf.LIFE, HEARTBEAT, _Heartbeat.of(current.values()))
        self._stored = current

    def intervals(self) -> tuple[Interval, ...]:
        """What a report carries: closed and not acknowledged, and open as far as is on disk."""
        kept = [self._stored[i.id] for i in self._open.values() if i.id in self._stored]
        return tuple(sorted((*self._closed.values(), *kept), key=lambda i: (i.start, i.id)))

    def acknowledge(self, ids: Iterable[IntervalID]) -> None:
        """Forget closed intervals that the Control Plane has stored.

        Raises:
            Unwritable: they stay, and are sent again.
        """
        for name in ids:
            if name in self._closed:
                storage.remove(self._kept, Shelf.INTERVALS, name)
                del self._closed[name]

    def _store(self, interval: Interval) -> None:
        storage.put(self._kept, Shelf.INTERVALS, interval.id, interval)
        self._stored[interval.id] = interval
        faults.reach(faults.Step.INTERVAL_STORED)
        if interval.end is not None:
            self._stored.pop(interval.id, None)
