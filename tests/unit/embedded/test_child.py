from pathlib import Path

import pytest

from byoc.embedded.child import last_line, pause


def test_a_child_is_restarted_soon_the_first_time_and_later_each_time_after() -> None:
    pauses = [pause(deaths) for deaths in range(1, 12)]
    assert pauses[0] < 0.1
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5.0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\n\n", "b"),
        ("", "it wrote no log"),
        ("x" * 999, "x" * 300),
        ("error: the disk is full\n\nhint: free some\n", "the disk is full"),
    ],
)
def test_the_last_line_of_a_log_tells_why(tmp_path: Path, text: str, line: str) -> None:
    log = tmp_path / "x.log"
    log.write_text(text)
    assert last_line(log) == line


def test_no_log_is_said_so(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none") == "it wrote no log"
