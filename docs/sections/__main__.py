"""``scripts/docs``: write what is generated anew, or with ``--check`` say which pages are stale."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from docs.sections.registry import fresh

ROOT: Final = Path(__file__).parents[2]
USAGE: Final = 2
STALE: Final = 1


def main(given: Sequence[str], root: Path = ROOT) -> int:
    """Return the exit code: 1 where ``--check`` found a stale page."""
    if given not in ([], ["--check"]):
        print("usage: scripts/docs [--check]", file=sys.stderr)
        return USAGE
    os.environ["COLUMNS"] = "80"  # the help of commands is as wide as the terminal otherwise
    pages = fresh(root)
    stale = [page for page, text in pages.items() if _read(root / page) != text]
    if given:
        for page in stale:
            print(f"{page} is stale; run scripts/docs", file=sys.stderr)
        return STALE if stale else 0
    for page in stale:
        (root / page).write_text(pages[page], encoding="utf-8")
        print(page)
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
