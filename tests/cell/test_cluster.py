import pytest

from byoc.cell import arns
from byoc.cell.args import Delivery
from byoc.cell.cluster import LOG_TYPES
from byoc.cell.incluster import CONTROL_GROUP
from byoc.cell.subnets import SERVICE_RANGES
from byoc.errors import UsageError
from tests.cell.parts import Graph, graph
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, ZONES, cell

CLUSTER, LOG = "aws:eks/cluster:Cluster", "aws:cloudwatch/logGroup:LogGroup"
ENTRY = "aws:eks/accessEntry:AccessEntry"
POLICY = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
ADMIN = f"arn:aws:iam::{ACCOUNT}:role/platform"


@pytest.fixture(scope="module")
def made() -> Graph:
    return graph(cell())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_api_has_a_private_address_only(name: str) -> None:
    network = graph(EXAMPLES[name]).inputs(CLUSTER, "cluster")["vpcConfig"]
    assert network["endpointPrivateAccess"] is True
    assert network["endpointPublicAccess"] is False
    assert len(network["subnetIds"]) == len(ZONES)


def test_nobody_is_an_administrator_by_having_made_the_cluster(made: Graph) -> None:
    access = made.inputs(CLUSTER, "cluster")["accessConfig"]
    assert access == {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}


def test_secrets_are_encrypted_with_the_cells_key(made: Graph) -> None:
    encryption = made.inputs(CLUSTER, "cluster")["encryptionConfig"]
    assert encryption["resources"] == ["secrets"]
    assert encryption["provider"]["keyArn"] == made.recording.outputs["keyARN"]


def test_every_log_is_kept_encrypted_in_a_group_made_before_the_cluster(made: Graph) -> None:
    assert made.inputs(CLUSTER, "cluster")["enabledClusterLogTypes"] == list(LOG_TYPES)
    log = made.inputs(LOG, "cluster")
    assert log["name"] == "/aws/eks/byoc-main/cluster"
    assert log["retentionInDays"] == cell().log_days
    assert log["kmsKeyId"] == made.recording.outputs["keyARN"]
    assert f"{LOG}::cluster" in made.waits_for(CLUSTER, "cluster")


def test_what_aws_leaves_open_is_decided(made: Graph) -> None:
    cluster = made.inputs(CLUSTER, "cluster")
    assert cluster["upgradePolicy"] == {"supportType": "STANDARD"}
    assert cluster["bootstrapSelfManagedAddons"] is False
    assert cluster["deletionProtection"] is False
    assert cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == str(SERVICE_RANGES[0])
    assert cluster["name"] == arns.cluster_name(cell())
    assert cluster["version"] == cell().facts.kubernetes


def test_the_functions_enter_the_cluster_by_entries_of_their_own(made: Graph) -> None:
    assert made.names(ENTRY) == {"access-installer", "access-control"}
    installer = made.inputs(ENTRY, "access-installer")
    assert installer["principalArn"] == arns.role_arn(cell(), "installer")
    assert "kubernetesGroups" not in installer
    control = made.inputs(ENTRY, "access-control")
    assert control["principalArn"] == arns.role_arn(cell(), "control")
    assert control["kubernetesGroups"] == [CONTROL_GROUP]


def test_only_the_installer_administers_the_cluster(made: Graph) -> None:
    assert made.names(POLICY) == {"access-installer"}
    policy = made.inputs(POLICY, "access-installer")
    assert policy["policyArn"] == "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
    assert policy["accessScope"] == {"type": "cluster"}
    assert f"{ENTRY}::access-installer" in made.waits_for(POLICY, "access-installer")


def test_the_customers_administrators_are_named_in_the_stack() -> None:
    found = graph(cell(administrators=(ADMIN,)))
    assert found.inputs(POLICY, "access-admin-1")["principalArn"] == ADMIN
    assert found.names(ENTRY) == {"access-installer", "access-control", "access-admin-1"}


def test_where_objects_are_delivered_directly_no_function_has_an_entry() -> None:
    found = graph(cell(delivery=Delivery.DIRECT, administrators=(ADMIN,)))
    assert found.names(ENTRY) == {"access-admin-1"}


def test_delivery_that_nobody_could_carry_out_is_refused() -> None:
    with pytest.raises(UsageError, match="nobody could apply"):
        cell(delivery=Delivery.DIRECT)


def test_access_goes_with_the_cluster(made: Graph) -> None:
    cluster = made.one(CLUSTER, "cluster").urn
    for kind in (ENTRY, POLICY):
        assert {each.within for each in made.recording.of(kind)} == {cluster}


def test_a_plan_knows_what_it_cannot_know_yet(made: Graph) -> None:
    for name in ("securityGroupID", "certificate", "endpoint"):
        assert made.recording.outputs[name] == "<known after apply>"
