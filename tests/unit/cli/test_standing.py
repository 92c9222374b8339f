"""Day 2 of a cell in AWS, up to the engine: what is asked first, and what is refused."""

from typing import Any

import pytest

from byoc.bootstrap import record, state
from byoc.bootstrap.aws import Account
from byoc.bootstrap.record import Record, Stage
from byoc.cell.assume import complete
from byoc.cell.config import to_mapping
from tests.bootstrap.conftest import _credentials, account
from tests.unit.cli.test_bootstrap import engine, given

__all__ = ["_credentials", "account", "engine"]  # fixtures

REGION = ("--region", "eu-west-1")
pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def stands(account: Account) -> Account:
    """An account in which the cell `prod` was made once."""
    args, _ = complete({"name": "prod", "region": "eu-west-1"})
    state.make(account)
    made = Record(cell="prod", version="0.1.0", stage=Stage.CONNECTED, values=to_mapping(args))
    record.write(state.backend(account).objects, made)
    return account


def stage(account: Account) -> Stage:
    found = record.read(state.backend(account).objects, "prod")
    assert found is not None
    return found.stage


@pytest.mark.parametrize("verb", ["drift", "repair", "destroy", "upgrade"])
def test_a_region_that_nobody_named_is_asked_for(byoc: Any, verb: str) -> None:
    ended = byoc("cell", verb, "prod", "-o", "json")
    assert (ended.code, ended.error["hint"]) == (2, "add --region")


@pytest.mark.parametrize("verb", ["drift", "repair", "destroy"])
def test_a_cell_that_the_account_does_not_have_is_named_with_those_it_has(
    byoc: Any, stands: Account, verb: str
) -> None:
    ended = byoc("cell", verb, "sales", *REGION, "-o", "json", account=given(stands))
    assert (ended.code, ended.error["hint"]) == (4, "cells there: prod")


def test_a_cell_with_workspaces_is_not_destroyed(byoc: Any, stands: Account) -> None:
    words = ("cell", "destroy", "prod", *REGION, "--confirm", "prod", "-o", "json")
    ended = byoc(*words, account=given(stands))
    assert (ended.code, ended.error["message"]) == (5, "cell prod has 1 workspace: orders")
    assert "--force" in ended.error["hint"]
    assert stage(stands) is Stage.CONNECTED


def test_a_cell_is_not_destroyed_while_nobody_can_say_whether_it_has_workspaces(
    byoc: Any, plane: Any, stands: Account
) -> None:
    plane.down = True
    words = ("cell", "destroy", "prod", *REGION, "--confirm", "prod", "-o", "json")
    ended = byoc(*words, account=given(stands))
    assert ended.code == 6
    assert ended.error["message"].startswith("whether cell prod has workspaces cannot be found out")
    assert ended.error["hint"] == "log in to its control plane, or add --force"
    assert stage(stands) is Stage.CONNECTED


@pytest.mark.parametrize(("option", "what"), [((), "every database in it"), (("--keep-data",), "key stay")])
def test_a_destroy_says_what_it_takes_and_wants_the_name_again(
    byoc: Any, plane: Any, stands: Account, option: tuple[str, ...], what: str
) -> None:
    plane.workspaces.clear()
    words = ("cell", "destroy", "prod", *REGION, *option, "-o", "json")
    ended = byoc(*words, account=given(stands))
    assert (ended.code, ended.error["hint"]) == (2, "to go on, add `--confirm prod`")
    assert what in ended.error["message"]
    assert stage(stands) is Stage.CONNECTED


def test_another_name_destroys_nothing(byoc: Any, plane: Any, stands: Account) -> None:
    plane.workspaces.clear()
    words = ("cell", "destroy", "prod", *REGION)
    typed = byoc(*words, stdin="sales\n", terminal=True, account=given(stands))
    flagged = byoc(*words, "--confirm", "sales", account=given(stands))
    for ended in (typed, flagged):
        assert ended.code == 2
        assert "`sales` is not `prod`: nothing was done" in ended.err
    assert stage(stands) is Stage.CONNECTED


def test_a_lock_is_removed_only_by_who_typed_the_name(byoc: Any, stands: Account) -> None:
    ended = byoc("cell", "repair", "prod", *REGION, "--unlock", "-o", "json", account=given(stands))
    assert (ended.code, ended.error["hint"]) == (2, "to go on, add `--confirm prod`")
    assert "both are lost" in ended.error["message"]
