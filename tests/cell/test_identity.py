import json
from dataclasses import replace
from typing import Any

import pytest

from byoc.cell import arns, policies
from byoc.cell.boundary import boundary
from byoc.cell.keypolicy import key_policy
from byoc.errors import UsageError
from tests.cell.parts import APPLIED_ISSUER, APPLIED_KEY, Graph, applied, graph
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, REGION, ROLE_ARNS, cell

KEY, ALIAS = "aws:kms/key:Key", "aws:kms/alias:Alias"
CLUSTER, PROVIDER = "aws:eks/cluster:Cluster", "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
ROLE, POLICY = "aws:iam/role:Role", "aws:iam/policy:Policy"
OWN, ATTACHED = "aws:iam/rolePolicy:RolePolicy", "aws:iam/rolePolicyAttachment:RolePolicyAttachment"


@pytest.fixture(scope="module")
def made() -> Graph:
    return graph(cell())


@pytest.fixture(scope="module")
def given() -> Graph:
    return graph(EXAMPLES["given"])


@pytest.fixture(scope="module")
def unlimited() -> Graph:
    return graph(EXAMPLES["unlimited"])


def logical(which: str) -> str:
    return f"role-{which.replace('_', '-')}"


def test_the_key_turns_and_is_protected_and_slow_to_delete(made: Graph) -> None:
    key = made.one(KEY, "key")
    assert key.protect
    assert key.inputs["enableKeyRotation"] is True
    assert key.inputs["deletionWindowInDays"] == 30
    assert json.loads(key.inputs["policy"]) == key_policy(cell()).plain()


def test_the_key_has_the_alias_by_which_volumes_name_it(made: Graph) -> None:
    assert made.inputs(ALIAS, "key")["name"] == "alias/byoc-main" == arns.key_alias(cell())
    assert f"{ALIAS}::key" in made.waits_for("aws:eks/cluster:Cluster", "cluster")


def test_a_given_key_is_used_and_none_is_made(given: Graph) -> None:
    assert not given.names(KEY)
    assert not given.names(ALIAS)
    assert given.recording.outputs["keyARN"] == EXAMPLES["given"].key_arn


def test_every_role_has_the_boundary(made: Graph) -> None:
    roles = list(made.recording.of(ROLE))
    assert {each.name for each in roles} == {logical(which) for which in arns.roles(cell())}
    for role in roles:
        assert role.inputs["permissionsBoundary"] == arns.boundary_arn(cell()), role.name
        assert f"{POLICY}::boundary" in made.waits_for(ROLE, role.name)
    assert json.loads(made.inputs(POLICY, "boundary")["policy"]) == boundary(cell()).plain()


def test_a_cell_whose_engines_use_no_bucket_vouches_for_nobody(made: Graph) -> None:
    assert not made.names(PROVIDER)
    assert logical("engine") not in made.names(ROLE)
    assert not [each for each in made.recording.of(ROLE) if "Federated" in each.inputs["assumeRolePolicy"]]


def test_the_engines_role_trusts_the_cells_own_cluster_and_no_other_role_does(unlimited: Graph) -> None:
    assert unlimited.names(PROVIDER) == {"tokens"}
    assert f"{CLUSTER}::cluster" in unlimited.waits_for(PROVIDER, "tokens")
    waits = unlimited.waits_for(ROLE, logical("engine"))
    assert {f"{PROVIDER}::tokens", f"{POLICY}::boundary"} <= waits
    role = unlimited.inputs(ROLE, logical("engine"))
    assert role["permissionsBoundary"] == arns.boundary_arn(cell())
    federated = [r.name for r in unlimited.recording.of(ROLE) if "Federated" in r.inputs["assumeRolePolicy"]]
    assert federated == [logical("engine")]


def test_what_a_cluster_vouches_for_is_named_once_it_is_there() -> None:
    found, issuer = applied(EXAMPLES["unlimited"]), APPLIED_ISSUER.removeprefix("https://")
    assert found.inputs(PROVIDER, "tokens")["url"] == APPLIED_ISSUER
    assert found.inputs(PROVIDER, "tokens")["clientIdLists"] == ["sts.amazonaws.com"]
    rights = policies.rights(EXAMPLES["unlimited"], "engine", key_arn=APPLIED_KEY, zone_id="", issuer=issuer)
    assert json.loads(found.inputs(ROLE, "role-engine")["assumeRolePolicy"]) == rights.trust.plain()
    assert rights.own is not None
    assert found.policy("role-engine") == rights.own.plain()


