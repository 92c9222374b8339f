"""What the machines offer that workspaces may run on: numbers a zone, and never a machine's name. Pure.

Used by ``tending``, for the facts that the cell reports. The invariant: whatever a machine writes into its
Node, nothing but numbers that fit into a report and a short version leaves this module.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Self

from byoc.dataplane.kubernetes.machines import Machine
from byoc.dataplane.kubernetes.quantities import cores, quantity
from byoc.errors import UsageError
from byoc.model.report import Zone

Json = dict[str, Any]

_LARGEST: Final = 2**53 - 1
"""What every reader of JSON reads as it was written."""
_VERSION: Final = re.compile(r"v?(\d{1,6}(?:\.\d{1,6}){0,3})(?:[-+][0-9A-Za-z.+_-]{0,48})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Node:
    """One machine, and what it offers.

    Attributes:
        millicores: that it has for pods, as ``memory``, in bytes.
        version: of Kubernetes; empty where it says nothing of that kind.
    """

    machine: Machine
    labels: Mapping[str, str]
    millicores: int
    memory: int
    version: str

    @classmethod
    def read(cls, found: Json) -> Self:
        """Read the object.

        Raises:
            ValueError: it is not understood; it says why.
        """
        try:
            status = found.get("status") or {}
            has = status.get("allocatable") or {}
            version = str((status.get("nodeInfo") or {}).get("kubeletVersion", ""))
            return cls(
                Machine.read(found),
                dict(found["metadata"].get("labels") or {}),
                _offered(cores(has.get("cpu", "0"))),
                _offered(quantity(has.get("memory", "0"))),
                version if _VERSION.fullmatch(version) else "",
            )
        except (LookupError, TypeError, AttributeError, ArithmeticError, UsageError) as error:
            raise ValueError(repr(error)[:200]) from error

    @property
    def zone(self) -> str:
        """Where it is."""
        return self.machine.zone


def zones(nodes: Iterable[Node], selector: Mapping[str, str]) -> tuple[Zone, ...]:
    """Return what the machines with the labels of ``selector`` offer, zone by zone."""
    zone = attrgetter("zone")
    ours = sorted((node for node in nodes if selector.items() <= node.labels.items()), key=zone)
    return tuple(_sum(name, list(each)) for name, each in groupby(ours, zone))


def _sum(name: str, nodes: list[Node]) -> Zone:
    ready = [node for node in nodes if node.machine.ready_since is not None]
    return Zone(
        name,
        len(nodes),
        len(ready),
        min(sum(node.millicores for node in ready), _LARGEST),
        min(sum(node.memory for node in ready), _LARGEST),
        min((node.version for node in nodes if node.version), key=_numbers, default=""),
    )


def _offered(number: int) -> int:
    if number < 0:
        message = "it offers less than nothing"
        raise ValueError(message)
    return number


def _numbers(version: str) -> list[int]:
    """Return a version such as ``v1.36.1-eks-abc`` as what it is compared by."""
    match = _VERSION.fullmatch(version)
    return [int(each) for each in match[1].split(".")] if match else []
