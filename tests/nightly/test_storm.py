"""Storms over a cell in a cluster: seconds over four workspaces, minutes over a hundred or a thousand."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.cell.incluster import NAMESPACE
from tests.emulated.machines.world import running_world
from tests.kubernetes.cell import AGENT_USER, Cell, installed
from tests.kubernetes.chaos import weather
from tests.kubernetes.plane import running

ROOT = Path(__file__).parents[2]
_CACHE = os.environ.get("BYOC_TOOLS", "")
_USERS = {AGENT_USER: f"system:serviceaccounts,system:serviceaccounts:{NAMESPACE}"}


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    """A cluster of its own, with four machines a zone."""
    environment = dict(os.environ) | ({"BYOC_TOOLS": _CACHE} if _CACHE else {})
    built = subprocess.check_output([ROOT / "scripts/tools", "plane"], env=environment, text=True)
    (tmp_path / "plane").mkdir()
    with (
        running(tmp_path / "plane", Path(built.strip()), _USERS) as plane,
        running_world(plane, tmp_path / "world", per_zone=4) as world,
        installed(plane, world) as made,
    ):
        yield made


# An agent that is killed closes nothing: connections that it was making are left half made.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("count", "awake", "seconds", "seed"), [(4, 4, 20, 20260101), (100, 100, 180, 1), (1000, 80, 1800, 2)]
)
async def test_a_storm_loses_no_row_swaps_no_volume_and_doubles_nothing(
    cell: Cell, tmp_path: Path, count: int, awake: int, seconds: int, seed: int
) -> None:
    folder, patience = tmp_path / "cell", 2400
    await weather(
        cell, folder, count=count, awake=awake, seconds=seconds, patience=patience, seed=seed, say=print
    )
