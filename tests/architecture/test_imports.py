"""Who imports what: layers, library homes, and what a process must not even load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import tree

HEAVY = {"pulumi", "boto3", "fastapi", "starlette", "uvicorn", "sqlalchemy", "pydantic", "rich", "httpx2"}
CLI_MUST_NOT = {"pulumi", "boto3", "fastapi", "sqlalchemy", "pydantic", "httpx2", "uvicorn", "websockets"}


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


@pytest.mark.parametrize("folder", ["byoc/model/", "byoc/embedded/"])
def test_a_light_package_stays_light(folder: str) -> None:
    assert sorted(HEAVY & _loaded(_modules(folder))) == []


def test_layers_and_library_homes_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    ended = subprocess.run(command, cwd=tree.ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
