"""What engines are told."""

from pathlib import Path

import pytest

from byoc.dataplane.engine_sql import admin_statements
from byoc.dataplane.local import command
from byoc.dataplane.local.engine import Engine
from byoc.dataplane.runtime import Limits

ENGINE = Engine(Path("/usr/sbin/mariadbd"), "10.11.6", Path("/usr/share/mysql"))
FOLDER = Path("/data/volumes/w")


def line(*, as_root: bool = False) -> list[str]:
    return command.server(
        ENGINE, FOLDER, socket=FOLDER / "sock", port=21000, limits=Limits("S-00"), as_root=as_root
    )


def test_no_file_of_the_machine_is_read_before_ours() -> None:
    assert line()[:2] == ["/usr/sbin/mariadbd", "--no-defaults"]


@pytest.mark.parametrize(
    "option",
    [
        "--bind-address=127.0.0.1",
        "--port=21000",
        "--datadir=/data/volumes/w/data",
        "--socket=/data/volumes/w/sock",
        "--secure-file-priv=/data/volumes/w/empty",
        "--plugin-dir=/usr/share/mysql",
        "--local-infile=0",
        "--skip-name-resolve",
        "--innodb-flush-log-at-trx-commit=1",
        "--innodb-buffer-pool-size=33554432",
        "--lc-messages-dir=/usr/share/mysql",
        "--character-sets-dir=/usr/share/mysql/charsets",
    ],
)
def test_the_server_is_told(option: str) -> None:
    assert option in line()


def test_only_root_tells_the_server_to_run_as_root() -> None:
    assert "--user=root" in line(as_root=True)
    assert not any(word.startswith("--user=") for word in line())


def test_no_password_is_in_any_statement() -> None:
    statements = admin_statements("hunter2", first=True)
    assert "hunter2" not in " ".join(statements)
    assert "hunter2" not in command.accounts_sql("hunter2")


@pytest.mark.parametrize(
    "privilege", ["FILE", "SUPER", "SHUTDOWN", "ALL", "SET USER", "ADMIN", "REPLICATION"]
)
def test_admin_is_never_given(privilege: str) -> None:
    (grant,) = (each for each in admin_statements("p", first=False) if each.startswith("GRANT"))
    assert privilege not in grant.replace("ON *.* TO admin", "")


def test_the_database_is_made_with_the_first_password_only() -> None:
    first = admin_statements("p", first=True)
    later = admin_statements("p", first=False)
    assert [each for each in first if each not in later] == ["CREATE DATABASE IF NOT EXISTS cluster"]


def test_every_statement_of_the_init_file_stands_on_one_line() -> None:
    assert all(each.endswith(";") for each in command.accounts_sql("p").splitlines())


@pytest.mark.parametrize("prefix", ["mysql", "mariadb"])
def test_a_template_has_no_account_but_the_servers_own(tmp_path: Path, prefix: str) -> None:
    for name in ("system_tables", "performance_tables", "system_tables_data"):
        (tmp_path / f"{prefix}_{name}.sql").write_text(f"-- {name}\n")
    (tmp_path / "maria_add_gis_sp_bootstrap.sql").write_text("-- gis\n")
    text = command.bootstrap_sql(Engine(Path("/m"), "11.4.2", tmp_path))
    assert text.index("-- system_tables\n") < text.index("-- system_tables_data") < text.index("DELETE")
    assert text.endswith("DELETE FROM proxies_priv;\n")
