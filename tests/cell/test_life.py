"""A whole cell in the emulated account: made, unchanged, changed, mended, ended; nothing is left."""

from dataclasses import replace
from typing import Any

import pytest

from byoc.cell.program import program
from tests.emulated.handlers.handler import Aws, Refused
from tests.emulated.stack import Stack
from tests.unit.cell.examples import EXAMPLES, cell

NEW = sorted(name for name in EXAMPLES if name != "given")


def left(aws: Aws) -> dict[str, list[Any]]:
    """What of a cell is still in the account; a key is deleted by AWS after its days to think again."""
    ec2 = aws("ec2")
    ours = [{"Name": "tag-key", "Values": ["byoc:cell"]}]
    gone = {"deleted", "deleting"}
    found = {
        "vpcs": ec2.describe_vpcs(Filters=ours)["Vpcs"],
        "addresses": ec2.describe_addresses()["Addresses"],
        "gateways": [one for one in ec2.describe_nat_gateways()["NatGateways"] if one["State"] not in gone],
        "endpoints": [
            one for one in ec2.describe_vpc_endpoints()["VpcEndpoints"] if one["State"] not in gone
        ],
        "flow logs": ec2.describe_flow_logs()["FlowLogs"],
        "templates": ec2.describe_launch_templates()["LaunchTemplates"],
        "groups": ec2.describe_security_groups(Filters=ours)["SecurityGroups"],
        "scaling groups": aws("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"],
        "clusters": aws("eks").list_clusters()["clusters"],
        "functions": aws("lambda").list_functions()["Functions"],
        "logs": aws("logs").describe_log_groups()["logGroups"],
        "roles": aws("iam").list_roles()["Roles"],
        "policies": aws("iam").list_policies(Scope="Local")["Policies"],
        "providers": aws("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"],
        "buckets": aws("s3").list_buckets()["Buckets"],
        "zones": aws("route53").list_hosted_zones()["HostedZones"],
        "parameters": aws("ssm").describe_parameters()["Parameters"],
        "keys": [key for key in _keys(aws) if key["KeyState"] != "PendingDeletion"],
    }
    return {kind: rows for kind, rows in found.items() if rows}


def _keys(aws: Aws) -> list[Any]:
    kms = aws("kms")
    return [kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in kms.list_keys()["Keys"]]


@pytest.mark.parametrize("name", NEW)
def test_a_cell_is_made_once_and_leaves_nothing(aws: Aws, name: str) -> None:
    stack, wanted = Stack(aws), program(EXAMPLES[name])
    planned = stack.preview(wanted)
    made = stack.up(wanted)
    assert {step.op for step in made.steps} == {"create"}
    assert sorted(map(str, planned.steps)) == sorted(map(str, made.steps))
    assert stack.preview(wanted).changes == []
    assert stack.refresh() == []
    stack.destroy(even_protected=True)
    assert left(aws) == {}


def test_what_somebody_changed_by_hand_is_found_and_mended(aws: Aws) -> None:
    stack, wanted = Stack(aws), program(cell())
    stack.up(wanted)
    key = _keys(aws)[0]["KeyId"]
    aws("kms").disable_key_rotation(KeyId=key)
    aws("eks").update_cluster_config(name="byoc-main", resourcesVpcConfig={"endpointPublicAccess": True})
    bucket = aws("s3").list_buckets()["Buckets"][0]["Name"]
    aws("s3").delete_public_access_block(Bucket=bucket)
    table = aws("ec2").describe_route_tables(Filters=[{"Name": "tag:byoc:cell", "Values": ["main"]}])
    for one in table["RouteTables"][0]["Routes"]:
        if one.get("NatGatewayId"):
            aws("ec2").delete_route(
                RouteTableId=table["RouteTables"][0]["RouteTableId"], DestinationCidrBlock="0.0.0.0/0"
            )
    drifted = {str(step).rpartition(" ")[0] for step in stack.refresh()}
    assert {"drift Key", "drift Cluster", "gone BucketPublicAccessBlock"} <= drifted
    mended = {step.op for step in stack.up(wanted).changes}
    assert mended <= {"create", "update"}
    assert stack.refresh() == []
    cluster = aws("eks").describe_cluster(name="byoc-main")["cluster"]
    assert cluster["resourcesVpcConfig"]["endpointPublicAccess"] is False
    assert aws("kms").get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]


def test_an_upgrade_replaces_nothing(aws: Aws) -> None:
    stack, old = Stack(aws), cell()
    stack.up(program(old))
    newer = replace(old, facts=replace(old.facts, kubernetes="1.35", ami_release="1.35.1-20270101"))
    run = stack.up(program(newer))
    assert {step.op for step in run.changes} == {"update"}
    assert aws("eks").describe_cluster(name="byoc-main")["cluster"]["version"] == "1.35"
    groups = aws("eks").list_nodegroups(clusterName="byoc-main")["nodegroups"]
    versions = {
        aws("eks").describe_nodegroup(clusterName="byoc-main", nodegroupName=name)["nodegroup"]["version"]
        for name in groups
    }
    assert versions == {"1.35"}


def test_the_number_of_machines_is_the_autoscalers(aws: Aws) -> None:
    stack, wanted = Stack(aws), program(cell())
    stack.up(wanted)
    name = next(
        one
        for one in aws("eks").list_nodegroups(clusterName="byoc-main")["nodegroups"]
        if "system" not in one
    )
    aws("eks").update_nodegroup_config(
        clusterName="byoc-main",
        nodegroupName=name,
        scalingConfig={"desiredSize": 2, "minSize": 0, "maxSize": 9},
    )
    stack.refresh()
    changes = [step for step in stack.preview(wanted).changes if step.token.endswith("NodeGroup")]
    assert all("scalingConfig.desiredSize" not in step.paths for step in changes)


def test_a_cell_of_a_name_that_is_taken_is_refused_in_awss_words(aws: Aws) -> None:
    stack = Stack(aws)
    aws("s3").create_bucket(
        Bucket="byoc-main-data-123456789012",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )
    with pytest.raises(Refused, match="BucketAlreadyOwnedByYou"):
        stack.up(program(cell()))
