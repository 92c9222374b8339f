"""Which pods go first where a cluster is full. Pure.

Read by the manifests. The invariant: a workspace's engine is never pushed aside for whatever else runs in
the cluster, and itself pushes aside nothing of the cell.
"""

from typing import Any, Final

from byoc.cell.incluster import WORKSPACE_PRIORITY

_VALUE: Final = 1_000_000
"""Above what users' pods have (0), far below the system's (2,000,000,000)."""


def priority() -> list[dict[str, Any]]:
    """Return the priority class of workspaces."""
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": WORKSPACE_PRIORITY},
            "value": _VALUE,
            "preemptionPolicy": "PreemptLowerPriority",
            "description": "Engines of workspaces",
        }
    ]
