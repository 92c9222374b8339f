"""A short storm over a few workspaces; the long one over a hundred is in ``tests/nightly``."""

from pathlib import Path

import pytest

from tests.kubernetes.cell import Cell
from tests.kubernetes.chaos import weather


@pytest.mark.timeout(400)
async def test_a_storm_loses_no_row_swaps_no_volume_and_doubles_nothing(cell: Cell, tmp_path: Path) -> None:
    await weather(cell, tmp_path / "cell", count=4, seconds=20, patience=150, seed=20260101, say=print)
    await cell.clear()
