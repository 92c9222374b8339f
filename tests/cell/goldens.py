"""The graph of each example cell as a file: what depends on what, and what becomes of it.

A change of the program shows in a review as a change of these files, resource by resource. Written anew
by ``python -m tests.cell.goldens``.
"""

import json
from pathlib import Path

from byoc.cell.args import CellArgs
from byoc.cell.plan import make_plan
from byoc.cell.recorder import Recording, Registered
from tests.unit.cell.examples import EXAMPLES

FOLDER = Path(__file__).with_name("golden")
HOW = "the graph changed; if it was meant to: python -m tests.cell.goldens"


def short(urn: str) -> str:
    """Return what of a URN differs between resources of one cell: part, type and name."""
    kinds, name = urn.split("::")[2:]
    return f"{kinds.removeprefix('byoc:cell:Cell$').removeprefix('byoc:cell:')}::{name}"


def leaf(urn: str) -> str:
    """Return type and name alone."""
    return short(urn).rpartition("$")[2]


def graph(recording: Recording) -> dict[str, dict[str, object]]:
    """Return what of a recording a golden file holds."""
    return {short(each.urn): _node(each) for each in recording.resources}


def text(args: CellArgs) -> str:
    """Return what the golden file of a cell should hold; a line for each resource."""
    nodes = graph(make_plan(args).recording)
    lines = [f"  {json.dumps(urn)}: {json.dumps(node)}" for urn, node in nodes.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _node(each: Registered) -> dict[str, object]:
    options: dict[str, object] = {
        "protect": each.protect,
        "retain": each.retain,
        "deletedWith": leaf(each.within) if each.within else "",
        "ignore": list(each.ignore),
        "deleteBeforeReplace": each.delete_before_replace,
    }
    waits = sorted({leaf(urn) for urn in each.depends_on})
    return {key: value for key, value in {"dependsOn": waits, **options}.items() if value}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, args in EXAMPLES.items():
        FOLDER.joinpath(f"{name}.json").write_text(text(args), encoding="utf-8")
