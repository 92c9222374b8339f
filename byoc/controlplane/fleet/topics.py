"""What a commit can be about, as strings; how dispatcher and event streams hear of it."""

from typing import Final

CELL: Final = "cell:"
WORKSPACE: Final = "workspace:"
DECIDED: Final = "decided:"


def cell(own: str) -> str:
    """There may be something to deliver to this cell."""
    return CELL + own


def workspace(own: str) -> str:
    """There is a new event of this workspace."""
    return WORKSPACE + own


def decided(own: str) -> str:
    """The cell has decided about this object, whose change had to wait for approval."""
    return DECIDED + own
