"""The engine of a cell in AWS: what could not run is refused, and the cluster's runtime is told the rest."""

import json
from dataclasses import replace
from typing import Any

import pytest

from byoc.bootstrap.flow import check_rules
from byoc.cell.args import CellArgs
from byoc.cell.config import from_mapping, to_mapping
from byoc.cell.engine import DETACH, VOLUMES, Engine, EngineKind
from byoc.cell.grants import grants
from byoc.cell.incluster import CONFIG, LICENCE
from byoc.cell.manifests import bundle
from byoc.dataplane.kubernetes.settings import MARIADB, ClusterSettings
from byoc.errors import UsageError
from byoc.model.check import Result
from tests.unit.cell.examples import ACCOUNT, REGION, ROLE_ARNS, cell

NODE = f"registry.example/node:8.9@sha256:{'1' * 64}"
OPERATOR = f"registry.example/operator@sha256:{'2' * 64}"
SINGLESTORE = Engine(kind=EngineKind.SINGLESTORE, image=NODE, operator_image=OPERATOR)
ASKED = {"engine": "singlestore", "engineImage": NODE, "operatorImage": OPERATOR}


def told(engine: Engine) -> dict[str, Any]:
    """What the agents' file says of the runtime."""
    return told_of(cell(engine=engine))


def told_of(args: CellArgs) -> dict[str, Any]:
    """The same, of a cell that is given."""
    (found,) = (
        each
        for each in bundle(args).objects
        if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", CONFIG)
    )
    settings: dict[str, Any] = json.loads(found["data"]["config.json"])["kubernetes"]
    return settings


def test_the_clusters_runtime_reads_what_was_asked_for() -> None:
    asked = from_mapping(to_mapping(cell()) | ASKED | {"licenceSecret": "ours"})
    read = ClusterSettings.from_json(told(asked.engine))
    assert (read.engine, read.image, read.operator_image) == ("singlestore", NODE, OPERATOR)
    assert read.licence == "ours"
    assert read.domain == ClusterSettings.from_json(told(Engine())).domain != ""


def test_without_a_word_it_is_mariadb_of_this_release_and_nothing_is_written_of_it() -> None:
    assert Engine().runtime() == {}
    usual = ClusterSettings.from_json(told(Engine()))
    assert (usual.engine, usual.image, usual.licence) == ("mysql", MARIADB, LICENCE)
    assert not {"engine", "engineImage", "operatorImage", "licenceSecret"} & to_mapping(cell()).keys()


def test_a_cell_of_singlestore_is_read_back_as_it_was_written_down() -> None:
    made = cell(engine=SINGLESTORE)
    assert from_mapping(to_mapping(made)) == made
    assert to_mapping(made).items() >= ASKED.items()


def test_it_keeps_the_policy_packs_rules_and_needs_more_rights_for_its_role_and_provider_alone() -> None:
    made = cell(engine=SINGLESTORE)
    assert check_rules(made).result is Result.PASS
    more = {action for each in grants(made) for action in each.actions} - {
        action for each in grants(cell()) for action in each.actions
    }
    assert more
    assert all(action.endswith("OpenIDConnectProvider") for action in more)
    assert {each.name for each in grants(made)} == {each.name for each in grants(cell())}


def test_databases_lie_in_the_cells_own_bucket_under_the_cells_own_role() -> None:
    read = ClusterSettings.from_json(told(replace(SINGLESTORE, suspend=DETACH)))
    assert (read.bucket, read.region) == (f"byoc-main-data-{ACCOUNT}", REGION)
    assert read.role == f"arn:aws:iam::{ACCOUNT}:role/byoc-main-engine"
    assert read.suspend == DETACH
    assert ClusterSettings.from_json(told(SINGLESTORE)).suspend == VOLUMES


def test_mariadb_is_told_of_no_bucket_and_no_role() -> None:
    assert not {"bucket", "region", "role", "suspend"} & told(Engine()).keys()


def test_with_roles_of_the_customers_the_bucket_is_used_once_theirs_for_engines_is_named() -> None:
    theirs = f"arn:aws:iam::{ACCOUNT}:role/cells/engine"
    without = cell(engine=SINGLESTORE, roles=ROLE_ARNS)
    with_it = replace(without, roles=replace(ROLE_ARNS, engine=theirs))
    assert not without.unlimited
    assert not {"bucket", "role"} & told_of(without).keys()
    assert told_of(with_it)["role"] == theirs
    for args in (without, with_it):
        assert from_mapping(to_mapping(args)) == args
    with pytest.raises(UsageError, match="`engine` is none of the given roles") as refused:
        replace(without, engine=replace(SINGLESTORE, suspend=DETACH))
    assert "docs/aws-cell.md" in str(refused.value.hint)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such engine": ({"engine": "oracle"}, "engine `oracle` is none of mysql, singlestore"),
    "no images": ({"engine": "singlestore"}, "needs the images of its nodes and of its operator"),
    "no operator": (ASKED | {"operatorImage": ""}, "needs the images"),
    "a tag": (ASKED | {"engineImage": "registry.example/node:8.9"}, "of the engine has no digest"),
    "an operator's tag": (ASKED | {"operatorImage": "operator:1"}, "of the engine's operator has no digest"),
    "an operator of no use": ({"operatorImage": OPERATOR}, "`mysql` has no operator"),
    "no such suspension": (ASKED | {"suspend": "sleep"}, "`suspend` cannot be `sleep`"),
    "detached MariaDB": ({"suspend": "detach"}, "`mysql` cannot detach its databases"),
    "a licence, not its Secret": (ASKED | {"licenceSecret": "BASE64OF/THE+LICENCE=="}, "form of a name"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_engine_that_could_not_run_is_refused_with_what_to_change(what: str) -> None:
    more, sentence = WRONG[what]
    with pytest.raises(UsageError) as refused:
        from_mapping(to_mapping(cell()) | more)
    assert sentence in refused.value.message
    assert refused.value.hint
    assert "BASE64OF" not in f"{refused.value.message}{refused.value.hint}", "a licence is repeated nowhere"


@pytest.mark.parametrize("kind", EngineKind)
def test_the_runtime_knows_each_kind(kind: EngineKind) -> None:
    operator = OPERATOR if kind is EngineKind.SINGLESTORE else ""
    engine = replace(SINGLESTORE, kind=kind, operator_image=operator)
    read = ClusterSettings.from_json(told(engine))
    assert (read.engine, read.image, read.operator_image) == (kind.value, NODE, operator)
