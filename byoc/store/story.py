"""Who changed what, and what came of it: change records and numbered events."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from byoc.ids import WorkspaceID
from byoc.model.records import Event
from byoc.model.verbs import Verb
from byoc.store.rows import to_moment, to_number
from byoc.store.tables import changes, events
from byoc.store.values import ChangeRecord, NewEvent

_CHANGES: Final = (
    select(changes)
    .where(
        changes.c.object_id == bindparam("object"),
        changes.c.generation > bindparam("above"),
        changes.c.generation <= bindparam("up_to"),
    )
    .order_by(changes.c.generation)
)
_EVENTS: Final = (
    select(
        events.c.number,
        events.c.workspace_id,
        events.c.at,
        events.c.kind,
        events.c.generation,
        events.c.reason,
        events.c.text,
        events.c.state,
        events.c.progress,
        events.c.by,
    )
    .where(
        events.c.workspace_id == bindparam("workspace"),
        events.c.number > bindparam("above"),
        events.c.generation >= bindparam("generation"),
    )
    # From the end, so that the newest few are read without the rest.
    .order_by(events.c.number.desc())
    .limit(bindparam("newest"))
)
_ALL: Final = 2**62
_ANY: Final = (
    select(events.c.number)
    .where(events.c.workspace_id == bindparam("workspace"), events.c.number > bindparam("above"))
    .limit(1)
)
_ADD_CHANGE: Final = insert(changes).prefix_with("OR REPLACE", dialect="sqlite")
_ADD_EVENT: Final = upsert(events).on_conflict_do_nothing(index_elements=["origin"])


class Story:
    """Verbs over changes and events."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_change(self, change: ChangeRecord) -> None:
        """Write who asked for a generation; after an adoption a number may come a second time."""
        values = {
            "object_id": change.object_id,
            "generation": change.generation,
            "verbs": " ".join(change.verbs),
            "sub": change.sub,
            "at": to_number(change.at),
        }
        self._connection.execute(_ADD_CHANGE, values)

    def changes(self, object_id: str, *, above: int, up_to: int) -> list[ChangeRecord]:
        """Return the changes of the generations in (above, up_to], in order."""
        parameters = {"object": object_id, "above": above, "up_to": up_to}
        return [
            ChangeRecord(own, generation, tuple(map(Verb, verbs.split())), sub, to_moment(at))
            for own, generation, verbs, sub, at in self._connection.execute(_CHANGES, parameters)
        ]

    def add_events(self, new: Iterable[NewEvent]) -> None:
        """Write events in order; one whose origin is known is dropped."""
        rows = [
            {
                "workspace_id": event.workspace_id,
                "at": to_number(event.at),
                "kind": event.kind,
                "generation": event.generation,
                "reason": event.reason,
                "text": event.text,
                "state": event.state,
                "progress": event.progress,
                "by": event.by,
                "origin": event.origin,
            }
            for event in new
        ]
        if rows:
            self._connection.execute(_ADD_EVENT, rows)

    def events(
        self, workspace: WorkspaceID, *, above: int, generation: int = 0, newest: int | None = None
    ) -> list[Event]:
        """Return the events of a workspace with a higher number, in order.

        Args:
            workspace: whose.
            above: only higher numbers.
            generation: only this generation and later ones.
            newest: only so many, the last ones; None is all.
        """
        parameters = {
            "workspace": workspace,
            "above": above,
            "generation": generation,
            "newest": _ALL if newest is None else newest,
        }
        found = [_event(row) for row in self._connection.execute(_EVENTS, parameters)]
        return found[::-1]

    def has_events(self, workspace: str, *, above: int) -> bool:
        """Whether there is an event with a higher number."""
        parameters = {"workspace": workspace, "above": above}
        return self._connection.execute(_ANY, parameters).first() is not None


def _event(row: Sequence[Any]) -> Event:
    number, workspace, at, kind, generation, reason, text, state, progress, by = row
    return Event(
        number,
        WorkspaceID(workspace),
        to_moment(at),
        kind,
        generation,
        reason,
        text,
        state,
        progress,
        by,
    )
