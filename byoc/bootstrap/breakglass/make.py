"""The calls that break the glass, in their order; each may be repeated, none is undone here.

Called by ``glass`` after the session is on record. The invariant: the machine comes last, so that what
limits it stands before it does.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from byoc.bootstrap.aws import Account, code_of, translated
from byoc.bootstrap.breakglass import documents, plan
from byoc.bootstrap.breakglass.plan import Session
from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.outputs import CellOutputs
from byoc.errors import Failed, PreconditionFailed

IMAGE: Final = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
"""Public parameter with the newest image of Amazon Linux 2023 (its user guide, "AL2023 on EC2")."""
MACHINE: Final = "t3.micro"
_ROOT_DISK: Final = "/dev/xvda"
_DISK_GIB: Final = 10
_HTTPS: Final = 443
_NO_ROOM: Final = {"InsufficientInstanceCapacity", "Unsupported"}
"""Codes of a zone that has no such machine; another may have."""
_TRIES: Final = 24
_PAUSE: Final = 5.0
"""Seconds between tries: EC2 learns of a new instance profile within a minute or so."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the glass is broken: an account, and the cell in it as its record says."""

    account: Account
    args: CellArgs
    outputs: CellOutputs
    pause: Callable[[float], None]


def make(site: Site, session: Session) -> str:
    """Make everything of a session and return the machine's ID."""
    _log_group(site)
    _document(site)
    _role(site, session)
    group = _group(site, session)
    _door(site, session, group)
    return _machine(site, session, group)


def _log_group(site: Site) -> None:
    logs, args = site.account.client("logs"), site.args
    name = plan.log_group_name(args)
    with translated("logs:CreateLogGroup"), suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=name, kmsKeyId=site.outputs.key_arn, tags=plan.cell_tags(args))
    with translated("logs:PutRetentionPolicy"):
        logs.put_retention_policy(logGroupName=name, retentionInDays=args.log_days)


def _document(site: Site) -> None:
    """Make the session document, or make it anew where somebody changed it, so that sessions are logged.

    AWS refuses a new version whose text an older one has, so a changed document goes as a whole.
    """
    ssm, args = site.account.client("ssm"), site.args
    name, content = plan.document_name(args.name), documents.session_document(args)
    if _make_document(site, name, content):
        return
    with translated("ssm:GetDocument"):
        known = ssm.get_document(Name=name, DocumentFormat="JSON")["Content"]
    if json.loads(known) == json.loads(content):
        return
    with translated("ssm:DeleteDocument"):
        ssm.delete_document(Name=name)
    _make_document(site, name, content)


def _make_document(site: Site, name: str, content: str) -> bool:
    """Return whether it was made; False where there is one."""
    with translated("ssm:CreateDocument"):
        try:
            site.account.client("ssm").create_document(
                Name=name,
                Content=content,
                DocumentFormat="JSON",
                DocumentType="Session",
                Tags=plan.pairs(plan.cell_tags(site.args)),
            )
        except ClientError as error:
            if code_of(error) != "DocumentAlreadyExists":
                raise
            return False
    return True


def _role(site: Site, session: Session) -> None:
    iam, args = site.account.client("iam"), site.args
    name, tags = plan.role_name(args.name, session.id), plan.pairs(plan.own_tags(args, session))
    with translated("iam:CreateRole"):
        iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=documents.trust().text(),
            PermissionsBoundary=arns.boundary_arn(args),
            Description=f"Break-glass session {session.id}",
            Tags=tags,
        )
    with translated("iam:PutRolePolicy"):
        policy = documents.rights(args, session).text()
        iam.put_role_policy(RoleName=name, PolicyName=plan.PART, PolicyDocument=policy)
    with translated("iam:CreateInstanceProfile"):
        iam.create_instance_profile(InstanceProfileName=name, Tags=tags)
    with translated("iam:AddRoleToInstanceProfile"):
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def _group(site: Site, session: Session) -> str:
    """Make a security group that lets nothing in, and nothing out but HTTPS."""
    ec2 = site.account.client("ec2")
    tags = plan.pairs(plan.told_tags(site.args, session))
    with translated("ec2:CreateSecurityGroup"):
        made: str = ec2.create_security_group(
            GroupName=plan.group_name(session.cell, session.id),
            Description=f"Break-glass session {session.id}: nothing comes in",
            VpcId=site.outputs.vpc_id,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
        )["GroupId"]
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    with translated("ec2:RevokeSecurityGroupEgress"):
        ec2.revoke_security_group_egress(GroupId=made, IpPermissions=[everything])
    with translated("ec2:AuthorizeSecurityGroupEgress"):
        ec2.authorize_security_group_egress(
            GroupId=made, IpPermissions=[_https(IpRanges=[{"CidrIp": "0.0.0.0/0"}])]
        )
    return made


