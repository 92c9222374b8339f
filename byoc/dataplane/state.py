"""Everything the cell keeps, opened together.

Made once by the agent and shared by the Cell API, the reconciler and the reporter. The
invariant: it opens whole or not at all, and then the error names the record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, Self

from byoc.dataplane import storage
from byoc.dataplane.desired import DesiredState
from byoc.dataplane.life import Life
from byoc.dataplane.meter import Meter
from byoc.dataplane.passwords import Passwords
from byoc.dataplane.storage import Shelf, Storage
from byoc.dataplane.views import Views
from byoc.dataplane.volumes import VolumeMeter
from byoc.ids import NewID
from byoc.model.control import Served
from byoc.model.report import LedgerHead

HEAD: Final = "head"
"""Name under which the end of the leader's chain is kept."""


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
    volumes: VolumeMeter
    views: Views
    ledger: Record
    kept: Storage
    epoch: int = 0

    def served(self) -> tuple[Served, ...]:
        """Return every workspace as the customer is shown it."""
        seen = self.views.now
        return tuple(
            Served(name, held.spec.name, view.phase.value, view.since, view.endpoint or "")
            for name, held in self.desired.workspaces.items()
            if (view := seen.get(name)) is not None
        )

    @classmethod
    def open(
        cls, kept: Storage, ledger: Record, new_id: NewID, changed: Callable[[], None], epoch: int = 0
    ) -> Self:
        """Open the state that is kept; ``changed`` is called when there is news to report.

        ``epoch``: of the term in which this agent leads; 0 where there is one agent.

        Raises:
            StateBroken: a record is unknown or cannot be read.
            Unwritable: it cannot be read now.
        """
        return cls(
            life=Life(kept, new_id, epoch),
            desired=DesiredState(kept),
            passwords=Passwords(kept),
            meter=Meter(kept, new_id),
            volumes=VolumeMeter(kept, new_id),
            views=Views(changed),
            ledger=ledger,
            kept=kept,
            epoch=epoch,
        )

    def note_head(self, head: LedgerHead) -> None:
        """Tell the agent that leads next where this one's chain ends; where there is one agent, nobody.

        Raises:
            Unwritable: it is not told yet.
        """
        if self.epoch and storage.get(self.kept, Shelf.LIFE, HEAD, LedgerHead) != head:
            storage.put(self.kept, Shelf.LIFE, HEAD, head)

    def begin_anew(self, found: str, **facts: object) -> None:
        """Begin a new incarnation: this state was restored from a copy. On record before it is done.

        ``found``: by what it was found out; ``facts``: what else to put on record.

        Raises:
            Unwritable, LedgerBroken: nothing has changed, or only the record is there.
        """
        ended, began = self.life.incarnation, self.life.another()
        self.ledger.record("incarnation", found=found, ended=ended, began=began, **facts)
        self.life.begin(began)
