"""Which container images a cell runs, by digest, from ``images.json`` beside this file.

Read by the manifests. The release workflow writes the agent's digest into the same file; where there
is none, the tree is unreleased and the agent's image is an argument. The invariant: no image is
named by a tag, and none is guessed.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

from byoc.cell.args import CellArgs, Image
from byoc.errors import UsageError

_FILE: Final = "images.json"


@cache
def _table() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(files("byoc.cell").joinpath(_FILE).read_text(encoding="utf-8"))
    return value


def released_agent() -> Image | None:
    """Return the agent's image of this release; None in an unreleased tree."""
    row = _table().get("agent")
    return Image(repository=row["repository"], digest=row["digest"]) if row else None


def autoscaler(args: CellArgs) -> Image:
    """Return the autoscaler's image: its minor version follows the cluster's, as its makers ask.

    Raises:
        UsageError: no image is known for the cluster's version of Kubernetes.
    """
    row = _table()["cluster-autoscaler"]
    release = row["releases"].get(args.facts.kubernetes)
    if release is None:
        known = ", ".join(sorted(row["releases"]))
        raise UsageError(
            f"no autoscaler is known for Kubernetes {args.facts.kubernetes}",
            hint=f"take one of {known}, or a newer byoc",
        )
    return Image(repository=mirrored(args, row["repository"]), digest=release["digest"])


def mirrored(args: CellArgs, repository: str) -> str:
    """Return where ``repository`` is pulled from: the customer's mirror keeps the path, not the host."""
    if not args.image_registry:
        return repository
    return f"{args.image_registry}/{repository.split('/', 1)[1]}"
