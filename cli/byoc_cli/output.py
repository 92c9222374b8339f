"""What goes to stdout and what to stderr. The one place that writes to either.

stdout is data, stderr is everything else; every list has the same three outputs. Text that
comes from elsewhere is shown with its control characters escaped, so that no name or reason
can move the cursor of a terminal.
"""

import json
import os
import re
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TextIO

from byoc.errors import ByocError, Cancelled

GAP: Final = 2
_FRACTION: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z")


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, or one line of an object.

    Attributes:
        spare: left out of a table that has no room for it, such as an id: half of one is of no use.
    """

    title: str
    show: Callable[[Any], object]
    spare: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """How one kind of thing is shown: its columns, its JSON, its id."""

    columns: Sequence[Column]
    id: Callable[[Any], str]
    json: Callable[[Any], Any]


def compact(value: Any) -> str:
    """Return ``value`` as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def safe(text: str) -> str:
    """Escape what is not printable, line ends included."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def width(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    narrow = sum(unicodedata.combining(c) != 0 for c in text)
    return len(text) + wide - narrow


def pad(text: str, columns: int) -> str:
    """Fill ``text`` up with spaces."""
    return text + " " * max(0, columns - width(text))


def cut(text: str, columns: int) -> str:
    """Shorten ``text`` to ``columns``, marked with an ellipsis."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def cell_text(value: object) -> str:
    """Return a value as it stands in a table: nothing is a dash, a moment is told to the second."""
    if value is None or value in ("", (), []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return safe(_FRACTION.sub(r"\1Z", str(value)))


def wrap(text: str, columns: int | None, indent: int) -> list[str]:
    """Break a line between words at ``columns``, what follows indented; None never breaks."""
    if columns is None or width(text) <= columns:
        return [text]
    return textwrap.wrap(
        text, max(columns, indent + 20), subsequent_indent=" " * indent, break_on_hyphens=False
    )


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, limit: int | None = None) -> list[str]:
    """Lay out rows under titles.

    Args:
        titles: one per column.
        rows: their texts, already safe.
        limit: columns of the terminal; the widest column gives way. None never cuts.
    """
    widths = [max(width(text) for text in column) for column in zip(titles, *rows, strict=True)]
    while limit is not None and sum(widths) + GAP * (len(widths) - 1) > limit and max(widths) > GAP * 6:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for row in [titles, *rows]:
        texts = [pad(cut(text, size), size + GAP) for text, size in zip(row, widths, strict=True)]
        lines.append("".join(texts).rstrip())
    return lines


