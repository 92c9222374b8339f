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
def table() -> dict[str, Any]:
    """Return the table of images, with where each is from."""
    value: dict[str, Any] = json.loads(files("byoc.cell").joinpath(_FILE).read_text(encoding="utf-8"))
    return value


def released_agent(registry: str = "") -> Image | None:
    """Return the agent's image of this release; None in an unreleased tree.

    Args:
        registry: the customer's mirror; empty for where it was published.
    """
    row = table().get("agent")
    return Image(repository=mirrored(registry, row["repository"]), digest=row["digest"]) if row else None


def autoscaler(args: CellArgs) -> Image:
    """Return the autoscaler's image: its minor version follows the cluster's, as its makers ask.

    Raises:
        UsageError: no image is known for the cluster's version of Kubernetes.
    """
    row = table()["cluster-autoscaler"]
    release = row["releases"].get(args.facts.kubernetes)
    if release is None:
        known = ", ".join(sorted(row["releases"]))
        raise UsageError(
            f"no autoscaler is known for Kubernetes {args.facts.kubernetes}",
            hint=f"take one of {known}, or a newer byoc",
        )
    return Image(repository=mirrored(args.image_registry, row["repository"]), digest=release["digest"])


def mirrored(registry: str, repository: str) -> str:
    """Return where ``repository`` is pulled from: the customer's mirror keeps the path, not the host."""
    return f"{registry}/{repository.split('/', 1)[1]}" if registry else repository
