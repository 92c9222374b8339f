"""What becomes of each resource when the program changes or the cell is destroyed: one table.

Read by ``byoc.cell.part`` for every resource the program registers, printed in docs/aws-cell.md, and
tested whole: a resource without a row takes ``PLAIN``.

* *protect*: holds the customer's data or what opens it. The engine refuses to delete it; ``byoc cell
  destroy`` without ``--keep-data`` lifts the protection first, after the name was typed.
* *within*: goes with the object it lives in, so a destroy makes no call for it.
* *ignore*: properties that the running cell owns, not the program.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Protection:
    """How one resource is treated.

    Attributes:
        protect: refuse to delete it.
        retain: leave it in the account when it leaves the program.
        within: logical name of the resource it is deleted with; empty for none.
        ignore: input properties whose changes are not the program's business.
        why: the reason, for the docs.
    """

    protect: bool = False
    retain: bool = False
    within: str = ""
    ignore: tuple[str, ...] = ()
    why: str = ""


PLAIN: Final = Protection()

TABLE: Final[Mapping[str, Protection]] = {
    "key": Protection(protect=True, why="opens every volume and bucket of the cell"),
    "data": Protection(protect=True, why="holds the databases of suspended workspaces"),
    "ledger": Protection(protect=True, why="holds the customer's record of every request"),
    "data-": Protection(protect=True, within="data", why="keeps the bucket closed while it is kept"),
    "ledger-": Protection(protect=True, within="ledger", why="keeps the bucket closed while it is kept"),
    "cluster": Protection(why="holds no data: volumes and buckets outlive it"),
    "workspace-": Protection(
        ignore=("scalingConfig.desiredSize",), why="the autoscaler owns the number of machines"
    ),
    "addon-": Protection(within="cluster", why="lives in the cluster"),
    "access-": Protection(within="cluster", why="lives in the cluster"),
    "pods-": Protection(within="cluster", why="lives in the cluster"),
    "invocation": Protection(
        why="must run before the cluster goes: it uninstalls, so it is never deleted with it"
    ),
}
"""Logical name, or its beginning where the key ends in a hyphen, to how it is treated."""


def protection(name: str) -> Protection:
    """Return the row for the resource called ``name`` in the program."""
    if name in TABLE:
        return TABLE[name]
    rows = [row for key, row in TABLE.items() if key.endswith("-") and name.startswith(key)]
    return rows[0] if rows else PLAIN
