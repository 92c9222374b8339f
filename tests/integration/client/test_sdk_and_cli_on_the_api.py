"""The SDK and the command line on the real API over a real socket; only the cell is played."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from byoc.client import AsyncClient, Goal, Step
from byoc.clock import SystemClock
from byoc.controlplane.api.service import Overview
from byoc.controlplane.app import build
from byoc.controlplane.listener import Listener, bind, url_of
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.errors import Conflict, NotAuthenticated, NotFound, RefusedByCell, UsageError
from byoc.model.report import Phase, Reason
from byoc.testing.fleet import MemoryFleet


class _Instance:
    async def overview(self) -> Overview:
        return Overview()

    async def unready(self) -> dict[str, str]:
        return {}


@dataclass
class Place:
    fleet: MemoryFleet
    url: str
    key: str
    client: AsyncClient
    home: Path

    async def byoc(self, *words: str) -> tuple[int, str, str]:
        """Run the command line as a process; return code, stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("byoc")),
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"BYOC_URL": self.url, "BYOC_TOKEN": self.key, "HOME": str(self.home)},
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def play_the_cell(self) -> None:
        """Go through starting to rest, again and again."""
        while True:
            await asyncio.sleep(0.02)
            self.fleet.settle()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    fleet = MemoryFleet(SystemClock())
    key = fleet.add_organization("acme")
    settings = ControlPlaneSettings(keep_alive=0.5)
    app = build(settings, fleet, _Instance(), version="0", clock=SystemClock())
    bound = bind("127.0.0.1", 0)
    stop = asyncio.Event()
    serving = asyncio.create_task(Listener(app, bound, drain=1).run(stop))
    async with AsyncClient(url_of(bound), key) as client:
        yield Place(fleet, url_of(bound), key, client, tmp_path)
    stop.set()
    await serving


@pytest.fixture
async def cell(place: Place) -> AsyncIterator[None]:
    playing = asyncio.create_task(place.play_the_cell())
    yield
    playing.cancel()


async def _group(place: Place) -> str:
    region = (await place.client.regions())[0]
    created = await place.client.groups.create(name="sales", firewallRanges=[], regionID=region.region_id)
    assert created.admin_password
    return created.id


@pytest.mark.usefixtures("cell")
async def test_a_life_of_a_workspace(place: Place) -> None:
    client, steps = place.client, list[Step]()
    group = await _group(place)
    change = await client.workspaces.create(name="orders", workspaceGroupID=group, size="S-00")
    running = await client.workspaces.wait(change, Goal.RUNNING, timeout=10, on_step=steps.append)
    assert (running.state, running.endpoint) == ("ACTIVE", "127.0.0.1:33061")
    assert steps[0].word == "accepted"
    assert steps[-1].word == "active"
    for act, goal, state in (
        (client.workspaces.suspend, Goal.SUSPENDED, "SUSPENDED"),
        (client.workspaces.resume, Goal.RUNNING, "ACTIVE"),
        (client.workspaces.resume, Goal.RUNNING, "ACTIVE"),
        (client.workspaces.terminate, Goal.TERMINATED, "TERMINATED"),
    ):
        done = await client.workspaces.wait(await act(change.id), goal, timeout=10)
        assert done.state == state
    told = [event async for event in client.workspaces.events(change.id)]
    assert [each.number for each in told] == sorted({each.number for each in told})
    assert told[-1].state == "TERMINATED"


async def test_errors_arrive_as_what_they_are(place: Place) -> None:
    client = place.client
    group = await _group(place)
    with pytest.raises(NotFound):
        await client.workspaces.get("0b9e4c1e-6a3f-4c55-9a9e-0f1f6f6f2d11")
    with pytest.raises(UsageError, match="UUID"):
        await client.workspaces.get("no-id")
    change = await client.workspaces.create(name="orders", workspaceGroupID=group)
    with pytest.raises(Conflict):
        await client.workspaces.update(change.id, size="S-0")
    with pytest.raises(RefusedByCell):
        await client.workspaces.logs(change.id)
    async with AsyncClient(place.url, "wrong") as stranger:
        with pytest.raises(NotAuthenticated):
            await stranger.whoami()


async def test_a_detail_says_phase_and_reason(place: Place) -> None:
    change = await place.client.workspaces.create(name="orders", workspaceGroupID=await _group(place))
    place.fleet.report(change.id, Phase.STARTING, Reason.STARTING_ENGINE)
    detail = await place.client.workspaces.detail(change.id)
    assert (detail.phase, detail.reason) == ("starting", "starting-engine")
    assert detail.cell_name == "local"
    assert detail.since is not None


async def test_cells_are_read_as_they_are_written(place: Place) -> None:
    cell = (await place.client.cells.list())[0]
    assert (cell.name, cell.state) == ("local", "enrolled")
    made = await place.client.cells.register(
        name="prod", provider="AWS", region="US East", regionName="us-east-1"
    )
    assert made.state == "pending"
    grant = await place.client.cells.enrolment(made.cell_id, "A" * 43)
    assert grant.token
    assert await place.client.cells.connections(made.cell_id) == []
    await place.client.cells.retire(made.cell_id)
    assert (await place.client.cells.get(made.cell_id)).state == "retired"


@pytest.mark.usefixtures("cell")
async def test_the_command_line_does_the_same(place: Place) -> None:
    code, out, err = await place.byoc("group", "create", "sales", "-o", "json")
    assert code == 0, err
    assert json.loads(out)["adminPassword"]
    code, out, err = await place.byoc("workspace", "create", "orders", "-g", "sales", "-o", "json")
    assert code == 0, err
    assert json.loads(out)["state"] == "ACTIVE"
    assert [line.split()[2] for line in err.splitlines() if line.startswith("  ")][-1] == "active"
    code, out, err = await place.byoc("workspace", "suspend", "orders")
    assert (code, out) == (0, "orders is SUSPENDED\n"), err
    code, out, _ = await place.byoc("workspace", "show", "orders")
    assert "state            SUSPENDED\n" in out
    assert "endpoint" not in out
    code, _, err = await place.byoc("workspace", "connect", "orders", "--exec", "select 1")
    assert code == 5, err
    code, _, err = await place.byoc("workspace", "logs", "orders", "-o", "json")
    assert json.loads(err)["error"]["code"] == "refused_by_cell"
    assert json.loads(err)["error"]["requestID"]
    code, _, err = await place.byoc("group", "terminate", "sales", "--confirm", "sales")
    assert code == 5, err
    code, out, err = await place.byoc("workspace", "terminate", "orders", "--confirm", "orders")
    assert (code, out) == (0, "orders is TERMINATED\n"), err


async def test_a_change_that_nobody_carries_out_is_8_after_the_timeout(place: Place) -> None:
    await _group(place)
    code, out, err = await place.byoc(
        "workspace", "create", "orders", "-g", "sales", "--wait-timeout", "1s", "-o", "json"
    )
    assert (code, out) == (8, "")
    found: dict[str, Any] = json.loads(err.splitlines()[-1])
    assert found["error"]["code"] in {"still_pending", "cell_away"}
