"""On what, and under which condition, somebody who makes a cell may use each action. Pure.

Read by ``grants``, which takes from these statements the actions that are needed and leaves out the
others. Each action, kind of resource and condition is checked in a test against AWS's own reference. The
rule: a thing is made with the cell's tag, and touched by it; where AWS does not look at tags its name
begins with the cell's; an exception says why.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from byoc.cell import arns
from byoc.cell.args import CellArgs, GivenVpc, Nat
from byoc.cell.limits import (
    anything,
    ec2,
    equal,
    functions,
    iam,
    log_groups,
    made,
    new,
    regional,
    roles,
    tagged,
)
from byoc.cell.naming import CELL_TAG, LOGICAL_NAME_TAG
from byoc.cell.policies import MANAGED
from byoc.cell.statements import Statement, Values

STATE_TAG: Final = "byoc:state"
LINKED: Final = ("autoscaling.amazonaws.com", "eks-nodegroup.amazonaws.com", "eks.amazonaws.com")
"""Services that make a role of their own at their first use in an account."""
PASSED: Final = (
    "ec2.amazonaws.com",
    "eks.amazonaws.com",
    "lambda.amazonaws.com",
    "pods.eks.amazonaws.com",
    "vpc-flow-logs.amazonaws.com",
)
"""Services that a role of the cell is handed to."""

_LOOK: Final = (
    "autoscaling:DescribeTags",
    "ec2:DescribeAddresses",
    "ec2:DescribeAddressesAttribute",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeFlowLogs",
    "ec2:DescribeInstances",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeNatGateways",
    "ec2:DescribeNetworkAcls",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribePrefixLists",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroupRules",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcAttribute",
    "ec2:DescribeVpcEndpoints",
    "ec2:DescribeVpcs",
    "ecr:DescribeImages",
    "eks:DescribeAddonVersions",
    "eks:DescribeClusterVersions",
    "eks:ListClusters",
    "iam:ListOpenIDConnectProviders",
    "kms:ListAliases",
    "kms:ListKeys",
    "logs:DescribeLogGroups",
    "route53:ListHostedZones",
    "servicequotas:GetAWSDefaultServiceQuota",
    "servicequotas:GetServiceQuota",
    "sts:GetCallerIdentity",
)
_MADE: Final[tuple[tuple[str, str, Mapping[str, str]], ...]] = (
    (
        "MakeAlone",
        "everything is made with the cell's tag",
        {
            "ec2:AllocateAddress": "elastic-ip",
            "ec2:CreateInternetGateway": "internet-gateway",
            "ec2:CreateLaunchTemplate": "launch-template",
            "ec2:CreateVpc": "vpc",
        },
    ),
    (
        "MakeInVpc",
        "with its tag, but not on anybody's VPC: that is said below",
        {
            "ec2:CreateRouteTable": "route-table",
            "ec2:CreateSecurityGroup": "security-group",
            "ec2:CreateSubnet": "subnet",
        },
    ),
    (
        "MakeUpon",
        "with its tag, but not on anybody's subnets and groups: that is said below",
        {
            "ec2:AuthorizeSecurityGroupEgress": "security-group-rule",
            "ec2:AuthorizeSecurityGroupIngress": "security-group-rule",
            "ec2:CreateFlowLogs": "vpc-flow-log",
            "ec2:CreateNatGateway": "natgateway",
            "ec2:CreateVpcEndpoint": "vpc-endpoint",
        },
    ),
)
"""Action to the kind of resource that it makes, which takes its tags with it. They stand apart so that no
statement names a kind that one of its actions makes, and another of them makes something upon."""
_ONLY_NEW: Final = frozenset(
    {
        "ec2:AllocateAddress",
        "ec2:CreateInternetGateway",
        "ec2:CreateNatGateway",
        "ec2:CreateRouteTable",
        "ec2:CreateSubnet",
        "ec2:CreateVpc",
    }
)
"""What is made in a VPC of the cell's own alone."""
_WITHIN: Final[Mapping[str, Values]] = {
    "ec2:AttachInternetGateway": ("internet-gateway", "vpc"),
    "ec2:AuthorizeSecurityGroupEgress": ("security-group",),
    "ec2:AuthorizeSecurityGroupIngress": ("security-group",),
    "ec2:CreateFlowLogs": ("vpc",),
    "ec2:CreateNatGateway": ("elastic-ip", "subnet"),
    "ec2:CreateRouteTable": ("vpc",),
    "ec2:CreateSecurityGroup": ("vpc",),
    "ec2:CreateSubnet": ("vpc",),
    "ec2:CreateVpcEndpoint": ("route-table", "security-group", "subnet", "vpc"),
}
"""Action to the kinds of resource that it makes something in, or of."""
_KINDS: Final = frozenset(kind for kinds in _WITHIN.values() for kind in kinds)
_NAT: Final = ("ec2:AllocateAddress", "ec2:AttachInternetGateway", "ec2:CreateInternetGateway",
               "ec2:CreateNatGateway")  # fmt: skip
