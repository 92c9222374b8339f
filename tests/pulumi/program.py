"""A small cell for the real engine: twelve resources, some named, some found by their tag only.

Shared by the tests in this process and by :mod:`tests.pulumi.tool`, which is killed.
"""

import json
from dataclasses import dataclass

from byoc.cell.naming import CELL_TAG, LOGICAL_NAME_TAG
from byoc.errors import UsageError

CELL = "trial"
CIDR = "10.20.0.0/16"
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": ["sts:AssumeRole"]}
    ],
}
RESOURCES = 2 + 12  # the stack and its component count, too


@dataclass
class Shape:
    """What a test changes between two runs."""

    retention: int = 30
    cidr: str = CIDR
    fails: bool = False
    version: str = "1.34"


def cell(shape: Shape) -> None:
    """The program. Pulumi is imported here, as the product does it."""
    import pulumi  # noqa: PLC0415
    import pulumi_aws as aws  # noqa: PLC0415

    if shape.fails:
        raise UsageError("two zones are not enough", hint="give three")
    component = pulumi.ComponentResource("byoc:cell:Cell", "cell")
    below = pulumi.ResourceOptions(parent=component)

    def tags(name: str) -> dict[str, str]:
        return {CELL_TAG: CELL, LOGICAL_NAME_TAG: name}

    vpc = aws.ec2.Vpc("network", cidr_block=shape.cidr, tags=tags("network"), opts=below)
    subnets = [
        aws.ec2.Subnet(
            f"private-{zone}",
            vpc_id=vpc.id,
            cidr_block=f"10.20.{number * 16}.0/20",
            availability_zone=zone,
            tags=tags(f"private-{zone}"),
            opts=below,
        )
        for number, zone in enumerate(ZONES)
    ]
    tables = [
        aws.ec2.RouteTable(f"private-{zone}", vpc_id=vpc.id, tags=tags(f"private-{zone}"), opts=below)
        for zone in ZONES
    ]
    aws.ec2.VpcEndpoint(
        "s3",
        vpc_id=vpc.id,
        service_name="com.amazonaws.us-east-1.s3",
        vpc_endpoint_type="Gateway",
        tags=tags("s3"),
        route_table_ids=[table.id for table in tables],
        opts=below,
    )
    aws.kms.Key(
        "cell",
        description="cell key",
        enable_key_rotation=True,
        deletion_window_in_days=7,
        tags=tags("cell"),
        opts=below,
    )
    aws.cloudwatch.LogGroup("flow", name="/byoc/cell/flow", retention_in_days=shape.retention, opts=below)
    role = aws.iam.Role("cluster", name="cell-cluster", assume_role_policy=json.dumps(TRUST), opts=below)
    cluster = aws.eks.Cluster(
        "cell",
        name="cell",
        role_arn=role.arn,
        version=shape.version,
        vpc_config=aws.eks.ClusterVpcConfigArgs(
            subnet_ids=[subnet.id for subnet in subnets],
            endpoint_private_access=True,
            endpoint_public_access=False,
        ),
        opts=below,
    )
    component.register_outputs({})
    pulumi.export("cluster", cluster.name)
    pulumi.export("hidden", pulumi.Output.secret("hush-hush"))
