"""Another authority for the cell's engines, where the customer asks for one.

Looked at with the customer's other papers. The invariants: a wish is on record before it is carried out; it
is carried out until that succeeded once, also by the next agent, and asked for twice nothing happens twice.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from byoc import log
from byoc.clock import stamp
from byoc.dataplane.desk import Desk
from byoc.dataplane.state import Record
from byoc.errors import ByocError, Failed, LedgerBroken, Unwritable, UsageError
from byoc.model.control import Renewal
from byoc.model.papers import Paper
from byoc.wire.control import load

Succeed = Callable[[bool], None]
"""Has another authority follow, at once or after it was told of; raises what kept it from that."""
_LOG: Final = log.get(__name__)


class Renewals:
    """The newest wish.

    Args:
        succeed: None where the cell has no authority.
        done: when that was laid down which an earlier agent has carried out.

    Attributes:
        done: the same, of this one.
    """

    def __init__(
        self, desk: Desk, ledger: Record, succeed: Succeed | None, done: datetime | None = None
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._succeed = succeed
        self._recorded: datetime | None = None
        self.done = done

    def look(self) -> None:
        """Carry out what is new."""
        try:
            wish = load(Renewal, self._desk.word(Paper.AUTHORITY), Renewal())
        except (UsageError, Failed) as error:
            _LOG.error("a wish for another authority is not understood", error=error.message)
            return
        if wish.at is None or wish.at == self.done or not self._record(wish, wish.at):
            return
        if self._succeed is None:
            _LOG.error("the engines of this cell have no authority that another one could follow")
        else:
            try:
                self._succeed(wish.at_once)
            except ByocError as error:
                _LOG.warning("another authority is not asked for yet", error=error.message)
                return
        self.done = wish.at

    def _record(self, wish: Renewal, at: datetime) -> bool:
        if self._recorded == at:
            return True
        said = {"atOnce": wish.at_once, "by": wish.by, "reason": wish.reason}
        try:
            self._ledger.record("authority", **said, saidAt=stamp(at))
        except (Unwritable, LedgerBroken) as error:
            _LOG.error("a wish for another authority is not recorded yet", error=error.message)
            return False
        self._recorded = at
        return True
