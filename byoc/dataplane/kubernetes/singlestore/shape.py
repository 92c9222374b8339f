"""What a size means as nodes: how many aggregators and leaves, and what each of them has. Pure.

Used by the builders, and by whoever compares with what the pods have. A workspace's pods get together
seven eighths of its size's compute, as with every engine: a quarter of that the aggregators, which plan and
merge, the rest the leaves, which hold the data. A leaf has at most sixteen of a size's processors, for a
machine of that size is to be had everywhere; beyond that there are more leaves, and an aggregator more for
every four. The scale factor multiplies what each node has, never their number, so that no data moves; the
cache config multiplies the disk, where an unlimited database keeps what it reads again.
"""

from dataclasses import dataclass
from typing import Final

from byoc.dataplane.kubernetes import names, sizing
from byoc.dataplane.runtime import Limits
from byoc.model.size import SIZES

_MIB: Final = 2**20
_VCPUS_OF_A_LEAF: Final = 16
_LEAVES_OF_AN_AGGREGATOR: Final = 4
_LEAF: Final = "leaf-ag1"
LEAF_CLAIMS: Final = f"pv-storage-node-{names.CLUSTER}-{_LEAF}-"
"""How names of claims of leaves begin."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes that are alike: one StatefulSet of the operator's.

    Attributes:
        role: as the operator names its StatefulSets: ``master``, ``aggregator``, ``leaf-ag1``.
        disk_gib: of each.
    """

    role: str
    count: int
    compute: sizing.Compute
    disk_gib: int

    @property
    def set(self) -> str:
        """Name of the StatefulSet."""
        return f"node-{names.CLUSTER}-{self.role}"

    @property
    def pods(self) -> tuple[str, ...]:
        """Names of the pods."""
        return tuple(f"{self.set}-{number}" for number in range(self.count))

    @property
    def claims(self) -> tuple[str, ...]:
        """Names of the claims of their volumes."""
        return tuple(f"pv-storage-{pod}" for pod in self.pods)


@dataclass(frozen=True, slots=True)
class Shape:
    """All nodes of a workspace. There is one master, perhaps no other aggregator, and at least one leaf."""

    master: Nodes
    children: Nodes
    leaves: Nodes

    @property
    def every(self) -> tuple[Nodes, ...]:
        """Those kinds of nodes of which there are any."""
        return tuple(each for each in (self.master, self.children, self.leaves) if each.count)

    @property
    def aggregators(self) -> tuple[str, ...]:
        """Pods that customers may reach."""
        return (*self.master.pods, *self.children.pods)


def disk_gib(limits: Limits, divisor: int) -> int:
    """Return the size of the leaves' new volumes together."""
    leaves = leaves_of(limits)
    wanted = sizing.disk_gib(limits, divisor, leaves) * limits.cache_config
    return min(wanted, sizing.LARGEST_DISK_GIB * leaves)


def leaves_of(limits: Limits) -> int:
    """Return how many leaves a size has."""
    return max(1, -(-int(SIZES[limits.size].vcpus) // _VCPUS_OF_A_LEAF))


def shape(limits: Limits, disk: int, divisor: int) -> Shape:
    """Return the nodes of a workspace whose leaves have ``disk`` GiB together."""
    leaves = leaves_of(limits)
    children = 0 if leaves == 1 else -(-leaves // _LEAVES_OF_AN_AGGREGATOR)
    total = sizing.compute(limits, divisor)
    of_leaf = -(-disk // leaves)
    of_aggregator = max(1, of_leaf // 4)
    aggregating = _part(total, 1, 4 * (1 + children))
    return Shape(
        Nodes("master", 1, aggregating, of_aggregator),
        Nodes("aggregator", children, aggregating, of_aggregator),
        Nodes(_LEAF, leaves, _part(total, 3, 4 * leaves), of_leaf),
    )


def _part(total: sizing.Compute, share: int, of: int) -> sizing.Compute:
    memory = total.memory * share // of // _MIB * _MIB
    return sizing.Compute(max(memory, _MIB), max(total.millicores * share // of, 1))
