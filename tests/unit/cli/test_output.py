import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import Cancelled, NotFound, UsageError
from byoc_cli import values
from byoc_cli.output import Column, Format, Output, View, cell_text, cut, pad, safe, table, width
from byoc_cli.progress import elapsed, line


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _out(*, terminal: bool = False, **more: Any) -> Output:
    kind = _Terminal if terminal else io.StringIO
    return Output(kind(), kind(), more.pop("environment", {}), **more)


@given(st.text())
def test_whatever_text_comes_stays_on_its_line(text: str) -> None:
    shown = safe(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1


@given(st.text(), st.integers(1, 40))
def test_cut_text_fits(text: str, columns: int) -> None:
    assert width(cut(safe(text), columns)) <= columns


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    assert width("注文") == 4
    assert width("e\u0301") == 1
    assert pad("注文", 6) == "注文  "


def test_a_table_without_a_limit_cuts_nothing() -> None:
    lines = table(["A", "B"], [["x" * 100, "y"]])
    assert lines == ["A" + " " * 101 + "B", "x" * 100 + "  y"]


def test_on_a_narrow_terminal_the_widest_column_gives_way() -> None:
    lines = table(["NAME", "TEXT"], [["short", "long " * 30]], limit=40)
    assert all(width(each) <= 40 for each in lines)
    assert lines[1].startswith("short  long ")
    assert lines[1].endswith("…")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), ("", "-"), ([], "-"), (True, "yes"), (False, "no"), (2.0, "2"), (0, "0")]
)
def test_values_in_a_table(value: object, text: str) -> None:
    assert cell_text(value) == text


def test_colour_is_for_terminals_that_want_it() -> None:
    plain = [
        _out(),
        _out(terminal=True, environment={"NO_COLOR": "1"}),
        _out(terminal=True, environment={"TERM": "dumb"}),
        _out(terminal=True, no_color=True),
    ]
    for out in plain:
        out.error(NotFound("gone"))
        assert "\x1b" not in out.stderr.getvalue()  # type: ignore[attr-defined]
    out = _out(terminal=True)
    out.error(NotFound("gone"))
    assert "\x1b[31;1merror:\x1b[0m gone" in out.stderr.getvalue()  # type: ignore[attr-defined]


def test_a_hint_works_as_pasted() -> None:
    out = _out(program=".venv/bin/byoc")
    out.error(NotFound("gone", hint="byoc cell list, or `byoc up`; byoc is this"))
    assert out.stderr.getvalue().endswith(  # type: ignore[attr-defined]
        "hint: .venv/bin/byoc cell list, or `.venv/bin/byoc up`; byoc is this\n"
    )


def test_rows_of_sql_are_a_grid() -> None:
    out = _out()
    out.grid(["id", "name"], [[1, None], [22, "a\nb"]])
    assert out.stdout.getvalue() == "id  name\n1   NULL\n22  a\\nb\n"  # type: ignore[attr-defined]


def test_quiet_keeps_secrets_that_are_shown_once() -> None:
    out = _out(quiet=True)
    out.note("chatter")
    out.secret("password")
    assert out.stderr.getvalue() == "password\n"  # type: ignore[attr-defined]


def test_done_prints_what_was_asked_for() -> None:
    for form, text in ((Format.TABLE, "did it"), (Format.JSON, '{"id":"x"}'), (Format.NAME, "x")):
        out = _out(format=form)
        out.done("did it", {"id": "x"}, "x")
        assert out.stdout.getvalue() == text + "\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (31.4, "31 s"), (60, "1 min 0 s"), (3725, "62 min 5 s")],
)
def test_elapsed_time_is_said_in_tenths_while_it_is_short(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def test_a_step_is_a_line_that_reads_well_in_a_log() -> None:
    assert line("active", "answered SELECT 1", 52.0) == ("       52 s  active        answered SELECT 1")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert values.seconds(text, "--x") == seconds


@given(st.text())
def test_what_is_no_duration_is_a_usage_error(text: str) -> None:
    try:
        read = values.seconds(text, "--x")
    except UsageError:
        return
    assert 0 <= read <= values.LONGEST_WAIT


@given(st.lists(st.text()))
def test_fields_are_read_or_refused(given_fields: list[str]) -> None:
    try:
        read = values.fields(given_fields)
    except UsageError:
        return
    assert len(read) <= len(given_fields)


def test_fields_nest_and_read_json() -> None:
    read = values.fields(["a.b=1", "a.c=x", "list=[1,2]", "text=tr=ue"])
    assert read == {"a": {"b": 1, "c": "x"}, "list": [1, 2], "text": "tr=ue"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("off", {"suspendType": "DISABLED"}),
        ("idle:60", {"suspendType": "IDLE", "suspendAfterSeconds": 60}),
        ("SCHEDULED:2h", {"suspendType": "SCHEDULED", "suspendAfterSeconds": 7200}),
    ],
)
def test_auto_suspend_rules(text: str, field: dict[str, Any]) -> None:
    assert values.auto_suspend(text) == field


@pytest.mark.parametrize("text", ["", "idle", "idle:", "never:5", "idle:-1"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        values.auto_suspend(text)


@pytest.mark.parametrize("text", ["", "3", "4:huge", "off:high"])
def test_what_is_no_scaling_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        values.auto_scale(text)


def test_a_name_that_is_an_id_is_an_id() -> None:
    assert values.is_id("0b9e4c1e-6a3f-4c55-9a9e-0f1f6f6f2d11")
    assert not values.is_id("orders")


def test_a_moment_is_told_to_the_second() -> None:
    assert cell_text("2026-01-02T03:04:05.678901Z") == "2026-01-02T03:04:05Z"
    assert cell_text("at 1.5Z") == "at 1.5Z"


_VIEW = View(
    (Column("NAME", lambda each: each), Column("ID", lambda each: each * 9, spare=True)), id=str, json=str
)


@pytest.mark.parametrize(
    ("terminal", "columns", "head"),
    [(True, "40", "NAME  ID"), (True, "20", "NAME"), (False, "20", "NAME  ID")],
)
def test_a_column_that_may_go_goes_whole_and_only_on_a_narrow_terminal(
    terminal: bool, columns: str, head: str
) -> None:
    out = _out(terminal=terminal, environment={"COLUMNS": columns, "NO_COLOR": "1"})
    out.rows(_VIEW, ["abc"], empty="")
    assert out.stdout.getvalue().splitlines()[0] == head  # type: ignore[attr-defined]


def test_a_long_sentence_is_broken_between_words_on_a_terminal_only() -> None:
    text = "  " + "word " * 30
    terminal = _out(terminal=True, environment={"COLUMNS": "40"})
    terminal.note(text.rstrip(), indent=2)
    lines = terminal.stderr.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) > 1
    assert all(len(each) <= 40 and each.startswith("  word") and each.endswith("word") for each in lines)
    pipe = _out(environment={"COLUMNS": "40"})
    pipe.note(text.rstrip(), indent=2)
    assert pipe.stderr.getvalue() == text.rstrip() + "\n"  # type: ignore[attr-defined]


def test_in_one_file_data_and_what_is_said_stand_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "both"
    with path.open("a") as stdout, path.open("a") as stderr:
        out = Output(stdout, stderr)
        out.done("first", {}, "")
        out.note("second")
    assert path.read_text() == "first\nsecond\n"


def test_an_interrupt_is_said_on_a_line_of_its_own_on_a_terminal() -> None:
    out = _out(terminal=True, no_color=True)
    out.error(Cancelled("interrupted"))
    assert out.stderr.getvalue() == "\nerror: interrupted\n"  # type: ignore[attr-defined]
