"""The API on the real fleet and SQLite, with a cell that speaks in signed reports."""

import asyncio
import hashlib
import itertools
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from byoc.controlplane.app import build
from byoc.controlplane.fleet.start import DATABASE, STANDARD_PROJECT
from byoc.controlplane.gateways import Dialling, Gateways
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.controlplane.plane import ControlPlane, assemble
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.ids import CellID, KeyID, OrganizationID, ProjectID, UserID, new_id
from byoc.model.records import CellRecord, CellState, Organization, Project
from byoc.model.report import CellReport, Phase, Reason, Tombstone, Transition, WorkspaceReport
from byoc.model.spec import Desired
from byoc.store.sqlite import open_store
from byoc.store.transaction import Transaction
from byoc.testing import ManualClock
from byoc.wire.cell import encode, spec_digest
from byoc.wire.keys import SealingKey, SigningKey
from byoc.wire.tokens import sign_report

UNIT = Path(__file__).parents[2] / "unit" / "controlplane" / "api"
PHASES = {
    Desired.RUNNING: (Phase.RUNNING, Reason.ANSWERED_SQL),
    Desired.SUSPENDED: (Phase.SUSPENDED, Reason.STOPPED_AS_ASKED),
    Desired.TERMINATED: (Phase.TERMINATED, Reason.REMOVED),
}


def load(name: str) -> ModuleType:
    """Import a module of the unit tests, which are the suite that holds here too."""
    path = UNIT / f"{name}.py"
    spec = spec_from_file_location(f"api_suite_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class SpeakingCell:
    """The cell's side: keys, and reports in order."""

    plane: ControlPlane
    clock: ManualClock
    id: CellID = field(default_factory=lambda: CellID(new_id()))
    signing: SigningKey = field(default_factory=SigningKey.generate)
    sealing: SealingKey = field(default_factory=SealingKey.generate)
    sequence: Any = field(default_factory=lambda: itertools.count(1))

    async def say(self, *, full: bool = False, **parts: Any) -> None:
        report = CellReport(self.id, "life-1", next(self.sequence), self.clock.now(), full=full, **parts)
        token = sign_report(self.signing, encode(report))
        await self.plane.cells._ingest.take(self.id, token)

    def about(self, record: Any, phase: Phase, reason: Reason, **changes: Any) -> WorkspaceReport:
        now = self.clock.now()
        before = record.seen.report
        resumed = phase is Phase.RUNNING and before is not None and before.phase is Phase.SUSPENDED
        made = WorkspaceReport(
            id=record.spec.id,
            generation=record.spec.generation,
            observed_generation=record.spec.generation,
            digest=spec_digest(record.spec),
            phase=phase,
            reason=reason,
            since=now,
            endpoint="127.0.0.1:33061" if phase is Phase.RUNNING else None,
            last_resumed_at=now if resumed else record.last_resumed_at,
        )
        return replace(made, **changes)


async def add_organization(plane: ControlPlane, clock: ManualClock, name: str, cell: str) -> tuple[str, Any]:
    key, now = f"key-of-{name}", clock.now()
    speaking = SpeakingCell(plane, clock)

    def add(tx: Transaction) -> None:
        own, user = OrganizationID(new_id()), UserID(new_id())
        tx.identities.add_organization(Organization(own, name, now))
        tx.identities.add_project(Project(ProjectID(new_id()), own, *STANDARD_PROJECT, now))
        tx.identities.add_user(user, own, f"owner@{name}.example", now)
        tx.identities.add_key(KeyID(new_id()), user, hashlib.sha256(key.encode()).hexdigest(), now, None)
        record = CellRecord(speaking.id, own, cell, "AWS", "US Local", cell, CellState.PENDING, now)
        tx.cells.add(record)
        keys = speaking.signing.public.jwk(), speaking.sealing.public_jwk()
        tx.cells.enrol(speaking.id, CellState.ENROLLED, *keys)
        tx.cells.seen(speaking.id, now)
        tx.cells.open_session(new_id(), speaking.id, "gateway-1", now)

    await plane.store.write(add)
    # A cell's life begins with a full report: here of nothing.
    await speaking.say(full=True)
    return key, speaking


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows, and keys: made once, copied for each test."""
    folder = tmp_path_factory.mktemp("prepared") / "controlplane"
    folder.mkdir()

    async def make() -> None:
        await open_store(folder / DATABASE).close()

    asyncio.run(make())
    ControlPlaneKeys.make(folder, ManualClock().now())
    return folder


@pytest.fixture(scope="session")
def suite() -> ModuleType:
    return load("conftest")


@pytest.fixture
async def world(prepared: Path, tmp_path: Path, suite: Any) -> AsyncIterator[Any]:
    folder, clock = tmp_path / "controlplane", ManualClock()
    shutil.copytree(prepared, folder)
    store, keys = open_store(folder / DATABASE), ControlPlaneKeys.load(folder)
    rng = Random(1)  # noqa: S311 - jitter, the same each time
    gateways = Gateways(Dialling(()), store, keys, clock, new_id=new_id, rng=rng)
    plane = assemble(store, keys, gateways, clock, rng=rng)
    key, cell = await add_organization(plane, clock, "acme", "local")
    other, _ = await add_organization(plane, clock, "other", "elsewhere")
    instance = suite.KnownInstance()
    # Time stands still here, so no caller's bucket would ever fill again.
    settings = ControlPlaneSettings(calls_per_second=1e5, refusals_per_second=1e5)
    app = build(settings, plane.fleet, instance, version="0.1.0", clock=clock)

    class StoredWorld(suite.World):
        async def revoke(self) -> None:
            """End the caller's key."""
            by = await plane.fleet.authenticate(self.key)
            await plane.store.write(lambda tx: tx.identities.revoke_keys(by.user_id, clock.now()))

        async def settle(self) -> None:
            """Let the cell report everything as carried out."""
            workspaces = await plane.store.read(lambda tx: tx.workspaces.of_cell(cell.id))
            said = [
                cell.about(held.record, *PHASES[held.record.spec.desired])
                for held in workspaces
                if held.record.terminated_at is None and _unsettled(held.record)
            ]
            groups = [held.record for held in await plane.store.read(lambda tx: tx.groups.of_cell(cell.id))]
            gone = [group.spec for group in groups if group.spec.desired is Desired.TERMINATED]
            for group in groups:
                if group.spec not in gone:
                    await plane.store.write(lambda tx, spec=group.spec: tx.groups.acknowledge(spec))
            buried = tuple(Tombstone(spec.id, spec.generation) for spec in gone)
            await cell.say(workspaces=tuple(said), transitions=_told(said), tombstones=buried)

        async def report(self, workspace: str, phase: Phase, reason: Reason, **changes: Any) -> None:
            held = await plane.store.read(lambda tx: tx.workspaces.get(workspace))
            said = [cell.about(held.record, phase, reason, **changes)]
            await cell.say(workspaces=tuple(said), transitions=_told(said))

    client, stranger = suite.client_of(app, key), suite.client_of(app, other)
    async with client, stranger:
        yield StoredWorld(clock, plane.fleet, instance, app, key, client, stranger)
    await plane.close()


def _told(said: list[WorkspaceReport]) -> tuple[Transition, ...]:
    return tuple(
        Transition(each.id, each.generation, each.phase, each.reason, each.since, each.progress)
        for each in said
    )


def _unsettled(record: Any) -> bool:
    report = record.seen.report
    wanted = PHASES[record.spec.desired][0]
    return report is None or (report.generation, report.phase) != (record.spec.generation, wanted)
