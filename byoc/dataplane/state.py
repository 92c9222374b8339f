"""Everything the cell keeps, opened together.

Made once by the agent and shared by the Cell API, the reconciler and the reporter. The
invariant: it opens whole or not at all, and then the error names the record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from byoc.dataplane.desired import DesiredState
from byoc.dataplane.life import Life
from byoc.dataplane.meter import Meter
from byoc.dataplane.passwords import Passwords
from byoc.dataplane.storage import Storage
from byoc.dataplane.views import Views
from byoc.ids import NewID
from byoc.model.control import Served
from byoc.model.report import LedgerHead


class Record(Protocol):
    """What the agent's own loops need of the ledger."""

    def head(self) -> LedgerHead | None:
        """Where the chain ends; None while it has no record."""
        ...

    def record(self, kind: str, **fields: object) -> object:
        """Append something the cell decided by itself; raises Unwritable on a full disk."""
        ...

    def add_receipt(self, receipt: str) -> object:
        """Keep the Control Plane's word on a head; raises Unwritable on a full disk."""
        ...


@dataclass(frozen=True, slots=True)
class CellState:
    """The parts. ``views`` alone is not stored."""

    life: Life
    desired: DesiredState
    passwords: Passwords
    meter: Meter
    views: Views
    ledger: Record

    def served(self) -> tuple[Served, ...]:
        """Return every workspace as the customer is shown it."""
        seen = self.views.now
        return tuple(
            Served(name, held.spec.name, view.phase.value, view.since, view.endpoint or "")
            for name, held in self.desired.workspaces.items()
            if (view := seen.get(name)) is not None
        )

    @classmethod
    def open(cls, kept: Storage, ledger: Record, new_id: NewID, changed: Callable[[], None]) -> Self:
        """Open the state that is kept; ``changed`` is called when there is news to report.

        Raises:
            StateBroken: a record is unknown or cannot be read.
            Unwritable: it cannot be read now.
        """
        return cls(
            life=Life(kept, new_id),
            desired=DesiredState(kept),
            passwords=Passwords(kept),
            meter=Meter(kept, new_id),
            views=Views(changed),
            ledger=ledger,
        )

    def begin_anew(self, found: str, **facts: object) -> None:
        """Begin a new incarnation: this state was restored from a copy. On record before it is done.

        ``found``: by what it was found out; ``facts``: what else to put on record.

        Raises:
            Unwritable, LedgerBroken: nothing has changed, or only the record is there.
        """
        ended, began = self.life.incarnation, self.life.another()
        self.ledger.record("incarnation", found=found, ended=ended, began=began, **facts)
        self.life.begin(began)
