from dataclasses import replace

import pytest
from hypothesis import given as example_given

from byoc.cell.args import CellArgs, Nodes
from byoc.cell.groups import groups, hints
from byoc.cell.incluster import GROUP_LABEL, SYSTEM_TAINT
from byoc.cell.naming import LIMITS
from byoc.cell.policies import CLUSTER_ENI_TAG
from byoc.errors import UsageError
from tests.cell.parts import Graph, graph
from tests.unit.cell.examples import EXAMPLES, FACTS, ZONES, cell, cells

GROUP, TEMPLATE = "aws:eks/nodeGroup:NodeGroup", "aws:ec2/launchTemplate:LaunchTemplate"
HINT = "aws:autoscaling/tag:Tag"
TYPES = Nodes().workspace_types
A_WORKSPACE = "workspace-r6i-xlarge-eu-west-1b"


@pytest.fixture(scope="module")
def made() -> Graph:
    return graph(cell())


@pytest.mark.parametrize("name", EXAMPLES)
def test_there_is_a_system_group_and_one_a_zone_and_type(name: str) -> None:
    workspaces = {f"workspace-{each.replace('.', '-')}-{zone}" for each in TYPES for zone in ZONES}
    assert graph(EXAMPLES[name]).names(GROUP) == {"system"} | workspaces


def test_the_system_group_is_two_tainted_machines_in_two_zones(made: Graph) -> None:
    system = made.inputs(GROUP, "system")
    assert system["scalingConfig"] == {"minSize": 2, "desiredSize": 2, "maxSize": 2}
    assert system["taints"] == [{"key": SYSTEM_TAINT, "value": "true", "effect": "NO_SCHEDULE"}]
    assert system["labels"] == {GROUP_LABEL: "system"}
    assert len(system["subnetIds"]) == 2
    assert not made.one(GROUP, "system").ignore


def test_workspace_groups_start_empty_in_one_zone_and_the_autoscaler_owns_their_size(made: Graph) -> None:
    group = made.one(GROUP, A_WORKSPACE)
    assert group.inputs["scalingConfig"] == {"minSize": 0, "desiredSize": 0, "maxSize": 10}
    assert group.inputs["labels"] == {GROUP_LABEL: "workspace"}
    assert group.inputs["taints"] == []
    assert len(group.inputs["subnetIds"]) == 1
    assert "aws:ec2/subnet:Subnet::private-eu-west-1b" in made.waits_for(GROUP, A_WORKSPACE)
    assert group.ignore == ("scalingConfig.desiredSize",)


def test_machines_are_what_the_preflight_found_and_budgets_win(made: Graph) -> None:
    for group in made.recording.of(GROUP):
        assert group.inputs["version"] == FACTS.kubernetes
        assert group.inputs["releaseVersion"] == FACTS.ami_release
        assert group.inputs["forceUpdateVersion"] is False
        assert group.inputs["updateConfig"] == {"maxUnavailable": 1}
        assert group.inputs["capacityType"] == "ON_DEMAND"


@pytest.mark.parametrize("kind", ["system", "workspace"])
def test_a_machine_answers_no_pod_for_its_credentials(made: Graph, kind: str) -> None:
    metadata = made.inputs(TEMPLATE, f"machines-{kind}")["metadataOptions"]
    assert metadata["httpTokens"] == "required"
    assert metadata["httpPutResponseHopLimit"] == 1


@pytest.mark.parametrize("kind", ["system", "workspace"])
def test_a_machines_disk_is_encrypted_with_the_cells_key(made: Graph, kind: str) -> None:
    (mapping,) = made.inputs(TEMPLATE, f"machines-{kind}")["blockDeviceMappings"]
    assert mapping["deviceName"] == "/dev/xvda"
    disk = mapping["ebs"]
    assert (disk["encrypted"], disk["volumeType"], disk["volumeSize"]) == ("true", "gp3", 50)
    assert disk["kmsKeyId"] == made.recording.outputs["keyARN"]


def test_nobody_logs_in_to_a_machine_and_none_has_a_public_address(made: Graph) -> None:
    for template in made.recording.of(TEMPLATE):
        for never in ("keyName", "networkInterfaces", "userData", "imageId"):
            assert never not in template.inputs, never
    for group in made.recording.of(GROUP):
        assert "remoteAccess" not in group.inputs


def test_what_a_machine_is_made_of_can_be_told_by_its_tags(made: Graph) -> None:
    given = made.inputs(TEMPLATE, "machines-workspace")["tagSpecifications"]
    tags = {each["resourceType"]: each["tags"] for each in given}
    assert set(tags) == {"instance", "volume", "network-interface"}
    assert all(each["byoc:cell"] == "main" for each in tags.values())
    assert tags["network-interface"][CLUSTER_ENI_TAG] == "byoc-main"


