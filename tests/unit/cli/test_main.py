"""What holds for every command: global options, errors, exit codes, streams."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from byoc_cli import main as program


def test_the_help_has_the_headings_of_the_plan(byoc: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert byoc("--help").code == 0
    out = capsys.readouterr().out
    headings = [
        "This machine:",
        "Session:",
        "Workspaces:",
        "Organization:",
        "Your account:",
        "Inside the cell:",
        "Operate:",
    ]
    assert [line for line in out.splitlines() if line in headings] == headings


def test_no_command_is_a_usage_error_that_shows_the_help(byoc: Any) -> None:
    ended = byoc()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage: byoc [OPTIONS] COMMAND")
    assert byoc("workspace").err.startswith("Usage: byoc workspace")
    assert byoc("-o", "json").error["message"] == "missing command"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("wrkspace",), "no such command `wrkspace`; did you mean `workspace`?"),
        (("workspace", "list", "--grup", "x"), "no such option `--grup`; did you mean `--group`?"),
        (("workspace", "list", "--xyz"), "no such option `--xyz`"),
        (("whoami", "me"), "`me` is more than this command takes"),
        (("up", "--port", "x"), "invalid value for `--port`: `x` is not a whole number"),
    ],
)
def test_what_was_mistyped_is_named_with_what_was_meant(byoc: Any, words: Any, message: str) -> None:
    ended = byoc(*words)
    assert (ended.code, ended.err.splitlines()[0]) == (2, f"error: {message}")


def test_the_list_of_commands_has_no_half_sentences(byoc: Any) -> None:
    for words in ((), ("workspace",), ("group",), ("cell",), ("ledger",), ("controlplane",)):
        shown = byoc(*words).err
        assert "Usage" in shown
        assert "..." not in shown.replace("[ARGS]...", "")


def test_the_version_is_data(byoc: Any) -> None:
    ended = byoc("--version")
    assert ended.code == 0
    assert ended.out.startswith("byoc 0.")


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "name", "cell", "list"),
        ("cell", "-o", "name", "list"),
        ("cell", "list", "-o", "name"),
        ("cell", "list", "--output=name"),
        ("--output", "json", "cell", "list", "-o", "name"),
    ],
)
def test_global_options_stand_before_and_after_the_command(byoc: Any, plane: Any, words: Any) -> None:
    assert byoc(*words).out == f"{plane.cells[0]['cellID']}\n"


def test_the_variable_is_beaten_by_the_option(byoc: Any, environment: Any) -> None:
    environment["BYOC_OUTPUT"] = "json"
    assert byoc("cell", "list").out.startswith("[")
    assert byoc("cell", "list", "-o", "table").out.startswith("NAME")


def test_a_variable_with_a_wrong_value_is_said(byoc: Any, environment: Any) -> None:
    environment["BYOC_OUTPUT"] = "xml"
    ended = byoc("cell", "list")
    assert ended.code == 2
    assert "BYOC_OUTPUT" in ended.err


def test_an_error_is_a_message_an_empty_line_and_a_hint(byoc: Any) -> None:
    ended = byoc("cell", "show", "nowhere")
    assert (ended.code, ended.out) == (4, "")
    assert ended.err == "error: no cell named `nowhere`\n\nhint: byoc cell list\n"


def test_an_error_of_the_api_keeps_code_hint_and_request(byoc: Any, plane: Any) -> None:
    plane.errors["GET /byoc/v1/cells"] = (
        403, "no permission `cell.list`",
        {"byoc-error": "forbidden", "byoc-hint": "ask an owner", "byoc-request-id": "r-7"},
    )  # fmt: skip
    ended = byoc("cell", "list", "-o", "json")
    assert ended.code == 7
    assert ended.error == {
        "code": "forbidden",
        "message": "no permission `cell.list`",
        "hint": "ask an owner",
        "requestID": "r-7",
    }


@pytest.mark.parametrize(
    "words",
    [
        ("nothing",),
        ("workspace", "nothing"),
        ("workspace", "create"),
        ("workspace", "list", "--nothing"),
        ("workspace", "list", "extra"),
        ("-o", "xml", "cell", "list"),
        ("workspace", "create", "x", "-g", "sales", "--scale-factor", "two"),
        ("workspace", "suspend", "orders", "--wait-timeout", "soon"),
        ("workspace", "update", "orders", "--auto-suspend", "later"),
        ("workspace", "update", "orders", "--auto-scale", "9"),
        ("up", "--port", "0"),
        ("api", "FETCH", "/v1/regions"),
        ("api", "GET", "v1/regions"),
        ("api", "POST", "/v1/workspaces", "-f", "no-equals"),
    ],
)
def test_bad_input_is_one_line_and_2(byoc: Any, words: Any) -> None:
    ended = byoc(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    assert len(ended.err.partition("\n\n")[0].splitlines()) == 1


def test_a_wrong_option_is_json_where_json_was_asked_for(byoc: Any) -> None:
    ended = byoc("workspace", "list", "--nothing", "-o", "json")
    assert ended.code == 2
    assert ended.error["code"] == "bad_request"


def test_a_misspelt_command_gets_an_offer(byoc: Any) -> None:
    assert "workspace" in byoc("workspac", "list").err


def test_an_unreachable_control_plane_is_6(byoc: Any, plane: Any) -> None:
    plane.down = True
    ended = byoc("cell", "list")
    assert ended.code == 6
    assert "cannot reach the control plane at http://127.0.0.1:8787" in ended.err


def test_a_rejected_key_is_3(byoc: Any, plane: Any) -> None:
    plane.errors["GET /byoc/v1/cells"] = (401, "unauthorized", {})
    ended = byoc("cell", "list")
    assert ended.code == 3
    assert "byoc login" in ended.err


def test_what_nobody_expected_is_one_line_and_how_to_report_it(
    byoc: Any, plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(type(plane), "handle", broken)
    ended = byoc("cell", "list")
    assert ended.code == 1
    assert ended.err.startswith("error: unexpected ZeroDivisionError: by zero\n\nhint: ")
    assert "-v" in ended.err
    assert "Traceback" in byoc("cell", "list", "-v").err


def test_names_cannot_move_the_cursor(byoc: Any, plane: Any) -> None:
    plane.cells[0]["name"] = "\x1b[2Jgone\r\n"
    assert "\x1b" not in byoc("cell", "list").out
    assert "\\x1b[2Jgone\\r\\n" in byoc("cell", "list").out
    assert len(byoc("cell", "list").out.splitlines()) == 2


def test_a_reader_that_goes_away_is_quiet(byoc: Any, plane: Any) -> None:
    script = (
        "import os, sys; from byoc_cli.main import run; "
        "sys.argv = ['byoc', '--help']; os.close(int(os.environ['READER'])); run()"
    )
    reading, writing = os.pipe()
    ended = subprocess.run(
        [sys.executable, "-c", script],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        env=dict(os.environ) | {"READER": str(reading)},
        pass_fds=(reading,),
    )
    os.close(writing)
    os.close(reading)
    assert ended.stderr == b""


@pytest.mark.parametrize("words", [("--help",), ("cell", "list", "-o", "json"), ("up", "--port", "x")])
def test_reading_the_arguments_loads_nothing_slow(words: tuple[str, ...]) -> None:
    script = (
        "import sys; from byoc_cli import context, main; "
        f"main.main({list(words)!r}, context.from_process({{'HOME': '/nowhere'}}, 'byoc')); "
        "sys.stderr.write('LOADED ' + ' '.join(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ended.stderr.partition("LOADED ")[2].split()}
    assert "typer" in loaded
    assert not loaded & {"pydantic", "rich", "httpx2", "fastapi", "sqlalchemy", "pymysql", "websockets"}


def test_completion_offers_commands_and_choices() -> None:
    def complete(words: str, word: int) -> list[str]:
        ended = subprocess.run(
            [str(Path(sys.executable).with_name("byoc"))],
            env={
                **os.environ,
                "_BYOC_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(word),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.stdout.split()

    assert complete("byoc workspace sus", 2) == ["suspend"]
    assert complete("byoc cell list -o ", 4) == ["table", "json", "name"]


@pytest.mark.parametrize(
    ("called", "path", "said"),
    [
        (".venv/bin/byoc", "/usr/bin", ".venv/bin/byoc"),
        ("/usr/bin/python3/__main__.py", "/usr/bin", f"{sys.executable} -m byoc"),
    ],
)
def test_what_is_printed_to_be_pasted_works_as_pasted(called: str, path: str, said: str) -> None:
    assert program.program(called, {"PATH": path}) == said


def test_the_program_is_called_by_its_name_if_it_is_on_the_path(tmp_path: Any) -> None:
    place = tmp_path / "byoc"
    place.write_text("#!/bin/sh\n")
    place.chmod(0o755)
    assert program.program(str(place), {"PATH": str(tmp_path)}) == "byoc"
    other = tmp_path / "other" / "byoc"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    assert program.program(str(other), {"PATH": str(tmp_path)}) == str(other)
