"""What each role of a cell is for, who may take it on, and what it may do. Pure.

Read by ``identity``, which makes the roles, by ``byoc cell plan`` and by docs/access.md. The invariants:
no role trusts anybody outside the account; no action is a wildcard; an action without a resource of its
own only reads; whatever is written here, the boundary (``byoc.cell.boundary``) limits further.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from byoc.cell import arns
from byoc.cell.args import CellArgs, GivenVpc
from byoc.cell.arns import Function, Role
from byoc.cell.incluster import AGENT, AUTOSCALER, ENGINES_SUBJECTS, NAMESPACE, TOKENS_FOR
from byoc.cell.naming import CELL_TAG
from byoc.cell.statements import TRUST_LIMIT, Conditions, Document, Principal, Statement, Values

PODS: Final[Mapping[Role, tuple[str, str]]] = {
    "agent": (NAMESPACE, AGENT),
    "autoscaler": (NAMESPACE, AUTOSCALER),
    "dns": ("external-dns", "external-dns"),
    "network_driver": ("kube-system", "aws-node"),
    "storage_driver": ("kube-system", "ebs-csi-controller-sa"),
}
"""Role to the namespace and service account of the pods that take it on (EKS user guide, "AWS add-ons")."""

MANAGED: Final[Mapping[Role, Values]] = {
    "cluster": ("AmazonEKSClusterPolicy",),
    "node": ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"),
}
"""AWS's own policies, where EKS asks for them by name; the boundary takes from them what a cell never
needs: load balancers, security groups, routes."""

PURPOSES: Final[Mapping[Role, str]] = {
    "cluster": "EKS itself: finds the machines of its cluster",
    "node": "machines: join the cluster, pull images, hand pods their roles' credentials",
    "agent": "Nimbus client: adds to the ledger's bucket, and nothing else at all",
    "storage_driver": "EBS driver: makes, attaches and deletes the volumes of this cell",
    "network_driver": "network plugin: gives this cell's machines network interfaces and addresses",
    "dns": "external-dns: names workspaces in the cell's private zone",
    "autoscaler": "autoscaler: sets the number of this cell's machines",
    "engine": "engines: keep a workspace's databases below the workspace's own prefix of the data bucket",
    "installer": "installer function: its log, its network interfaces, and the address of its cluster",
    "control": "control function: its log, its network interfaces, and the address of its cluster",
    "flow_logs": "VPC flow logs: write their log group",
}

CLUSTER_ENI_TAG: Final = "cluster.k8s.amazonaws.com/name"
"""Tag of network interfaces by which the network plugin knows its own (amazon-vpc-cni-k8s, iam-policy.md)."""
_SERVICES: Final[Mapping[Role, str]] = {
    "cluster": "eks.amazonaws.com",
    "node": "ec2.amazonaws.com",
    "installer": "lambda.amazonaws.com",
    "control": "lambda.amazonaws.com",
    "flow_logs": "vpc-flow-logs.amazonaws.com",
}


@dataclass(frozen=True, slots=True)
class Rights:
    """One role.

    Attributes:
        purpose: what it is for.
        managed: names of AWS's own policies it has.
        own: what it may do besides; None for nothing.
    """

    purpose: str
    trust: Document
    managed: Values
    own: Document | None


def trust(args: CellArgs, which: Role, *, issuer: str = "") -> Document:
    """Return who may take a role on: one service of AWS, for this account and cluster only; or its engines.

    EC2 and Lambda name no source when they take a role on; but a machine or a function can be given a
    role of its own account only, by somebody who may pass it.
    """
    if which == "engine":
        return _engines(args, issuer)
    if which in PODS:
        return _pods(args, which)
    statement = Statement(
        sid="Service",
        why=PURPOSES[which],
        actions=("sts:AssumeRole",),
        principal=Principal("Service", _SERVICES[which]),
        conditions=_source(args, which),
    )
    return Document((statement,), TRUST_LIMIT)


def _source(args: CellArgs, which: Role) -> Conditions:
    # EKS user guide, "Cross-service confused deputy prevention"; VPC user guide, "IAM role for flow logs".
    sources = {"cluster": arns.cluster_arn(args), "flow_logs": _ec2(args, "vpc-flow-log/*")}
    if which not in sources:
        return {}
    return {
        "StringEquals": {"aws:SourceAccount": args.facts.account},
        "ArnLike": {"aws:SourceArn": sources[which]},
    }


def _pods(args: CellArgs, which: Role) -> Document:
    """Pods of this cluster, by the session tags that EKS sets (EKS user guide, "pod-id-abac")."""
    namespace, account = PODS[which]
    tags = {
        "aws:RequestTag/eks-cluster-arn": arns.cluster_arn(args),
        "aws:RequestTag/kubernetes-namespace": namespace,
        "aws:RequestTag/kubernetes-service-account": account,
    }
    statement = Statement(
        sid="PodsOfThisCluster",
        why=PURPOSES[which],
        actions=("sts:AssumeRole", "sts:TagSession"),
        principal=Principal("Service", "pods.eks.amazonaws.com"),
        conditions={"StringEquals": tags},
    )
    return Document((statement,), TRUST_LIMIT)


def _engines(args: CellArgs, issuer: str) -> Document:
    """Nodes of this cluster's workspaces, by the tokens that the cluster gives them.

    Not by Pod Identity: its associations name namespaces one by one, and those of workspaces come and go
    without anybody who might ask AWS for anything.
    """
    statement = Statement(
        sid="EnginesOfThisCluster",
        why=PURPOSES["engine"],
        actions=("sts:AssumeRoleWithWebIdentity",),
        principal=Principal("Federated", arns.provider_arn(args, issuer)),
        conditions={
            "StringEquals": {f"{issuer}:aud": TOKENS_FOR},
            "StringLike": {f"{issuer}:sub": ENGINES_SUBJECTS},
        },
    )
    return Document((statement,), TRUST_LIMIT)


def agent(args: CellArgs, key_arn: str) -> Document:
    """Return what the Nimbus client may do: add to the ledger's bucket.

    It can neither read nor change nor delete what is there; Object Lock keeps that for everybody else too.
    """
    return Document(
        (
            Statement(
                sid="AddToLedger",
                why="copies of the ledger go where the cell cannot take them back",
                actions=("s3:PutObject",),
                resources=(f"{arns.bucket_arn(args, 'ledger')}/*",),
            ),
            _key_by_bucket(args, key_arn, ("kms:GenerateDataKey",)),
        )
    )


def engine(args: CellArgs, key_arn: str, issuer: str) -> Document:
    """Return what engines may do: use their workspace's own prefix of the data bucket.

    One role serves the whole cell: a session keeps the subject of the token it was taken on with, namespace
    and service account, which the cluster alone writes; and the prefix is that subject, whole.
    """
    bucket = arns.bucket_arn(args, "data")
    prefix = f"${{{issuer}:sub}}/*"
    return Document(
        (
            Statement(
                sid="ListOwnPrefix",
                why="an engine finds its workspace's databases, and sees no other's",
                actions=("s3:ListBucket",),
                resources=(bucket,),
                conditions={"StringLike": {"s3:prefix": prefix}},
            ),
            Statement(
                sid="UseOwnPrefix",
                why="an engine keeps its workspace's databases",
                actions=(
                    "s3:GetObject", "s3:PutObject", "s3:DeleteObject",
                    "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts",
                ),
                resources=(f"{bucket}/{prefix}",),
            ),
            _key_by_bucket(args, key_arn, ("kms:Decrypt", "kms:GenerateDataKey")),
        )
    )  # fmt: skip


def storage_driver(args: CellArgs, key_arn: str) -> Document:
    """Return what the EBS driver may do: AWS's AmazonEBSCSIDriverPolicyV2, for this cell's tag only.

    Snapshots are left out: nothing of a cell takes any.
    """
    volumes, machines = _ec2(args, "volume/*"), _ec2(args, "instance/*")
    return Document(
        (
            _reads(
                "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances", "ec2:DescribeInstanceTypes",
                "ec2:DescribeVolumes", "ec2:DescribeVolumesModifications", "ec2:DescribeVolumeStatus",
            ),
            Statement(
                sid="MakeVolumes",
                why="a volume is made with the cell's tag or not at all",
                actions=("ec2:CreateVolume",),
                resources=(volumes,),
                conditions={"StringEquals": {f"aws:RequestTag/{CELL_TAG}": args.name}},
            ),
            Statement(
                sid="TagNewVolumes",
                why="tags are given with the volume, and to nothing that exists",
                actions=("ec2:CreateTags",),
                resources=(volumes,),
                conditions={"StringEquals": {"ec2:CreateAction": "CreateVolume"}},
            ),
            Statement(
                sid="ManageVolumes",
                why="volumes of this cell are attached, grown and deleted; no other cell's are",
                actions=("ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyVolume", "ec2:DeleteVolume"),
                resources=(volumes,),
                conditions=_of_cell(args),
            ),
            Statement(
                sid="AttachToMachines",
                why="to machines of this cell only",
                actions=("ec2:AttachVolume", "ec2:DetachVolume"),
                resources=(machines,),
                conditions=_of_cell(args),
            ),
            *_key_by_volumes(args, key_arn),
        )
    )  # fmt: skip


def network_driver(args: CellArgs) -> Document:
    """Return what the network plugin may do: its own makers' policy for one cluster.

    Source: amazon-vpc-cni-k8s, docs/iam-policy.md, "Scope-down IAM policy per EKS cluster".
    """
    reads = _reads(
        "ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeTags",
    )  # fmt: skip
    return Document((reads, *_makes_interfaces(args), *_manages_interfaces(args)))


def _makes_interfaces(args: CellArgs) -> tuple[Statement, ...]:
    interfaces = _ec2(args, "network-interface/*")
    return (
        Statement(
            sid="MakeInterfaces",
            why="an interface is made with the cluster's tag or not at all",
            actions=("ec2:CreateNetworkInterface",),
            resources=(interfaces,),
            conditions={"StringEquals": {f"aws:RequestTag/{CLUSTER_ENI_TAG}": arns.cluster_name(args)}},
        ),
        Statement(
            sid="InSubnets",
            why="in the cell's subnets",
            actions=("ec2:CreateNetworkInterface",),
            resources=(_ec2(args, "subnet/*"),),
            conditions=_in_vpc(args) or _of_cell(args),
        ),
        Statement(
            sid="InSecurityGroups",
            why="behind the cluster's own security group",
            actions=("ec2:CreateNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute"),
            resources=(_ec2(args, "security-group/*"),),
            conditions=_of_cluster(args),
        ),
        Statement(
            sid="TagNewInterfaces",
            why="tags are given with the interface",
            actions=("ec2:CreateTags",),
            resources=(interfaces,),
            conditions={"StringEquals": {"ec2:CreateAction": "CreateNetworkInterface"}},
        ),
    )


def _manages_interfaces(args: CellArgs) -> tuple[Statement, ...]:
    manage = (
        "ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute",
    )  # fmt: skip
    return (
        Statement(
            sid="ManageInterfaces",
            why="interfaces of this cluster's machines get and lose addresses",
            actions=(
                *manage, "ec2:DeleteNetworkInterface",
                "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses", "ec2:CreateTags",
            ),
            resources=(_ec2(args, "network-interface/*"),),
            conditions={"StringEquals": {f"aws:ResourceTag/{CLUSTER_ENI_TAG}": arns.cluster_name(args)}},
        ),
        Statement(
            sid="AttachToMachines",
            why="to machines of this cluster only",
            actions=manage,
            resources=(_ec2(args, "instance/*"),),
            conditions=_of_cluster(args),
        ),
    )  # fmt: skip


def _of_cluster(args: CellArgs) -> dict[str, dict[str, str]]:
    return {"StringEquals": {f"aws:ResourceTag/kubernetes.io/cluster/{arns.cluster_name(args)}": "owned"}}


def dns(args: CellArgs, zone_id: str) -> Document:
    """Return what external-dns may do: write names of the cell's domain into the cell's own zone."""
    zone = f"arn:{args.facts.partition}:route53:::hostedzone/{zone_id}"
    domain = arns.domain(args)
    return Document(
        (
            _reads("route53:ListHostedZones", why="finds the zone; Route 53 lists all or none"),
            Statement(
                sid="ReadZone",
                why="sees which names are there",
                actions=("route53:ListResourceRecordSets", "route53:ListTagsForResource"),
                resources=(zone,),
            ),
            Statement(
                sid="WriteNames",
                why="names a workspace's endpoints",
                actions=("route53:ChangeResourceRecordSets",),
                resources=(zone,),
                conditions={
                    "ForAllValues:StringLike": {
                        "route53:ChangeResourceRecordSetsNormalizedRecordNames": (domain, f"*.{domain}")
                    }
                },
            ),
        )
    )


def autoscaler(args: CellArgs) -> Document:
    """Return what the autoscaler may do: set the size of this cluster's groups, end their machines.

    Source: kubernetes/autoscaler, cluster-autoscaler/cloudprovider/aws/README.md.
    """
    facts = args.facts
    cluster = arns.cluster_name(args)
    regional = f"{facts.region}:{facts.account}"
    return Document(
        (
            _reads(
                "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances",
                "autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeScalingActivities",
                "autoscaling:DescribeTags", "ec2:DescribeImages", "ec2:DescribeInstanceTypes",
                "ec2:DescribeLaunchTemplateVersions", "ec2:GetInstanceTypesFromInstanceRequirements",
            ),
            Statement(
                sid="ReadGroups",
                why="learns what a machine of an empty group would be like",
                actions=("eks:DescribeNodegroup",),
                resources=(f"arn:{facts.partition}:eks:{regional}:nodegroup/{cluster}/*",),
            ),
            Statement(
                sid="SetSizes",
                why="workspaces start and are suspended: machines come and go",
                actions=("autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"),
                resources=(f"arn:{facts.partition}:autoscaling:{regional}:autoScalingGroup:*",),
                conditions={
                    "StringEquals": {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster}": "owned"}
                },
            ),
        )
    )  # fmt: skip


def function(args: CellArgs, which: Function) -> Document:
    """Return what a function in the private subnets may do."""
    cluster = Statement(
        sid="FindCluster",
        why="asks for the address of its own cluster",
        actions=("eks:DescribeCluster",),
        resources=(arns.cluster_arn(args),),
    )
    log = Statement(
        sid="WriteLog",
        why="its own log group, which the cell has made",
        actions=("logs:CreateLogStream", "logs:PutLogEvents"),
        resources=(f"{arns.log_group_arn(args, which)}:*",),
    )
    reads = _reads("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")
    return Document((reads, cluster, log, *_lambdas_interfaces(args, which)))


def _lambdas_interfaces(args: CellArgs, which: Function) -> tuple[Statement, ...]:
    """Return what Lambda needs for the function's addresses, and what keeps it from the function's code.

    Lambda makes its network interfaces under the function's role; the last statement takes these rights
    from the function's own code (Lambda developer guide, "Using source function ARN").
    """
    interfaces = (
        "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses",
    )  # fmt: skip
    return (
        Statement(
            sid="Interfaces",
            why="Lambda gives the function its addresses in the private subnets",
            actions=interfaces,
            resources=(_ec2(args, "network-interface/*"),),
        ),
        Statement(
            sid="InSubnets",
            why="in the cell's subnets, behind the cell's security groups",
            actions=("ec2:CreateNetworkInterface",),
            resources=(_ec2(args, "subnet/*"), _ec2(args, "security-group/*")),
            conditions=_in_vpc(args) or _of_cell(args),
        ),
        Statement(
            sid="NotByCode",
            why="the function's code has no business with network interfaces",
            effect="Deny",
            actions=interfaces,
            resources=("*",),
            conditions={"ArnEquals": {"lambda:SourceFunctionArn": arns.function_arn(args, which)}},
        ),
    )


def flow_logs(args: CellArgs) -> Document:
    """Return what VPC flow logs may do: write the group that the cell has made for them."""
    group = arns.log_group_arn(args, "flow")
    return Document(
        (
            Statement(
                sid="WriteLog",
                why="one stream a network interface",
                actions=("logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"),
                resources=(group, f"{group}:*"),
            ),
            _reads("logs:DescribeLogGroups", why="finds its group; CloudWatch Logs lists all or none"),
        )
    )


def _reads(*actions: str, why: str = "looks; EC2 and Auto Scaling list all or none") -> Statement:
    return Statement(sid="Look", why=why, actions=actions, resources=("*",))


def _key_by_bucket(args: CellArgs, key_arn: str, actions: Values) -> Statement:
    return Statement(
        sid="KeyByBucket",
        why="objects are encrypted with the cell's key, which S3 alone uses",
        actions=actions,
        resources=(key_arn,),
        conditions={"StringEquals": {"kms:ViaService": f"s3.{args.facts.region}.amazonaws.com"}},
    )


def _key_by_volumes(args: CellArgs, key_arn: str) -> tuple[Statement, Statement]:
    """EBS user guide, "Permissions to use KMS keys": data keys by EC2, and a grant for the attachment."""
    by_ec2 = {"kms:ViaService": f"ec2.{args.facts.region}.amazonaws.com"}
    return (
        Statement(
            sid="KeyByVolumes",
            why="volumes are encrypted with the cell's key, which EC2 alone uses",
            actions=(
                "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncryptFrom", "kms:ReEncryptTo",
            ),
            resources=(key_arn,),
            conditions={"StringEquals": by_ec2},
        ),
        Statement(
            sid="GrantToVolumes",
            why="a machine opens a volume as long as it is attached",
            actions=("kms:CreateGrant",),
            resources=(key_arn,),
            conditions={"StringEquals": by_ec2, "Bool": {"kms:GrantIsForAWSResource": "true"}},
        ),
    )  # fmt: skip


def _of_cell(args: CellArgs) -> Conditions:
    return {"StringEquals": {f"aws:ResourceTag/{CELL_TAG}": args.name}}


def _in_vpc(args: CellArgs) -> Conditions:
    """Return the limit to the customer's VPC; in a VPC of ours everything has the cell's tag instead."""
    if not isinstance(args.network, GivenVpc):
        return {}
    return {"ArnEquals": {"ec2:Vpc": _ec2(args, f"vpc/{args.network.id}")}}


def _ec2(args: CellArgs, what: str) -> str:
    return f"arn:{args.facts.partition}:ec2:{args.facts.region}:{args.facts.account}:{what}"


OWN: Final[Mapping[Role, Callable[[CellArgs, str], Document]]] = {
    "agent": agent,
    "autoscaler": lambda args, _: autoscaler(args),
    "control": lambda args, _: function(args, "control"),
    "flow_logs": lambda args, _: flow_logs(args),
    "installer": lambda args, _: function(args, "installer"),
    "network_driver": lambda args, _: network_driver(args),
    "storage_driver": storage_driver,
}
"""Role to what it may do besides AWS's own policies, by the key's ARN; ``dns`` waits for its zone,
``engine`` for the cluster."""


def rights(args: CellArgs, which: Role, *, key_arn: str, zone_id: str, issuer: str) -> Rights:
    """Return what there is to say of a role.

    Args:
        args: of the cell.
        which: the role.
        key_arn: of the cell's key.
        zone_id: of its private zone.
        issuer: of the tokens that its cluster gives, an address without its scheme.
    """
    own = dns(args, zone_id) if which == "dns" else None
    if which == "engine":
        own = engine(args, key_arn, issuer)
    if which in OWN:
        own = OWN[which](args, key_arn)
    return Rights(PURPOSES[which], trust(args, which, issuer=issuer), MANAGED.get(which, ()), own)
