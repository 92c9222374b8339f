"""Getting an engine by the machine's own apt, from a repository of two small packages."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from byoc.dataplane.local import engine as engines
from byoc.dataplane.local import install
from byoc.dataplane.local.engine import cached, find
from byoc.errors import PreconditionFailed

VERSION = "mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu"
Environment = dict[str, str]


def build(folder: Path, name: str, files: dict[str, str], depends: str = "") -> str:
    """Build a package in ``folder``; returns what a package list says of it."""
    tree = folder / f"{name}-tree"
    control = f"Package: {name}\nVersion: 1:10.11.6-1\nArchitecture: all\nMaintainer: t <t@example.org>\n"
    control += f"Description: a test\n{f'Depends: {depends}' if depends else 'Section: misc'}\n"
    for path, content in {"DEBIAN/control": control, **files}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(content)
        (tree / path).chmod(0o755)
    archive = folder / f"{name}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", tree, archive],  # noqa: S607
        check=True,
        stdout=subprocess.DEVNULL,
    )
    content = archive.read_bytes()
    return (
        f"{control}Filename: ./{archive.name}\nSize: {len(content)}\n"
        f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
    )


@pytest.fixture
def repository(short_path: Path) -> Path:
    folder = short_path / "repository"
    folder.mkdir()
    server = {
        "usr/sbin/mariadbd": f"#!/bin/sh\necho '{VERSION}'\n",
        "usr/share/mysql/mysql_system_tables.sql": "",
    }
    lists = [
        build(folder, "mariadb-server-core", server, depends="libengine1"),
        build(folder, "libengine1", {"usr/lib/libengine.so.1": ""}),
    ]
    (folder / "Packages").write_text("\n".join(lists))
    return folder


@pytest.fixture
def environment(short_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A machine that has apt, our repository, no package installed, and no engine."""
    monkeypatch.setattr(engines, "_FOLDERS", ())
    status, sources, config = (short_path / name for name in ("status", "sources.list", "apt.conf"))
    status.touch()
    sources.write_text(f"deb [trusted=yes] copy:{repository} ./\n")
    config.write_text(
        f'Dir::State::status "{status}";\nDir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "-";\n'
    )
    tools = short_path / "bin"
    tools.mkdir()
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    return {
        "PATH": f"{tools}:/bin",
        "APT_CONFIG": str(config),
        "XDG_CACHE_HOME": str(short_path / "cache"),
        "HOME": str(short_path),
    }


@pytest.fixture
def cache(environment: Environment) -> Path:
    folder = engines.cache_folder(environment)
    folder.mkdir(parents=True)
    return folder


def test_the_packages_and_what_they_need_are_unpacked_into_the_cache(
    environment: Environment, cache: Path
) -> None:
    said: list[str] = []
    install.unpack(cache, environment, said.append)
    found = find(environment)
    assert found is not None
    assert found.version == "10.11.6"
    assert found.root is not None
    assert found.program == found.root / "usr/sbin/mariadbd"
    assert found.libraries == (found.root / "usr/lib",)
    assert [each.name for each in cache.iterdir()] == [found.root.parent.name]
    assert found.root.parent.name.startswith("10.11.6-")
    assert any("fetching" in line for line in said)


def test_the_same_packages_have_the_same_name(environment: Environment, cache: Path) -> None:
    install.unpack(cache, environment, lambda _: None)
    install.unpack(cache, environment, lambda _: None)
    assert len(cached(environment)) == 1


def test_what_a_kill_left_is_gone_on_with(environment: Environment, cache: Path) -> None:
    for left in (".unpacking/root/usr/sbin", ".download/cache/archives/partial"):
        (cache / left).mkdir(parents=True)
    (cache / ".unpacking/root/usr/sbin/mariadbd").write_text("half")
    (cache / ".download/cache/archives/partial/mariadb-server-core_x.deb").write_text("half")
    assert find(environment) is None
    install.unpack(cache, environment, lambda _: None)
    assert find(environment) is not None


def test_an_engine_that_does_not_run_never_gets_a_name(
    environment: Environment, cache: Path, repository: Path
) -> None:
    broken = {"usr/sbin/mariadbd": "#!/nonexistent\n", "usr/share/mysql/mysql_system_tables.sql": ""}
    (repository / "Packages").write_text(build(repository, "mariadb-server-core", broken))
    with pytest.raises(PreconditionFailed, match="does not run"):
        install.unpack(cache, environment, lambda _: None)
    assert find(environment) is None


def test_a_repository_without_it_is_said(environment: Environment, cache: Path, repository: Path) -> None:
    (repository / "Packages").write_text("")
    with pytest.raises(PreconditionFailed, match=r"MariaDB 10\.6 or newer"):
        install.unpack(cache, environment, lambda _: None)


def test_a_repository_that_does_not_answer_is_said(environment: Environment, cache: Path) -> None:
    Path(environment["HOME"], "sources.list").write_text("deb [trusted=yes] copy:/nonexistent ./\n")
    with pytest.raises(PreconditionFailed, match="package lists"):
        install.unpack(cache, environment, lambda _: None)


def test_as_root_lists_are_renewed_only_when_they_do_not_serve(
    environment: Environment, short_path: Path
) -> None:
    tools = short_path / "bin"
    log, renewed, scripts_folder = (short_path / name for name in ("log", "renewed", "share/mysql"))
    scripts = {
        "apt-get": f"""echo "$@" >> {log}
            case "$1" in
            update) touch {renewed} ;;
            install) printf '#!/bin/sh\\necho "{VERSION}"\\n' > {tools}/mariadbd; chmod +x {tools}/mariadbd
                     mkdir -p {scripts_folder}; : > {scripts_folder}/mysql_system_tables.sql ;;
            esac""",
        "apt-cache": f"""test -e {renewed} || exit 0
            printf 'mariadb-server-core:\\n  Installed: (none)\\n  Candidate: 1:10.11.6-1\\n'""",
    }
    for name, text in scripts.items():
        (tools / name).unlink()
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    install.install_by_apt(environment, lambda _: None)
    expected = ["update", "install --yes --no-install-recommends mariadb-server-core"]
    assert log.read_text().splitlines() == expected
    found = install.install(environment, lambda _: None)
    assert found.program == tools / "mariadbd"
    assert log.read_text().splitlines() == expected


def test_an_engine_that_is_here_is_not_got_again(environment: Environment) -> None:
    said: list[str] = []
    found = install.install({**environment, "PATH": os.environ["PATH"] + ":/usr/sbin"}, said.append)
    assert found.number >= (10, 6)
    assert said == [f"MariaDB {found.version} is here: {found.program}"]
