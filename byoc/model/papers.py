"""The few papers through which a customer and a cell speak past the Control Plane.

Each is one text with a name. The customer writes some, the cell the others; nothing that comes through
the tunnel writes any of the customer's. ``Papers`` is the customer's end of the seam, over a folder, over
objects of a cluster or through the control function; ``byoc.dataplane.desk`` is the cell's. The control
function's package holds this module: standard library only.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol


class Paper(StrEnum):
    """Which paper; the value is the name of its file, and of its key in an object of the cluster."""

    POLICY = "policy.toml"
    """The customer's policy; see ``byoc.dataplane.policy``."""
    ACCESS = "access.json"
    """Whether the Control Plane may reach into the cell."""
    ANSWERS = "answers.json"
    """What was answered to changes that wait for approval."""
    GLASS = "glass.json"
    """Break-glass sessions, for the cell to put on record."""
    AUTHORITY = "authority.json"
    """The wish for another authority of the cell's engines."""
    REQUESTS = "requests.json"
    """Changes that wait for approval."""
    STANDING = "standing.json"
    """What the cell says of itself."""
    ACCEPTED = "policy.accepted.toml"
    """The policy text that is in force while the newest cannot be understood."""


BY_CUSTOMER: Final = (Paper.POLICY, Paper.ACCESS, Paper.ANSWERS, Paper.GLASS, Paper.AUTHORITY)
BY_CELL: Final = (Paper.REQUESTS, Paper.STANDING, Paper.ACCEPTED)
CONTROL_FOLDER: Final = "control"
"""Where in a cell's folder the customer's papers are, but for the policy."""
SHOWN_FOLDER: Final = "shown"
"""Where the cell's are."""
LONGEST: Final = 512 * 1024
"""Bytes that a paper may have: an object of a cluster holds no more than twice that."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A paper as it was read.

    Attributes:
        text: empty where there is none.
        version: what to name when it is replaced.
    """

    text: str = ""
    version: str = ""


class Papers(Protocol):
    """The customer's end."""

    @property
    def place(self) -> str:
        """Where they are, for a person."""
        ...

    def read(self, paper: Paper) -> Sheet:
        """Return a paper.

        Raises:
            NotFound: there is no cell here.
            Unreachable, Forbidden: as the way there says.
        """
        ...

    def write(self, paper: Paper, text: str, version: str) -> None:
        """Replace one of the customer's papers; it is safely stored when this returns.

        Raises:
            Conflict: it is no longer at ``version``.
            UsageError: it is none of the customer's, or too long.
            NotFound, Unreachable, Forbidden: as above.
        """
        ...

    def ring(self) -> None:
        """Tell the cell that something was written, where there is a way to; it looks by itself too."""
        ...
