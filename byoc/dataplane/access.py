"""Whether the Control Plane may reach into the cell: the customer's kill switch, as the cell sees it.

Looked at by the guard at each request, and by the agent before it dials and whenever the bell rings. The
invariants: what the customer laid down is read from where it is stored, so a restart changes nothing; a
paper that nobody understands, or that is gone after access was revoked, keeps it out; each change is a
record of the ledger.
"""

from datetime import datetime
from typing import Final

from byoc import log
from byoc.clock import Clock, stamp
from byoc.dataplane.desk import Desk
from byoc.dataplane.state import Record
from byoc.errors import Failed, LedgerBroken, Unwritable
from byoc.model.control import Access
from byoc.model.papers import Paper
from byoc.wire.control import read_access

_LOG: Final = log.get(__name__)
_OPEN: Final = Access()
_UNREADABLE: Final = Access(revoked=True, reason="the paper on access cannot be read")


class Gate:
    """The kill switch of one cell.

    Args:
        recorded: see below; what an earlier agent had come to.
        before: what the paper said that an earlier agent has seen.

    Attributes:
        recorded: when that was laid down which the ledger knows of; None before anything was.
        refused: requests refused since it was revoked, by this agent.
        refusing_since: since when this agent lets nothing in; None while it does.
    """

    def __init__(
        self,
        desk: Desk,
        ledger: Record,
        clock: Clock,
        recorded: datetime | None = None,
        before: Access = _OPEN,
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._clock = clock
        self._access = Access()
        self._last = Access()
        self._word = before
        self.recorded = recorded
        self.refused = 0
        self.refusing_since: datetime | None = None

    @property
    def access(self) -> Access:
        """What was laid down, as of the last look."""
        return self._access

    @property
    def why(self) -> str:
        """Why nothing is let in, for whoever looks in the cell; empty while it is."""
        if not self._access.revoked:
            return ""
        by = f" by {self._access.by}" if self._access.by else ""
        reason = f": {self._access.reason}" if self._access.reason else ""
        return f"access is revoked{by}{reason}"

    def look(self) -> bool:
        """Read what is laid down; return whether access is revoked, on record or not."""
        try:
            found = self._read()
        except Failed as error:
            _LOG.error("the paper on access cannot be read: nothing is let in", error=error.message)
            found = _UNREADABLE
        if found.revoked and not self._access.revoked:
            self.refusing_since, self.refused = self._clock.now(), 0
        elif not found.revoked:
            self.refusing_since = None
        self._access = found
        self._record()
        return found.revoked

    def _read(self) -> Access:
        text = self._desk.word(Paper.ACCESS)
        # A paper that is gone restores nothing: whoever restores access says so.
        if text.strip() or not self._word.revoked:
            self._word = read_access(text)
        return self._word

    def _record(self) -> None:
        found = self._access
        if found == self._last or (found.at is not None and found.at == self.recorded):
            return
        said = {"revoked": found.revoked, "by": found.by, "reason": found.reason}
        try:
            self._ledger.record("access", **said, saidAt=stamp(found.at) if found.at else "")
        except (Unwritable, LedgerBroken) as error:
            _LOG.error("a change of access is not recorded yet", error=error.message)
            return
        self.recorded, self._last = found.at, found