@dataclass(slots=True)
class Output:
    """The two streams of one run, and how to use them."""

    stdout: TextIO
    stderr: TextIO
    environment: Mapping[str, str] = field(default_factory=dict)
    format: Format = Format.TABLE
    quiet: bool = False
    no_color: bool = False
    program: str = "byoc"

    def rows(self, view: View, items: Sequence[Any], *, empty: str) -> None:
        """Print a list. ``empty`` is said on stderr where there is nothing to list."""
        if self.format is Format.JSON:
            self.json([view.json(item) for item in items])
        elif self.format is Format.NAME:
            for item in items:
                self._data(view.id(item))
        elif items:
            self._view(view, items)
        else:
            self.note(empty)

    def item(self, view: View, item: Any) -> None:
        """Print one thing, a line for each column that says something."""
        if self.format is Format.JSON:
            self.json(view.json(item))
        elif self.format is Format.NAME:
            self._data(view.id(item))
        else:
            lines = [(column.title, cell_text(column.show(item))) for column in view.columns]
            said = [(title, text) for title, text in lines if text != "-"]
            longest = max((width(title) for title, _ in said), default=0)
            for title, text in said:
                self._data(f"{pad(title.lower(), longest + GAP)}{text}")

    def done(self, line: str, item: Mapping[str, Any], name: str) -> None:
        """Print what a command did: a line, or the object, or its id."""
        if self.format is Format.JSON:
            self.json(item)
        else:
            self._data(name if self.format is Format.NAME else safe(line))

    def grid(self, titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table whose columns are not known beforehand, such as rows of SQL."""
        self._table(
            [safe(title) for title in titles],
            [["NULL" if v is None else safe(str(v)) for v in row] for row in rows],
        )

    def json(self, value: Any) -> None:
        """Print one JSON value on one line, at once."""
        self._data(compact(value))
        self.stdout.flush()

    def text(self, text: str) -> None:
        """Print text as it is, as data; only a terminal gets it with control characters escaped."""
        for line in text.splitlines():
            self._data(safe(line.replace("\t", "    ")) if self.stdout.isatty() else line)
        self.stdout.flush()

    def note(self, line: str = "", *, indent: int = 0) -> None:
        """Say something that is not data, unless ``--quiet``; a terminal gets it broken between words."""
        if not self.quiet:
            for each in wrap(line, self._columns() if self.stderr.isatty() else None, indent):
                self._say(each)

    def line(self, text: str, *, indent: int) -> None:
        """Print a line of data; a terminal gets it escaped, and broken between words."""
        if self.stdout.isatty():
            self.verdict("", "", safe(text), indent=indent)
        else:
            self._data(text)

    def verdict(self, word: str, style: str, text: str, *, indent: int) -> None:
        """Print a line of data that begins with a painted word; a terminal gets it broken between words."""
        first, *more = wrap(f"{word}{text}", self._columns() if self.stdout.isatty() else None, indent)
        painted = self._paint(first[: len(word)], style, self.stdout) if word else ""
        self._data(painted + first[len(word) :])
        for each in more:
            self._data(each)

    def secret(self, line: str) -> None:
        """Say on stderr what must be seen even with ``--quiet``, such as a password shown once."""
        self._say(line)

    def error(self, error: ByocError) -> None:
        """Say what went wrong: message, empty line, hint; or the JSON envelope."""
        if self.format is Format.JSON:
            said = {
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "requestID": error.request_id,
            }
            self._say(compact({"error": said}))
            return
        if error.exit_code == Cancelled.exit_code and self.stderr.isatty():
            self._say("")  # the terminal has shown ^C
        self._lead("error:", "31;1", safe(error.message), whole=False)
        if error.hint:
            hint = self._pasteable(safe(error.hint))
            self._say("")
            # What is to be pasted is left in one piece.
            self._lead("hint:", "36;1", hint, whole="`" in hint or hint.startswith(self.program))

    @property
    def live(self) -> bool:
        """Whether a line on stderr may be drawn again and again."""
        return not self.quiet and self.stderr.isatty() and self.environment.get("TERM") != "dumb"

    def draw(self, line: str) -> None:
        """Draw ``line`` over the one drawn before; an empty one removes it."""
        limit = self._columns() - 1
        self.stderr.write(f"\r\x1b[K{cut(safe(line), limit)}")
        self.stderr.flush()

    def flush(self) -> None:
        """Hand everything over; raises BrokenPipeError where nobody reads any more."""
        self.stdout.flush()
        self.stderr.flush()

    def _pasteable(self, text: str) -> str:
        """Name the program as it can be called here, where ``text`` says what to run."""
        return re.sub(r"(^|`)byoc (?=[a-z])", lambda found: f"{found[1]}{self.program} ", text)

    def _lead(self, word: str, style: str, text: str, *, whole: bool) -> None:
        """Say a line that begins with a painted word."""
        limit = None if whole or not self.stderr.isatty() else self._columns()
        first, *more = wrap(f"{word} {text}", limit, 0)
        self._say(self._paint(word, style) + first[len(word) :])
        for each in more:
            self._say(each)

    def _view(self, view: View, items: Sequence[Any]) -> None:
        texts = [[cell_text(column.show(item)) for column in view.columns] for item in items]
        titles = [column.title for column in view.columns]
        widths = [max(map(width, column)) for column in zip(titles, *texts, strict=True)]
        total = sum(widths) + GAP * (len(widths) - 1)
        tight = self.stdout.isatty() and total > self._columns()
        kept = [at for at, column in enumerate(view.columns) if not (tight and column.spare)]
        self._table([titles[at] for at in kept], [[row[at] for at in kept] for row in texts])

    def _table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        limit = self._columns() if self.stdout.isatty() else None
        head, *body = table(titles, rows, limit=limit)
        self._data(self._paint(head, "1", self.stdout))
        for line in body:
            self._data(line)

    def _columns(self) -> int:
        given = self.environment.get("COLUMNS", "")
        if given.isdecimal() and int(given):
            return int(given)
        try:
            return os.get_terminal_size(self.stderr.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _paint(self, text: str, style: str, stream: TextIO | None = None) -> str:
        plain = self.no_color or bool(self.environment.get("NO_COLOR"))
        if plain or not (stream or self.stderr).isatty() or self.environment.get("TERM") == "dumb":
            return text
        return f"\x1b[{style}m{text}\x1b[0m"

    def _data(self, line: str) -> None:
        self.stdout.write(line + "\n")

    def _say(self, line: str) -> None:
        # What was printed before stands before, also where both go to one file.
        self.stdout.flush()
        self.stderr.write(line + "\n")
        self.stderr.flush()
