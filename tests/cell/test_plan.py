"""The plan of a cell, and the command that shows it without credentials, engine or network."""

import gc
import io
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from byoc.cell.config import to_mapping
from byoc.cell.foretold import UNKNOWN
from byoc.cell.plan import Plan, make_plan
from byoc_cli.context import Context
from byoc_cli.main import main
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, cell

ALONE = """
import socket, sys

def refuse(*_):
    raise AssertionError("a plan asks nobody")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
import subprocess
subprocess.Popen.__init__ = refuse
from byoc_cli.main import run
sys.argv = ["byoc", "cell", "plan", "-o", "json"]
run()
"""


@cache
def plan(name: str = "default") -> Plan:
    return make_plan(EXAMPLES[name])


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    given = Context({"COLUMNS": "80"}, io.StringIO(), out, err)
    return main(["cell", "plan", *arguments], given), out.getvalue(), err.getvalue()


def test_without_credentials_home_or_network_a_whole_cell_is_shown(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ALONE],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert {"resources", "policies", "openPorts", "publicAddresses", "cost", "assumed"} <= said.keys()
    assert len(said["resources"]) == sum(said["counts"].values()) > 100
    assert "account" in said["assumed"]
    assert list(tmp_path.iterdir()) == []


def test_every_resource_says_what_it_is_called_and_made_of() -> None:
    said = plan().to_mapping()
    by_name = {(each["type"], each["name"]): each for each in said["resources"]}
    assert by_name["aws:s3/bucket:Bucket", "data"]["physicalName"] == f"byoc-main-data-{ACCOUNT}"
    assert by_name["aws:ec2/vpc:Vpc", "vpc"]["physicalName"] == "byoc-main-vpc"
    assert by_name["aws:ec2/vpc:Vpc", "vpc"]["inputs"]["cidrBlock"] == "10.20.0.0/16"
    assert by_name["aws:eks/cluster:Cluster", "cluster"]["part"] == "cluster"
    assert said["outputs"]["vpcID"] == UNKNOWN
    assert json.loads(json.dumps(said)) == said


def test_every_policy_is_readable_before_anything_is_made() -> None:
    documents = [one for one in plan().policies if one.use != "managed"]
    assert len(documents) > 20
    assert all(isinstance(one.document, dict) and one.document["Statement"] for one in documents)
    assert {one.use for one in plan().policies} == {"trust", "grants", "resource", "managed"}
    assert all(
        str(one.document).startswith("arn:aws:iam::aws:") for one in plan().policies if one.use == "managed"
    )


def test_open_ports_name_the_group_the_port_and_who() -> None:
    said = {(one.group, one.ports, one.source) for one in plan().open_ports}
    assert ("byoc-main-endpoints", "443", "10.20.32.0/19") in said
    assert ("byoc-main's own", "443", "group byoc-main-installer") in said
    assert not any(one.public for one in plan().open_ports)


def test_public_addresses_are_those_of_nat_gateways() -> None:
    assert {one.what for one in plan().public_addresses} == {"address"}
    assert len(plan().public_addresses) == 3
    assert len(plan("single-nat").public_addresses) == 1
    assert plan("no-internet").public_addresses == ()
    assert plan("given").public_addresses == ()


def test_the_table_shows_each_part_and_what_was_assumed() -> None:
    code, out, err = run()
    assert code == 0
    assert max(len(line) for line in out.splitlines()) <= 80
    for word in ("network", "PROTECTED", "OPENED", "PUBLIC", "USD A MONTH", "S-00"):
        assert word in out
    assert "assumed" in err
    assert "checked against emulated AWS" in err
    assert "us-east-1, 20" in err


def test_names_are_one_urn_a_line() -> None:
    code, out, _ = run("-o", "name")
    assert code == 0
    assert all(line.startswith("urn:pulumi:main::byoc::byoc:cell:Cell$") for line in out.splitlines())


def _json(*arguments: str) -> dict[str, Any]:
    code, out, err = run("-o", "json", *arguments)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_options_reach_the_cell() -> None:
    said = _json("--name", "orders", "--region", "eu-north-1", "--cidr", "10.64.0.0/18", "--nat", "single")
    assert (said["cell"], said["region"]) == ("orders", "eu-north-1")
    assert len(said["publicAddresses"]) == 1
    assert said["cost"]["region"] == "eu-north-1"
    assert {"name", "region"}.isdisjoint(said["assumed"])


def test_zones_can_be_named() -> None:
    zones = [part for letter in "abcd" for part in ("--zone", f"us-west-2{letter}")]
    assert len(_json("--region", "us-west-2", *zones)["publicAddresses"]) == 4


def test_an_existing_vpc_comes_from_a_file_of_facts(tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    given = to_mapping(EXAMPLES["given"])
    facts.write_text(json.dumps({name: given[name] for name in ("account", "region", "zones", "vpc")}))
    said = _json("--facts", str(facts))
    assert said["publicAddresses"] == []
    assert not any(each["type"] == "aws:ec2/vpc:Vpc" for each in said["resources"])


def test_a_config_file_says_everything_and_options_win(tmp_path: Path) -> None:
    config = tmp_path / "cell.toml"
    config.write_text('name = "orders"\nnat = "single"\nlogDays = 30\n[tags]\nteam = "data"\n')
    said = _json("--config", str(config), "--name", "billing")
    assert said["cell"] == "billing"
    assert len(said["publicAddresses"]) == 1
    log = next(each for each in said["resources"] if each["name"] == "flow" and "logGroup" in each["type"])
    assert log["inputs"]["retentionInDays"] == 30
    assert log["inputs"]["tags"]["team"] == "data"


WRONG = {
    "range": (("--cidr", "10.0.0.0/8"), "/8 does not fit"),
    "way out": (("--nat", "some"), "none of none, single, per-zone"),
    "region": (("--region", "eu-west-9"), "region `eu-west-9`"),
    "zones": (("--zone", "us-east-1a", "--zone", "us-east-1b"), "3 availability zones"),
    "no file": (("--config", "/nowhere/cell.toml"), "cannot be read"),
    "no way": (("--nat", "none"), "cannot reach its gateway"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_refused_in_one_sentence(what: str) -> None:
    arguments, sentence = WRONG[what]
    code, out, err = run("-o", "json", *arguments)
    assert (code, out) == (2, "")
    assert sentence in json.loads(err)["error"]["message"]


def test_a_file_that_is_no_settings_is_refused(tmp_path: Path) -> None:
    for name, text in (("a.json", "[1]"), ("b.json", "{"), ("c.toml", "= 1")):
        file = tmp_path / name
        file.write_text(text)
        code, _, err = run("--config", str(file))
        assert code == 2
        assert name in err


def test_a_plan_leaves_the_process_as_it_was() -> None:
    run("-o", "name")
    assert gc.isenabled()


def test_given_roles_are_shown_as_none_of_ours() -> None:
    said = plan("given").to_mapping()
    assert not any(each["type"].startswith("aws:iam/role") for each in said["resources"])
    assert cell().roles is None
