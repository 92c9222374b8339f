"""`byoc bootstrap` up to the engine: what it asks for, what it refuses, what it prints of the account."""

import json
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from byoc.bootstrap.aws import Account
from byoc.errors import PreconditionFailed, UsageError
from byoc_cli.chosen_engine import cell_settings
from tests.bootstrap.conftest import _credentials, account, changes

__all__ = ["_credentials", "account", "changes"]  # fixtures

IMAGE = f"registry.example/agent@sha256:{'a' * 64}"
NOWHERE = "wss://127.0.0.1:1/nimbus/v1"
WHERE = ("--name", "sales", "--region", "eu-west-1", "--gateway", NOWHERE, "--agent-image", IMAGE)


@pytest.fixture
def engine(tmp_path: Path, environment: dict[str, str]) -> None:
    """An engine that answers for its version and does nothing else."""
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = version ] && echo v3.259.0\n')
    program.chmod(stat.S_IRWXU)
    environment["PATH"] = str(program.parent)


@pytest.fixture
def allowed(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks may do everything: the emulation has no simulator of policies."""

    def simulate(**asked: Any) -> dict[str, Any]:
        found = [{"EvalActionName": one, "EvalDecision": "allowed"} for one in asked["ActionNames"]]
        return {"EvaluationResults": found}

    monkeypatch.setattr(account.client("iam"), "simulate_principal_policy", simulate)


class Asked:
    """An account that nobody opens: it notes in which region, and with which profile, it was wanted."""

    def __init__(self) -> None:
        self.wanted: list[tuple[str, str | None]] = []

    def __call__(self, region: str, profile: str | None) -> Account:
        self.wanted.append((region, profile))
        raise PreconditionFailed("far enough")


@pytest.mark.parametrize(
    ("flag", "environment_says", "file_says", "typed", "taken"),
    [
        ("eu-west-1", "eu-west-2", "eu-west-3", "", "eu-west-1"),
        ("", "eu-west-2", "eu-west-3", "", "eu-west-2"),
        ("", "", "eu-west-3", "", "eu-west-3"),
        ("", "", "", "eu-north-1\n", "eu-north-1"),
    ],
)
def test_a_flag_beats_the_environment_it_beats_the_file_and_that_a_question(
    byoc: Any,
    environment: dict[str, str],
    tmp_path: Path,
    flag: str,
    environment_says: str,
    file_says: str,
    typed: str,
    taken: str,
) -> None:
    file = tmp_path / "cell.json"
    file.write_text(json.dumps({"name": "sales", "gatewayUrl": NOWHERE, "region": file_says}))
    environment["AWS_REGION"] = environment_says
    asked = Asked()
    words = ("bootstrap", "--config", str(file), *(("--region", flag) if flag else ()))
    ended = byoc(*words, stdin=typed, terminal=True, account=asked)
    assert (ended.code, asked.wanted) == (9, [(taken, None)])
    assert ("The AWS region, such as eu-west-1: " in ended.err) == bool(typed)


def test_a_cell_can_be_named_by_the_environment_alone(byoc: Any, environment: dict[str, str]) -> None:
    environment |= {"BYOC_CELL": "sales", "BYOC_GATEWAY": NOWHERE, "AWS_DEFAULT_REGION": "eu-west-2"}
    asked = Asked()
    assert byoc("bootstrap", "--aws-profile", "prod", account=asked).code == 9
    assert asked.wanted == [("eu-west-2", "prod")]


@pytest.mark.parametrize("flag", ["--name", "--region", "--gateway"])
def test_what_nobody_said_is_named_with_the_flag_to_add(byoc: Any, flag: str) -> None:
    at = WHERE.index(flag)
    asked = Asked()
    ended = byoc("bootstrap", *WHERE[:at], *WHERE[at + 2 :], "-o", "json", account=asked)
    assert (ended.code, ended.error["hint"], asked.wanted) == (2, f"add {flag}", [])


def test_an_empty_answer_is_no_answer(byoc: Any) -> None:
    ended = byoc("bootstrap", *WHERE[2:], stdin="\n", terminal=True)
    assert ended.code == 2
    assert "the name of the cell is not given" in ended.err


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("--exit-code",), "--exit-code goes with --dry-run", ""),
        (("--subnet", "s-1"), "--subnet goes with --vpc", "name the VPC that the subnets are in"),
        (("--vpc", "v-1"), "--vpc goes with --subnet", "name one private subnet in each of three zones"),
        (
            ("--agent-image", "r/agent:1"),
            "image `r/agent:1` has no digest",
            "name it as repository@sha256:…",
        ),
        (("--policy", "/nowhere.toml"), "/nowhere.toml cannot be read", ""),
        (("--gateway-ca", "/nowhere.pem"), "/nowhere.pem cannot be read", ""),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_the_account_is_opened(
    byoc: Any, words: tuple[str, ...], message: str, hint: str
) -> None:
    asked = Asked()
    ended = byoc("bootstrap", *WHERE, *words, "-o", "json", account=asked)
    assert (ended.code, ended.error["message"], ended.error["hint"]) == (2, message, hint)
    assert asked.wanted == []


def test_a_policy_that_is_no_toml_is_refused_with_its_line(byoc: Any, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[allow\n")
    ended = byoc("bootstrap", *WHERE, "--policy", str(file), account=Asked())
    assert ended.code == 2
    assert "policy.toml is no TOML" in ended.err
    assert "line 1" in ended.err


NODE = f"registry.example/node@sha256:{'1' * 64}"
SINGLESTORE = {"engine": "singlestore", "image": NODE, "operatorImage": NODE, "licence": "ours"}


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_the_engine_is_said_by_a_file_as_for_any_other_cluster(
    byoc: Any, environment: dict[str, str], tmp_path: Path, by: str
) -> None:
    file = tmp_path / "engine.json"
    file.write_text(json.dumps(SINGLESTORE | {"image": "node:8.9"}))
    if by == "environment":
        environment["BYOC_ENGINE"] = str(file)
    words = ("bootstrap", *WHERE, *(("--engine", str(file)) if by == "flag" else ()), "-o", "json")
    refused = byoc(*words, account=Asked())
    assert (refused.code, refused.error["message"]) == (2, "kubernetes.image: cannot be `node:8.9`")
    file.write_text(json.dumps(SINGLESTORE))
    asked = Asked()
    assert byoc(*words, account=asked).code == 9, "and then it is the account's turn"
    assert asked.wanted


def test_databases_may_be_detached_to_the_bucket_that_the_cell_has_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "engine.json"
    file.write_text(json.dumps(SINGLESTORE | {"suspend": "detach"}))
    said = cell_settings(file)
    assert said["suspend"] == "detach"
    assert not {"bucket", "region", "role"} & said.keys()
    file.write_text(json.dumps({"suspend": "detach"}))
    with pytest.raises(UsageError, match="an engine that keeps databases in one"):
        cell_settings(file)


@pytest.mark.parametrize("name", ["bucket", "region", "role"])
def test_the_bucket_of_a_cell_in_aws_is_nobodys_to_choose(tmp_path: Path, name: str) -> None:
    file = tmp_path / "engine.json"
    file.write_text(json.dumps(SINGLESTORE | {name: "mine"}))
    with pytest.raises(UsageError, match=f"`{name}` is settled by a cell in AWS itself"):
        cell_settings(file)


def test_what_a_cell_in_aws_settles_itself_is_refused_in_the_engines_file(byoc: Any, tmp_path: Path) -> None:
    file = tmp_path / "engine.json"
    file.write_text(json.dumps(SINGLESTORE | {"domain": "sales.example"}))
    ended = byoc("bootstrap", *WHERE, "--engine", str(file), "-o", "json", account=Asked())
    assert ended.code == 2
    assert "`domain` is settled by a cell in AWS itself" in ended.error["message"]


def test_images_of_singlestore_that_nobody_named_are_asked_for(byoc: Any, tmp_path: Path) -> None:
    file = tmp_path / "cell.toml"
    file.write_text('engine = "singlestore"\n')
    words = ("bootstrap", *WHERE, "--config", str(file))
    ended = byoc(*words, "-o", "json", account=Asked())
    assert (ended.code, ended.error["hint"]) == (2, "add --engine FILE")
    asked = Asked()
    answered = byoc(*words, stdin=f"{NODE}\n{NODE}\n", terminal=True, account=asked)
    assert (answered.code, bool(asked.wanted)) == (9, True)
    assert answered.err.index("SingleStore's nodes") < answered.err.index("SingleStore's operator")


def test_a_profile_that_does_not_exist_is_named(byoc: Any) -> None:
    ended = byoc("bootstrap", *WHERE, "--validate-only", "--aws-profile", "nobody", "-o", "json")
    assert (ended.code, ended.error["message"]) == (9, "there is no AWS profile `nobody`")


def given(one: Account) -> Callable[[str, str | None], Account]:
    return lambda _region, _profile: one


def test_without_an_engine_the_way_to_get_one_is_told(byoc: Any, account: Account) -> None:
    ended = byoc("bootstrap", *WHERE, "--dry-run", "-o", "json", account=given(account))
    assert (ended.code, ended.error["message"]) == (9, "pulumi is not installed")
    assert "--install-pulumi" in ended.error["hint"]


@pytest.mark.usefixtures("allowed")
def test_the_account_can_be_checked_where_there_is_no_engine(byoc: Any, account: Account) -> None:
    words = ("bootstrap", *WHERE, "--validate-only", "-o", "json")
    ended = byoc(*words, terminal=True, account=given(account))
    by_name = {check["name"]: check for check in ended.json["checks"]}
    assert by_name["engine"] == {
        "name": "engine",
        "result": "warn",
        "detail": "pulumi is not installed",
        "action": "let byoc install its own copy: add --install-pulumi",
    }
    assert [name for name, check in by_name.items() if check["result"] == "fail"] == ["gateway"]
    assert "[y/N]" not in ended.err


def test_on_a_terminal_an_engine_is_offered_and_a_no_is_taken(byoc: Any, account: Account) -> None:
    words = ("bootstrap", *WHERE, "--dry-run")
    ended = byoc(*words, stdin="n\n", terminal=True, account=given(account))
    assert ended.code == 9
    assert "Get the tested version into byoc's own folder? [y/N]" in ended.err


@pytest.mark.usefixtures("engine", "allowed")
def test_a_check_that_fails_ends_with_9_and_every_check_as_data(
    byoc: Any, account: Account, changes: list[str]
) -> None:
    ended = byoc("bootstrap", *WHERE, "--validate-only", "-o", "json", account=given(account))
    assert ended.code == 9
    checks: list[Mapping[str, str]] = ended.json["checks"]
    assert {tuple(check) for check in checks} == {("name", "result", "detail", "action")}
    by_name = {check["name"]: check for check in checks}
    assert by_name["credentials"]["detail"].startswith(f"account {account.identity.account}")
    assert by_name["gateway"]["result"] == "fail"
    assert "127.0.0.1:1 does not answer" in ended.error["message"]
    assert changes == []


@pytest.mark.usefixtures("engine", "allowed")
def test_for_a_person_each_check_is_a_line(byoc: Any, account: Account, changes: list[str]) -> None:
    ended = byoc("bootstrap", *WHERE, "--dry-run", account=given(account))
    assert ended.code == 9
    lines = [line.split()[:2] for line in ended.out.splitlines()]
    assert ["fail", "gateway"] in lines
    assert ["pass", "zones"] in lines
    assert changes == []


@pytest.mark.usefixtures("engine")
def test_the_name_that_was_given_is_the_one_that_is_judged(byoc: Any, account: Account) -> None:
    ended = byoc("bootstrap", *WHERE, "--name", "Sales", "--dry-run", "-o", "json", account=given(account))
    assert (ended.code, "cannot be called `Sales`" in ended.error["message"]) == (9, True)


@pytest.mark.usefixtures("engine")
def test_nothing_is_begun_for_a_control_plane_that_does_not_answer(
    byoc: Any, plane: Any, account: Account, changes: list[str]
) -> None:
    plane.down = True
    assert byoc("bootstrap", *WHERE, "--yes", account=given(account)).code == 6
    assert changes == []


@pytest.mark.usefixtures("engine")
def test_ctrl_c_outside_the_engine_says_to_run_it_again(
    byoc: Any, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(account.client("ec2"), "describe_availability_zones", interrupted)
    ended = byoc("bootstrap", *WHERE, "--validate-only", "-o", "json", account=given(account))
    assert (ended.code, ended.error["code"]) == (130, "cancelled")
    assert ended.error["hint"] == "run the same command again: it goes on where it stopped"


@pytest.mark.usefixtures("engine")
def test_a_cell_that_does_not_stand_cannot_be_upgraded(byoc: Any, account: Account) -> None:
    words = ("cell", "upgrade", "sales", "--region", "eu-west-1", "-o", "json")
    ended = byoc(*words, account=given(account))
    assert (ended.code, ended.error["message"]) == (4, "there is no cell `sales`")
