"""What a workspace's objects are made from, and how that is kept beside them. Pure.

Made by the runtime when it acts, written as an annotation of the namespace before any object is
changed, read back when it observes: so an agent that starts anew knows what was meant, and what differs
from it was changed by somebody else.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

from byoc.dataplane.runtime import Doors, Limits
from byoc.ids import GroupID, WorkspaceID


@dataclass(frozen=True, slots=True)
class Intended:
    """The input of the manifests.

    Attributes:
        disk_gib: of the volume; never less than it was.
        running: with a pod and with names for its endpoints.
        kept: the volume was initialised, and never is again.
        image: of the engine, by digest; empty where an earlier agent wrote it: then the cell's own.
    """

    workspace: WorkspaceID
    group: GroupID
    limits: Limits
    doors: Doors
    disk_gib: int
    running: bool = False
    kept: bool = False
    image: str = ""

    def to_text(self) -> str:
        """Return it as the annotation says it."""
        return json.dumps(
            {
                "group": self.group,
                "size": self.limits.size,
                "scale": self.limits.scale_factor,
                "cache": self.limits.cache_config,
                "ranges": list(self.doors.ranges),
                "everybody": self.doors.everybody,
                "disk": self.disk_gib,
                "running": self.running,
                "kept": self.kept,
                **({"image": self.image} if self.image else {}),
            },
            separators=(",", ":"),
            sort_keys=True,
        )

    @classmethod
    def from_text(cls, workspace: WorkspaceID, text: str) -> Self | None:
        """Read an annotation; None for one that says nothing of this kind."""
        try:
            value: Any = json.loads(text)
            read = cls(
                workspace,
                GroupID(value["group"]),
                Limits(value["size"], value["scale"], value["cache"]),
                Doors(tuple(value["ranges"]), value["everybody"]),
                value["disk"],
                running=value["running"],
                kept=value["kept"],
                image=value.get("image", ""),
            )
            # Kept by its value: one with a list for a size, say, could not be.
            hash(read)
        except (ValueError, KeyError, TypeError):
            return None
        return read


def limits_text(limits: Limits) -> str:
    """Return limits as an annotation of a pod says them."""
    return f"{limits.size}/{limits.scale_factor}/{limits.cache_config}"


def limits_from(text: str) -> Limits | None:
    """Read limits from an annotation; None where there are none."""
    try:
        size, scale, cache = text.split("/")
        return Limits(size, int(scale), int(cache))
    except ValueError:
        return None
