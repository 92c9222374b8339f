"""Which groups of machines a cell has, and what the autoscaler must know of each. Pure.

Read by ``nodes``, which makes them, and by the plan, which prices them. The invariants: a group whose
machines hold volumes is in one zone, because a volume is; every name is within AWS's limits.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from byoc.cell.args import CellArgs
from byoc.cell.incluster import GROUP_LABEL, SYSTEM_GROUP, SYSTEM_TAINT, WORKSPACE_GROUP
from byoc.cell.naming import physical

NO_SCHEDULE: Final = "NoSchedule"
HINT: Final = "k8s.io/cluster-autoscaler/node-template/"
"""How the tags begin that describe a machine to the autoscaler."""
_ZONE_LABELS: Final = ("topology.kubernetes.io/zone", "topology.ebs.csi.aws.com/zone")
_ARM: Final = re.compile(r"(a1|[a-z]+\d+[a-z]*g[a-z]*)\.")
"""Instance types with AWS's own processors have a ``g`` after the generation (EC2, "Naming conventions")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of machines.

    Attributes:
        name: logical name.
        physical_name: its name in EKS; it holds the instance type, because EKS replaces a group whose
            type changes and the new one must stand before the old one goes.
        kind: ``system`` or ``workspace``; the value of the machines' label.
        zones: where its machines are.
        taints: key to value; the effect is ``NoSchedule``.
    """

    name: str
    physical_name: str
    kind: str
    instance_type: str
    zones: tuple[str, ...]
    minimum: int
    maximum: int
    taints: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the machines."""
        return {GROUP_LABEL: self.kind}

    @property
    def ami_type(self) -> str:
        """The machine image's name in EKS."""
        return "AL2023_ARM_64_STANDARD" if _ARM.match(self.instance_type) else "AL2023_x86_64_STANDARD"


def groups(args: CellArgs, zones: Sequence[str]) -> tuple[Group, ...]:
    """Return the groups of a cell with private subnets in ``zones``."""
    wanted = args.nodes
    workspaces = (
        _workspace(args, instance_type, zone) for instance_type in wanted.workspace_types for zone in zones
    )
    return (_system(args, zones), *workspaces)


def _system(args: CellArgs, zones: Sequence[str]) -> Group:
    """The group of the cell's own pods.

    It has at most as many zones as machines: then there is a machine in each, and the agent that comes
    back after a machine died finds one where its volume is.
    """
    wanted = args.nodes
    return Group(
        name=SYSTEM_GROUP,
        physical_name=physical("eks-nodegroup", args.name, SYSTEM_GROUP, _dashed(wanted.system_type)),
        kind=SYSTEM_GROUP,
        instance_type=wanted.system_type,
        zones=tuple(zones[: wanted.system_count]),
        minimum=wanted.system_count,
        maximum=wanted.system_count,
        taints={SYSTEM_TAINT: "true"},
    )


def _workspace(args: CellArgs, instance_type: str, zone: str) -> Group:
    return Group(
        name=f"{WORKSPACE_GROUP}-{_dashed(instance_type)}-{zone}",
        physical_name=physical("eks-nodegroup", args.name, _dashed(instance_type), zone),
        kind=WORKSPACE_GROUP,
        instance_type=instance_type,
        zones=(zone,),
        minimum=0,
        maximum=args.nodes.workspace_maximum,
    )


def hints(group: Group, disk_gib: int) -> Mapping[str, str]:
    """Return tags by which the autoscaler knows what a machine of an empty group would be like.

    Source: kubernetes/autoscaler, cluster-autoscaler/cloudprovider/aws/README.md, "Auto-discovery setup".
    """
    labels = dict(group.labels)
    if len(group.zones) == 1:
        labels |= dict.fromkeys(_ZONE_LABELS, group.zones[0])
    return {
        **{f"{HINT}label/{key}": value for key, value in labels.items()},
        **{f"{HINT}taint/{key}": f"{value}:{NO_SCHEDULE}" for key, value in group.taints.items()},
        f"{HINT}resources/ephemeral-storage": f"{disk_gib}Gi",
    }


def _dashed(instance_type: str) -> str:
    return instance_type.replace(".", "-")