def _door(site: Site, session: Session, group: str) -> None:
    """Let the machine reach the cluster's API, if there is a cluster still."""
    eks, ec2 = site.account.client("eks"), site.account.client("ec2")
    with translated("eks:DescribeCluster"):
        try:
            cluster = eks.describe_cluster(name=site.outputs.cluster_name)["cluster"]
        except eks.exceptions.ResourceNotFoundException:
            return
    pair = {"GroupId": group, "Description": f"Break-glass session {session.id}"}
    with translated("ec2:AuthorizeSecurityGroupIngress"):
        ec2.authorize_security_group_ingress(
            GroupId=cluster["resourcesVpcConfig"]["clusterSecurityGroupId"],
            IpPermissions=[_https(UserIdGroupPairs=[pair])],
        )


def _https(**whom: Any) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": _HTTPS, "ToPort": _HTTPS, **whom}


def _machine(site: Site, session: Session, group: str) -> str:
    with translated("ssm:GetParameter"):
        image = site.account.client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"]
    for zone, subnet in sorted(site.outputs.private_subnets.items()):
        asked = _asked(site, session, image, group, subnet)
        found = _start(site, {**asked, "ClientToken": f"{session.id}-{zone}"})
        if found:
            return found
    raise Failed(f"no zone of {site.account.region} has a {MACHINE} now", hint="try again in a while")


def _asked(site: Site, session: Session, image: str, group: str, subnet: str) -> Mapping[str, Any]:
    tags = plan.pairs(plan.told_tags(site.args, session))
    disk = {
        "Encrypted": True,
        "KmsKeyId": site.outputs.key_arn,
        "VolumeType": "gp3",
        "VolumeSize": _DISK_GIB,
        "DeleteOnTermination": True,
    }
    address = {
        "DeviceIndex": 0,
        "SubnetId": subnet,
        "Groups": [group],
        "AssociatePublicIpAddress": False,
        "DeleteOnTermination": True,
    }
    return {
        "ImageId": image,
        "InstanceType": MACHINE,
        "MinCount": 1,
        "MaxCount": 1,
        "NetworkInterfaces": [address],
        "IamInstanceProfile": {"Name": plan.role_name(session.cell, session.id)},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "BlockDeviceMappings": [{"DeviceName": _ROOT_DISK, "Ebs": disk}],
        "UserData": documents.user_data(session),
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")
        ],
    }


def _start(site: Site, asked: Mapping[str, Any]) -> str:
    """Start the machine and return its ID; empty where the zone has no room for it."""
    ec2 = site.account.client("ec2")
    for _ in range(_TRIES):
        with translated("ec2:RunInstances"):
            try:
                return str(ec2.run_instances(**asked)["Instances"][0]["InstanceId"])
            except ClientError as error:
                if code_of(error) in _NO_ROOM:
                    return ""
                if not _profile_unknown(error):
                    raise
        site.pause(_PAUSE)
    raise PreconditionFailed("EC2 does not know the new instance profile", hint="run the same again")


def _profile_unknown(error: ClientError) -> bool:
    words = str(error.response.get("Error", {}).get("Message", "")).lower()
    return code_of(error) == "InvalidParameterValue" and "instance profile" in words
