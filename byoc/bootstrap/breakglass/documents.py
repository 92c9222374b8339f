"""What a break-glass machine may do, how its sessions are logged, and how it ends itself. Pure.

Two things end a session, and neither needs the laptop it was opened from nor a control plane: the machine
powers itself off at the deadline, which terminates it, and its role is denied everything from then on. A
third, a schedule of EventBridge, was left out: it needs a role that may terminate machines, which the
boundary of every role forbids; and a machine whose timer its own root has stopped is one without rights.
"""

import json
from typing import Final

from byoc.bootstrap.breakglass.plan import Session, instant, log_group_name
from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.statements import TRUST_LIMIT, Document, Principal, Statement

IDLE_MINUTES: Final = 20
MOST_MINUTES: Final = 60
"""A session in the machine is begun anew each hour: so long may one outlive its role's rights."""
UNITS: Final = "/etc/systemd/system"

_END_SERVICE: Final = """\
[Unit]
Description=End this machine: its time is over
DefaultDependencies=no

[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl --force poweroff
"""


def trust() -> Document:
    """Return who may take a session's role on: machines."""
    statement = Statement(
        sid="Service",
        why="the machine that was started to break the glass",
        actions=("sts:AssumeRole",),
        principal=Principal("Service", "ec2.amazonaws.com"),
    )
    return Document((statement,), TRUST_LIMIT)


def rights(args: CellArgs, session: Session) -> Document:
    """Return what the machine may do: be reached, write what was done, and nothing after the deadline.

    Source: Systems Manager user guide, "Create a custom IAM role for Session Manager". The denial is of the
    time AWS has, at each call: a session's credentials that were got before are worth nothing after.
    """
    group = f"{arns.log_group_arn(args, 'breakglass')}:*"
    return Document(
        (
            Statement(
                sid="BeReached",
                why="Session Manager reaches the machine by a call that the machine makes",
                actions=(
                    "ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel",
                    "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel",
                    "ssmmessages:OpenDataChannel",
                ),
                resources=("*",),
            ),
            Statement(
                sid="FindLog",
                why="the agent refuses a session whose log is not encrypted; all groups are listed or none",
                actions=("logs:DescribeLogGroups",),
                resources=("*",),
            ),
            Statement(
                sid="WriteLog",
                why="what is done in a session is written as it happens",
                actions=("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
                resources=(group,),
            ),
            Statement(
                sid="AfterTheDeadline",
                why="the machine is worth nothing once its time is over, whatever became of its timer",
                effect="Deny",
                actions=("*",),
                resources=("*",),
                conditions={"DateGreaterThanEquals": {"aws:CurrentTime": instant(session.until)}},
            ),
        )
    )  # fmt: skip


def session_document(args: CellArgs) -> str:
    """Return how Session Manager runs and logs a session (its user guide, "Session document schema")."""
    return json.dumps(
        {
            "schemaVersion": "1.0",
            "description": f"Break-glass sessions of cell {args.name}: all of them are logged",
            "sessionType": "Standard_Stream",
            "inputs": {
                "cloudWatchLogGroupName": log_group_name(args),
                "cloudWatchEncryptionEnabled": True,
                "cloudWatchStreamingEnabled": True,
                "s3BucketName": "",
                "s3KeyPrefix": "",
                "s3EncryptionEnabled": True,
                # The cell's key is used by storage services alone; the channel is TLS without it.
                "kmsKeyId": "",
                "idleSessionTimeout": str(IDLE_MINUTES),
                "maxSessionDuration": str(MOST_MINUTES),
                "runAsEnabled": False,
                "runAsDefaultUser": "",
            },
        },
        sort_keys=True,
    )


def user_data(session: Session) -> str:
    """Return what the machine runs at each start, before it can be reached: it sets its own end.

    A boothook, because a script of user data runs once and late, after the agent of Systems Manager may
    have started. What is in it is made by us: an id and two times. If anything fails, the machine ends.
    """
    until = session.until
    return f"""#cloud-boothook
#!/bin/bash
# Break-glass session {session.id}: this machine ends itself.
set -euo pipefail
trap '/usr/bin/systemctl --force poweroff' ERR
cat > {UNITS}/byoc-end.service <<'UNIT'
{_END_SERVICE}UNIT
cat > {UNITS}/byoc-end.timer <<'UNIT'
[Unit]
Description=End this machine at {instant(until)}
DefaultDependencies=no

[Timer]
OnCalendar={until:%Y-%m-%d %H:%M:%S} UTC
AccuracySec=1s

[Install]
WantedBy=sysinit.target
UNIT
/usr/bin/systemctl daemon-reload
/usr/bin/systemctl enable byoc-end.timer
/usr/bin/systemctl start --no-block byoc-end.timer
# A timer of the past never fires: a machine that was stopped, and is started too late, ends here.
if [ "$(date +%s)" -ge {int(until.timestamp())} ]; then
  /usr/bin/systemctl --force poweroff
fi
"""
