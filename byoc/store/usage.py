"""Metered intervals, as cells report them: upserted by id, never made shorter."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from byoc.ids import IntervalID, OrganizationID, WorkspaceID
from byoc.model.report import Interval
from byoc.store.rows import to_moment, to_moment_or_none, to_number, to_number_or_none
from byoc.store.tables import intervals, workspaces
from byoc.store.values import NamedInterval

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


class Usage:
    """Verbs over intervals."""

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
