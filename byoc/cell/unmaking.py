"""On what, and under which condition, somebody who destroys a cell may use each action. Pure.

Read by ``grants`` for the policies that delete, those of the data apart, and checked as ``scopes`` is. The
rule is the same: what is deleted carries the cell's tag, or its name where AWS does not look at tags; an
exception says why.
"""

from collections.abc import Iterator
from typing import Final

from byoc.cell import arns, breaking
from byoc.cell.args import CellArgs
from byoc.cell.limits import anything, ec2, equal, functions, log_groups, regional, roles, tagged
from byoc.cell.statements import Statement

_LOOK_BACK: Final = (
    "ec2:DescribeVolumes",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTags",
    "iam:ListOpenIDConnectProviderTags",
    "iam:ListOpenIDConnectProviders",
    "iam:ListPolicies",
    "iam:ListInstanceProfiles",
    "iam:ListPolicyTags",
    "iam:ListRoleTags",
    "iam:ListRoles",
    "lambda:ListFunctions",
    "s3:ListAllMyBuckets",
    "ssm:ListDocuments",
)


def deletion(args: CellArgs) -> Iterator[Statement]:
    """Return what only a destroy does, whatever becomes of the data."""
    yield anything("LookBack", "AWS lists all or none of these", _LOOK_BACK)
    yield from _delete_network(args)
    yield from _delete_cluster(args)
    yield from _delete_named(args)
    yield from _delete_identity(args)
    yield from _delete_sessions(args)


def _delete_network(args: CellArgs) -> Iterator[Statement]:
    yield Statement(
        sid="Network",
        why="of the cell",
        actions=(
            "ec2:DeleteFlowLogs", "ec2:DeleteInternetGateway", "ec2:DeleteLaunchTemplate",
            "ec2:DeleteNatGateway", "ec2:DeleteRoute", "ec2:DeleteRouteTable", "ec2:DeleteSecurityGroup",
            "ec2:DeleteSubnet", "ec2:DeleteVpc", "ec2:DeleteVpcEndpoints",
            "ec2:DetachInternetGateway", "ec2:DisassociateAddress", "ec2:DisassociateRouteTable",
            "ec2:ReleaseAddress", "ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress",
            "ec2:TerminateInstances",
        ),
        resources=(ec2(args, "*"),),
        conditions=tagged(args),
    )  # fmt: skip
    yield Statement(
        sid="ClustersGroup",
        why="EKS makes the cluster's security group, with its own tag",
        actions=("ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"),
        resources=(ec2(args, "security-group"),),
        conditions=equal("aws:ResourceTag/aws:eks:cluster-name", arns.cluster_name(args)),
    )
    yield Statement(
        sid="Interfaces",
        why="AWS Lambda and EKS leave theirs without a tag of the cell, and they keep subnets and groups",
        actions=("ec2:DeleteNetworkInterface", "ec2:DetachNetworkInterface"),
        resources=(ec2(args, "network-interface"), ec2(args, "instance")),
    )


def _delete_cluster(args: CellArgs) -> Iterator[Statement]:
    name, here = arns.cluster_name(args), regional(args, "eks")
    yield Statement(
        sid="Cluster",
        why="by its name, and what is in it",
        actions=(
            "eks:DeleteAccessEntry", "eks:DeleteAddon", "eks:DeleteCluster", "eks:DeleteNodegroup",
            "eks:DeletePodIdentityAssociation", "eks:DisassociateAccessPolicy",
        ),
        resources=(
            arns.cluster_arn(args),
            *(
                f"{here}:{kind}/{name}/*"
                for kind in ("access-entry", "addon", "nodegroup", "podidentityassociation")
            ),
        ),
    )  # fmt: skip
    yield Statement(
        sid="Groups",
        why="EKS makes the machines' groups, with its own tag",
        actions=("autoscaling:DeleteTags",),
        resources=(f"{regional(args, 'autoscaling')}:autoScalingGroup:*:autoScalingGroupName/*",),
        conditions=equal("aws:ResourceTag/eks:cluster-name", name),
    )


def _delete_named(args: CellArgs) -> Iterator[Statement]:
    yield Statement(
        sid="Functions",
        why="by their names",
        actions=("lambda:DeleteFunction",),
        resources=functions(args),
    )
    yield Statement(
        sid="Logs", why="by their names", actions=("logs:DeleteLogGroup",), resources=log_groups(args)
    )
    yield anything("DeliverLogs", "a delivery has no name", ("logs:DeleteLogDelivery",))
    yield Statement(
        sid="Zone",
        why="Route 53 looks at no tags; a zone with names in it is not deleted",
        actions=("route53:DeleteHostedZone",),
        resources=(f"arn:{args.facts.partition}:route53:::hostedzone/*",),
    )


def _delete_identity(args: CellArgs) -> Iterator[Statement]:
    yield Statement(
        sid="Roles",
        why="by their names",
        actions=(
            "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy",
            "iam:ListInstanceProfilesForRole",
        ),
        resources=roles(args),
    )  # fmt: skip
    yield Statement(
        sid="Provider",
        why="by its tag",
        actions=("iam:DeleteOpenIDConnectProvider",),
        resources=(arns.cluster_providers(args),),
        conditions=tagged(args),
    )
    yield Statement(
        sid="Policies",
        why="the boundary, by its name",
        actions=("iam:DeletePolicy",),
        resources=(arns.boundary_arn(args),),
    )


def _delete_sessions(args: CellArgs) -> Iterator[Statement]:
    role, profile = breaking.names(args)
    yield Statement(
        sid="SessionsRoles",
        why="of break-glass sessions that nobody closed",
        actions=("iam:DeleteRole", "iam:DeleteRolePolicy"),
        resources=(role,),
    )
    yield Statement(
        sid="SessionsProfiles",
        why="the same",
        actions=("iam:DeleteInstanceProfile", "iam:GetInstanceProfile", "iam:RemoveRoleFromInstanceProfile"),
        resources=(profile,),
    )
    yield Statement(
        sid="SessionsDocument",
        why="the same",
        actions=("ssm:DeleteDocument",),
        resources=(breaking.document(args),),
    )


def data(args: CellArgs) -> Iterator[Statement]:
    """Return what a destroy without ``--keep-data`` does besides."""
    buckets = tuple(arns.bucket_arn(args, which) for which in arns.BUCKETS)
    yield Statement(
        sid="Buckets",
        why="without --keep-data",
        actions=("s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:ListBucketVersions"),
        resources=buckets,
    )
    yield Statement(
        sid="Objects",
        why="without --keep-data; the ledger's lock may be ended by the account's owner only",
        actions=("s3:BypassGovernanceRetention", "s3:DeleteObject", "s3:DeleteObjectVersion"),
        resources=tuple(f"{arn}/*" for arn in buckets),
    )
    yield Statement(
        sid="Volumes",
        why="that the cluster's driver made with the cell's tag",
        actions=("ec2:DeleteVolume",),
        resources=(ec2(args, "volume"),),
        conditions=tagged(args),
    )
    yield Statement(
        sid="Key",
        why="without --keep-data",
        actions=("kms:DeleteAlias", "kms:ScheduleKeyDeletion"),
        resources=(f"{regional(args, 'kms')}:key/*",),
        conditions=tagged(args),
    )
    yield Statement(
        sid="KeysName",
        why="of the key",
        actions=("kms:DeleteAlias",),
        resources=(f"{regional(args, 'kms')}:{arns.key_alias(args)}",),
    )
