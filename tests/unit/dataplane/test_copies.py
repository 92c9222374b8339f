"""An agent whose ledger is copied elsewhere: copies that fall behind are said by whoever can tell."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from byoc.dataplane.agent import LEDGER, Agent, Memory, Outside
from byoc.dataplane.desk import FolderPapers
from byoc.dataplane.report import Envelope, Snapshot, delta
from byoc.dataplane.settings import AgentSettings
from byoc.dataplane.shipping import LATE, Shipper
from byoc.ids import CellID
from byoc.model.control import Standing
from byoc.testing import ManualClock
from byoc.testing.runtime import MemoryRuntime
from byoc.wire.control import standing


class Kept:
    """Copies in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        self.objects.setdefault(key, body)


def said(settings: AgentSettings) -> Standing:
    found = standing(FolderPapers(settings.cell))
    assert found is not None
    return found


@pytest.fixture
async def settings(tmp_path: Path, clock: ManualClock) -> AsyncIterator[AgentSettings]:
    """An agent at work, which nobody has enrolled yet."""
    made = AgentSettings(tmp_path, "wss://127.0.0.1:1/nimbus/v1", ledger_bucket="acme-ledger")
    made.cell.mkdir()
    outside = Outside(clock=clock)
    stop = asyncio.Event()
    agent = Agent(made, MemoryRuntime(clock), outside, Memory.of_files(made, outside))
    running = asyncio.create_task(agent.run(stop, lambda _: None))
    yield made
    stop.set()
    await clock.elapse(1)
    await running


async def test_copies_that_are_late_are_shown_from_the_cells_side_also_without_a_tunnel_and_so_is_their_end(
    settings: AgentSettings, clock: ManualClock
) -> None:
    await clock.elapse(1)
    assert (said(settings).copied, said(settings).copies_late_since) == (True, None)
    began = clock.now()
    await clock.elapse(LATE.total_seconds() + 30)
    since = said(settings).copies_late_since
    assert since is not None
    assert abs((since - began).total_seconds()) <= 1

    Shipper(settings.cell / LEDGER, Kept(), clock, lambda: False).run()
    await clock.elapse(30)
    assert said(settings).copies_late_since is None


def test_the_report_says_it_too(clock: ManualClock) -> None:
    nothing = Snapshot({}, {}, frozenset(), frozenset())
    envelope = Envelope(CellID("c"), "life", 2, clock.now(), copies_late_since=clock.now())
    assert delta(envelope, nothing, nothing, ()).copies_late_since == clock.now()
