"""What cells have metered, as they report it: upserted by id, never made less."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from byoc.ids import IntervalID, OrganizationID, WorkspaceID
from byoc.model.report import Interval, Stored
from byoc.store.rows import to_moment, to_moment_or_none, to_number, to_number_or_none
from byoc.store.tables import intervals, stored, workspaces
from byoc.store.values import NamedInterval, NamedStored

_NEW: Final = upsert(intervals)
_PUT: Final = _NEW.on_conflict_do_update(
    index_elements=["id"],
    set_={
        "last_seen": func.max(intervals.c.last_seen, _NEW.excluded.last_seen),
        "end": func.coalesce(intervals.c.end, _NEW.excluded.end),
    },
    # An id that belongs to another workspace is not this cell's to change.
    where=intervals.c.workspace_id == _NEW.excluded.workspace_id,
)
_BETWEEN: Final = (
    select(
        intervals.c.id,
        intervals.c.workspace_id,
        intervals.c.size,
        intervals.c.scale_factor,
        intervals.c.cache_config,
        intervals.c.start,
        intervals.c.last_seen,
        intervals.c.end,
        workspaces.c.name,
    )
    .join_from(intervals, workspaces)
    .where(
        workspaces.c.organization_id == bindparam("organization"),
        intervals.c.start < bindparam("until"),
        or_(
            intervals.c.end > bindparam("since"),
            intervals.c.end.is_(None) & (intervals.c.last_seen > bindparam("since")),
        ),
    )
    .order_by(intervals.c.start, intervals.c.id)
)

_NEW_STORED: Final = upsert(stored)
_PUT_STORED: Final = _NEW_STORED.on_conflict_do_update(
    index_elements=["id"],
    set_={
        name: func.max(stored.c[name], _NEW_STORED.excluded[name])
        for name in ("until", "byte_seconds", "closed")
    },
    where=stored.c.workspace_id == _NEW_STORED.excluded.workspace_id,
)
_STORED_BETWEEN: Final = (
    select(
        stored.c.id,
        stored.c.workspace_id,
        stored.c.start,
        stored.c.until,
        stored.c.byte_seconds,
        stored.c.closed,
        workspaces.c.name,
    )
    .join_from(stored, workspaces)
    .where(
        workspaces.c.organization_id == bindparam("organization"),
        stored.c.start < bindparam("end"),
        stored.c.until > bindparam("since"),
    )
    .order_by(stored.c.start, stored.c.id)
)


class Usage:
    """Verbs over intervals of running, and over what volumes held."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, interval: Interval) -> None:
        """Write an interval, or what is new of it. What has ended stays so."""
        values = {
            "id": interval.id,
            "workspace_id": interval.workspace_id,
            "size": interval.size,
            "scale_factor": interval.scale_factor,
            "cache_config": interval.cache_config,
            "start": to_number(interval.start),
            "last_seen": to_number(interval.last_seen),
            "end": to_number_or_none(interval.end),
        }
        self._connection.execute(_PUT, values)

    def between(self, organization: OrganizationID, start: datetime, end: datetime) -> list[NamedInterval]:
        """Return the intervals that share time with [start, end), oldest first."""
        parameters = {"organization": organization, "since": to_number(start), "until": to_number(end)}
        return [_interval(row) for row in self._connection.execute(_BETWEEN, parameters)]

    def put_stored(self, record: Stored) -> None:
        """Write what a volume held, or what is new of it."""
        values = {
            "id": record.id,
            "workspace_id": record.workspace_id,
            "start": to_number(record.start),
            "until": to_number(record.until),
            "byte_seconds": record.byte_seconds,
            "closed": record.closed,
        }
        self._connection.execute(_PUT_STORED, values)

    def stored_between(
        self, organization: OrganizationID, start: datetime, end: datetime
    ) -> list[NamedStored]:
        """Return what shares time with [start, end), oldest first."""
        parameters = {"organization": organization, "since": to_number(start), "end": to_number(end)}
        return [_stored(row) for row in self._connection.execute(_STORED_BETWEEN, parameters)]


def _stored(row: Sequence[Any]) -> NamedStored:
    own, workspace, start, until, byte_seconds, closed, name = row
    record = Stored(
        IntervalID(own),
        WorkspaceID(workspace),
        to_moment(start),
        to_moment(until),
        byte_seconds,
        bool(closed),
    )
    return NamedStored(record, name)


def _interval(row: Sequence[Any]) -> NamedInterval:
    own, workspace, size, scale, cache, start, last_seen, end, name = row
    interval = Interval(
        IntervalID(own),
        WorkspaceID(workspace),
        size,
        scale,
        cache,
        to_moment(start),
        to_moment(last_seen),
        to_moment_or_none(end),
    )
    return NamedInterval(interval, name)
