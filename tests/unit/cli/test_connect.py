"""The prompt of ``workspace connect``, where the machine has no client of its own."""

import io
from collections.abc import Iterator

import pytest

from byoc.errors import UsageError
from byoc.sql import Result
from byoc_cli import connect
from byoc_cli.context import Context
from byoc_cli.output import Output


class Keyboard(io.StringIO):
    """A terminal on which ``^C`` on a line of its own interrupts."""

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        line = super().readline(size)
        if line == "^C\n":
            raise KeyboardInterrupt
        return line


class Session:
    """Notes what it is to run; the word `wrong` is an error."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def run(self, text: str) -> Iterator[Result]:
        self.ran.append(text)
        if "wrong" in text:
            raise UsageError("you have an error in your SQL")
        yield Result((), (), 1)


def _prompted(typed: str, *, terminal: bool) -> tuple[Output, list[str]]:
    stdin = Keyboard(typed) if terminal else io.StringIO(typed)
    given = Context({"NO_COLOR": "1"}, stdin, io.StringIO(), io.StringIO())
    session = Session()
    connect._prompt(given, session)  # type: ignore[arg-type]
    return given.out, session.ran


def test_the_prompt_runs_a_statement_at_its_semicolon() -> None:
    _, ran = _prompted("\nselect\n 1;\n\nwrong;\ninsert;\n", terminal=True)
    assert ran == ["select\n 1;\n", "wrong;\n", "insert;\n"]


@pytest.mark.parametrize("leave", ["exit", "quit;", "\\q", "EXIT"])
def test_the_prompt_is_left_by_the_words_that_other_clients_know(leave: str) -> None:
    out, ran = _prompted(f"insert;\n{leave}\ninsert;\n", terminal=True)
    assert ran == ["insert;\n"]
    assert "error" not in out.stderr.getvalue()  # type: ignore[attr-defined]


def test_statements_on_stdin_are_run_to_the_first_error() -> None:
    assert _prompted("insert;\ninsert", terminal=False)[1] == ["insert;\n", "insert"]
    with pytest.raises(UsageError):
        _prompted("wrong;\ninsert;\n", terminal=False)


def test_an_interrupt_at_the_prompt_forgets_the_line() -> None:
    assert _prompted("select\n^C\ninsert;\n", terminal=True)[1] == ["insert;\n"]
