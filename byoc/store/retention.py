"""What may be forgotten: events and changes that are of no more use, found and deleted apart.

Called by the fleet's retention. Finding reads whole tables and is for ``Store.scan``; deleting
is by key, in pieces, for ``Store.write``. The invariant: a change that a delivery may still
need stays, which is asked again in the transaction that deletes it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
)

from byoc.store.rows import to_number
from byoc.store.tables import cell_events, changes, events, groups, workspaces

_HORIZON: Final[BindParameter[Any]] = bindparam("horizon")
_LIMIT: Final[BindParameter[Any]] = bindparam("limit")
_OF_TERMINATED: Final = (
    select(events.c.number)
    .join_from(events, workspaces)
    .where(workspaces.c.terminated_at < _HORIZON)
    .limit(_LIMIT)
)
_PLACED: Final = select(
    events.c.number,
    events.c.at,
    func.row_number()
    .over(partition_by=events.c.workspace_id, order_by=events.c.number.desc())
    .label("place"),
).subquery()
_OLD_OR_MANY: Final = (
    select(_PLACED.c.number)
    .where(
        or_(
            _PLACED.c.place > bindparam("most"),
            and_(_PLACED.c.place > bindparam("keep"), _PLACED.c.at < _HORIZON),
        )
    )
    .limit(_LIMIT)
)
_CELLS_PLACED: Final = select(
    cell_events.c.number,
    cell_events.c.at,
    func.row_number()
    .over(partition_by=cell_events.c.cell_id, order_by=cell_events.c.number.desc())
    .label("place"),
).subquery()
_OLD_OF_CELLS: Final = (
    select(_CELLS_PLACED.c.number)
    .where(_CELLS_PLACED.c.place > bindparam("keep"), _CELLS_PLACED.c.at < _HORIZON)
    .limit(_LIMIT)
)


def _settled(table: Table) -> ColumnElement[bool]:
    """Whether the object of a change is gone for long, or its cell has a newer generation."""
    of_change = table.c.id == changes.c.object_id
    over = or_(table.c.terminated_at < _HORIZON, changes.c.generation < table.c.acknowledged_generation)
    return exists().where(of_change, over)


_CHANGE_OVER: Final = and_(changes.c.at < _HORIZON, or_(_settled(workspaces), _settled(groups)))
_CHANGES_OVER: Final = select(changes.c.object_id, changes.c.generation).where(_CHANGE_OVER).limit(_LIMIT)
_DROP_CHANGE: Final = delete(changes).where(
    changes.c.object_id == bindparam("object"), changes.c.generation == bindparam("number"), _CHANGE_OVER
)
_NUMBERS: Final[BindParameter[Any]] = bindparam("numbers", expanding=True)
_DROP_EVENTS: Final = delete(events).where(events.c.number.in_(_NUMBERS))
_DROP_CELL_EVENTS: Final = delete(cell_events).where(cell_events.c.number.in_(_NUMBERS))


class Retention:
    """Verbs over what is old."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def old_events(self, horizon: datetime, *, keep: int, most: int, limit: int) -> list[int]:
        """Return numbers of events to forget, at most ``limit``.

        All of a workspace that was terminated before ``horizon``; of any other all but the newest
        ``most``, and all from before ``horizon`` but the newest ``keep``.
        """
        moment = to_number(horizon)
        gone = self._numbers(_OF_TERMINATED, {"horizon": moment, "limit": limit})
        more = {"horizon": moment, "keep": keep, "most": most, "limit": limit}
        return gone or self._numbers(_OLD_OR_MANY, more)

    def old_cell_events(self, horizon: datetime, *, keep: int, limit: int) -> list[int]:
        """Return numbers of events about cells: from before ``horizon``, but the newest ``keep`` of each."""
        return self._numbers(_OLD_OF_CELLS, {"horizon": to_number(horizon), "keep": keep, "limit": limit})

    def old_changes(self, horizon: datetime, *, limit: int) -> list[tuple[str, int]]:
        """Return (object, generation) of changes to forget, at most ``limit``.

        From before ``horizon``, of objects that were terminated before it or whose cell has
        acknowledged a later generation.
        """
        found = self._connection.execute(_CHANGES_OVER, {"horizon": to_number(horizon), "limit": limit})
        return [(own, generation) for own, generation in found]

    def drop_events(self, numbers: Sequence[int]) -> int:
        """Delete events; return how many."""
        return self._connection.execute(_DROP_EVENTS, {"numbers": list(numbers)}).rowcount

    def drop_cell_events(self, numbers: Sequence[int]) -> int:
        """Delete events about cells; return how many."""
        return self._connection.execute(_DROP_CELL_EVENTS, {"numbers": list(numbers)}).rowcount

    def drop_changes(self, horizon: datetime, keys: Sequence[tuple[str, int]]) -> int:
        """Delete changes, those left out that have come to be needed again; return how many."""
        moment = to_number(horizon)
        rows = [{"object": own, "number": generation, "horizon": moment} for own, generation in keys]
        return self._connection.execute(_DROP_CHANGE, rows).rowcount

    def _numbers(self, query: Select[int], parameters: dict[str, int]) -> list[int]:
        return list(self._connection.execute(query, parameters).scalars())
