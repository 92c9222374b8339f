"""What is released: the wheel's content, the digests in it, and how an image gets pushed."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.people import Ran

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32
DOCKER = """#!/bin/sh
echo "$@" >> "$HOME/asked"
case "$*" in *inspect*) exit 1 ;; *--metadata-file*) ;; *) exit 0 ;; esac
while [ "$1" != --metadata-file ]; do shift; done
printf '{"containerimage.config.digest": "sha256:%064d",\\n "containerimage.digest": "DIGEST"}' 7 > "$2"
"""


def _build(folder: Path, clone: Path = ROOT, target: str = "wheel") -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    environment = {"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(command, cwd=clone, env=environment, check=True, capture_output=True)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return _build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a wheel is built from, to change."""
    clone = tmp_path / "clone"
    for name in ("byoc", "cli", "scripts", "images"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    return clone


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_product_and_none_besides(wheel: Path) -> None:
    sources = {
        file.relative_to(ROOT / base).as_posix()
        for base, package in ((".", "byoc"), ("cli", "byoc_cli"))
        for file in (ROOT / base / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in _names(wheel) if ".dist-info/" not in name} == sources


def test_the_wheel_holds_what_is_read_at_run_time(wheel: Path) -> None:
    names = _names(wheel)
    data = {file.relative_to(ROOT).as_posix() for file in (ROOT / "byoc" / "cell").glob("*.json")}
    assert {"byoc/cell/images.json", "byoc/cell/facts.json", "byoc/cell/prices.json"} <= data <= names
    assert {"byoc/cell/installer/handler.py", "byoc/cell/installer/api.py", "byoc/py.typed"} <= names
    assert any(name.startswith("byoc/store/migrations/versions/v0001") for name in names)


def test_the_wheel_puts_nothing_but_byoc_into_site_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in _names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"byoc", "byoc_cli"}
    assert len(tops) == 3


def test_neither_stacks_nor_cli_can_be_imported_where_the_wheel_is(wheel: Path) -> None:
    names = ["byoc", "byoc_cli", "cli", "stacks"]
    look = f"from importlib.util import find_spec; print([find_spec(n) is not None for n in {names}])"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(wheel)!r}); {look}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=wheel.parent,
    )
    assert ended.stdout.strip() == "[True, True, False, False]"


def test_the_same_tree_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert _build(tmp_path).read_bytes() == wheel.read_bytes()


def test_the_source_distribution_gives_the_same_files_as_the_tree(
    wheel: Path, copy: Path, tmp_path: Path
) -> None:
    made = _build(tmp_path / "sdist", copy, "sdist")
    with tarfile.open(made) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(tmp_path / "source")  # noqa: S202 - an archive of our own
    (source,) = (tmp_path / "source").iterdir()
    assert _names(_build(tmp_path / "again", source)) == _names(wheel)


def test_a_release_names_its_images_by_digest_in_the_wheel(copy: Path, tmp_path: Path) -> None:
    ran = _run(
        copy,
        "scripts/digests",
        f"agent=ghcr.io/byoc/agent@{DIGEST}",
        f"controlplane=ghcr.io/byoc/cp@{DIGEST}",
    )
    assert ran.code == 0, ran.err
    look = (
        "from byoc.cell.images import autoscaler, released_agent; from byoc.cell.config import from_mapping;"
        "print(released_agent().reference)"
    )
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(_build(tmp_path / 'dist', copy))!r}); {look}",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert ended.stdout == f"ghcr.io/byoc/agent@{DIGEST}\n"
    before: dict[str, Any] = json.loads((ROOT / "byoc/cell/images.json").read_text())
    after: dict[str, Any] = json.loads((copy / "byoc/cell/images.json").read_text())
    assert {name: row for name, row in after.items() if name in before} == before
    assert after.keys() - before.keys() == {"agent", "controlplane"}


@pytest.mark.parametrize(
    "bad", ["agent=ghcr.io/byoc/agent:1.0", "other=ghcr.io/a/b@" + DIGEST, f"agent=@{DIGEST}"]
)
def test_an_image_without_a_digest_is_not_released(copy: Path, bad: str) -> None:
    before = (copy / "byoc/cell/images.json").read_bytes()
    ran = _run(copy, "scripts/digests", f"agent=ghcr.io/byoc/agent@{DIGEST}", bad)
    assert ran.code == 2
    assert ran.err.startswith(f"error: `{bad}`")
    assert (copy / "byoc/cell/images.json").read_bytes() == before


def test_an_image_is_pushed_and_named_by_digest_as_bootstrap_takes_it(copy: Path) -> None:
    ran = _push(copy, "agent", "registry.example/byoc-agent")
    assert ran.code == 0, ran.err
    assert ran.out == f"registry.example/byoc-agent@{DIGEST}\n"
    asked = (copy / "home" / "asked").read_text().splitlines()
    create, build = asked[-2:]
    assert create.startswith("buildx create --name byoc")
    assert "@sha256:" in create
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"--file {copy}/images/agent/Containerfile --platform linux/amd64 " in build
    assert f"--build-arg VERSION={version} " in build
    assert f"name=registry.example/byoc-agent:{version}-" in build
    assert build.endswith(str(copy))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [((), 2, "a role and a repository"), (("other", "registry.example/x"), 2, "no role `other`")],
)
def test_what_cannot_be_pushed_is_said(copy: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    ran = _push(copy, *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "\n\nhint: " in ran.err


def test_without_docker_the_hint_says_what_to_install(copy: Path) -> None:
    ran = _push(copy, "agent", "registry.example/byoc-agent", docker="#!/bin/sh\nexit 1\n")
    assert ran.code == 9
    assert "buildx" in ran.err


def _push(clone: Path, *arguments: str, docker: str = DOCKER.replace("DIGEST", DIGEST)) -> Ran:
    """Run `images/push` in a commit of ``clone``, with a stand-in for docker."""
    (clone / "bin").mkdir()
    (clone / "home").mkdir()
    (clone / "bin" / "docker").write_text(docker)
    (clone / "bin" / "docker").chmod(0o755)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (
        ["init", "--quiet"],
        ["add", "pyproject.toml"],
        [*author, "commit", "--quiet", "-m", "first"],
    ):
        subprocess.run(["git", *command], cwd=clone, check=True, capture_output=True)  # noqa: S607
    return _run(clone, "images/push", *arguments)


def _run(clone: Path, program: str, *arguments: str) -> Ran:
    environment = {
        "PATH": f"{clone / 'bin'}:/usr/bin:/bin",
        "HOME": str(clone / "home"),
        "PYTHON": sys.executable,
    }
    ended = subprocess.run(
        [str(clone / program), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    return Ran(ended.returncode, ended.stdout, ended.stderr)
