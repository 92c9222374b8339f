"""Workflows, ours and the example's: pinned, with few rights, and every command in them exists."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]  # a part of what Pulumi brings along

from byoc.bootstrap.state import bucket_name
from byoc_cli.main import build
from tests.architecture import tree

RELEASE = tree.ROOT / ".github" / "workflows" / "release.yml"
PREVIEW = tree.ROOT / "docs" / "examples" / "preview.yml"
WORKFLOWS = [*sorted((tree.ROOT / ".github" / "workflows").glob("*.yml")), PREVIEW]
RIGHTS = {"contents", "packages", "id-token", "attestations", "artifact-metadata", "pull-requests"}
OUR_PROGRAMS = re.compile(r"(?<![\w$/.-])(?:\.ci|images|scripts)/[\w/.-]+")
LOCKS = re.compile(r"requirements[\w-]*\.lock")


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def _jobs(path: Path) -> dict[str, dict[str, Any]]:
    return _read(path)["jobs"]


def _steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in _jobs(path).values():
        yield from job["steps"]


def _shell(path: Path) -> str:
    return "\n".join(step["run"] for step in _steps(path) if "run" in step)


def _lines(path: Path) -> list[list[str]]:
    """Every command of the workflow as words; pipes and redirections end one."""
    text = re.sub(r"\\\n\s*", " ", _shell(path))
    parts = re.split(r"\n|\|\|?|&&|;|\$\(|\(|\)", text)
    found = []
    for part in parts:
        try:
            words = shlex.split(part.partition(" > ")[0], comments=True)
        except ValueError:
            continue
        if words:
            found.append(words)
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=tree.name)
def test_every_action_is_pinned_by_commit_and_says_its_version(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: *(.*)", text)
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+", each)] == []


def test_one_action_has_one_version_everywhere() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    used = set(re.findall(r"uses: *(\S+)@(\S+) # (\S+)", text))
    assert len({name for name, _, _ in used}) == len(used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=tree.name)
def test_a_job_has_only_the_rights_that_it_names(path: Path) -> None:
    assert _read(path)["permissions"] == {}
    for job in _jobs(path).values():
        assert job["permissions"].keys() <= RIGHTS
        assert "timeout-minutes" in job
    writers = [name for name, job in _jobs(path).items() if job["permissions"].get("contents") == "write"]
    assert writers == (["page"] if path == RELEASE else [])


def test_who_publishes_runs_nothing_of_the_tree_and_is_approved() -> None:
    publish = _jobs(RELEASE)["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"] == "publish"
    assert [step for step in publish["steps"] if "run" in step or "checkout" in step["uses"]] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=tree.name)
def test_no_workflow_keeps_a_secret_or_hands_its_token_to_the_tree(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "secrets." not in text
    assert "pull_request_target" not in text
    checkouts = [step for step in _steps(path) if "checkout" in step.get("uses", "")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("path", WORKFLOWS, ids=tree.name)
def test_nothing_that_somebody_named_is_pasted_into_a_shell(path: Path) -> None:
    assert "${{" not in _shell(path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=tree.name)
def test_what_a_workflow_runs_is_sound_shell(path: Path) -> None:
    for step in _steps(path):
        if "run" in step:
            command = ["bash", "-n"]
            ended = subprocess.run(command, input=step["run"], text=True, capture_output=True, check=False)
            assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=tree.name)
def test_every_file_that_a_workflow_names_exists(path: Path) -> None:
    text = _shell(path)
    named = {*OUR_PROGRAMS.findall(text), *LOCKS.findall(text)}
    assert named
    assert [each for each in named if not (tree.ROOT / each).exists()] == []


def test_every_command_of_the_example_exists_with_its_options() -> None:
    called = [words for words in _lines(PREVIEW) if Path(words[0]).name == "byoc"]
    assert {" ".join(words[1:3]) for words in called} == {"cell permissions"}
    for words in called:
        node: Any = typer.main.get_command(build())
        options = {name for each in node.params for name in each.opts} | {"-o", "--output"}
        rest = words[1:]
        while rest and rest[0] in getattr(node, "commands", {}):
            node = node.commands[rest.pop(0)]
        options |= {name for each in node.params for name in each.opts}
        assert not hasattr(node, "commands"), words
        assert {word for word in rest if word.startswith("-")} <= options


def test_the_example_runs_the_policy_pack_in_a_plain_preview_by_the_tested_pulumi() -> None:
    (preview,) = (words for words in _lines(PREVIEW) if words[:2] == ["pulumi", "preview"])
    assert preview[preview.index("--policy-pack") + 1] == "stacks/policies"
    assert "--non-interactive" in preview
    # `tee` alone would pass whatever the policy pack refuses.
    assert "set -o pipefail" in next(step["run"] for step in _steps(PREVIEW) if "tee" in step.get("run", ""))
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pin,) = (each for each in project["dependencies"] if each.startswith("pulumi=="))
    (engine,) = (step for step in _steps(PREVIEW) if step.get("uses", "").startswith("pulumi/actions"))
    assert f"pulumi=={engine['with']['pulumi-version']}" == pin


def test_the_example_finds_the_state_where_bootstrap_keeps_it() -> None:
    said = _read(PREVIEW)["env"]
    account = said["ROLE"].split(":")[4]
    region = next(step["with"]["aws-region"] for step in _steps(PREVIEW) if "aws" in step.get("uses", ""))
    assert said["PULUMI_BACKEND_URL"] == f"s3://{bucket_name(account, region)}?region={region}"


def test_the_example_never_gives_its_role_to_a_fork() -> None:
    (job,) = _jobs(PREVIEW).values()
    assert job["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
    assert job["permissions"] == {"contents": "read", "id-token": "write", "pull-requests": "write"}


def test_a_release_has_each_image_for_each_architecture_before_the_wheel_names_them() -> None:
    jobs = _jobs(RELEASE)
    roles = sorted(each.parent.name for each in (tree.ROOT / "images").glob("*/Containerfile"))
    matrix = jobs["image"]["strategy"]["matrix"]
    assert matrix["role"] == jobs["index"]["strategy"]["matrix"]["role"] == roles
    assert {each["architecture"]: each["machine"] for each in matrix["include"]} == {
        "amd64": "ubuntu-24.04",
        "arm64": "ubuntu-24.04-arm",
    }
    order = [("image", "check"), ("index", "image"), ("package", "index"), ("publish", "package")]
    assert [jobs[job]["needs"] for job, _ in order] == [before for _, before in order]
    steps = [step.get("run", "") for step in jobs["package"]["steps"]]
    written = next(number for number, text in enumerate(steps) if "scripts/digests" in text)
    built = next(number for number, text in enumerate(steps) if "hatchling build" in text)
    assert written < built


def test_all_that_is_released_says_what_it_was_built_from() -> None:
    jobs = _jobs(RELEASE)
    attested = {
        name: step["with"]
        for name, job in jobs.items()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/attest@")
    }
    assert attested["package"] == {"subject-path": "dist/*"}
    assert attested["index"]["subject-digest"] == "${{ steps.index.outputs.digest }}"
    assert attested.keys() == {"package", "index"}
    assert all(jobs[name]["permissions"]["attestations"] == "write" for name in attested)


def test_what_is_pinned_is_proposed_anew() -> None:
    updates = _read(tree.ROOT / ".github" / "dependabot.yml")["updates"]
    folders = [name for each in updates for name in each.get("directories", [each.get("directory")])]
    assert {
        f"/{each.parent.relative_to(tree.ROOT)}" for each in tree.ROOT.glob("images/*/Containerfile")
    } <= set(folders)
    assert all((tree.ROOT / name.strip("/")).is_dir() for name in folders)
