"""What `byoc up` is asked for, and what it says while it works: the values that cross this package's face."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_PORT: Final = 8787


@dataclass(frozen=True, slots=True)
class UpOptions:
    """How to start.

    Args:
        data: the data folder.
        environment: of the caller; settings and secrets of the command line are not passed on.
        port: of the Management API; None takes the one used last, or 8787.
        detach: return once all is ready, instead of staying.
        reset: delete the instance's data first; the caller has asked the user.
    """

    data: Path
    environment: Mapping[str, str]
    port: int | None = None
    detach: bool = False
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Something that has been done.

    Args:
        name: what it is about, such as ``control plane``.
        detail: what is now true of it.
        seconds: since the start.
    """

    name: str
    detail: str
    seconds: float


Report = Callable[[Step], None]
"""How progress is shown; called in the caller's thread."""
