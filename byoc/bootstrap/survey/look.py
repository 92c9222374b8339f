"""The survey itself: every read-only call that a preflight needs, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from byoc.bootstrap.aws import Account, code_of, translated
from byoc.bootstrap.survey.network import given_vpc, ranges
from byoc.bootstrap.survey.permits import permits
from byoc.bootstrap.survey.quotas import quotas
from byoc.bootstrap.survey.seen import Bucket, Releases, Survey
from byoc.errors import PreconditionFailed

LINKED_ROLES: Final = {
    "eks.amazonaws.com": "AWSServiceRoleForAmazonEKS",
    "eks-nodegroup.amazonaws.com": "AWSServiceRoleForAmazonEKSNodegroup",
    "autoscaling.amazonaws.com": "AWSServiceRoleForAutoScaling",
}
"""Roles AWS makes for its services at their first use, which an organization may forbid."""
ADDONS: Final = (
    "vpc-cni",
    "coredns",
    "kube-proxy",
    "eks-pod-identity-agent",
    "aws-ebs-csi-driver",
    "external-dns",
)
_RELEASE: Final = (
    "/aws/service/eks/optimized-ami/{version}/amazon-linux-2023/x86_64/standard/recommended/release_version"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a survey is to look at.

    Attributes:
        kubernetes: the minor version of the cluster.
        vpc_id: the customer's VPC; empty where the cell makes one.
        subnet_ids: the private subnets of that VPC.
        buckets: the names the cell will use.
        actions: what the caller must be allowed to do.
        existing: the cell is there already, or was begun.
    """

    kubernetes: str
    buckets: tuple[str, ...] = ()
    vpc_id: str = ""
    subnet_ids: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    existing: bool = False


def look(account: Account, wanted: Wanted) -> Survey:
    """Return what the account and its region are like.

    Raises:
        PreconditionFailed: no usable credentials, a region that is not open, or no such VPC, or none in
            which a cell could live.
        Unreachable: AWS could not be reached.
    """
    identity = account.identity
    zones = _zones(account)
    return Survey(
        identity=identity,
        region=account.region,
        zones=zones,
        releases=_releases(account, wanted.kubernetes),
        other_ranges=ranges(account),
        quotas=quotas(account),
        linked_roles={service: _has_role(account, role) for service, role in LINKED_ROLES.items()},
        buckets={name: bucket(account, name) for name in wanted.buckets},
        permits=permits(account, wanted.actions),
        vpc=given_vpc(account, wanted.vpc_id, wanted.subnet_ids) if wanted.vpc_id else None,
        existing=wanted.existing,
    )


def bucket(account: Account, name: str) -> Bucket:
    """Return whose the bucket called ``name`` is; AWS checks the owner for us."""
    try:
        account.client("s3").head_bucket(Bucket=name, ExpectedBucketOwner=account.identity.account)
    except ClientError as error:
        return {"404": Bucket.FREE, "NoSuchBucket": Bucket.FREE, "403": Bucket.TAKEN}.get(
            code_of(error), Bucket.UNKNOWN
        )
    except BotoCoreError:
        return Bucket.UNKNOWN
    return Bucket.OURS


def _zones(account: Account) -> tuple[str, ...]:
    client = account.client("ec2")
    try:
        with translated("ec2:DescribeAvailabilityZones"):
            found = client.describe_availability_zones(
                Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}]
            )["AvailabilityZones"]
    except PreconditionFailed as error:
        raise PreconditionFailed(
            f"region {account.region} does not know these credentials: {error.message}",
            hint="is the region enabled for the account? aws account list-regions",
        ) from error
    return tuple(sorted(zone["ZoneName"] for zone in found if zone.get("State") == "available"))


def _releases(account: Account, kubernetes: str) -> Releases:
    return Releases(
        versions=_versions(account),
        ami_release=_ami_release(account, kubernetes),
        addons={name: version for name in ADDONS if (version := _addon(account, name, kubernetes))},
    )


def _versions(account: Account) -> tuple[str, ...]:
    try:
        found = account.client("eks").describe_cluster_versions()["clusterVersions"]
    except (ClientError, BotoCoreError):
        return ()
    return tuple(sorted(version["clusterVersion"] for version in found))


def _ami_release(account: Account, kubernetes: str) -> str:
    try:
        found = account.client("ssm").get_parameter(Name=_RELEASE.format(version=kubernetes))
    except (ClientError, BotoCoreError):
        return ""
    return str(found["Parameter"]["Value"])


def _addon(account: Account, name: str, kubernetes: str) -> str:
    try:
        found = account.client("eks").describe_addon_versions(addonName=name, kubernetesVersion=kubernetes)
    except (ClientError, BotoCoreError):
        return ""
    return _default_version([addon for addon in found.get("addons", []) if addon.get("addonName") == name])


def _default_version(addons: Sequence[Any]) -> str:
    for addon in addons:
        for version in addon.get("addonVersions", []):
            if any(fits.get("defaultVersion") for fits in version.get("compatibilities", [])):
                return str(version["addonVersion"])
    return ""


def _has_role(account: Account, name: str) -> bool | None:
    try:
        account.client("iam").get_role(RoleName=name)
    except ClientError as error:
        return False if code_of(error) == "NoSuchEntity" else None
    except BotoCoreError:
        return None
    return True
