"""What a repository's CI runs: plain ``pulumi`` on the project of this clone, without byoc's commands."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from byoc.bootstrap.engine.find import Pulumi
from byoc.cell.config import from_mapping
from byoc.cell.plan import make_plan
from tests.emulated.account import Account, serving
from tests.emulated.plugins import ROOT, lay_language_host, lay_plugins

NO_CHANGES_EXPECTED = 7
"""Exit code of ``--expect-no-changes`` where there are some."""


@dataclass
class Checkout:
    """A copy of the project, an empty account, and the engine as somebody installed it."""

    folder: Path
    binary: Path
    account: Account

    def pulumi(self, *words: str, code: int = 0) -> str:
        """Run one command of the engine and return what it prints."""
        environment: Mapping[str, str] = {
            "HOME": str(self.folder),
            "PATH": os.defpath,
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "of a test",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "1",
            "PULUMI_DISABLE_REGISTRY_RESOLVE": "1",
            **self.account.environment,
        }
        ended = subprocess.run(
            [self.binary, *words, "--non-interactive", "--color", "never"],
            cwd=self.folder / "project",
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=200,
            check=False,
        )
        assert ended.returncode == code, f"{ended.returncode}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
        return ended.stdout

    def edit(self, old: str, new: str) -> None:
        """Change the stack's settings."""
        file = self.folder / "project/Pulumi.example.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@pytest.fixture
def checkout(engine: Pulumi, short_path: Path) -> Iterator[Checkout]:
    project = short_path / "project"
    for name in ("Pulumi.yaml", "Pulumi.example.yaml"):
        project.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, project)
    shutil.copytree(ROOT / "stacks", project / "stacks")
    (short_path / "state").mkdir()
    # The engine looks for its language hosts beside its own file, links followed.
    binary = short_path / "bin/pulumi"
    binary.parent.mkdir()
    shutil.copy(engine.path, binary)
    lay_language_host(binary.parent)
    lay_plugins(short_path / "home")
    with serving() as account:
        made = Checkout(short_path, binary, account)
        made.pulumi("stack", "init", "example")
        yield made


def test_a_preview_shows_the_very_resources_of_the_plan(checkout: Checkout) -> None:
    shown = json.loads(checkout.pulumi("preview", "--stack", "example", "--json"))
    created = [step["urn"].split("::")[2:] for step in shown["steps"] if step["op"] == "create"]
    planned = make_plan(from_mapping(EXAMPLE)).recording.resources
    kinds = sorted((kind.rpartition("$")[2], name) for kind, name in created if "pulumi:" not in kind)
    assert kinds == sorted((each.kind, each.name) for each in planned)
    assert len(kinds) > 100


def test_a_change_of_a_setting_is_previewed_and_a_wrong_one_refused(checkout: Checkout) -> None:
    checkout.pulumi("preview", "--stack", "example", "--expect-no-changes", code=NO_CHANGES_EXPECTED)
    checkout.edit("byoc:name: main", "byoc:name: Main")
    said = checkout.pulumi("preview", "--stack", "example", code=1)
    assert "a cell cannot be called `Main`" in said
    assert "Traceback" not in said


def test_the_policy_pack_lets_the_cell_through_and_stops_an_open_port(checkout: Checkout) -> None:
    pack = checkout.folder / "launch"
    folder = checkout.folder / "project/stacks/policies"
    # An installed Pulumi runs the folder by its own host; the engine built here is given a launcher.
    pack.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{ROOT}"\n'
        f'exec "{sys.executable}" -u -m pulumi.policy "$1" "{folder}"\n'
    )
    pack.chmod(0o755)
    words = ("preview", "--stack", "example", "--policy-pack", str(pack))
    checkout.pulumi(*words)
    program = checkout.folder / "project/stacks/cell/__main__.py"
    program.write_text(f"{program.read_text()}\n{OPEN}")
    said = checkout.pulumi(*words, code=1)
    assert "mandatory" in said
    assert "0.0.0.0/0" in said


OPEN = """
import pulumi_aws as aws

aws.vpc.SecurityGroupIngressRule(
    "opened", security_group_id="sg-1", ip_protocol="tcp", from_port=22, to_port=22, cidr_ipv4="0.0.0.0/0"
)
"""
EXAMPLE = {
    "name": "main",
    "account": "123456789012",
    "region": "eu-west-1",
    "zones": ["eu-west-1a", "eu-west-1b", "eu-west-1c"],
    "kubernetes": "1.34",
    "amiRelease": "1.34.7-20260512",
    "addons": {
        "aws-ebs-csi-driver": "v1.63.0-eksbuild.1",
        "coredns": "v1.13.2-eksbuild.11",
        "eks-pod-identity-agent": "v1.3.10-eksbuild.3",
        "external-dns": "v0.21.0-eksbuild.1",
        "kube-proxy": "v1.34.6-eksbuild.21",
        "vpc-cni": "v1.22.4-eksbuild.3",
    },
    "gatewayUrl": "wss://gateway.example/nimbus/v1",
    "agentRepository": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/byoc-agent",
    "agentDigest": f"sha256:{'0' * 64}",
}
"""The settings of Pulumi.example.yaml."""
