"""The objects of an example cell as a file, so that a review sees each field that changes."""

import json
from pathlib import Path

from byoc.cell.manifests import bundle
from tests.unit.cell.examples import cell

FILE = Path(__file__).with_name("golden") / "bundle.json"
HOW = "an object changed; if it was meant to: python -m tests.unit.cell.bundle_golden"


def text() -> str:
    """Return what the file should hold."""
    return json.dumps(bundle(cell()).objects, indent=2) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
