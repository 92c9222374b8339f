"""The page of the command line is what the program does, and says all of it."""

import re
from pathlib import Path

import pytest

from byoc_cli import reference

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    fresh = reference.render()
    assert PAGE.read_text(encoding="utf-8") == fresh, "run: scripts/docs"


@pytest.mark.parametrize("words", reference.commands())
def test_every_command_is_on_the_page_within_80_columns(words: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    _, found, rest = page.partition(f"### byoc {words}\n\n```\n")
    assert found
    help_text = rest.partition("```")[0]
    assert help_text.startswith(f"Usage: byoc {words} ")
    assert max(len(line) for line in help_text.splitlines()) <= 80


def test_every_exit_and_error_code_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for code in (*range(11), 130):
        assert re.search(rf"^\| {code} \| \w", page, re.MULTILINE)
    for kind in reference.error_kinds():
        assert f"| `{kind.code}` | {kind.exit_code} | {kind.http_status} |" in page
        assert kind.exit_code in reference.EXIT_CODES
