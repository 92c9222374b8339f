"""Markdown: tables, and pages in which sections stand between two marks. Pure.

A section begins with ``<!-- made by scripts/docs: NAME -->`` and ends with ``<!-- end of NAME -->``, each on
a line of its own. The invariant: a page that is filled twice is the same page.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

_BEGIN: Final = re.compile(r"^<!-- made by scripts/docs: ([a-z-]+) -->$", re.MULTILINE)


class Misplaced(ValueError):
    """A page and the registry disagree on which sections there are."""


def begin(name: str) -> str:
    """Return the mark above a section."""
    return f"<!-- made by scripts/docs: {name} -->"


def end(name: str) -> str:
    """Return the mark below a section."""
    return f"<!-- end of {name} -->"


def named(text: str) -> list[str]:
    """Return the names of the sections that a page has."""
    return _BEGIN.findall(text)


def fill(text: str, sections: Mapping[str, str]) -> str:
    """Return the page with what is between its marks replaced.

    Raises:
        Misplaced: a section has no place, more than one or no end, or a place has no section.
    """
    found = named(text)
    if sorted(found) != sorted(sections):
        raise Misplaced(f"the page has the sections {sorted(found)}, the registry {sorted(sections)}")
    for name, body in sections.items():
        above, _, rest = text.partition(begin(name) + "\n")
        _, ended, below = rest.partition(end(name) + "\n")
        if not ended or _BEGIN.search(rest.removesuffix(end(name) + "\n" + below)):
            raise Misplaced(f"the section {name} has no end")
        text = f"{above}{begin(name)}\n\n{body.strip()}\n\n{end(name)}\n{below}"
    return text


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table."""
    lines = [_row(headings), "|" + "---|" * len(headings), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def code(values: Iterable[str]) -> str:
    """Return values as code, with commas between them."""
    return ", ".join(f"`{value}`" for value in values)


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
