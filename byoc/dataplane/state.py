"""Everything the cell keeps on disk, opened together.

Made once by the agent and shared by the Cell API, the reconciler and the reporter. The
invariant: it opens whole or not at all, and then the error names the file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from byoc.dataplane.desired import DesiredState
from byoc.dataplane.life import Life
from byoc.dataplane.meter import Meter
from byoc.dataplane.passwords import Passwords
from byoc.dataplane.views import Views
from byoc.ids import NewID
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
    """The parts. ``views`` alone is not on disk."""

    life: Life
    desired: DesiredState
    passwords: Passwords
    meter: Meter
    views: Views
    ledger: Record

    @classmethod
    def open(cls, folder: Path, ledger: Record, new_id: NewID, changed: Callable[[], None]) -> Self:
        """Open the state of the cell in ``folder``; ``changed`` is called when there is news to report.

        Raises:
            StateBroken: a file is unknown or cannot be read.
            Unwritable: a folder cannot be made.
        """
        state = folder / "state"
        return cls(
            life=Life(state, new_id),
            desired=DesiredState(state),
            passwords=Passwords(folder / "secrets"),
            meter=Meter(state, new_id),
            views=Views(changed),
            ledger=ledger,
        )

    def begin_anew(self, found: str, **facts: object) -> None:
        """Begin a new incarnation: this folder was restored from a copy. On record before it is done.

        ``found``: by what it was found out; ``facts``: what else to put on record.

        Raises:
            Unwritable, LedgerBroken: nothing has changed, or only the record is there.
        """
        ended, began = self.life.incarnation, self.life.another()
        self.ledger.record("incarnation", found=found, ended=ended, began=began, **facts)
        self.life.begin(began)
