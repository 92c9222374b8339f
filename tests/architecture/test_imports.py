"""Who imports what: layers, library homes, and what a process must not even load."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import byoc
from tests.architecture import tree

HEAVY = {"pulumi", "boto3", "fastapi", "starlette", "uvicorn", "sqlalchemy", "pydantic", "rich", "httpx2"}
CLI_MUST_NOT = {"pulumi", "boto3", "fastapi", "sqlalchemy", "pydantic", "httpx2", "uvicorn", "websockets"}
CLI_MUST_NOT |= {"email", "zipfile"}  # what reading the distribution's own facts brings along


def _loaded(modules: list[str]) -> set[str]:
    """Import ``modules`` in a fresh Python; return the top-level packages it then holds."""
    code = (
        f"import sys, json, importlib; [importlib.import_module(m) for m in {modules!r}]; "
        "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(ended.stdout))


def _modules(*folders: str) -> list[str]:
    files = [path for folder in folders for path in tree.product() if tree.name(path).startswith(folder)]
    return [".".join(Path(tree.name(path)).with_suffix("").parts).removesuffix(".__init__") for path in files]


def test_the_command_line_starts_without_what_is_slow() -> None:
    assert sorted(CLI_MUST_NOT & _loaded(["byoc_cli.main"])) == []


def test_the_agent_loads_nothing_of_the_control_plane() -> None:
    modules = _modules("byoc/dataplane/")
    in_cluster = [each for each in modules if each.startswith("byoc.dataplane.kubernetes")]
    elsewhere = [each for each in modules if each not in in_cluster]
    assert in_cluster
    assert elsewhere
    assert sorted(HEAVY & _loaded(elsewhere)) == []
    # The cluster's client brings its own HTTP.
    assert sorted(HEAVY & _loaded(in_cluster)) == ["httpx2"]


def test_the_gateway_loads_nothing_of_the_control_plane() -> None:
    modules = _modules("byoc/nimbus/")
    assert modules
    assert sorted(HEAVY & _loaded(modules)) == []


# The second line: what others load where it happens to be installed.
_WIRE = {"annotated_doc", "cryptography", "h11", "jwt", "structlog", "typer", "websockets"}
_WIRE |= {"_cffi_backend", "_distutils_hack", "orjson", "shellingham"}
_API = {
    "annotated_types",
    "anyio",
    "attr",
    "attrs",
    "cattrs",
    "click",
    "fastapi",
    "joserfc",
    "opentelemetry",
    "prometheus_client",
}
_API |= {
    "pydantic",
    "pydantic_core",
    "sqlalchemy",
    "starlette",
    "typing_extensions",
    "typing_inspection",
    "uvicorn",
}
SERVERS = {"byoc.nimbus.serve": _WIRE, "byoc.controlplane.serve": _WIRE | _API}
NO_SERVER_NEEDS = {"alembic", "sqlalchemy.dialects.postgresql", "sqlalchemy.orm"}
"""Parts of what is loaded or may be, each of them megabytes."""


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_loads_what_it_serves_with_and_no_more(server: str) -> None:
    code = (
        f"import sys, json, byoc.log, byoc_cli.main, {server}; "
        "print(json.dumps([[n, getattr(m, '__file__', None) or ''] for n, m in sys.modules.items()]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = dict(json.loads(ended.stdout))
    others = {name.partition(".")[0] for name, file in loaded.items() if "-packages" in file}
    assert sorted(others - {"byoc", "byoc_cli"} - SERVERS[server]) == []
    assert sorted(NO_SERVER_NEEDS & set(loaded)) == []


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert byoc.__version__ == project["version"]


@pytest.mark.parametrize("folder", ["byoc/model/", "byoc/embedded/"])
def test_a_light_package_stays_light(folder: str) -> None:
    assert sorted(HEAVY & _loaded(_modules(folder))) == []


def test_layers_and_library_homes_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    ended = subprocess.run(command, cwd=tree.ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
