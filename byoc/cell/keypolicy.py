"""Who may do what with a cell's key. Pure.

Given by ``keys`` to the key the cell makes; printed in docs/access.md for customers who bring their own.
The invariants: the account's IAM decides who administers the key; data are encrypted and opened by AWS's
storage services on behalf of somebody of this account, by nobody directly; no other account has any part.
"""

from typing import Final

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.statements import KEY_POLICY_LIMIT, Conditions, Document, Principal, Statement, Values

_ADMINISTER: Final = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RetireGrant",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
_ENCRYPT: Final = (
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
_THIS_KEY: Final = ("*",)
"""In a key policy, the key itself."""


def key_policy(args: CellArgs) -> Document:
    """Return the policy of the cell's key."""
    facts = args.facts
    account = Principal("AWS", f"arn:{facts.partition}:iam::{facts.account}:root")
    # Auto Scaling's own role starts machines, is made by AWS at its first use, and has no right to keys:
    # so, as in AWS's own key for volumes, whoever in this account calls EC2 is who may.
    anybody = Principal("AWS", "*")
    return Document(
        (
            _use(
                "AccountAdministers", "the account's IAM says who administers the key", account, _ADMINISTER
            ),
            _use(
                "ClusterSecrets",
                "EKS encrypts the cluster's secrets by a grant of whoever makes the cluster; it does not "
                'bear a condition on that (EKS user guide, "Encrypt Kubernetes secrets with KMS")',
                account,
                ("kms:CreateGrant",),
            ),
            _use(
                "Volumes",
                "EC2 encrypts volumes, on behalf of somebody of this account",
                anybody,
                (*_ENCRYPT, "kms:CreateGrant"),
                _by(args, "ec2"),
            ),
            _use(
                "Buckets",
                "S3 encrypts objects, on behalf of somebody whose IAM policies allow it",
                account,
                _ENCRYPT,
                _by(args, "s3"),
            ),
            _use(
                "Logs",
                'CloudWatch Logs encrypts the cell\'s log groups (its user guide, "Encrypt log data")',
                Principal("Service", f"logs.{facts.region}.amazonaws.com"),
                _ENCRYPT,
                {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": _log_groups(args)}},
            ),
        ),
        KEY_POLICY_LIMIT,
    )


def _log_groups(args: CellArgs) -> Values:
    return tuple(
        arns.log_group_arn(args, which) for which in ("flow", "cluster", "installer", "control", "breakglass")
    )


def _by(args: CellArgs, service: str) -> Conditions:
    return {
        "StringEquals": {
            "kms:CallerAccount": args.facts.account,
            "kms:ViaService": f"{service}.{args.facts.region}.amazonaws.com",
        }
    }


def _use(
    sid: str, why: str, principal: Principal, actions: Values, conditions: Conditions | None = None
) -> Statement:
    return Statement(
        sid=sid,
        why=why,
        principal=principal,
        actions=actions,
        resources=_THIS_KEY,
        conditions=conditions or {},
    )