_YOURS: Final = (
    "ec2:CreateFlowLogs",
    "ec2:CreateSecurityGroup",
    "ec2:CreateVpcEndpoint",
    "ec2:ModifyVpcEndpoint",
)
_CHANGE: Final = (
    "ec2:AssociateRouteTable",
    "ec2:CreateLaunchTemplateVersion",
    "ec2:CreateRoute",
    "ec2:CreateTags",
    "ec2:DeleteTags",
    "ec2:ModifyLaunchTemplate",
    "ec2:ModifySecurityGroupRules",
    "ec2:ModifySubnetAttribute",
    "ec2:ModifyVpcAttribute",
    "ec2:ModifyVpcEndpoint",
    "ec2:ReplaceRoute",
    "ec2:ReplaceRouteTableAssociation",
    "ec2:RevokeSecurityGroupEgress",
    "ec2:RevokeSecurityGroupIngress",
)
_CLUSTER_GROUP: Final = (
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:ModifySecurityGroupRules",
    "ec2:RevokeSecurityGroupEgress",
    "ec2:RevokeSecurityGroupIngress",
)
_IN_CLUSTER: Final = (
    "eks:CreateAccessEntry",
    "eks:CreateAddon",
    "eks:CreateNodegroup",
    "eks:CreatePodIdentityAssociation",
)
_EKS: Final = (
    "eks:AssociateAccessPolicy",
    "eks:DescribeAccessEntry",
    "eks:DescribeAddon",
    "eks:DescribeCluster",
    "eks:DescribeNodegroup",
    "eks:DescribePodIdentityAssociation",
    "eks:DescribeUpdate",
    "eks:ListAssociatedAccessPolicies",
    "eks:ListPodIdentityAssociations",
    "eks:TagResource",
    "eks:UntagResource",
    "eks:UpdateAccessEntry",
    "eks:UpdateAddon",
    "eks:UpdateClusterConfig",
    "eks:UpdateClusterVersion",
    "eks:UpdateNodegroupConfig",
    "eks:UpdateNodegroupVersion",
    "eks:UpdatePodIdentityAssociation",
)
_LAMBDA: Final = (
    "lambda:DeleteFunctionConcurrency",
    "lambda:GetFunction",
    "lambda:GetFunctionCodeSigningConfig",
    "lambda:ListTags",
    "lambda:ListVersionsByFunction",
    "lambda:PutFunctionConcurrency",
    "lambda:TagResource",
    "lambda:UntagResource",
    "lambda:UpdateFunctionCode",
    "lambda:UpdateFunctionConfiguration",
)
_LOGS: Final = (
    "logs:AssociateKmsKey",
    "logs:ListTagsForResource",
    "logs:PutRetentionPolicy",
    "logs:TagResource",
    "logs:UntagResource",
)
_ZONE: Final = (
    "route53:AssociateVPCWithHostedZone",
    "route53:ChangeTagsForResource",
    "route53:GetHostedZone",
    "route53:ListResourceRecordSets",
    "route53:ListTagsForResource",
    "route53:UpdateHostedZoneComment",
)
_BUCKET: Final = (
    "s3:CreateBucket",
    "s3:GetAccelerateConfiguration",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLogging",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetBucketWebsite",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetReplicationConfiguration",
    "s3:ListBucket",
    "s3:ListTagsForResource",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketTagging",
    "s3:PutBucketVersioning",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:TagResource",
    "s3:UntagResource",
)
_OBJECTS: Final = ("s3:DeleteObject", "s3:GetObject", "s3:PutObject")
_KEY: Final = (
    "kms:CreateAlias",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:EnableKeyRotation",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
_KEY_USE: Final = ("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey")


def look() -> Iterator[Statement]:
    """Return what is seen of the account and the region."""
    yield anything("Look", "AWS lists all or none of these", _LOOK)


def state(args: CellArgs) -> Iterator[Statement]:
    """Return what keeps the engine's state: a bucket by its name, a key by its tag."""
    bucket = f"arn:{args.facts.partition}:s3:::byoc-state-{args.facts.account}-{args.facts.region}"
    yield Statement(sid="Bucket", why="by its name", actions=_BUCKET, resources=(bucket,))
    yield Statement(sid="Objects", why="state and records", actions=_OBJECTS, resources=(f"{bucket}/*",))
    yield from _own_key(args, STATE_TAG, "key", f"{regional(args, 'kms')}:alias/byoc-state")


def network(args: CellArgs) -> Iterator[Statement]:
    """Return what makes and changes the network."""
    making: list[str] = []
    for sid, why, group in _MADE:
        mine = {name: kind for name, kind in group.items() if _makes(args, name)}
        making += mine
        yield Statement(
            sid=sid,
            why=why,
            actions=tuple(mine),
            resources=tuple(sorted({ec2(args, kind) for kind in mine.values()})),
            conditions=equal(f"aws:RequestTag/{CELL_TAG}", args.name),
        )
    yield _within(args)
    if isinstance(args.network, GivenVpc):
        yield _yours(args, args.network)
    yield Statement(
        sid="TagWhatIsMade",
        why="tags are given when a thing is made, and not to what is there already",
        actions=("ec2:CreateTags",),
        resources=(ec2(args, "*"),),
        conditions={
            "StringEquals": {
                "ec2:CreateAction": (*sorted(name.partition(":")[2] for name in making), "RunInstances"),
                f"aws:RequestTag/{CELL_TAG}": args.name,
            }
        },
    )
    yield Statement(
        sid="Change", why="of the cell", actions=_CHANGE, resources=(ec2(args, "*"),), conditions=tagged(args)
    )
    yield from _untagged(args)


def _makes(args: CellArgs, action: str) -> bool:
    if isinstance(args.network, GivenVpc):
        return action not in _ONLY_NEW
    return args.network.nat is not Nat.NONE or action not in _NAT


def _within(args: CellArgs) -> Statement:
    ours = {"security-group"} if isinstance(args.network, GivenVpc) else set(_KINDS)
    fits = {name: ours.intersection(kinds) for name, kinds in _WITHIN.items() if _makes(args, name)}
    return Statement(
        sid="Within",
        why="and in what is the cell's",
        actions=tuple(name for name, kinds in fits.items() if kinds),
        resources=tuple(
            ec2(args, kind) for kind in sorted({kind for kinds in fits.values() for kind in kinds})
        ),
        conditions=tagged(args),
    )


def _yours(args: CellArgs, vpc: GivenVpc) -> Statement:
    tables = dict.fromkeys(subnet.route_table_id for subnet in vpc.subnets)
    return Statement(
        sid="WithinYours",
        why="your VPC, subnets and route tables have no tag of the cell",
        actions=_YOURS,
        resources=tuple(
            dict.fromkeys(
                (
                    ec2(args, "vpc", vpc.id),
                    *(ec2(args, "subnet", subnet.id) for subnet in vpc.subnets),
                    *(ec2(args, "route-table", table) for table in tables),
                )
            )
        ),
    )


def _untagged(args: CellArgs) -> Iterator[Statement]:
    if not isinstance(args.network, GivenVpc):
        yield Statement(
            sid="TagDefaultGroup",
            why="AWS makes a VPC's default security group without tags; it is tagged, then emptied",
            actions=("ec2:CreateTags",),
            resources=(ec2(args, "security-group"),),
            conditions={
                "StringEquals": {
                    f"aws:RequestTag/{CELL_TAG}": args.name,
                    f"aws:RequestTag/{LOGICAL_NAME_TAG}": "default",
                }
            },
        )
    yield Statement(
        sid="ClustersGroup",
        why="EKS makes the cluster's security group, with its own tag",
        actions=_CLUSTER_GROUP,
        resources=(ec2(args, "security-group"),),
        conditions=equal("aws:ResourceTag/aws:eks:cluster-name", arns.cluster_name(args)),
    )


def cluster(args: CellArgs) -> Iterator[Statement]:
    """Return what makes and changes cluster, machines, functions, logs and names."""
    yield from _eks(args)
    yield Statement(
        sid="Machines",
        why="EKS looks whether its caller could start machines; only by a launch template of the cell",
        actions=("ec2:RunInstances",),
        resources=(f"arn:{args.facts.partition}:ec2:{args.facts.region}:*:*",),
        conditions={"ArnLike": {"ec2:LaunchTemplate": ec2(args, "launch-template")}},
    )
    yield Statement(
        sid="Groups",
        why="EKS makes the machines' groups, with its own tag",
        actions=("autoscaling:CreateOrUpdateTags",),
        resources=(f"{regional(args, 'autoscaling')}:autoScalingGroup:*:autoScalingGroupName/*",),
        conditions=equal("aws:ResourceTag/eks:cluster-name", arns.cluster_name(args)),
    )
    yield made("MakeFunction", "lambda:CreateFunction", functions(args), args)
    yield Statement(sid="Functions", why="by their names", actions=_LAMBDA, resources=functions(args))
    yield Statement(
        sid="Install",
        why="the installer; what the control function may be told is a policy of its own",
        actions=("lambda:InvokeFunction",),
        resources=(arns.function_arn(args, "installer"),),
    )
    yield anything("MakeZone", "a zone has no name in IAM before it is there", ("route53:CreateHostedZone",))
    yield Statement(
        sid="Zone",
        why="Route 53 looks at no tags; endpoints with private names bring zones of AWS's own",
        actions=_ZONE,
        resources=(f"arn:{args.facts.partition}:route53:::hostedzone/*",),
    )
    yield Statement(
        sid="Change",
        why="waits until a change is everywhere",
        actions=("route53:GetChange",),
        resources=(f"arn:{args.facts.partition}:route53:::change/*",),
    )
    yield Statement(
        sid="Release",
        why="AWS publishes the newest image there",
        actions=("ssm:GetParameter",),
        resources=(f"arn:{args.facts.partition}:ssm:{args.facts.region}::parameter/aws/service/eks/*",),
    )


def _eks(args: CellArgs) -> Iterator[Statement]:
    name, here = arns.cluster_name(args), regional(args, "eks")
    yield made("MakeCluster", "eks:CreateCluster", ("*",), args)
    yield Statement(
        sid="MakeInCluster",
        why="everything is made with the cell's tag",
        actions=_IN_CLUSTER,
        resources=(arns.cluster_arn(args),),
        conditions=equal(f"aws:RequestTag/{CELL_TAG}", args.name),
    )
    within = ("access-entry", "addon", "nodegroup", "podidentityassociation")
    yield Statement(
        sid="Cluster",
        why="by its name, and what is in it",
        actions=_EKS,
        resources=(arns.cluster_arn(args), *(f"{here}:{kind}/{name}/*" for kind in within)),
    )


def identity(args: CellArgs) -> Iterator[Statement]:
    """Return what makes roles below their boundary, and hands them to AWS's services."""
    facts, ours = args.facts, roles(args)
    yield Statement(
        sid="Below",
        why="no role without the boundary, or with less of one",
        actions=("iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"),
        resources=ours,
        conditions=equal("iam:PermissionsBoundary", arns.boundary_arn(args)),
    )
    managed = (
        f"arn:{facts.partition}:iam::aws:policy/{name}" for names in MANAGED.values() for name in names
    )
    yield Statement(
        sid="Attach",
        why="the policies of AWS's that EKS asks for",
        actions=("iam:AttachRolePolicy",),
        resources=ours,
        conditions={
            "ArnEquals": {"iam:PolicyARN": tuple(sorted(managed))},
            "StringEquals": {"iam:PermissionsBoundary": arns.boundary_arn(args)},
        },
    )
    yield from _named_identity(args)
    yield from _provider(args)
    yield from _linked(args)


def _named_identity(args: CellArgs) -> Iterator[Statement]:
    ours = roles(args)
    yield Statement(
        sid="Roles",
        why="by their names",
        actions=(
            "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:TagRole",
            "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole", "iam:UpdateRoleDescription",
        ),
        resources=ours,
    )  # fmt: skip
    yield Statement(
        sid="Policies",
        why="the boundary, by its name",
        actions=(
            "iam:CreatePolicy", "iam:CreatePolicyVersion", "iam:DeletePolicyVersion", "iam:GetPolicy",
            "iam:GetPolicyVersion", "iam:ListPolicyVersions", "iam:TagPolicy", "iam:UntagPolicy",
        ),
        resources=(arns.boundary_arn(args),),
    )  # fmt: skip
    yield Statement(
        sid="Hand",
        why="to these services of AWS, and to nobody else",
        actions=("iam:PassRole",),
        resources=ours,
        conditions=equal("iam:PassedToService", PASSED),
    )


def _provider(args: CellArgs) -> Iterator[Statement]:
    clusters = arns.cluster_providers(args)
    yield Statement(
        sid="MakeProvider",
        why="a cluster's tokens, and nobody else's; the ID of a cluster is known only after it",
        actions=("iam:CreateOpenIDConnectProvider",),
        resources=(clusters,),
        conditions=equal(f"aws:RequestTag/{CELL_TAG}", args.name),
    )
    yield Statement(
        sid="TagProvider",
        why="when it is made, and no other cell's",
        actions=("iam:TagOpenIDConnectProvider",),
        resources=(clusters,),
        conditions=new(CELL_TAG, args.name),
    )
    yield Statement(
        sid="Provider",
        why="by its tag",
        actions=(
            "iam:GetOpenIDConnectProvider",
            "iam:TagOpenIDConnectProvider",
            "iam:UntagOpenIDConnectProvider",
        ),
        resources=(clusters,),
        conditions=tagged(args),
    )


def _linked(args: CellArgs) -> Iterator[Statement]:
    yield Statement(
        sid="ServicesRoles",
        why="AWS makes a role for each of these at its first use",
        actions=("iam:CreateServiceLinkedRole",),
        resources=(f"{iam(args)}:role/aws-service-role/*",),
        conditions=equal("iam:AWSServiceName", LINKED),
    )
    yield Statement(
        sid="Oneself",
        why="which roles there are, and what the caller itself may do; IAM keeps no secrets in either",
        actions=("iam:GetRole", "iam:SimulatePrincipalPolicy"),
        resources=(f"{iam(args)}:role/*", f"{iam(args)}:user/*"),
    )


def storage(args: CellArgs) -> Iterator[Statement]:
    """Return what makes and changes the buckets and logs, by name, and the key, by its tag."""
    yield made("MakeLog", "logs:CreateLogGroup", log_groups(args), args)
    yield Statement(sid="Logs", why="by their names", actions=_LOGS, resources=log_groups(args))
    yield anything("DeliverLogs", "a delivery has no name", ("logs:CreateLogDelivery",))
    buckets = tuple(arns.bucket_arn(args, which) for which in arns.BUCKETS)
    yield Statement(sid="Buckets", why="by their names", actions=_BUCKET, resources=buckets)
    if args.key_arn:
        yield Statement(sid="YourKey", why="you made it", actions=_KEY_USE, resources=(args.key_arn,))
        yield Statement(
            sid="Keys",
            why="a repair looks for what carries the cell's tag",
            actions=("kms:DescribeKey", "kms:ListResourceTags"),
            resources=(f"{regional(args, 'kms')}:key/*",),
        )
    else:
        alias = f"{regional(args, 'kms')}:{arns.key_alias(args)}"
        yield from _own_key(args, CELL_TAG, args.name, alias)


def _own_key(args: CellArgs, tag: str, value: str, alias: str) -> Iterator[Statement]:
    keys = f"{regional(args, 'kms')}:key/*"
    yield Statement(
        sid="MakeKey",
        why="with its tag",
        actions=("kms:CreateKey",),
        resources=("*",),
        conditions=equal(f"aws:RequestTag/{tag}", value),
    )
    yield Statement(
        sid="TagKey",
        why="when it is made, and no other cell's",
        actions=("kms:TagResource",),
        resources=(keys,),
        conditions=new(tag, value),
    )
    yield Statement(
        sid="Key",
        why="by its tag",
        actions=_KEY,
        resources=(keys,),
        conditions=equal(f"aws:ResourceTag/{tag}", value),
    )
    yield Statement(
        sid="KeysName", why="of the key", actions=("kms:CreateAlias", "kms:UpdateAlias"), resources=(alias,)
    )
    yield Statement(
        sid="FindKey",
        why="a key that was made by a run that was cut off is known by its tag",
        actions=("kms:DescribeKey", "kms:ListResourceTags"),
        resources=(keys,),
    )
