"""What no file of the repository may say."""

import re
from pathlib import Path

import pytest

from tests.architecture import tree

HERE = Path(__file__)
# Each with the reason it is banned.
BANNED = {
    r"files\.pythonhosted\.org|pypi\.org/simple|--index-url|--extra-index-url": "any mirror must serve",
    r"(?<![\w.])/(work|root)/\w": "a path of one machine",
    r"\b(TODO|FIXME)\b": "unfinished work is finished or not there",
    r"NotImplementedError|pragma: no cover": "a stub is not a feature",
    r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)\b": "a test runs or is not there",
}
BINARY = {".png", ".gz", ".xz", ".sqlite"}
TEXT = [path for path in tree.tracked() if path != HERE and path.suffix not in BINARY]


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8", "replace").splitlines()


@pytest.mark.parametrize(("pattern", "why"), BANNED.items(), ids=BANNED.values())
def test_no_tracked_file_says(pattern: str, why: str) -> None:
    found = [
        f"{tree.name(path)}:{number}: {why}"
        for path in TEXT
        for number, line in enumerate(_lines(path), 1)
        if re.search(pattern, line)
    ]
    assert found == []


def test_there_are_tracked_files_to_look_at() -> None:
    assert len(TEXT) > 20


def test_a_lock_pins_each_requirement_with_its_hash_and_no_address() -> None:
    for lock in tree.ROOT.glob("requirements*.lock"):
        text = lock.read_text(encoding="utf-8")
        pins = re.findall(r"^[a-z0-9._-]+(\[[a-z,]+\])?==", text, re.MULTILINE | re.IGNORECASE)
        blocks = re.findall(r"^\S.*\\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.MULTILINE)
        assert "://" not in text
        assert len(pins) == len(blocks) > 0


def test_the_development_lock_contains_the_other_one() -> None:
    small, large = (
        set(re.findall(r"^\S+==\S+", (tree.ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert small < large