def test_machines_wait_for_the_network_plugin_routes_and_endpoints(made: Graph) -> None:
    waits = made.waits_for(GROUP, A_WORKSPACE)
    for addon in ("vpc-cni", "kube-proxy", "eks-pod-identity-agent"):
        assert f"aws:eks/addon:Addon::addon-{addon}" in waits
    assert "aws:ec2/vpcEndpoint:VpcEndpoint::eks-auth" in waits
    assert "aws:ec2/route:Route::private-eu-west-1b" in waits


def test_the_autoscaler_knows_what_a_machine_of_an_empty_group_would_be_like(made: Graph) -> None:
    found = {
        each.inputs["tag"]["key"]: each.inputs["tag"]["value"]
        for each in made.recording.of(HINT)
        if each.name.startswith(f"hint-{A_WORKSPACE}-")
    }
    prefix = "k8s.io/cluster-autoscaler/node-template"
    assert found == {
        f"{prefix}/label/{GROUP_LABEL}": "workspace",
        f"{prefix}/label/topology.kubernetes.io/zone": "eu-west-1b",
        f"{prefix}/label/topology.ebs.csi.aws.com/zone": "eu-west-1b",
        f"{prefix}/resources/ephemeral-storage": "50Gi",
    }
    for each in made.recording.of(HINT):
        assert each.inputs["tag"]["propagateAtLaunch"] is False


def test_a_taint_is_told_to_the_autoscaler() -> None:
    system = groups(cell(), ZONES)[0]
    taint = f"k8s.io/cluster-autoscaler/node-template/taint/{SYSTEM_TAINT}"
    assert hints(system, 50)[taint] == "true:NoSchedule"


def test_a_group_with_another_type_has_another_name_so_that_it_can_stand_beside_the_old_one() -> None:
    before, after = (
        groups(cell(nodes=Nodes(system_type=each)), ZONES)[0] for each in ("m6i.large", "m7i.large")
    )
    assert before.name == after.name
    assert before.physical_name != after.physical_name


@pytest.mark.parametrize(("count", "zones"), [(2, 2), (3, 3), (4, 3)])
def test_system_machines_are_in_as_many_zones_as_there_are_machines(count: int, zones: int) -> None:
    system = groups(cell(nodes=Nodes(system_count=count)), ZONES)[0]
    assert len(system.zones) == zones
    assert system.minimum == system.maximum == count


@pytest.mark.parametrize(
    ("instance_type", "ami"),
    [
        ("m6i.large", "AL2023_x86_64_STANDARD"),
        ("g5.xlarge", "AL2023_x86_64_STANDARD"),
        ("m7i-flex.large", "AL2023_x86_64_STANDARD"),
        ("u-3tb1.56xlarge", "AL2023_x86_64_STANDARD"),
        ("r7g.2xlarge", "AL2023_ARM_64_STANDARD"),
        ("r6gd.xlarge", "AL2023_ARM_64_STANDARD"),
        ("im4gn.large", "AL2023_ARM_64_STANDARD"),
        ("a1.large", "AL2023_ARM_64_STANDARD"),
    ],
)
def test_the_machine_image_fits_the_processor(instance_type: str, ami: str) -> None:
    system = groups(cell(nodes=Nodes(system_type=instance_type)), ZONES)[0]
    assert system.ami_type == ami


@example_given(cells())
def test_groups_have_names_of_their_own_within_aws_limits(args: CellArgs) -> None:
    found = groups(args, args.facts.zones)
    assert len({each.name for each in found}) == len(found)
    assert len({each.physical_name for each in found}) == len(found)
    assert all(len(each.physical_name) <= LIMITS["eks-nodegroup"] for each in found)
    assert all(len(each.zones) == 1 for each in found if each.kind == "workspace")


def test_a_cell_whose_groups_could_not_be_named_is_refused() -> None:
    args = cell(
        name="abcdefghijklmnopqrstuvwx",
        facts=replace(FACTS, region="ap-southeast-2", zones=tuple(f"ap-southeast-2{each}" for each in "abc")),
        nodes=Nodes(workspace_types=("u7inh-32tb.480xlarge",)),
    )
    with pytest.raises(UsageError, match="AWS allows 63"):
        graph(args)


@pytest.mark.parametrize("wrong", [{"system_count": 1}, {"workspace_types": ()}, {"workspace_maximum": 0}])
def test_machines_that_could_not_hold_a_cell_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Nodes(**wrong)
