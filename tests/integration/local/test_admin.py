"""What ``admin`` may do, and what not even a hostile one can."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc import sql
from byoc.dataplane.local import confine
from byoc.dataplane.local.runtime import LocalRuntime
from byoc.dataplane.runtime import Action, Secrets
from byoc.errors import ByocError, NotAuthenticated, UsageError
from byoc.model.spec import WorkspaceSpec
from byoc.testing.walking import walk


def test_admin_does_what_owners_of_databases_do(admin: sql.Session, port: int) -> None:
    with admin:
        list(
            admin.run(
                "create database shop; create table shop.t (id int primary key, v varchar(10));"
                "insert into shop.t values (1, 'ä;b');"
                "create view shop.v as select * from shop.t;"
                "create user bob@'%' identified by 'bobs'; grant select on shop.* to bob@'%';"
                "create role reader; rename table shop.t to cluster.t; rename table cluster.t to shop.t"
            )
        )
    with sql.connect(port=port, user="bob", password="bobs", database="shop") as session:
        assert session.execute("select v from v").rows == (("ä;b",),)
        with pytest.raises(UsageError):
            session.execute("delete from t")


def test_admin_has_neither_file_nor_super(admin: sql.Session) -> None:
    ((grants,),) = admin.execute("show grants").rows
    admin.close()
    given = {each.strip() for each in grants.partition(" ON ")[0].removeprefix("GRANT ").split(",")}
    assert "WITH GRANT OPTION" in grants
    assert given.isdisjoint({"FILE", "SUPER", "SHUTDOWN", "SET USER", "CONNECTION ADMIN", "ALL PRIVILEGES"})


@pytest.mark.parametrize(
    "statement",
    [
        "select 1 into outfile '/tmp/byoc-outfile'",
        "load data infile '/etc/passwd' into table cluster.t",
        "load data local infile '/etc/passwd' into table cluster.t",
        "set global general_log_file = '/tmp/byoc-log'",
        "set global innodb_buffer_pool_size = 1",
        "grant file on *.* to admin@'%'",
        "grant super on *.* to admin@'%'",
        "create definer = byoc_internal@localhost procedure cluster.p() select 1",
        "install soname 'ha_connect'",
        "create function f returns string soname 'lib_mysqludf_sys.so'",
        "shutdown",
    ],
)
def test_admin_is_refused(admin: sql.Session, statement: str) -> None:
    with admin:
        admin.execute("create table cluster.t (a text)")
        with pytest.raises((UsageError, NotAuthenticated)):
            admin.execute(statement)


def test_there_is_nobody_else(admin: sql.Session, port: int) -> None:
    with admin:
        users = admin.execute("select user, host from mysql.user order by user").rows
        databases = {name for (name,) in admin.execute("show databases").rows}
    assert users == (
        ("admin", "%"),
        ("byoc_internal", "localhost"),
        ("byoc_probe", "127.0.0.1"),
        ("mariadb.sys", "localhost"),
    )
    assert "cluster" in databases
    assert "test" not in databases
    for user in ("", "root"):
        with pytest.raises(NotAuthenticated):
            sql.connect(port=port, user=user)


def test_an_admin_who_makes_a_super_user_still_touches_no_file_outside(
    admin: sql.Session, port: int, short_path: Path
) -> None:
    prey, trap = short_path / "prey", short_path / "trap"
    prey.write_text("secret of the machine")
    with admin:
        admin.execute("rename user byoc_internal@localhost to intruder@'%'")
        admin.execute("alter user intruder@'%' identified by 'mine'")
    with sql.connect(port=port, user="intruder", password="mine") as intruder:
        for statement in (f"set global general_log_file = '{trap}'", "set global general_log = 1"):
            try:
                intruder.execute(statement)
            except ByocError:
                continue
        assert intruder.execute(f"select load_file('{prey}')").rows == ((None,),)
        with pytest.raises(UsageError):
            intruder.execute(f"select 1 into outfile '{trap}'")
        intruder.execute(f"create table cluster.d (a int) data directory = '{short_path}'")
    assert trap.exists() is not confine.available()
    assert sorted(each.name for each in short_path.iterdir() if each.is_dir()) == ["template", "volumes"]


@pytest.fixture
def intruder(admin: sql.Session, port: int) -> Iterator[sql.Session]:
    """Somebody who was ``admin`` and has taken over the account that may do everything."""
    with admin:
        admin.execute("rename user byoc_internal@localhost to intruder@'%'")
        admin.execute("alter user intruder@'%' identified by 'mine'")
    with sql.connect(port=port, user="intruder", password="mine") as session:
        yield session


def test_an_admin_who_makes_a_super_user_loads_no_library(intruder: sql.Session) -> None:
    ((writable,),) = intruder.execute("select @@secure_file_priv").rows
    intruder.execute(f"select 0x7f454c46 into dumpfile '{writable}evil.so'")
    for statement in ("create function evil returns integer soname 'evil.so'", "install soname 'evil'"):
        with pytest.raises(UsageError, match="No such file or directory"):
            intruder.execute(statement)


@pytest.mark.parametrize("name", ["volume.json", "run.json", "init.sql"])
async def test_an_admin_who_makes_a_super_user_does_not_touch_what_the_cell_remembers(
    intruder: sql.Session, runtime: LocalRuntime, running: WorkspaceSpec, cell: Path, name: str
) -> None:
    kept = cell / "volumes" / running.id / name
    before = kept.read_bytes()
    intruder.execute(f"set global general_log_file = '{kept}'")
    with contextlib.suppress(ByocError):
        intruder.execute("set global general_log = 1")
    assert (kept.read_bytes() == before) is confine.available()
    kept.write_bytes(before)
    assert (await runtime.observe(running.id)).exists


async def test_our_account_taken_away_is_made_anew_when_it_is_needed(
    runtime: LocalRuntime, running: WorkspaceSpec, admin: sql.Session, port: int
) -> None:
    with admin:
        admin.execute("drop user byoc_internal@localhost")
        admin.execute("drop user byoc_probe@'127.0.0.1'")
    assert (await runtime.observe(running.id)).sql_ready
    await walk(runtime, running, Secrets(2, "second"))
    assert (await runtime.observe(running.id)).password_version == 2
    with sql.connect(port=port, password="second") as session:
        session.ping()


async def test_a_password_change_ends_the_old_one_and_brings_a_dropped_admin_back(
    runtime: LocalRuntime, running: WorkspaceSpec, secrets: Secrets, admin: sql.Session, port: int
) -> None:
    with admin:
        list(admin.run("drop database cluster; drop user admin@'%'"))
    await runtime.act(running, Action.SET_PASSWORD, Secrets(2, "second"))
    with pytest.raises(NotAuthenticated):
        sql.connect(port=port, password=secrets.password)
    with sql.connect(port=port, password="second") as session:
        assert ("cluster",) not in session.execute("show databases").rows
        session.execute("create database again")


async def test_no_password_is_in_any_file_but_the_volumes_own_record(
    running: WorkspaceSpec, secrets: Secrets, runtime: LocalRuntime, cell: Path
) -> None:
    await walk(runtime, running, Secrets(2, "a-password-to-look-for"))
    for path in (cell / "volumes").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"a-password-to-look-for" not in content, path
            assert secrets.password.encode() not in content, path
    record = cell / "volumes" / running.id / "volume.json"
    assert record.stat().st_mode & 0o077 == 0
    assert (cell / "volumes" / running.id / "init.sql").stat().st_mode & 0o077 == 0