def test_a_given_engines_role_is_used_and_nobody_is_vouched_for() -> None:
    theirs = f"arn:aws:iam::{ACCOUNT}:role/cells/engine"
    found = graph(replace(EXAMPLES["unlimited"], roles=replace(ROLE_ARNS, engine=theirs)))
    assert not found.names(PROVIDER)
    assert not found.names(ROLE)


def test_a_given_boundary_is_on_every_role_and_none_is_made() -> None:
    theirs = f"arn:aws:iam::{ACCOUNT}:policy/our-boundary"
    found = graph(cell(boundary_arn=theirs))
    assert not found.names(POLICY)
    assert {each.inputs["permissionsBoundary"] for each in found.recording.of(ROLE)} == {theirs}


def test_given_roles_are_used_and_none_is_made(given: Graph) -> None:
    for kind in (ROLE, POLICY, OWN, ATTACHED):
        assert not given.names(kind), kind
    assert given.inputs("aws:eks/cluster:Cluster", "cluster")["roleArn"] == ROLE_ARNS.cluster
    pods = given.inputs("aws:eks/podIdentityAssociation:PodIdentityAssociation", "pods-dns")
    assert pods["roleArn"] == ROLE_ARNS.dns


@pytest.mark.parametrize("which", arns.ROLES)
def test_a_role_may_do_what_its_document_says_and_nothing_else(unlimited: Graph, which: arns.Role) -> None:
    made = unlimited
    role = made.inputs(ROLE, logical(which))
    key_arn, zone = made.recording.outputs["keyARN"], "<known after apply>"
    rights = policies.rights(cell(), which, key_arn=key_arn, zone_id=zone, issuer="<known after apply>")
    assert role["name"] == arns.role_name(cell(), which)
    assert json.loads(role["assumeRolePolicy"]) == rights.trust.plain()
    assert role["description"] == rights.purpose
    attached = {name for name in made.names(ATTACHED) if name.startswith(f"{logical(which)}-")}
    assert attached == {f"{logical(which)}-{policy}" for policy in rights.managed}
    if rights.own is None:
        assert logical(which) not in made.names(OWN)
    else:
        assert made.policy(logical(which)) == rights.own.plain()
        assert made.inputs(OWN, logical(which))["role"] == role["name"]


def test_managed_policies_are_of_the_cells_partition() -> None:
    facts = cell().facts
    found = graph(cell(facts=replace(facts, partition="aws-us-gov")))
    for each in found.recording.of(ATTACHED):
        assert each.inputs["policyArn"].startswith("arn:aws-us-gov:iam::aws:policy/Amazon")


def test_who_gets_a_role_waits_until_it_may_do_all_it_is_for(made: Graph) -> None:
    cluster = made.waits_for("aws:eks/cluster:Cluster", "cluster")
    assert f"{ATTACHED}::role-cluster-AmazonEKSClusterPolicy" in cluster
    machines = made.waits_for("aws:eks/nodeGroup:NodeGroup", "system")
    for policy in policies.MANAGED["node"]:
        assert f"{ATTACHED}::role-node-{policy}" in machines
    for which in ("agent", "autoscaler", "dns", "network_driver", "storage_driver"):
        name = f"pods-{which.replace('_', '-')}"
        pods = made.waits_for("aws:eks/podIdentityAssociation:PodIdentityAssociation", name)
        assert f"{OWN}::{logical(which)}" in pods


def test_external_dns_may_write_the_zone_only_once_there_is_one(made: Graph) -> None:
    assert "aws:route53/zone:Zone::zone" in made.waits_for(OWN, "role-dns")


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_arn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"},
        {"key_arn": f"arn:aws:kms:{REGION}:999999999999:key/1"},
        {"key_arn": "alias/ours"},
        {"boundary_arn": "arn:aws:iam::999999999999:policy/theirs"},
        {"boundary_arn": "not-an-arn"},
        {"administrators": ("arn:aws:iam::999999999999:role/them",)},
        {"administrators": ("somebody",)},
    ],
)
def test_keys_boundaries_and_administrators_of_others_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        cell(**wrong)
