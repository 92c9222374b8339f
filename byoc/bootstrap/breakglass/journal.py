"""Who broke the glass of a cell, why and until when: objects in the state bucket, added and never changed.

The invariant: ``opening`` is there before anything of a session is, so that whatever an interrupted run
made belongs to a session that is on record. One object for each event; the bucket keeps versions.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from byoc.bootstrap.breakglass.plan import Session, instant
from byoc.bootstrap.state import BucketObjects
from byoc.clock import parse_stamp
from byoc.errors import Conflict, Failed

ROOT: Final = ".byoc/breakglass/"
_OPENING: Final = "1-opening"
_OPEN: Final = "2-open"
_CLOSED: Final = "3-closed"


class Journal:
    """The sessions of an account and region."""

    def __init__(self, objects: BucketObjects) -> None:
        self._objects = objects

    def opening(self, session: Session) -> None:
        """Put on record that a session is to be made."""
        event = {
            "id": session.id,
            "cell": session.cell,
            "reason": session.reason,
            "by": session.by,
            "at": instant(session.opened_at),
            "until": instant(session.until),
        }
        self._add(session, _OPENING, event)

    def opened(self, session: Session, machine: str, now: datetime) -> Session:
        """Put on record that everything is made."""
        self._add(session, _OPEN, {"machine": machine, "at": instant(now)})
        return replace(session, machine=machine)

    def closed(self, session: Session, by: str, now: datetime) -> Session:
        """Put on record that nothing is left; whoever else closed it at the same time was first."""
        try:
            self._add(session, _CLOSED, {"by": by, "at": instant(now)})
        except Conflict:
            return next(one for one in self.sessions(session.cell) if one.id == session.id)
        return replace(session, closed_by=by, closed_at=now)

    def sessions(self, cell: str = "") -> list[Session]:
        """Return the sessions of a cell, or of all, the newest first.

        Raises:
            Failed: an object there is no record of a session.
        """
        keys = sorted(self._objects.keys(f"{ROOT}{cell}/" if cell else ROOT))
        named = {tuple(key.removeprefix(ROOT).split("/")[:2]) for key in keys}
        found = [self._session(f"{ROOT}{cell_}/{one}/", set(keys)) for cell_, one in sorted(named)]
        return sorted(found, key=lambda one: one.opened_at, reverse=True)

    def _session(self, folder: str, keys: set[str]) -> Session:
        events = {
            kind: self._read(f"{folder}{kind}.json") if f"{folder}{kind}.json" in keys else {}
            for kind in (_OPENING, _OPEN, _CLOSED)
        }
        first, closed = events[_OPENING], events[_CLOSED]
        try:
            return Session(
                id=first["id"],
                cell=first["cell"],
                reason=first["reason"],
                by=first["by"],
                opened_at=parse_stamp(first["at"]),
                until=parse_stamp(first["until"]),
                machine=events[_OPEN].get("machine", ""),
                closed_at=parse_stamp(closed["at"]) if closed else None,
                closed_by=closed.get("by", ""),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise _damaged(folder) from error

    def _read(self, key: str) -> dict[str, Any]:
        try:
            value = json.loads(self._objects.read(key) or b"")
        except ValueError as error:
            raise _damaged(key) from error
        if not isinstance(value, dict):
            raise _damaged(key)
        return value

    def _add(self, session: Session, kind: str, event: Mapping[str, str]) -> None:
        data = json.dumps(event, indent=1, sort_keys=True).encode()
        self._objects.add(f"{ROOT}{session.cell}/{session.id}/{kind}.json", data)


def _damaged(where: str) -> Failed:
    return Failed(
        f"{where} in the state bucket is no record of a session", hint="the bucket keeps its earlier versions"
    )
