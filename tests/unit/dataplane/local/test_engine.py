"""Finding an engine: programs are scripts that say a version."""

from pathlib import Path

import pytest

from byoc.dataplane.local import engine

DEBIAN = "mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)"
MYSQL = "mysqld  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)"


def put(folder: Path, says: str, name: str = "mariadbd") -> Path:
    """A server below ``folder``, with its scripts where packages put them."""
    program = folder / "sbin" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    share = folder / "share" / "mysql"
    share.mkdir(parents=True, exist_ok=True)
    (share / "mysql_system_tables.sql").touch()
    return program


def environment(*folders: Path, cache: Path = Path("/nonexistent")) -> dict[str, str]:
    return {"PATH": ":".join(map(str, folders)), "XDG_CACHE_HOME": str(cache), "HOME": "/nonexistent"}


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_FOLDERS", ())


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (DEBIAN, (10, 11, 6)),
        ("mariadbd  Ver 11.4.2-MariaDB for osx10.19 on arm64 (Homebrew)", (11, 4, 2)),
        ("/usr/libexec/mariadbd  Ver 10.6.18-MariaDB-log for Linux", (10, 6, 18)),
        (MYSQL, None),
        ("", None),
    ],
)
def test_only_mariadb_has_a_version(text: str, version: tuple[int, int, int] | None) -> None:
    assert engine.parse_version(text) == version


def test_the_first_usable_one_on_the_path_is_taken(tmp_path: Path) -> None:
    put(tmp_path / "old", "mariadbd  Ver 10.5.23-MariaDB")
    put(tmp_path / "liar", MYSQL)
    program = put(tmp_path / "good", DEBIAN)
    put(tmp_path / "later", DEBIAN)
    found = engine.find(environment(*(tmp_path / name / "sbin" for name in ("old", "liar", "good", "later"))))
    assert found is not None
    assert (found.program, found.version) == (program, "10.11.6")
    assert found.share == tmp_path / "good" / "share" / "mysql"


def test_a_mysqld_is_never_taken_whatever_it_says(tmp_path: Path) -> None:
    put(tmp_path, DEBIAN, name="mysqld")
    assert engine.find(environment(tmp_path / "sbin")) is None


def test_a_server_without_its_scripts_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, DEBIAN)
    (tmp_path / "share" / "mysql" / "mysql_system_tables.sql").unlink()
    assert engine.find(environment(tmp_path / "sbin")) is None


def test_a_program_that_breaks_is_passed_over(tmp_path: Path) -> None:
    broken = put(tmp_path, DEBIAN)
    broken.write_text("#!/nonexistent\n")
    assert engine.find(environment(tmp_path / "sbin")) is None


def test_a_link_into_a_cellar_leads_to_the_scripts(tmp_path: Path) -> None:
    program = put(tmp_path / "Cellar" / "mariadb" / "11.4.2", DEBIAN)
    linked = tmp_path / "homebrew" / "bin" / "mariadbd"
    linked.parent.mkdir(parents=True)
    linked.symlink_to(program)
    found = engine.find(environment(linked.parent))
    assert found is not None
    assert found.share.is_relative_to(tmp_path / "Cellar")


def test_folders_of_packages_are_looked_at_after_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = put(tmp_path, DEBIAN)
    monkeypatch.setattr(engine, "_FOLDERS", (str(program.parent),))
    found = engine.find({"PATH": "/nonexistent"})
    assert found is not None
    assert found.program == program


def test_the_newest_finished_one_of_the_cache_is_the_last_resort(tmp_path: Path) -> None:
    for name, version in (("10.6.1-a", "10.6.1"), ("10.11.6-b", "10.11.6"), (".unpacking", "11.0.0")):
        root = tmp_path / "byoc" / "engine" / name / "root"
        put(root / "usr", f"mariadbd  Ver {version}-MariaDB")
        library = root / "usr" / "lib" / "libaio.so.1"
        library.parent.mkdir()
        library.touch()
    found = engine.find(environment(cache=tmp_path))
    assert found is not None
    assert found.version == "10.11.6"
    assert found.libraries == (tmp_path / "byoc/engine/10.11.6-b/root/usr/lib",)
    assert found.root == tmp_path / "byoc/engine/10.11.6-b/root"


def test_an_engine_is_told_none_of_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOC_TOKEN", "secret")
    assert set(engine.process_environment(())) <= {"PATH", "TZ", "TMPDIR"}
    assert engine.process_environment((Path("/a"), Path("/b")))["LD_LIBRARY_PATH"] == "/a:/b"


@pytest.mark.parametrize(
    ("version", "other", "older"),
    [
        ("10.6.9", "10.11.2", True),
        ("10.11.1", "10.11.2", False),
        ("11.4.0", "10.11.2", False),
        ("9.9.9", "10.0.0", True),
    ],
)
def test_engines_are_compared_by_series(version: str, other: str, older: bool) -> None:
    assert engine.is_older(version, other) is older
