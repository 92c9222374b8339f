"""What the docs say about tests and files is true."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
TESTS = {
    name
    for file in (ROOT / "tests").rglob("*.py")  # stories that two tiers share are no test_*.py
    for name in re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", page.read_text()))
    assert named <= TESTS, named - TESTS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    linked = {link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    missing = {link for link in linked if link and not (page.parent / link).exists()}
    named = set(re.findall(r"`((?:byoc|cli|tests|scripts|docs|benchmarks)/[\w./-]+)`", text))
    missing |= {path for path in named if not (ROOT / path).exists()}
    assert not missing
