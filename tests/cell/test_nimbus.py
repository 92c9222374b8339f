"""How the client comes into the stack: the function, its door, its invocation; or the objects themselves."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
from hypothesis import given, settings

from byoc.cell import arns
from byoc.cell.args import CellArgs, Delivery
from byoc.cell.incluster import KEYS
from byoc.cell.installer.kinds import ORDER
from byoc.cell.manifests import bundle
from byoc.cell.nimbus import kubeconfig
from byoc.cell.package import package
from byoc.cell.recorder import record
from tests.cell.parts import Graph
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, cell, cells

FUNCTION, INVOCATION = "aws:lambda/function:Function", "aws:lambda/invocation:Invocation"
GROUP, ROLE = "aws:ec2/securityGroup:SecurityGroup", "aws:iam/role:Role"
INTO, OUT = (
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
)
LOG = "aws:cloudwatch/logGroup:LogGroup"
DIRECT = cell(delivery=Delivery.DIRECT, administrators=(f"arn:aws:iam::{ACCOUNT}:role/platform",))


def whole(args: CellArgs) -> Graph:
    """Return what the whole program registers."""

    def program() -> None:
        from byoc.cell.cell import Cell  # noqa: PLC0415 - loads Pulumi's AWS types

        Cell(args)

    return Graph(record(program, args.facts))


@pytest.fixture(scope="module")
def made() -> Graph:
    return whole(cell())


@pytest.fixture(scope="module")
def direct() -> Graph:
    return whole(DIRECT)


# --- the function -------------------------------------------------------------------------


def test_the_function_has_a_fixed_name_and_runs_once_at_a_time(made: Graph) -> None:
    function = made.inputs(FUNCTION, "installer")
    assert function["name"] == arns.function_name(cell(), "installer") == "byoc-main-installer"
    assert function["reservedConcurrentExecutions"] == 1
    assert function["timeout"] == 120
    assert "publish" not in function


@pytest.mark.parametrize("which", ["installer", "control"])
def test_the_function_is_told_of_its_cluster_and_of_nothing_secret(made: Graph, which: str) -> None:
    told = made.inputs(FUNCTION, which)["environment"]["variables"]
    assert set(told) == {
        "BYOC_CELL",
        "BYOC_CLUSTER",
        "BYOC_CLUSTER_ENDPOINT",
        "BYOC_CLUSTER_AUTHORITY",
    }
    assert (told["BYOC_CELL"], told["BYOC_CLUSTER"]) == ("main", "byoc-main")


@pytest.mark.parametrize("which", ["installer", "control"])
def test_the_function_stands_in_the_private_subnets_behind_its_own_group(made: Graph, which: str) -> None:
    place = made.inputs(FUNCTION, which)["vpcConfig"]
    assert len(place["subnetIds"]) == 3
    assert len(place["securityGroupIds"]) == 1
    waits = made.waits_for(FUNCTION, which)
    assert {f"{GROUP}::{which}", f"{INTO}::{which}", f"{OUT}::{which}"} <= waits


@pytest.mark.parametrize("which", ["installer", "control"])
def test_the_function_reaches_the_clusters_api_and_nothing_else(made: Graph, which: str) -> None:
    out = made.inputs(OUT, which)
    assert (out["fromPort"], out["toPort"], out["ipProtocol"]) == (443, 443, "tcp")
    assert "referencedSecurityGroupId" in out
    assert not {"cidrIpv4", "cidrIpv6", "prefixListId"} & out.keys()
    assert {each.name for each in made.recording.of(OUT)} == {"installer", "control"}
    into = made.inputs(INTO, which)
    assert "referencedSecurityGroupId" in into
    assert (into["fromPort"], into["toPort"]) == (443, 443)


@pytest.mark.parametrize("which", ["installer", "control"])
def test_the_role_outlives_the_group_whose_interfaces_are_removed_under_it(made: Graph, which: str) -> None:
    waits = made.waits_for(GROUP, which)
    assert {f"{ROLE}::role-{which}", f"aws:iam/rolePolicy:RolePolicy::role-{which}"} <= waits


@pytest.mark.parametrize("which", ["installer", "control"])
def test_the_functions_log_is_made_before_it_and_kept_as_long_as_the_customer_says(
    made: Graph, which: str
) -> None:
    log = made.inputs(LOG, which)
    assert log["name"] == f"/aws/lambda/byoc-main-{which}"
    assert log["retentionInDays"] == cell().log_days
    assert log["kmsKeyId"]
    assert f"{LOG}::{which}" in made.waits_for(FUNCTION, which)


def test_the_control_function_may_answer_several_at_once(made: Graph) -> None:
    function = made.inputs(FUNCTION, "control")
    assert function["name"] == "byoc-main-control"
    assert "reservedConcurrentExecutions" not in function
    assert function["timeout"] == 60


def test_the_functions_package_is_made_of_texts_and_so_the_same_everywhere() -> None:
    files = package(bundle(cell()))
    assert files == package(bundle(cell()))
    assert list(files)[-1] == "bundle.json"
    assert files["bundle.json"] == bundle(cell()).text
    assert "byoc/__init__.py" not in files


# --- the invocation -----------------------------------------------------------------------


def asked(graph: Graph) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(graph.inputs(INVOCATION, "invocation")["input"])
    return found


def test_the_invocation_names_the_bundle_that_the_function_holds(made: Graph) -> None:
    assert asked(made) == {"op": "install", "bundle": bundle(cell()).digest, "cell": "main"}


def test_nothing_ever_replaces_the_invocation_by_itself(made: Graph) -> None:
    # Another function, qualifier or trigger replaces it, and what is replaced is deleted: uninstalled.
    invocation = made.inputs(INVOCATION, "invocation")
    assert set(invocation) == {"functionName", "input", "lifecycleScope"}
    assert invocation["functionName"] == "byoc-main-installer"
    assert invocation["lifecycleScope"] == "CRUD"
    for change in ({"policy": 'deny = ["*"]'}, {"egress_proxy": "http://10.9.9.9:3128"}, {"log_days": 30}):
        other = whole(cell(**change)).inputs(INVOCATION, "invocation")
        assert {**other, "input": ""} == {**invocation, "input": ""}


def test_an_upgrade_changes_the_input_only_where_the_bundle_changes(made: Graph) -> None:
    assert asked(whole(cell(log_days=30))) == asked(made)
    assert asked(whole(cell(policy='deny = ["*"]'))) != asked(made)


def test_the_client_comes_after_everything_it_needs_and_goes_before_it(made: Graph) -> None:
    waits = made.waits_for(INVOCATION, "invocation")
    kinds = {each.partition("::")[0] for each in waits}
    assert {
        FUNCTION,
        INTO,
        "aws:eks/cluster:Cluster",
        "aws:eks/nodeGroup:NodeGroup",
        "aws:eks/addon:Addon",
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "aws:ec2/route:Route",
        "aws:ec2/vpcEndpoint:VpcEndpoint",
    } <= kinds
    assert "aws:eks/accessPolicyAssociation:AccessPolicyAssociation::access-installer" in waits
    registered = made.one(INVOCATION, "invocation")
    assert registered.within == ""
    assert registered.delete_before_replace
    assert not registered.protect


def test_nothing_waits_for_the_invocation(made: Graph) -> None:
    urn = made.one(INVOCATION, "invocation").urn
    assert [each.name for each in made.recording.resources if urn in each.depends_on] == []


@settings(max_examples=4)
@given(cells())
def test_whatever_the_cell_the_function_and_the_invocation_agree(args: CellArgs) -> None:
    graph = whole(args)
    assert asked(graph)["bundle"] == bundle(args).digest
    assert (
        graph.inputs(INVOCATION, "invocation")["functionName"] == graph.inputs(FUNCTION, "installer")["name"]
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_input_of_ours_is_misspelt(name: str) -> None:
    recording = whole(EXAMPLES[name]).recording
    ours = [each for each in recording.resources if each.kind in {FUNCTION, INVOCATION, INTO, OUT, GROUP}]
    assert len(ours) > 4
    assert not [key for each in ours for key in each.inputs if "_" in key]


# --- delivered directly -------------------------------------------------------------------


def test_delivered_directly_the_same_objects_are_in_the_stack(direct: Graph) -> None:
    objects = [each for each in direct.recording.resources if each.kind.startswith("kubernetes:")]
    known = {(each.inputs["kind"], each.inputs["metadata"]["name"]): each for each in objects}
    wanted = {(each["kind"], each["metadata"]["name"]): each for each in bundle(DIRECT).objects}
    # The engine keeps what it reads of an object, so a Secret is the agents' to make.
    del wanted["Secret", KEYS]
    assert known.keys() == wanted.keys()
    for key, manifest in wanted.items():
        inputs = json.loads(json.dumps(known[key].inputs))
        assert inputs["metadata"].pop("annotations") == {
            "pulumi.com/skipAwait": "true",
            "pulumi.com/patchForce": "true",
        }
        assert inputs == manifest


def test_delivered_directly_there_is_no_function(direct: Graph) -> None:
    assert direct.names(FUNCTION) == direct.names(INVOCATION) == set()


def test_delivered_directly_each_kind_waits_for_those_before_it(direct: Graph) -> None:
    waits = direct.waits_for("kubernetes:apps/v1:StatefulSet", "statefulset-byoc-agent")
    assert "kubernetes:core/v1:Namespace::namespace-byoc-system" in waits
    assert "kubernetes:networking.k8s.io/v1:NetworkPolicy::networkpolicy-deny-all" in waits
    names = [kind.name for kind in ORDER]
    kinds = {each.partition("::")[0].rpartition(":")[2] for each in waits if each.startswith("kubernetes:")}
    before = set(names[: names.index("StatefulSet")]) - {"Secret"}
    assert kinds == {each["kind"] for each in bundle(DIRECT).objects} & before
    assert any(each.startswith("aws:eks/nodeGroup") for each in waits)


def test_the_configuration_for_a_direct_delivery_holds_no_secret() -> None:
    def program() -> None:
        pulumi.export("config", kubeconfig(cell(), "https://made.eks.example", "TUFERQ=="))

    text = record(program, cell().facts).outputs["config"]
    value = json.loads(text)
    assert value["clusters"][0]["cluster"]["server"] == "https://made.eks.example"
    assert value["users"][0]["user"]["exec"]["args"][:2] == ["eks", "get-token"]
    assert "token" not in value["users"][0]["user"]
