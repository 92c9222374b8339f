"""Names of what a cell makes in AWS, checked against AWS's own limits before anything is created.

Every physical name starts with ``byoc-<cell>``, so that IAM can grant by prefix and a person can see
whose it is. A name that is too long is refused at plan time: AWS would refuse it in minute twenty.
"""

import re
from typing import Final

from byoc.errors import UsageError

CELL_NAME: Final = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){1,23}")
"""2 to 24 characters: with the longest suffix of ours a role stays within IAM's 64."""

CELL_TAG: Final = "byoc:cell"
"""Tag of everything a cell makes; its value is the cell's name."""
LOGICAL_NAME_TAG: Final = "byoc:logical-name"
"""Tag with the resource's name in the program."""

LIMITS: Final = {
    "iam-role": 64,  # IAM user guide, "IAM and AWS STS quotas"
    "iam-policy": 128,  # the same page
    "bucket": 63,  # S3 user guide, "Bucket naming rules"
    "eks-cluster": 100,  # EKS API reference, CreateCluster
    "eks-nodegroup": 63,  # EKS API reference, CreateNodegroup
    "lambda": 64,  # Lambda API reference, CreateFunction
    "security-group": 255,  # EC2 API reference, CreateSecurityGroup
    "launch-template": 128,  # EC2 API reference, CreateLaunchTemplate
    "log-group": 512,  # CloudWatch Logs API reference, CreateLogGroup
    "kms-alias": 256,  # KMS API reference, CreateAlias
    "parameter": 1011,  # Systems Manager API reference, PutParameter
    "dns-zone": 255,  # Route 53 developer guide, "DNS domain name format"
}


def check_cell_name(name: str) -> str:
    """Return ``name`` if a cell may be called so.

    Raises:
        UsageError: it is not 2 to 24 lower-case letters, digits and single hyphens, letter first.
    """
    if not CELL_NAME.fullmatch(name):
        raise UsageError(
            f"a cell cannot be called `{name}`",
            hint="use 2 to 24 lower-case letters, digits and single hyphens, starting with a letter",
        )
    return name


def physical(kind: str, cell: str, *parts: str) -> str:
    """Return the name in AWS of one thing of a cell: ``byoc-<cell>`` and ``parts``, joined by hyphens.

    Raises:
        UsageError: AWS would refuse the name as too long.
    """
    return within(kind, "-".join(("byoc", cell, *parts)))


def within(kind: str, name: str) -> str:
    """Return ``name`` if AWS takes one of this length for this ``kind``.

    Raises:
        UsageError: it is longer than AWS allows.
    """
    if len(name) > LIMITS[kind]:
        raise UsageError(
            f"the {kind} name `{name}` has {len(name)} characters, AWS allows {LIMITS[kind]}",
            hint="choose a shorter name for the cell",
        )
    return name
