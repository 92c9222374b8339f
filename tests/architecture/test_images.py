"""Images hold what their processes import and no more, run as nobody, and are pinned by digest."""

import fnmatch
import re
import shlex
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from byoc.cell.manifests import bundle
from tests.architecture import closure, tree
from tests.architecture.containerfile import Stage, stages
from tests.unit.cell.examples import cell

IMAGES = tree.ROOT / "images"
ROLES = {"agent": closure.AGENT, "controlplane": closure.CONTROL_PLANE}
NOT_IN_AN_IMAGE = {
    "pulumi",
    "pulumi-aws",
    "pulumi-kubernetes",
    "pulumi-policy",
    "grpcio",
}
OPERATE = tree.ROOT / "cli" / "byoc_cli" / "operate.py"
COMMANDS = {
    "agent": ("agent_run", "agent_ship_ledger", "_on_this_machine", "_in_a_cluster"),
    "controlplane": (
        "controlplane_init",
        "controlplane_rotate_key",
        "_signing_key",
        "controlplane_serve",
        "controlplane_migrate",
        "gateway_serve",
    ),
}


def _project() -> dict[str, Any]:
    return tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ;]", each, maxsplit=1)[0].lower() for each in requirements}


def _pins(lock: str) -> dict[str, str]:
    text = (tree.ROOT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def _distributions(packages: set[str]) -> set[str]:
    known = packages_distributions()
    return {name.lower().replace("_", "-") for package in packages for name in known[package]}


def _last(role: str) -> Stage:
    return stages(IMAGES / role / "Containerfile")[-1]


def _container() -> tuple[dict[str, Any], dict[str, Any]]:
    """The agent's container and its pod's security, as the cell's manifests have them."""
    sets = [each for each in bundle(cell()).objects if each["kind"] == "StatefulSet"]
    assert len(sets) == 1
    pod = sets[0]["spec"]["template"]["spec"]
    return pod["containers"][0], pod["securityContext"]


@pytest.mark.parametrize("role", ROLES)
def test_the_entries_are_what_the_commands_import(role: str) -> None:
    asked = set().union(*(closure.lazily_imported(OPERATE, name) for name in COMMANDS[role]))
    assert asked <= closure.reachable(ROLES[role])[0]


@pytest.mark.parametrize("role", ROLES)
def test_an_image_holds_exactly_the_dependencies_that_its_processes_can_import(role: str) -> None:
    imported = _distributions(closure.reachable(ROLES[role])[1])
    needed = imported & _names(_project()["project"]["dependencies"])
    # The command line that starts them.
    needed |= {"typer", "rich"}
    assert _names(_project()["dependency-groups"][role]) == needed
    assert imported <= set(_pins(f"requirements-{role}.lock"))


def test_no_image_holds_what_makes_a_cell_and_the_agents_nothing_of_a_control_plane() -> None:
    for role in ROLES:
        assert not NOT_IN_AN_IMAGE & set(_pins(f"requirements-{role}.lock"))
    assert not {"sqlalchemy", "fastapi", "uvicorn", "alembic"} & set(_pins("requirements-agent.lock"))


@pytest.mark.parametrize("role", [*ROLES, "build"])
def test_what_is_in_an_image_is_what_was_tested(role: str) -> None:
    tested = _pins("requirements-dev.lock")
    assert _pins(f"requirements-{role}.lock").items() <= tested.items()


@pytest.mark.parametrize("role", ROLES)
def test_an_image_starts_from_one_base_named_by_digest(role: str) -> None:
    base, *others = stages(IMAGES / role / "Containerfile")
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim-\w+@sha256:[0-9a-f]{64}", base.base)
    assert {each.base for each in others} == {base.name}
    assert base.base == stages(IMAGES / "agent" / "Containerfile")[0].base


@pytest.mark.parametrize("role", ROLES)
def test_an_image_runs_as_the_user_of_the_manifest(role: str) -> None:
    _, security = _container()
    assert security["runAsNonRoot"] is True
    assert _last(role).the("USER") == f"{security['runAsUser']}:{security['runAsGroup']}"
    chowned = [text for text in _last(role).all("COPY") if "--chown" in text]
    assert [shlex.split(text)[1] for text in chowned] == [f"--chown={_last(role).the('USER')}"]


def test_the_agents_image_starts_what_the_manifest_starts() -> None:
    container, _ = _container()
    image = _last("agent")
    assert [*image.argv("ENTRYPOINT"), *image.argv("CMD")] == container["command"]


def test_the_agents_image_has_the_environment_of_the_manifest() -> None:
    container, _ = _container()
    said = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    ours = _last("agent").pairs("ENV")
    assert said["HOME"] == ours["HOME"]
    assert said["PYTHONUNBUFFERED"] == ours["PYTHONUNBUFFERED"]
    assert ours["PATH"].split(":")[0] == "/opt/byoc/bin"


def test_the_check_of_the_control_planes_health_asks_the_port_it_serves() -> None:
    image = _last("controlplane")
    port = image.argv("CMD")[-1]
    options, _, check = image.the("HEALTHCHECK").partition(" CMD ")
    assert image.the("EXPOSE") == port
    assert f"http://127.0.0.1:{port}/healthz" in check
    assert "--start-period" in options
    assert _last("agent").the("HEALTHCHECK") == "NONE"


@pytest.mark.parametrize("role", ROLES)
def test_what_is_copied_exists_and_is_sent_to_the_builder(role: str) -> None:
    (build,) = (each for each in stages(IMAGES / role / "Containerfile") if each.name == "build")
    sources = [source for text in build.all("COPY") for source in text.split()[:-1]]
    ignored = (tree.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for source in sources:
        assert (tree.ROOT / source).exists()
        assert any(fnmatch.fnmatch(source, pattern) for pattern in sent), source
    assert f"requirements-{role}.lock" in sources


@pytest.mark.parametrize("role", ROLES)
def test_an_image_is_built_by_the_script_that_is_tested_and_runs_no_shell_after(role: str) -> None:
    _, build, last = stages(IMAGES / role / "Containerfile")
    assert f'["sh", "images/install", "{role}", "/opt/byoc"]' in build.all("RUN")
    assert last.all("RUN") == []
    copied = {text.split()[-2] for text in last.all("COPY")}
    assert copied == {"/opt/byoc", "/var/lib/byoc"}
    assert all("--from=build" in text for text in last.all("COPY"))


@pytest.mark.parametrize("role", ROLES)
def test_an_image_takes_nothing_from_an_address_and_no_secret(role: str) -> None:
    found = stages(IMAGES / role / "Containerfile")
    text = (IMAGES / role / "Containerfile").read_text(encoding="utf-8") + (IMAGES / "install").read_text()
    assert not any(each.all("ADD") for each in found)
    assert re.findall(r"https?://(?!127\.0\.0\.1)\S+", text) == []
    assert re.findall(r"(?i)password|secret=|api[_-]?key|PIP_INDEX|index-url|trusted-host", text) == []
    assert {each.split("=")[0] for stage in found for each in stage.all("ARG")} == {
        "SOURCE_DATE_EPOCH",
        "VERSION",
        "REVISION",
        "SOURCE",
    }


@pytest.mark.parametrize("role", ROLES)
def test_an_image_says_what_it_is(role: str) -> None:
    labels = _last(role).pairs("LABEL")
    wanted = {"title", "description", "licenses", "version", "revision", "source"}
    assert labels.keys() == {f"org.opencontainers.image.{name}" for name in wanted}
    assert labels["org.opencontainers.image.licenses"] == _project()["project"]["license"]


def test_the_closure_sees_what_is_imported_late(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text("def work():\n    from byoc.store.sqlite import url_of\n    return url_of\n")
    assert closure.lazily_imported(file, "work") == {"byoc.store.sqlite"}
    assert "sqlalchemy" in closure.reachable(["byoc.store.sqlite"])[1]
