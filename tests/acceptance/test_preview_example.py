"""The example that previews a pull request: its step about rights, run as written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # a part of what Pulumi brings along

from tests.acceptance.people import BYOC

ROOT = Path(__file__).parents[2]
KEY = '  byoc:keyArn: "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A pull request's clone with that of its base inside, both with byoc installed and the same stack."""
    for folder in (tmp_path / "clone", tmp_path / "clone" / "before"):
        (folder / ".venv" / "bin").mkdir(parents=True)
        for name, program in (("byoc", BYOC), ("python", sys.executable)):
            wrapper = folder / ".venv" / "bin" / name
            wrapper.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            wrapper.chmod(0o755)
        shutil.copy(ROOT / "Pulumi.example.yaml", folder / "Pulumi.main.yaml")
    return tmp_path / "clone"


def _run(clone: Path) -> tuple[int, str]:
    """Run the step as a runner does; return its exit code and what would be posted."""
    steps = yaml.safe_load((ROOT / "docs/examples/preview.yml").read_text())["jobs"]["preview"]["steps"]
    (step,) = (each["run"] for each in steps if "cell permissions" in each.get("run", ""))
    posted = clone.parent / "permissions.txt"
    environment = {
        "STACK": "main",
        "RUNNER_TEMP": str(clone.parent),
        "PATH": "/usr/bin:/bin",
        "HOME": str(clone),
    }
    ended = subprocess.run(["bash", "-e", "-c", step], cwd=clone, env=environment, check=False)  # noqa: S607
    return ended.returncode, posted.read_text() if posted.exists() else ""


def test_a_change_of_rights_is_posted_and_fails_nothing(clone: Path) -> None:
    with (clone / "Pulumi.main.yaml").open("a") as settings:
        settings.write(KEY)
    code, posted = _run(clone)
    assert code == 0
    assert "- kms:PutKeyPolicy" in posted


def test_a_new_cell_has_all_its_rights_posted(clone: Path) -> None:
    (clone / "before" / "Pulumi.main.yaml").unlink()
    code, posted = _run(clone)
    assert code == 0
    assert "kms:CreateKey" in posted


def test_settings_that_make_no_cell_fail_it(clone: Path) -> None:
    with (clone / "Pulumi.main.yaml").open("a") as settings:
        settings.write("  byoc:nat: sometimes\n")
    code, posted = _run(clone)
    assert (code, posted) == (1, "")
