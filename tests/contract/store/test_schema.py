"""The schema: made by the migrations alone, equal to the tables that queries use, refused when newer."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import byoc.store
from byoc.errors import DataInUse, PreconditionFailed
from byoc.store import schema
from byoc.store.sqlite import open_store, url_of
from byoc.store.tables import METADATA

MIGRATIONS = Path(byoc.store.__file__).with_name("migrations")


def test_the_migrations_make_exactly_the_tables_that_queries_use(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite"
    schema.migrate(url_of(file))
    engine = create_engine(url_of(file))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_the_list_of_versions_is_that_of_the_migrations() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    found = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(found)) == schema.REVISIONS


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite"
    assert schema.migrate(url_of(file)) == schema.REVISIONS[-1]
    before = file.read_bytes()
    assert schema.migrate(url_of(file)) == schema.REVISIONS[-1]
    assert file.read_bytes() == before


def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite"
    schema.migrate(url_of(file))
    connection = sqlite3.connect(file)
    connection.execute("update alembic_version set version_num = '9999'")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    with pytest.raises(DataInUse) as refused:
        open_store(file)
    assert refused.value.exit_code == 5
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite"
    file.write_text("not a database at all, but long enough to be read as one" * 10)
    with pytest.raises(PreconditionFailed):
        open_store(file)


def _modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_only_its_owner_may_read_the_database(tmp_path: Path) -> None:
    store = open_store(tmp_path / "db.sqlite")
    await store.write(lambda _: None)
    modes = _modes(tmp_path)
    await store.close()
    assert modes == {0o600}


async def test_commits_are_on_disk_before_they_are_told(tmp_path: Path) -> None:
    store = open_store(tmp_path / "db.sqlite")
    raw = store._writer._raw
    settings = [
        raw.execute(f"pragma {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    ]
    await store.close()
    assert settings == ["wal", 2, 1]
