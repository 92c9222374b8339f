"""What the machines offer that workspaces may run on: numbers a zone, and never a machine's name. Pure.

Used by ``tending``, for the facts that the cell reports.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from byoc.dataplane.kubernetes.machines import Machine
from byoc.dataplane.kubernetes.views import cores, quantity
from byoc.model.report import Zone

Json = dict[str, Any]


def zones(nodes: Iterable[Json], selector: Mapping[str, str]) -> tuple[Zone, ...]:
    """Return what the machines with the labels of ``selector`` offer, zone by zone."""
    ours = [node for node in nodes if selector.items() <= (node["metadata"].get("labels") or {}).items()]
    ours.sort(key=_zone)
    return tuple(_sum(name, list(each)) for name, each in groupby(ours, _zone))


def _zone(node: Json) -> str:
    return Machine.read(node).zone


def _sum(name: str, nodes: list[Json]) -> Zone:
    ready = [node for node in nodes if Machine.read(node).ready_since is not None]
    offered = [allocatable(node) for node in ready]
    versions = [str(_status(node).get("nodeInfo", {}).get("kubeletVersion", "")) for node in nodes]
    return Zone(
        name,
        len(nodes),
        len(ready),
        sum(millicores for millicores, _ in offered),
        sum(memory for _, memory in offered),
        min(versions, key=_numbers),
    )


def allocatable(node: Json) -> tuple[int, int]:
    """Return the millicores and the bytes of memory that a machine has for pods."""
    has = _status(node).get("allocatable") or {}
    return cores(has.get("cpu", "0")), quantity(has.get("memory", "0"))


def _status(node: Json) -> Json:
    return node.get("status") or {}


def _numbers(version: str) -> list[int]:
    """Return a version such as ``v1.36.1-eks-abc`` as what it is compared by."""
    return [int(each) for each in version.removeprefix("v").partition("-")[0].split(".") if each.isdigit()]
