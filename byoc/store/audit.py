"""Who did what through the Management API: numbered, only ever added to, forgotten by age.

Called by the fleet. The invariant: nothing changes a deed that is written.
"""

from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from byoc.ids import KeyID, OrganizationID
from byoc.model.records import Deed
from byoc.store.rows import to_moment, to_number
from byoc.store.tables import deeds

_ADD: Final = insert(deeds)
_OF: Final = (
    select(deeds)
    .where(deeds.c.organization_id == bindparam("organization"), deeds.c.number > bindparam("above"))
    # From the end, so that the newest few are read without the rest.
    .order_by(deeds.c.number.desc())
    .limit(bindparam("newest"))
)
_OLD: Final = select(deeds.c.number).where(deeds.c.at < bindparam("horizon")).limit(bindparam("limit"))
_DROP: Final = delete(deeds).where(deeds.c.number.in_(bindparam("numbers", expanding=True)))


class Audit:
    """Verbs over deeds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, deed: Deed) -> None:
        """Write one; its number is given here."""
        values = asdict(deed) | {"at": to_number(deed.at)}
        del values["number"]
        self._connection.execute(_ADD, values)

    def of(self, organization: OrganizationID, *, above: int, newest: int) -> list[Deed]:
        """Return the ``newest`` ones with a higher number, in order."""
        parameters = {"organization": organization, "above": above, "newest": newest}
        found = [
            Deed(
                to_moment(row.at),
                OrganizationID(row.organization_id),
                row.by,
                KeyID(row.key_id),
                row.action,
                row.object_id,
                row.status,
                row.code,
                row.request_id,
                row.number,
            )
            for row in self._connection.execute(_OF, parameters)
        ]
        return found[::-1]

    def old(self, horizon: datetime, *, limit: int) -> list[int]:
        """Return numbers of those from before ``horizon``."""
        parameters = {"horizon": to_number(horizon), "limit": limit}
        return list(self._connection.execute(_OLD, parameters).scalars())

    def drop(self, numbers: list[int]) -> int:
        """Delete; return how many."""
        return self._connection.execute(_DROP, {"numbers": numbers}).rowcount
