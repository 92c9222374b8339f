"""On what, and under which condition, somebody who breaks the glass may use each action. Pure.

Read by ``grants`` for a policy of its own, which neither making nor destroying a cell needs: who may come
into the cell in an emergency is decided apart. The rule is as in ``scopes``.
"""

from collections.abc import Iterator

from byoc.cell import arns
from byoc.cell.args import CellArgs, GivenVpc
from byoc.cell.limits import anything, ec2, equal, iam, made, regional, tagged
from byoc.cell.naming import CELL_TAG
from byoc.cell.statements import Statement, Values

_PART = "breakglass"


def glass(args: CellArgs) -> Iterator[Statement]:
    """Return what puts a session on record and limits its machine."""
    yield anything(
        "Look",
        "AWS lists all or none of these",
        ("ec2:DescribeInstances", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcEndpoints"),
    )
    yield from _record(args)
    yield from _logged(args)
    yield from _role(args)


def machine(args: CellArgs) -> Iterator[Statement]:
    """Return what starts, reaches and ends a session's machine."""
    yield from _group(args)
    yield from _machine(args)
    yield from _session(args)


def names(args: CellArgs) -> tuple[str, str]:
    """Return the ARNs of the sessions' roles and instance profiles."""
    of_sessions = f"{arns.prefix(args)}-{_PART}-*"
    return f"{iam(args)}:role/{of_sessions}", f"{iam(args)}:instance-profile/{of_sessions}"


def document(args: CellArgs) -> str:
    """Return the ARN of the document that says how sessions are logged."""
    return f"{regional(args, 'ssm')}:document/{arns.prefix(args)}-{_PART}"


def _record(args: CellArgs) -> Iterator[Statement]:
    bucket = f"arn:{args.facts.partition}:s3:::byoc-state-{args.facts.account}-{args.facts.region}"
    yield Statement(sid="Find", why="the cell's record", actions=("s3:ListBucket",), resources=(bucket,))
    yield Statement(
        sid="Record",
        why="a session is on record before anything of it is made",
        actions=("s3:GetObject", "s3:PutObject"),
        resources=(f"{bucket}/.byoc/*",),
    )
    yield Statement(
        sid="TellCell",
        why="the session is in the cell's own ledger too",
        actions=("lambda:InvokeFunction",),
        resources=(arns.function_arn(args, "control"),),
    )
    yield Statement(
        sid="RecordsKey",
        why="the records are encrypted",
        actions=("kms:Decrypt", "kms:GenerateDataKey"),
        resources=(f"{regional(args, 'kms')}:key/*",),
        conditions=equal("aws:ResourceTag/byoc:state", "key"),
    )


def _logged(args: CellArgs) -> Iterator[Statement]:
    log = tuple(f"{arns.log_group_arn(args, 'breakglass')}{part}" for part in ("", ":*"))
    yield made("MakeLog", "logs:CreateLogGroup", log, args)
    yield Statement(
        sid="Log",
        why="what is done in a session is kept",
        actions=("logs:AssociateKmsKey", "logs:PutRetentionPolicy", "logs:TagResource"),
        resources=log,
    )
    yield made("MakeDocument", "ssm:CreateDocument", (document(args),), args)
    yield Statement(
        sid="Document",
        why="how sessions are logged",
        actions=("ssm:AddTagsToResource", "ssm:DeleteDocument", "ssm:GetDocument"),
        resources=(document(args),),
    )


def _role(args: CellArgs) -> Iterator[Statement]:
    role, profile = names(args)
    yield Statement(
        sid="Below",
        why="no role without the boundary",
        actions=("iam:CreateRole", "iam:PutRolePolicy"),
        resources=(role,),
        conditions=equal("iam:PermissionsBoundary", arns.boundary_arn(args)),
    )
    yield Statement(
        sid="Roles",
        why="by their names",
        actions=("iam:DeleteRole", "iam:DeleteRolePolicy", "iam:TagRole"),
        resources=(role,),
    )
    yield made("MakeProfile", "iam:CreateInstanceProfile", (profile,), args)
    yield Statement(
        sid="Profiles",
        why="by their names",
        actions=(
            "iam:AddRoleToInstanceProfile", "iam:DeleteInstanceProfile", "iam:GetInstanceProfile",
            "iam:RemoveRoleFromInstanceProfile", "iam:TagInstanceProfile",
        ),
        resources=(profile,),
    )  # fmt: skip
    yield Statement(
        sid="Hand",
        why="to the machine",
        actions=("iam:PassRole",),
        resources=(role,),
        conditions=equal("iam:PassedToService", "ec2.amazonaws.com"),
    )


def _group(args: CellArgs) -> Iterator[Statement]:
    yield made("MakeGroup", "ec2:CreateSecurityGroup", (ec2(args, "security-group"),), args)
    yield _in_network(args, "InVpc", ("ec2:CreateSecurityGroup",), ("vpc",))
    yield Statement(
        sid="Tag",
        why="tags are given when a thing is made, and not to what is there already",
        actions=("ec2:CreateTags",),
        resources=(ec2(args, "*"),),
        conditions={
            "StringEquals": {
                "ec2:CreateAction": ("CreateSecurityGroup", "RunInstances"),
                f"aws:RequestTag/{CELL_TAG}": args.name,
            }
        },
    )
    yield Statement(
        sid="Group",
        why="of the session",
        actions=(
            "ec2:AuthorizeSecurityGroupEgress", "ec2:DeleteSecurityGroup", "ec2:RevokeSecurityGroupEgress",
        ),
        resources=(ec2(args, "security-group"),),
        conditions=tagged(args),
    )  # fmt: skip
    yield Statement(
        sid="Door",
        why="to the cluster's API; EKS makes the cluster's security group, with its own tag",
        actions=("ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"),
        resources=(ec2(args, "security-group"),),
        conditions=equal("aws:ResourceTag/aws:eks:cluster-name", arns.cluster_name(args)),
    )
    yield Statement(
        sid="Cluster",
        why="which group that is",
        actions=("eks:DescribeCluster",),
        resources=(arns.cluster_arn(args),),
    )


def _machine(args: CellArgs) -> Iterator[Statement]:
    yield made(
        "MakeMachine",
        "ec2:RunInstances",
        tuple(ec2(args, kind) for kind in ("instance", "network-interface", "volume")),
        args,
    )
    yield Statement(
        sid="InGroup",
        why="of the session",
        actions=("ec2:RunInstances",),
        resources=(ec2(args, "security-group"),),
        conditions=tagged(args),
    )
    yield _in_network(args, "InSubnet", ("ec2:RunInstances",), ("subnet",))
    yield Statement(
        sid="Image",
        why="AWS's own",
        actions=("ec2:RunInstances",),
        resources=(f"arn:{args.facts.partition}:ec2:{args.facts.region}::image/*",),
        conditions=equal("ec2:Owner", "amazon"),
    )
    yield Statement(
        sid="NewestImage",
        why="AWS publishes it there",
        actions=("ssm:GetParameter",),
        resources=(
            f"arn:{args.facts.partition}:ssm:{args.facts.region}::parameter/aws/service/ami-amazon-linux-latest/*",
        ),
    )
    yield Statement(
        sid="EndMachine",
        why="of the cell",
        actions=("ec2:TerminateInstances",),
        resources=(ec2(args, "instance"),),
        conditions=tagged(args),
    )
    keys = {} if args.key_arn else tagged(args)["StringEquals"]
    yield Statement(
        sid="Disk",
        why="the machine's disk is encrypted with the cell's key",
        actions=("kms:CreateGrant", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"),
        resources=(args.key_arn or f"{regional(args, 'kms')}:key/*",),
        conditions={"StringEquals": {**keys, "kms:ViaService": f"ec2.{args.facts.region}.amazonaws.com"}},
    )


def _session(args: CellArgs) -> Iterator[Statement]:
    yield Statement(
        sid="Connect",
        why="to the cell's machines",
        actions=("ssm:StartSession",),
        resources=(ec2(args, "instance"),),
        conditions=equal(f"ssm:resourceTag/{CELL_TAG}", args.name),
    )
    yield Statement(
        sid="ConnectLogged",
        why="by the document that logs what is done, and by no other",
        actions=("ssm:StartSession",),
        resources=(document(args),),
    )


def _in_network(args: CellArgs, sid: str, actions: Values, kinds: Values) -> Statement:
    """Return the limit to the cell's own network, or to the customer's, which carries no tag of the cell."""
    if not isinstance(args.network, GivenVpc):
        return Statement(
            sid=sid,
            why="of the cell",
            actions=actions,
            resources=tuple(ec2(args, kind) for kind in kinds),
            conditions=tagged(args),
        )
    vpc = args.network
    found = {"vpc": (vpc.id,), "subnet": tuple(dict.fromkeys(each.id for each in vpc.subnets))}
    return Statement(
        sid=sid,
        why="yours has no tag of the cell",
        actions=actions,
        resources=tuple(ec2(args, kind, name) for kind in kinds for name in found[kind]),
    )
