"""Removes what one session made, wherever the run that made it stopped; each call may be repeated.

Called by ``glass``. The invariant: things are found by the session's tag and its names, never by what a run
remembered, and one that is not there is no error.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import ClientError

from byoc.bootstrap.aws import Account, code_of, translated
from byoc.bootstrap.breakglass import plan
from byoc.bootstrap.breakglass.plan import Session
from byoc.cell.naming import CELL_TAG
from byoc.errors import StillPending

_TRIES: Final = 60
_PAUSE: Final = 5.0
_GONE: Final = {
    "NoSuchEntity", "InvalidDocument", "ResourceNotFoundException", "InvalidGroup.NotFound",
    "InvalidPermission.NotFound", "InvalidInstanceID.NotFound",
}  # fmt: skip

Pause = Callable[[float], None]


def machines(account: Account, cell: str, session: str = "") -> dict[str, str]:
    """Return the machines that are not gone: ID to the session's id; of one session, or of all."""
    filters = [
        {"Name": f"tag:{CELL_TAG}", "Values": [cell]},
        {"Name": f"tag:{plan.TAG}", "Values": [session or "*"]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    return {one["InstanceId"]: _tag(one) for one in _instances(account, filters)}


def unmake(account: Account, session: Session, pause: Pause) -> None:
    """Remove everything that is only this session's.

    Raises:
        StillPending: the machine takes longer than five minutes to end.
    """
    _end_machines(account, session, pause)
    _remove_groups(account, session)
    _remove_role(account, plan.role_name(session.cell, session.id))


def remove_document(account: Account, cell: str) -> None:
    """Remove the cell's session document."""
    with translated("ssm:DeleteDocument"), _whether_or_not():
        account.client("ssm").delete_document(Name=plan.document_name(cell))


def remove_log(account: Account, name: str) -> None:
    """Remove the record of what was done in sessions: with the cell and all its data, never before."""
    with translated("logs:DeleteLogGroup"), _whether_or_not():
        account.client("logs").delete_log_group(logGroupName=name)


def _end_machines(account: Account, session: Session, pause: Pause) -> None:
    mine = [
        {"Name": f"tag:{CELL_TAG}", "Values": [session.cell]},
        {"Name": f"tag:{plan.TAG}", "Values": [session.id]},
    ]
    living = list(machines(account, session.cell, session.id))
    if living:
        with translated("ec2:TerminateInstances"), _whether_or_not():
            account.client("ec2").terminate_instances(InstanceIds=living)
    for _ in range(_TRIES):
        if all(one["State"]["Name"] == "terminated" for one in _instances(account, mine)):
            return
        pause(_PAUSE)
    raise StillPending(
        f"the machine of session {session.id} is still shutting down",
        hint=f"byoc breakglass close {session.id}",
    )


def _remove_groups(account: Account, session: Session) -> None:
    ec2 = account.client("ec2")
    mine = [
        {"Name": f"tag:{CELL_TAG}", "Values": [session.cell]},
        {"Name": f"tag:{plan.TAG}", "Values": [session.id]},
    ]
    with translated("ec2:DescribeSecurityGroups"):
        found = ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
    for group in found:
        _close_doors(ec2, group["GroupId"])
        with translated("ec2:DeleteSecurityGroup"), _whether_or_not():
            ec2.delete_security_group(GroupId=group["GroupId"])


def _close_doors(ec2: Any, group: str) -> None:
    """Take the rules that name a group out of others: AWS deletes no group that is named."""
    naming = [{"Name": "ip-permission.group-id", "Values": [group]}]
    with translated("ec2:DescribeSecurityGroups"):
        others = ec2.describe_security_groups(Filters=naming)["SecurityGroups"]
    for other in others:
        for rule in other["IpPermissions"]:
            named = [pair for pair in rule["UserIdGroupPairs"] if pair["GroupId"] == group]
            ports = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
            if named:
                with translated("ec2:RevokeSecurityGroupIngress"), _whether_or_not():
                    ec2.revoke_security_group_ingress(
                        GroupId=other["GroupId"], IpPermissions=[{**ports, "UserIdGroupPairs": named}]
                    )


def _remove_role(account: Account, name: str) -> None:
    iam = account.client("iam")
    with translated("iam:RemoveRoleFromInstanceProfile"), _whether_or_not():
        # An opening may have ended before the role was put into its profile.
        for role in iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]:
            iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=role["RoleName"])
    with translated("iam:DeleteInstanceProfile"), _whether_or_not():
        iam.delete_instance_profile(InstanceProfileName=name)
    with translated("iam:DeleteRolePolicy"), _whether_or_not():
        iam.delete_role_policy(RoleName=name, PolicyName=plan.PART)
    with translated("iam:DeleteRole"), _whether_or_not():
        iam.delete_role(RoleName=name)


def _instances(account: Account, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    with translated("ec2:DescribeInstances"):
        pages = list(account.client("ec2").get_paginator("describe_instances").paginate(Filters=filters))
    return [one for page in pages for each in page["Reservations"] for one in each["Instances"]]


def _tag(instance: dict[str, Any]) -> str:
    return next((str(tag["Value"]) for tag in instance["Tags"] if tag["Key"] == plan.TAG), "")


@contextmanager
def _whether_or_not() -> Iterator[None]:
    """Let what is not there be removed."""
    try:
        yield
    except ClientError as error:
        if code_of(error) not in _GONE:
            raise
