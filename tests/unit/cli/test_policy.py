"""``byoc policy`` on a cell whose papers are files."""

from pathlib import Path
from typing import Any

import pytest

from byoc.dataplane.policy import ACCEPTED, FILE

TEXT = """
deny = ["workspace.update"]
[only_for]
"workspace.resize" = ["ann"]
[windows]
"workspace.resize" = [{ days = ["sat"], hours = "08:00-18:00" }]
"""


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / FILE).write_text(TEXT)
    return tmp_path / "cell"


def test_show_lists_each_verb_with_the_line_that_says_so(byoc: Any, cell: Path) -> None:
    rows = {each["verb"]: each for each in byoc("policy", "show", "--dir", str(cell), "-o", "json").json}

    assert rows["workspace.update"]["answer"] == "no"
    assert rows["workspace.update"]["rule"] == 'deny "workspace.update"'
    assert rows["workspace.resize"]["for"] == ["ann"]
    assert rows["workspace.resize"]["windows"] == ["sat 08:00-18:00 UTC"]
    assert rows["logs.read"]["rule"] == "no line allows it"


@pytest.mark.parametrize(
    ("sub", "at", "code", "rule", "line"),
    [
        ("ann", "2030-01-05T09:00:00Z", 0, "policy-allow", 'allow "workspace.*"'),
        ("ann", "2030-01-06T09:00:00Z", 7, "policy-window", 'windows "workspace.resize"'),
        ("eve", "2030-01-05T09:00:00Z", 7, "policy-only-for", 'only_for "workspace.resize"'),
    ],
)
def test_explain_says_why_with_the_line_and_exits_7_where_the_answer_is_no(
    byoc: Any, cell: Path, sub: str, at: str, code: int, rule: str, line: str
) -> None:
    asked = ("policy", "explain", "workspace.resize", "--as", sub, "--at", at, "--dir", str(cell))
    ended = byoc(*asked, "-o", "json")

    assert ended.code == code
    assert (ended.json["rule"], ended.json["line"]) == (rule, line)
    assert ended.json["answer"] == ("no" if code else "yes")
    assert not code or line in ended.error["hint"]


def test_explain_wants_a_verb_that_exists(byoc: Any, cell: Path) -> None:
    ended = byoc("policy", "explain", "workspace.terminat", "--as", "ann", "--dir", str(cell))

    assert ended.code == 2
    assert "did you mean workspace.terminate?" in ended.err


def test_check_names_line_and_reason_and_set_changes_nothing_then(
    byoc: Any, cell: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('# mine\nallow = ["workspace.fly"]\n')
    for command in (("check",), ("set", "--dir", str(cell))):
        ended = byoc("policy", command[0], str(wrong), *command[1:])
        assert ended.code == 2
        assert "wrong.toml line 2: unknown verb `workspace.fly`" in ended.err
    assert (cell / FILE).read_text() == TEXT


def test_set_puts_a_policy_in_force(byoc: Any, cell: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.toml"
    new.write_text('approval = ["workspace.terminate"]\n')
    assert byoc("policy", "set", str(new), "--dir", str(cell)).code == 0

    ended = byoc("policy", "explain", "workspace.terminate", "--as", "a", "--dir", str(cell), "-o", "json")
    assert (ended.code, ended.json["answer"]) == (0, "yes, once it is approved")


def test_a_text_that_is_not_understood_leaves_the_one_before_in_force_and_is_said(
    byoc: Any, cell: Path
) -> None:
    (cell / FILE).write_text("allow = [")
    (cell / ACCEPTED).write_text('allow = ["group.*"]')
    ended = byoc("policy", "explain", "workspace.resize", "--as", "ann", "--dir", str(cell))

    assert ended.code == 7
    assert "the newest text is not in force" in ended.err
    assert "line 1" in ended.err


def test_no_cell_is_4(byoc: Any, tmp_path: Path) -> None:
    assert byoc("policy", "show", "--dir", str(tmp_path / "nowhere")).code == 4
