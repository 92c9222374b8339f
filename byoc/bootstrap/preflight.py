"""The preflight's judgement: what stands in the way of a cell, as checks. Pure.

``judge`` takes what ``byoc.bootstrap.survey`` saw and what is wanted; each check passes, warns, fails
with what to change, or is unknown. A cell is begun only when none fails: nothing is left half done.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final

from byoc.bootstrap.survey.look import ADDONS
from byoc.bootstrap.survey.seen import Bucket, Permit, Survey
from byoc.cell.args import MINIMUM_ZONES, GivenVpc, Nat, NewVpc
from byoc.model.check import Check, Result

_SYSTEM_VCPUS: Final = 4
"""Two machines of the smallest system type."""
_STATE: Final = "byoc-state-"
_NAMED: Final = 8
"""How many actions one line names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is wanted, as far as the account must bear it.

    Attributes:
        zones: the zones asked for; empty to take the region's first three.
        endpoints: interface endpoints the cell makes.
    """

    kubernetes: str
    zones: tuple[str, ...]
    network: NewVpc | GivenVpc
    endpoints: int = 0


Judge = Callable[[Survey, Plan], Check]


def judge(seen: Survey, plan: Plan) -> tuple[Check, ...]:
    """Return every check of the account, in the order a person would ask."""
    return tuple(check(seen, plan) for check in JUDGES)


def _credentials(seen: Survey, _: Plan) -> Check:
    if seen.identity.arn.endswith(":root"):
        return Check(
            "credentials",
            Result.WARN,
            f"account {seen.identity.account}, as its root user",
            "use a role: `byoc cell permissions` prints the policy it needs",
        )
    return Check("credentials", Result.PASS, f"account {seen.identity.account}, as {seen.identity.arn}")


def _zones(seen: Survey, plan: Plan) -> Check:
    missing = [zone for zone in plan.zones if zone not in seen.zones]
    if missing:
        return Check(
            "zones",
            Result.FAIL,
            f"{missing[0]} is not open to the account",
            f"choose among {', '.join(seen.zones)}",
        )
    if len(seen.zones) < MINIMUM_ZONES:
        return Check(
            "zones",
            Result.FAIL,
            f"{seen.region} has {len(seen.zones)} zones, a cell needs {MINIMUM_ZONES}",
            "take another region",
        )
    return Check("zones", Result.PASS, ", ".join(plan.zones or seen.zones[:MINIMUM_ZONES]))


def _kubernetes(seen: Survey, plan: Plan) -> Check:
    offered = seen.releases.versions
    if offered and plan.kubernetes not in offered:
        return Check(
            "kubernetes",
            Result.FAIL,
            f"EKS has no version {plan.kubernetes}",
            f"choose among {', '.join(offered)}",
        )
    if not seen.releases.ami_release:
        return Check(
            "kubernetes",
            Result.FAIL,
            f"EKS publishes no machine image for {plan.kubernetes} in {seen.region}",
            "choose another version with --kubernetes",
        )
    lacking = [name for name in ADDONS if name not in seen.releases.addons]
    if lacking:
        return Check(
            "kubernetes",
            Result.FAIL,
            f"EKS offers no {', '.join(lacking)} for {plan.kubernetes}",
            "choose another version with --kubernetes",
        )
    return Check("kubernetes", Result.PASS, f"{plan.kubernetes}, image {seen.releases.ami_release}")


def _network(seen: Survey, plan: Plan) -> Check:
    if isinstance(plan.network, GivenVpc):
        closed = [subnet.id for subnet in plan.network.subnets if not subnet.has_egress]
        if closed:
            return Check(
                "network",
                Result.WARN,
                f"subnet {closed[0]} has no way out of the VPC",
                "give an egress proxy or the gateway's endpoint service, or route 0.0.0.0/0 to a NAT gateway",
            )
        return Check(
            "network", Result.PASS, f"VPC {plan.network.id}, {len(plan.network.subnets)} private subnets"
        )
    mine = IPv4Network(plan.network.cidr)
    for vpc, blocks in seen.other_ranges.items():
        if not seen.existing and any(mine.overlaps(IPv4Network(block)) for block in blocks):
            return Check(
                "network",
                Result.WARN,
                f"{plan.network.cidr} overlaps VPC {vpc}, the two could never be connected",
                "choose another range with --cidr",
            )
    return Check("network", Result.PASS, f"a VPC of {plan.network.cidr}")


def _quotas(seen: Survey, plan: Plan) -> Check:
    wanted = _needed(plan)
    short, unknown = [], []
    for name, number in wanted.items():
        free = seen.quotas[name].free if name in seen.quotas else None
        if free is None:
            unknown.append(name)
        elif free < number and not seen.existing:
            quota = seen.quotas[name]
            short.append(f"{name}: {number} needed, {free} of {quota.limit} free")
    if short:
        return Check("quotas", Result.FAIL, "; ".join(short), "raise them in the Service Quotas console")
    if unknown:
        return Check("quotas", Result.UNKNOWN, f"AWS does not tell: {', '.join(unknown)}")
    return Check("quotas", Result.PASS, ", ".join(f"{name} {number}" for name, number in wanted.items()))


def _needed(plan: Plan) -> dict[str, int]:
    needed = {"EKS clusters": 1, "vCPUs of standard instances": _SYSTEM_VCPUS}
    if plan.endpoints:
        needed["interface endpoints in a VPC"] = plan.endpoints
    if isinstance(plan.network, NewVpc):
        gateways = {Nat.NONE: 0, Nat.SINGLE: 1, Nat.PER_ZONE: len(plan.zones) or MINIMUM_ZONES}[
            plan.network.nat
        ]
        needed |= {"VPCs": 1}
        if gateways:
            needed |= {"elastic addresses": gateways, "NAT gateways in a zone": 1}
    return needed


def _linked_roles(seen: Survey, _: Plan) -> Check:
    missing = [service for service, there in seen.linked_roles.items() if there is False]
    permit = seen.permits.get("iam:CreateServiceLinkedRole", Permit.UNKNOWN)
    if missing and permit is Permit.DENIED:
        return Check(
            "service-linked roles",
            Result.FAIL,
            f"{', '.join(missing)} has none, and you may not make one",
            f"aws iam create-service-linked-role --aws-service-name {missing[0]}",
        )
    if None in seen.linked_roles.values():
        return Check("service-linked roles", Result.UNKNOWN, "the account's roles may not be read")
    if missing:
        return Check(
            "service-linked roles", Result.PASS, f"AWS makes those of {', '.join(missing)} at first use"
        )
    return Check("service-linked roles", Result.PASS, "all there")


def _buckets(seen: Survey, _: Plan) -> Check:
    taken = [name for name, whose in seen.buckets.items() if whose is Bucket.TAKEN]
    if taken:
        return Check(
            "buckets",
            Result.FAIL,
            f"bucket {taken[0]} belongs to another account",
            "choose another name for the cell",
        )
    # The state's bucket is shared by the account's cells: that it is there says nothing of this one.
    ours = [n for n, whose in seen.buckets.items() if whose is Bucket.OURS and not n.startswith(_STATE)]
    if ours and not seen.existing:
        return Check(
            "buckets",
            Result.WARN,
            f"bucket {ours[0]} is left of an earlier cell of this name; its data is kept and used",
            "choose another name for the cell to begin empty",
        )
    unknown = [name for name, whose in seen.buckets.items() if whose is Bucket.UNKNOWN]
    if unknown:
        return Check("buckets", Result.UNKNOWN, f"AWS does not tell whose {unknown[0]} is")
    return Check("buckets", Result.PASS, "the names are free" if not ours else "the cell's own")


def _permissions(seen: Survey, _: Plan) -> Check:
    if not seen.permits:
        return Check("permissions", Result.SKIP, "not asked for: no cell can be made of this")
    denied = sorted(action for action, permit in seen.permits.items() if permit is Permit.DENIED)
    unknown = [action for action, permit in seen.permits.items() if permit is Permit.UNKNOWN]
    if denied:
        more = f" and {len(denied) - _NAMED} more" if len(denied) > _NAMED else ""
        return Check(
            "permissions",
            Result.FAIL,
            f"you may not {', '.join(denied[:_NAMED])}{more}",
            "`byoc cell permissions` prints the policy; a service control policy or boundary may also refuse",
        )
    if unknown:
        return Check(
            "permissions",
            Result.UNKNOWN,
            f"{len(seen.permits) - len(unknown)} of {len(seen.permits)} actions are allowed; "
            f"AWS does not tell for {len(unknown)}",
        )
    return Check("permissions", Result.PASS, f"all {len(seen.permits)} actions are allowed")


JUDGES: Final[tuple[Judge, ...]] = (
    _credentials,
    _zones,
    _kubernetes,
    _network,
    _quotas,
    _linked_roles,
    _buckets,
    _permissions,
)
