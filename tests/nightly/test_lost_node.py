"""A machine whose Node is taken away at once: Kubernetes frees its volumes after six minutes, not sooner."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulated.machines.world import World, running_world
from tests.kubernetes.plane import running
from tests.kubernetes.space import ROW, Space, engine, until

ROOT = Path(__file__).parents[2]
_CACHE = os.environ.get("BYOC_TOOLS", "")
MINUTES_OF_KUBERNETES = 9 * 60


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Machines of a cluster of their own."""
    environment = dict(os.environ) | ({"BYOC_TOOLS": _CACHE} if _CACHE else {})
    built = subprocess.check_output([ROOT / "scripts/tools", "plane"], env=environment, text=True)
    (tmp_path / "plane").mkdir()
    with (
        running(tmp_path / "plane", Path(built.strip()), {}) as plane,
        running_world(plane, tmp_path / "world") as made,
    ):
        yield made


@pytest.mark.timeout(2 * MINUTES_OF_KUBERNETES)
def test_an_engine_of_a_machine_whose_node_was_taken_away_comes_back_in_its_zone(world: World) -> None:
    space = Space(world.plane, world)
    space.ask("POST", space.sets, engine("engine"))
    until(60, lambda: space.sql("SELECT 1"))
    for statement in ("CREATE DATABASE kept", "CREATE TABLE kept.t (i INT)", "INSERT INTO kept.t VALUES (7)"):
        space.sql(statement)
    pod = space.ready()
    assert pod is not None
    zone = world.in_zone(world.machines[pod["spec"]["nodeName"]].zone)
    world.remove(pod["spec"]["nodeName"])
    assert until(MINUTES_OF_KUBERNETES, lambda: space.sql(ROW)) == ((7,),)
    found = space.ready()
    assert found is not None
    assert found["spec"]["nodeName"] in zone
    assert world.faults == []
