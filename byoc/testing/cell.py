"""A cell without tunnel and without engine: real state on disk, engines in memory, time by hand.

For tests of whatever stands on a cell's state and its reconciler. Leaving :func:`started` is
like kill -9: nothing is tidied up, and the next one on the same folder goes on from there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from byoc.dataplane.files import FileStorage
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.passwords import Password
from byoc.dataplane.policy import PolicyFile
from byoc.dataplane.rates import Rates
from byoc.dataplane.reconcile import Reconciler
from byoc.dataplane.runtime import Action
from byoc.dataplane.state import CellState
from byoc.ids import GroupID, NewID, WorkspaceID
from byoc.model.report import Interval, Phase, Reason, WorkspaceReport
from byoc.model.spec import GroupSpec, WorkspaceSpec
from byoc.testing.clock import ManualClock
from byoc.testing.runtime import MemoryRuntime

GROUP: Final = GroupSpec(
    id=GroupID("11111111-1111-4111-8111-111111111111"),
    generation=1,
    name="sales",
    password_version=1,
)
ORDERS: Final = WorkspaceSpec(
    id=WorkspaceID("22222222-2222-4222-8222-222222222222"),
    group_id=GROUP.id,
    generation=1,
    name="orders",
    size="S-00",
)
OTHER: Final = replace(ORDERS, id=WorkspaceID("33333333-3333-4333-8333-333333333333"), name="other")


def following(spec: WorkspaceSpec, **changes: Any) -> WorkspaceSpec:
    """Return the next generation of a spec; naming ``desired`` is a word about running or not."""
    new = replace(spec, generation=spec.generation + 1, **changes)
    return replace(new, desired_generation=new.generation) if "desired" in changes else new


@dataclass(frozen=True)
class MemoryCell:
    """The parts of a cell's process that need no tunnel.

    Attributes:
        heard: called whenever there is something new to report.
    """

    folder: Path
    clock: ManualClock
    runtime: MemoryRuntime
    state: CellState
    reconciler: Reconciler
    ledger: Ledger
    heard: list[Callable[[], None]] = field(default_factory=list)

    async def settle(self, seconds: float = 0.1) -> None:
        """Let the cell do what it has to do, while ``seconds`` pass."""
        for _ in range(6):
            await self.clock.elapse(seconds / 6)

    async def put(self, spec: WorkspaceSpec | GroupSpec, password: str | None = None) -> None:
        """Store a spec as the Cell API does, and let the cell act on it."""
        if isinstance(spec, GroupSpec):
            if password is not None:
                self.state.passwords.put(spec.id, Password(spec.password_version, password))
            self.state.desired.put_group(spec)
            self.reconciler.wake_group(spec.id)
        else:
            self.state.desired.put_workspace(spec)
            self.reconciler.wake(spec.id)
        await self.settle()

    async def bring_up(self) -> None:
        """Make the group and one workspace, and let it come up."""
        await self.put(GROUP, "first")
        await self.put(ORDERS)

    def view(self, name: WorkspaceID = ORDERS.id) -> WorkspaceReport:
        """What the cell sees of a workspace."""
        return self.state.views.now[name]

    def phase(self, name: WorkspaceID = ORDERS.id) -> Phase:
        """Its phase."""
        return self.view(name).phase

    def reason(self, name: WorkspaceID = ORDERS.id) -> Reason:
        """Why it is in that phase."""
        return self.view(name).reason

    def story(self) -> list[tuple[Phase, Reason]]:
        """Every transition that was not acknowledged."""
        return [(step.phase, step.reason) for step in self.state.views.transitions()[1]]

    def acts(self) -> list[Action]:
        """Every action that was carried out."""
        return [action for _, action in self.runtime.acts]

    def intervals(self) -> tuple[Interval, ...]:
        """Usage as a report would carry it."""
        return self.state.meter.intervals()

    def observed(self, name: WorkspaceID = ORDERS.id) -> int:
        """The newest generation that was in effect."""
        return self.state.desired.workspaces[name].observed_generation

    def ledger_text(self) -> str:
        """The ledger's lines."""
        return (self.folder / "ledger" / "ledger.jsonl").read_text(encoding="utf-8")


@asynccontextmanager
async def started(
    folder: Path, clock: ManualClock, runtime: MemoryRuntime, new_id: NewID
) -> AsyncIterator[MemoryCell]:
    """Run a cell on ``folder`` until the block ends."""
    ledger = Ledger(folder / "ledger", clock, new_id)
    ledger.open()
    heard: list[Callable[[], None]] = []

    def changed() -> None:
        for listener in heard:
            listener()

    state = CellState.open(FileStorage(folder), ledger, new_id, changed)
    rates = Rates(FileStorage(folder), clock)
    reconciler = Reconciler(state, runtime, clock, PolicyFile(folder).current, lambda: rates)
    cell = MemoryCell(folder, clock, runtime, state, reconciler, ledger, heard)
    task = asyncio.create_task(reconciler.run())
    try:
        await cell.settle()
        yield cell
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        ledger.close()
