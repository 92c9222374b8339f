"""The permissions boundary of every role of a cell: what none of them can do, whoever gives it more. Pure.

Made by ``identity`` where the customer names no boundary of their own, printed in docs/access.md. What a
role may do is what both its policies and this allow. The invariants, tested with an evaluator:

* nothing outside the account and the region, but pulling images;
* nothing in IAM, and no other role taken on;
* no log, trail, flow log, backup copy or key is switched off, shortened or deleted;
* nothing is made public: no public address, gateway, load balancer, bucket policy or shared image.
"""

from typing import Final

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.statements import Document, Statement, Values

_PULL: Final = (
    "ecr:BatchGetImage",
    "ecr:BatchImportUpstreamImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
)

_LOOK: Final = (
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeLaunchConfigurations",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:DescribeTags",
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTopology",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeTags",
    "ec2:DescribeVolumeStatus",
    "ec2:DescribeVolumes",
    "ec2:DescribeVolumesModifications",
    "ec2:DescribeVpcs",
    "ec2:GetInstanceTypesFromInstanceRequirements",
    "logs:DescribeLogGroups",
    "route53:ListHostedZones",
)

_USE: Final = (
    "autoscaling:SetDesiredCapacity",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "ec2:AssignPrivateIpAddresses",
    "ec2:AttachNetworkInterface",
    "ec2:AttachVolume",
    "ec2:CreateNetworkInterface",
    "ec2:CreateTags",
    "ec2:CreateVolume",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteVolume",
    "ec2:DetachNetworkInterface",
    "ec2:DetachVolume",
    "ec2:ModifyNetworkInterfaceAttribute",
    "ec2:ModifyVolume",
    "ec2:UnassignPrivateIpAddresses",
    "eks:DescribeCluster",
    "eks:DescribeNodegroup",
    "eks-auth:AssumeRoleForPodIdentity",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "logs:CreateLogStream",
    "logs:DescribeLogStreams",
    "logs:PutLogEvents",
)

_STORE: Final = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
)

_NAMES: Final = (
    "route53:ChangeResourceRecordSets",
    "route53:ListResourceRecordSets",
    "route53:ListTagsForResource",
)

_SESSION: Final = (
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
)

_BLIND: Final = (
    "cloudtrail:*",
    "config:*",
    "ec2:DeleteFlowLogs",
    "eks:UpdateClusterConfig",
    "guardduty:*",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "logs:DeleteLogGroup",
    "logs:DeleteLogStream",
    "logs:DeleteRetentionPolicy",
    "logs:DisassociateKmsKey",
    "logs:PutRetentionPolicy",
    "s3:BypassGovernanceRetention",
    "s3:DeleteObjectVersion",
    "s3:PutBucketLogging",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
)

_PUBLIC: Final = (
    "ec2:AllocateAddress",
    "ec2:AssociateAddress",
    "ec2:AttachInternetGateway",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateInternetGateway",
    "ec2:CreateNatGateway",
    "ec2:CreateRoute",
    "ec2:CreateVpcPeeringConnection",
    "ec2:ModifyImageAttribute",
    "ec2:ModifySnapshotAttribute",
    "ec2:ModifySubnetAttribute",
    "ec2:RunInstances",
    "ecr:SetRepositoryPolicy",
    "elasticloadbalancing:*",
    "lambda:AddPermission",
    "lambda:CreateFunctionUrlConfig",
    "s3:DeleteBucketPolicy",
    "s3:PutAccountPublicAccessBlock",
    "s3:PutBucketAcl",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutObjectAcl",
)


def boundary(args: CellArgs) -> Document:
    """Return the boundary: a list of what may be used, and the promises as denials.

    The denials are not idle where the list already leaves an action out: a resource's own policy can give
    a role what its boundary merely does not mention, never what its boundary denies (IAM user guide,
    "Permissions boundaries").
    """
    return Document((*_allowed(args), *_denied(args)))


def _allowed(args: CellArgs) -> tuple[Statement, ...]:
    facts = args.facts
    regional = tuple(
        f"arn:{facts.partition}:{service}:{facts.region}:{facts.account}:*"
        for service in ("autoscaling", "ec2", "eks", "kms", "logs")
    )
    return (
        Statement(sid="Look", why="what AWS lists, it lists all or none of", actions=_LOOK, resources=("*",)),
        Statement(sid="Pull", why="images, also of AWS's own registries", actions=_PULL, resources=("*",)),
        Statement(
            sid="Use",
            why="what roles of a cell do, in this account and region",
            actions=_USE,
            resources=regional,
        ),
        Statement(
            sid="Store",
            why="in the cell's own buckets",
            actions=_STORE,
            resources=tuple(
                f"{arns.bucket_arn(args, which)}{part}" for which in arns.BUCKETS for part in ("", "/*")
            ),
        ),
        Statement(
            sid="Session",
            why="a machine that was started to break the glass is reached by Session Manager",
            actions=_SESSION,
            resources=("*",),
        ),
        Statement(
            sid="Name",
            why="workspaces' endpoints",
            actions=_NAMES,
            resources=(f"arn:{facts.partition}:route53:::hostedzone/*",),
        ),
    )


def _denied(args: CellArgs) -> tuple[Statement, ...]:
    facts = args.facts
    return (
        _deny(
            "OtherAccounts",
            "nothing of another account is touched; images are pulled from their makers' registries",
            all_but=_PULL,
            # Many calls are about no resource, and then there is no such key.
            conditions={
                "StringNotEquals": {"aws:ResourceAccount": facts.account},
                "Null": {"aws:ResourceAccount": "false"},
            },
        ),
        _deny(
            "OtherRegions",
            "the cell stays in its region; Route 53 has none",
            all_but=("route53:*",),
            conditions={"StringNotEquals": {"aws:RequestedRegion": facts.region}},
        ),
        _deny(
            "Identity",
            "no role of a cell makes, changes, passes or takes on a role",
            actions=("iam:*", "sts:AssumeRole*", "organizations:*", "account:*"),
        ),
        _deny("Blinding", "no log, key or locked copy is switched off, shortened or deleted", actions=_BLIND),
        _deny("Publishing", "nothing is opened to anybody outside", actions=_PUBLIC),
    )


def _deny(
    sid: str,
    why: str,
    *,
    actions: Values = (),
    all_but: Values = (),
    conditions: dict[str, dict[str, str]] | None = None,
) -> Statement:
    return Statement(
        sid=sid,
        why=why,
        effect="Deny",
        actions=actions,
        all_but=all_but,
        resources=("*",),
        conditions=conditions or {},
    )
