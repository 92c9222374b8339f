"""What the cell does about machines that stay away, on a real control plane and with real engines."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from byoc.cell.incluster import OUT_OF_SERVICE
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes.tending import Tending
from tests.emulated.machines.api import MERGE
from tests.emulated.machines.world import World
from tests.kubernetes.cell import SETTINGS, Cell
from tests.kubernetes.space import ROW, Space, until

PATIENCE = 2.0
SLOW = 90.0
"""For Kubernetes: 8 s until a silent machine is noticed, 20 s until its pods are collected."""


@pytest.fixture
async def tending(cell: Cell) -> AsyncIterator[Tending]:
    """The cell's eye on the machines, under the agent's account, as it runs beside the runtime."""
    cluster = cell.cluster()
    made = Tending(cluster, SystemClock(), PATIENCE)
    running = asyncio.create_task(made.run())
    await made.ready()
    yield made
    running.cancel()
    await asyncio.wait([running])
    await cluster.close()


@pytest.fixture
def whole(world: World) -> Iterator[World]:
    """Mends what the test breaks."""
    before = {name: machine.zone for name, machine in world.machines.items()}
    yield world
    for name, zone in before.items():
        if name not in world.machines:
            world.add_machine(name, zone)
        elif not world.machines[name].powered:
            world.switch_on(name)
        elif world.machines[name].frozen:
            world.thaw(name)


def home(space: Space) -> str:
    pod = space.ready()
    assert pod is not None
    return str(pod["spec"]["nodeName"])


def ready(tending: Tending) -> int:
    """Return how many machines the cell tells of as ready."""
    told = tending.zones(SETTINGS.node_selector)
    assert [each.name for each in told] == [f"us-east-1{zone}" for zone in "abc"]
    return sum(each.ready for each in told)


def taints(space: Space, machine: str) -> list[str]:
    node = space.ask("GET", f"/api/v1/nodes/{machine}")
    return [
        each.get("value", "") for each in node["spec"].get("taints") or [] if each["key"] == OUT_OF_SERVICE
    ]


def silent(space: Space, machine: str) -> bool:
    node = space.ask("GET", f"/api/v1/nodes/{machine}")
    return any(
        each["type"] == "Ready" and each["status"] == "Unknown" for each in node["status"]["conditions"]
    )


async def test_a_machine_that_comes_back_is_taken_into_service_again(
    filled: Space, whole: World, tending: Tending
) -> None:
    machine = home(filled)
    before = ready(tending)
    whole.lose_power(machine)
    await asyncio.to_thread(until, SLOW, lambda: taints(filled, machine))
    assert ready(tending) == before - 1
    whole.switch_on(machine)
    await asyncio.to_thread(until, SLOW, lambda: not taints(filled, machine))
    await asyncio.to_thread(until, SLOW, lambda: ready(tending) == before)
    assert await asyncio.to_thread(until, SLOW, lambda: filled.sql(ROW)) == ((7,),)


async def test_an_engine_that_still_works_on_an_unreachable_machine_loses_its_volume_before_it_moves(
    filled: Space, whole: World, tending: Tending
) -> None:
    machine = home(filled)
    whole.freeze(machine)
    assert await asyncio.to_thread(until, SLOW, lambda: filled.sql(ROW) if _moved(filled, machine) else None)
    whole.thaw(machine)
    assert whole.faults == []


def _moved(space: Space, machine: str) -> bool:
    pod = space.ready()
    return pod is not None and pod["spec"]["nodeName"] != machine


async def test_a_taint_that_somebody_else_set_stays(filled: Space, whole: World, tending: Tending) -> None:
    machine = min(set(whole.machines) - {home(filled)})
    theirs = [{"key": OUT_OF_SERVICE, "value": "maintenance", "effect": "NoExecute"}]
    filled.ask("PATCH", f"/api/v1/nodes/{machine}", {"spec": {"taints": theirs}}, MERGE)
    try:
        whole.lose_power(machine)
        await asyncio.to_thread(until, SLOW, lambda: silent(filled, machine))
        await asyncio.sleep(PATIENCE)
        whole.switch_on(machine)
        await asyncio.to_thread(until, SLOW, lambda: not silent(filled, machine))
        assert taints(filled, machine) == ["maintenance"]
    finally:
        filled.ask("PATCH", f"/api/v1/nodes/{machine}", {"spec": {"taints": None}}, MERGE)
