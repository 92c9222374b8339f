"""What bootstrap is granted in each mode as files, so that a review sees each right that changes."""

import json
from pathlib import Path

from byoc.cell.args import CellArgs
from byoc.cell.assume import complete
from byoc.cell.grants import MODES, grants
from byoc.cell.modes import stand_in

FOLDER = Path(__file__).with_name("golden")
HOW = "a right changed; if it was meant to: python -m tests.unit.cell.grants_golden"
SETTINGS = {"name": "main", "account": "123456789012", "region": "eu-west-1"}


def args(mode: str) -> CellArgs:
    """Return the cell that stands for a mode."""
    return complete(stand_in(SETTINGS, mode))[0]


def file(mode: str) -> Path:
    """Return where a mode's policies stand."""
    return FOLDER / f"bootstrap-{mode}.json"


def text(mode: str) -> str:
    """Return what the file should hold."""
    said = {each.name: each.document.plain() for each in grants(args(mode))}
    return json.dumps(said, indent=1) + "\n"


if __name__ == "__main__":
    for one in MODES:
        file(one).write_text(text(one), encoding="utf-8")
