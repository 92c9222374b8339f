"""How much of what a cell needs an account may still have in a region."""

from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from byoc.bootstrap.aws import Account
from byoc.bootstrap.survey.seen import Quota

# Service Quotas' own codes: its console shows each beside the quota's name.
CODES: Final = {
    "VPCs": ("vpc", "L-F678F1CE"),
    "elastic addresses": ("ec2", "L-0263D0A3"),
    "NAT gateways in a zone": ("vpc", "L-FE5A380F"),
    "interface endpoints in a VPC": ("vpc", "L-29B6F2EB"),
    "EKS clusters": ("eks", "L-1194D53C"),
    "vCPUs of standard instances": ("ec2", "L-1216C47A"),
}


def quotas(account: Account) -> dict[str, Quota]:
    """Return used and limit of each quota; ``None`` for what AWS would not say."""
    ec2 = account.client("ec2")
    used = {
        "VPCs": _count(lambda: ec2.describe_vpcs()["Vpcs"]),
        "elastic addresses": _count(lambda: ec2.describe_addresses()["Addresses"]),
        "NAT gateways in a zone": 0,  # a limit of each zone, and the cell makes one in each
        "interface endpoints in a VPC": 0,
        "EKS clusters": _count(lambda: account.client("eks").list_clusters()["clusters"]),
        "vCPUs of standard instances": _count(lambda: _running_vcpus(ec2)),
    }
    return {name: Quota(used[name], _limit(account, *where)) for name, where in CODES.items()}


def _count(find: Any) -> int | None:
    try:
        found = find()
    except (ClientError, BotoCoreError):
        return None
    return found if isinstance(found, int) else len(found)


def _running_vcpus(ec2: Any) -> int:
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    )
    cpus = 0
    for page in pages:
        for reservation in page["Reservations"]:
            for instance in reservation["Instances"]:
                options = instance.get("CpuOptions", {})
                cpus += options.get("CoreCount", 1) * options.get("ThreadsPerCore", 2)
    return cpus


def _limit(account: Account, service: str, code: str) -> int | None:
    client = account.client("service-quotas")
    for ask in (client.get_service_quota, client.get_aws_default_service_quota):
        try:
            return int(ask(ServiceCode=service, QuotaCode=code)["Quota"]["Value"])
        except (ClientError, BotoCoreError):
            continue
    return None
