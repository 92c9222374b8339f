import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.errors import UsageError
from byoc.sql import Result
from byoc_cli import connect
from byoc_cli.connection import Running
from byoc_cli.output import Format, Output


def test_down_without_an_instance_is_no_error(byoc: Any, tmp_path: Path) -> None:
    ended = byoc("down", "--data", str(tmp_path / "data"), "-o", "json")
    assert ended.code == 0
    assert ended.json == {"data": str(tmp_path / "data"), "stopped": [], "deleted": False}


def test_down_deletes_only_what_was_named_again(byoc: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    ended = byoc("down", "--data", str(data), "--delete-data")
    assert ended.code == 2
    assert "--confirm data" in ended.err
    assert data.exists()


def test_a_folder_of_somebody_else_is_never_deleted(byoc: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    words = ("--data", str(tmp_path / "data"), "--confirm", "data")
    assert byoc("down", *words, "--delete-data").code == 9
    assert byoc("up", *words, "--reset").code == 9
    assert (tmp_path / "data" / "thesis.txt").read_text() == "mine"


def test_status_of_nothing_is_6_and_says_how_to_start(byoc: Any, tmp_path: Path) -> None:
    ended = byoc("status", "--data", str(tmp_path))
    assert (ended.code, ended.out) == (6, "")
    assert "byoc up" in ended.err
    assert byoc("status", "--data", str(tmp_path), "-o", "json").json["running"] is False


def test_two_instances_are_a_question(byoc: Any, running: list[Running]) -> None:
    running += [
        Running(f"http://127.0.0.1/{name}", Path(f"/data/{name}"), Path("/token")) for name in ("one", "two")
    ]
    ended = byoc("status")
    assert ended.code == 2
    assert "/data/one" in ended.err
    assert "/data/two" in ended.err
    assert "hint: say which with --data" in ended.err
    assert "hint: say which with --dir" in byoc("ledger", "tail").err


def test_without_a_folder_named_the_running_instance_or_the_default_is_meant(
    byoc: Any, running: list[Running], tmp_path: Path
) -> None:
    assert byoc("status", "-o", "json").json["data"] == str(tmp_path / ".local/share/byoc")
    running.append(Running("http://127.0.0.1:1", tmp_path / "other", tmp_path / "token"))
    assert byoc("status", "-o", "json").json["data"] == str(tmp_path / "other")


def test_doctor_says_what_it_found_and_what_to_do(byoc: Any, tmp_path: Path) -> None:
    ended = byoc("doctor", "--data", str(tmp_path / "data"), "--only", "python", "--only", "engine")
    assert ended.out.splitlines()[0].split()[:2] == ["pass", "python"]
    assert "local engine: MariaDB, a stand-in for SingleStore" in ended.out
    assert byoc("doctor", "--only", "nothing").code == 2


def test_doctor_keeps_each_name_apart_from_what_was_found(byoc: Any, tmp_path: Path) -> None:
    words = ("doctor", "--data", str(tmp_path / "data"), "--only", "tunnel")
    names = byoc(*words, "-o", "name").out.split()
    assert "tunnel-clock" in names
    assert [line.split()[1] for line in byoc(*words).out.splitlines()] == names


def test_doctor_names_what_to_do_below_what_failed(byoc: Any, plane: Any) -> None:
    plane.cells[0] |= {"connected": False, "lastSeenAt": "2020-01-01T00:00:00Z"}
    ended = byoc("doctor", "--cell", "prod")
    assert ended.code == 9
    lines = ended.out.splitlines()
    assert lines[1].startswith("fail  tunnel        not connected, last seen ")
    assert lines[2].strip().startswith("-> see the agent's log")
    assert byoc("doctor", "--cell", "prod", "-o", "name").out == "enrolment\ntunnel\n"


def test_doctor_writes_a_bundle_once(byoc: Any, tmp_path: Path) -> None:
    words = (
        "doctor",
        "--data",
        str(tmp_path / "data"),
        "--only",
        "python",
        "--bundle",
        str(tmp_path / "b.tgz"),
    )
    assert byoc(*words).code == 0
    assert (tmp_path / "b.tgz").exists()
    assert byoc(*words).code == 1


class Session:
    """Answers like a SQL session: one result for each statement, an error for the word `wrong`."""

    def run(self, text: str) -> Iterator[Result]:
        for statement in filter(None, (part.strip() for part in text.split(";"))):
            if statement == "wrong":
                raise UsageError("you have an error in your SQL")
            if statement.startswith("select"):
                yield Result(("id", "name"), ((1, None), (2, b"\xff")), 2)
            else:
                yield Result((), (), 1)


def _run(statements: str, form: Format = Format.TABLE) -> tuple[Output, Any]:
    out = Output(io.StringIO(), io.StringIO(), format=form)
    try:
        connect.run(out, Session(), statements)  # type: ignore[arg-type]
    except UsageError as error:
        return out, error
    return out, None


def test_statements_print_rows_as_data_and_counts_beside() -> None:
    out, _ = _run("insert; select 1")
    assert out.stdout.getvalue() == "id  name\n1   NULL\n2   b'\\xff'\n"  # type: ignore[attr-defined]
    assert out.stderr.getvalue() == "OK, 1 row affected\n2 rows\n"  # type: ignore[attr-defined]


def test_statements_as_json_are_one_array() -> None:
    out, _ = _run("insert; select 1", Format.JSON)
    assert out.stdout.getvalue() == (  # type: ignore[attr-defined]
        '[{"columns":[],"rows":[],"affectedRows":1},'
        '{"columns":["id","name"],"rows":[[1,null],[2,"ff"]],"affectedRows":2}]\n'
    )


def test_the_first_error_ends_it_and_what_was_done_is_said() -> None:
    out, error = _run("insert; wrong; insert", Format.JSON)
    assert error.exit_code == 2
    assert out.stdout.getvalue() == '[{"columns":[],"rows":[],"affectedRows":1}]\n'  # type: ignore[attr-defined]


@pytest.mark.parametrize("password", ["simple", 'a"b\\c', "ünïcode #;'"])
def test_a_password_for_the_machines_client_goes_through_a_private_file(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "mariadb"
    client.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/argv\n'
        "f=${1#--defaults-extra-file=}\n"
        f'cp "$f" {tmp_path}/options\n'
        f'ls -l "$f" | cut -c1-10 > {tmp_path}/mode\n'
    )
    client.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    connect.hand_over(str(client), connect.Target("h", 1, "admin", password, "shop"))
    assert password not in (tmp_path / "argv").read_text()
    assert "--user=admin --protocol=tcp --database=shop" in (tmp_path / "argv").read_text()
    assert (tmp_path / "mode").read_text() == "-rw-------\n"
    escaped = password.replace("\\", "\\\\").replace('"', '\\"')
    named = (tmp_path / "argv").read_text().split()[0].partition("=")[2]
    assert (tmp_path / "options").read_text().splitlines() == [
        "[client]",
        f'password="{escaped}"',
        # No plugin that would show the password to whoever has taken the port, and no files for it.
        f'plugin-dir="{Path(named).parent}"',
        "loose-local-infile=0",
    ]
    assert not Path(named).exists()


@pytest.mark.parametrize(
    ("says", "demand"),
    [
        ("mariadb from 11.4.2-MariaDB, client 15.2", "ssl-verify-server-cert"),
        ("mysql  Ver 8.4.0 for Linux on x86_64", "ssl-mode=VERIFY_IDENTITY"),
    ],
)
def test_a_client_off_this_machine_believes_the_cells_authority_only(
    tmp_path: Path, says: str, demand: str
) -> None:
    client = tmp_path / "client"
    client.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then echo "{says}"; exit; fi\n'
        "f=${1#--defaults-extra-file=}\n"
        f'cp "$f" {tmp_path}/options; cp "$(dirname "$f")/ca.pem" {tmp_path}/trusted\n'
    )
    client.chmod(0o755)
    connect.hand_over(str(client), connect.Target("h", 1, "admin", "p", None, "authority\n"))
    asked = (tmp_path / "options").read_text().splitlines()[4:]
    assert asked[0].startswith('ssl-ca="')
    assert asked[1:] == [demand]
    assert (tmp_path / "trusted").read_text() == "authority\n"
