"""What of the docs is made from the code is what the code makes, and whoever forgot is told which page."""

import shutil
from pathlib import Path

import pytest

from docs.sections.__main__ import ROOT, main
from docs.sections.page import Misplaced, begin, end, fill, named
from docs.sections.registry import GENERATED, fresh

PAGES = sorted({row.page for row in GENERATED})


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("page", PAGES)
def test_no_generated_page_is_stale(page: str) -> None:
    assert (ROOT / page).read_text(encoding="utf-8") == fresh(ROOT)[page], "run: scripts/docs"


def test_every_section_on_a_page_is_made_by_somebody() -> None:
    marked = {
        (page.relative_to(ROOT).as_posix(), name)
        for page in (ROOT / "docs").glob("*.md")
        for name in named(page.read_text(encoding="utf-8"))
    }
    assert marked == {(row.page, row.section) for row in GENERATED if row.section}


def test_a_check_names_the_stale_page_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("sections"))
    assert main(["--check"], tmp_path) == 0
    page = tmp_path / "docs" / "access.md"
    true = page.read_text(encoding="utf-8")
    old = true.replace("| `logs.read` | refused |", "| `logs.read` | allowed |")
    assert old != true
    page.write_text(old, encoding="utf-8")
    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == "docs/access.md is stale; run scripts/docs\n"
    assert page.read_text(encoding="utf-8") == old
    assert main([], tmp_path) == 0
    assert page.read_text(encoding="utf-8") == true


def test_an_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--chek"]) == 2
    assert "usage" in capsys.readouterr().err


def test_what_stands_around_a_section_stays() -> None:
    text = f"above\n{begin('one')}\nold\n{end('one')}\nbelow\n"
    filled = fill(text, {"one": "new\n"})
    assert filled == f"above\n{begin('one')}\n\nnew\n\n{end('one')}\nbelow\n"
    assert fill(filled, {"one": "new\n"}) == filled


@pytest.mark.parametrize(
    "text",
    [
        "no mark at all\n",
        f"{begin('one')}\nno end\n",
        f"{begin('one')}\n{end('one')}\n{begin('one')}\n{end('one')}\n",
        f"{begin('one')}\n{end('one')}\n{begin('two')}\n{end('two')}\n",
    ],
)
def test_marks_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(Misplaced):
        fill(text, {"one": "x"})
