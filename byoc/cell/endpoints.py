"""Which AWS services a cell reaches from inside its VPC, and what the way to S3 lets through. Pure.

Read by the network, by the preflight (how many endpoints the quota must bear) and by the plan. With these
endpoints no call of the cell to AWS leaves the VPC, but Route 53's and IAM's, which have none in a region.
"""

import json
from collections.abc import Mapping
from typing import Final

from byoc.cell.args import CellArgs, GivenVpc, Nat

INTERFACE: Final[Mapping[str, str]] = {
    "autoscaling": "the autoscaler sets the number of machines",
    "ec2": "machines get network interfaces, volumes are made and attached",
    "ecr.api": "machines pull images",
    "ecr.dkr": "machines pull images",
    "eks": "machines and the autoscaler ask for the cluster and its groups",
    "eks-auth": "pods get their roles' credentials",
    "sts": "databases get their role's credentials",
}
"""Service of an interface endpoint, to who needs it (EKS user guide, "Deploy private clusters").

Not KMS and CloudWatch Logs: volumes, objects and the logs of functions are handled on AWS's own side.
"""
WITHOUT_NAT: Final[Mapping[str, str]] = {
    "logs": "break-glass sessions are logged by their machine",
    "ssm": "the machine of a break-glass session announces itself",
    "ssmmessages": "break-glass sessions run through it",
}
"""As above, where there is no other way out: a session is rare, an endpoint is paid by the hour (Systems
Manager user guide, "Create VPC endpoints"; ec2messages is for agents older than Amazon Linux 2023's)."""

GATEWAY: Final = "s3"


def missing(args: CellArgs) -> tuple[str, ...]:
    """Return the services for which the cell makes an interface endpoint: those the VPC has not."""
    present = args.network.endpoints if isinstance(args.network, GivenVpc) else ()
    return tuple(service for service in needed(args) if service not in present)


def needed(args: CellArgs) -> Mapping[str, str]:
    """Return the services that need an interface endpoint in the VPC, each with who needs it."""
    return {**INTERFACE, **for_sessions(args)}


def for_sessions(args: CellArgs) -> Mapping[str, str]:
    """Return those without which nobody could break the glass: none where there is another way out."""
    if isinstance(args.network, GivenVpc):
        way_out = all(subnet.has_egress for subnet in args.network.subnets)
    else:
        way_out = args.network.nat is not Nat.NONE
    return {} if way_out else WITHOUT_NAT


def makes_gateway(args: CellArgs) -> bool:
    """Whether the cell makes the gateway endpoint of S3."""
    return not (isinstance(args.network, GivenVpc) and GATEWAY in args.network.endpoints)


def service_name(args: CellArgs, service: str) -> str:
    """Return a service's name for endpoints; the same form in every partition that is supported."""
    return f"com.amazonaws.{args.facts.region}.{service}"


def bucket_policy(args: CellArgs) -> str:
    """Return the policy of S3's endpoint: the account's own buckets, and the layers of images.

    So that what runs in the cell cannot carry data to somebody else's bucket by the road that costs
    nothing. The layers of ECR's images and of registry.k8s.io's are in their makers' buckets (ECR user
    guide, "Minimum Amazon S3 Bucket Permissions"; kubernetes/registry.k8s.io).
    """
    facts = args.facts
    layers = (f"prod-{facts.region}-starport-layer-bucket", "prod-registry-k8s-io-*")
    statements = [
        {
            "Sid": "OwnBuckets",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceAccount": facts.account}},
        },
        {
            "Sid": "LayersOfImages",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": [f"arn:{facts.partition}:s3:::{bucket}/*" for bucket in layers],
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
