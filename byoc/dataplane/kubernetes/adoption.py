"""Volumes that outlived their claims: of a cell that was taken out with ``--keep-data``, or put back by hand.

Used by the runtime at a start. Pure but for :func:`adopt`. The invariants: a volume is taken for the very
claim that it was made for, in the namespace of the same workspace, and for no other; one that is on its way
out is left alone; nothing is ever made in place of one that is not there.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Final

from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.away import away
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.making import Making
from byoc.dataplane.kubernetes.views import Volume
from byoc.errors import Conflict

_LET_GO: Final = {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
"""It is kept for a claim of this name, not for the one that is gone."""


def left(view: View) -> dict[str, Volume]:
    """Return the volumes of a workspace whose claims are gone, by the names of those."""
    free = (each for each in view.volumes.values() if each.keeps and each.free and each.claim)
    return {each.claim: each for each in free if each.claim not in view.claims}


def adoptable(view: View) -> bool:
    """Whether the engine's own volume is there, and no claim of it."""
    return view.claim is None and any(name in left(view) for name in names.MAIN_CLAIMS)


def exists(view: View) -> bool:
    """Whether a workspace has what it can be started from."""
    return view.claim is not None or away(view) or adoptable(view)


def claimed(volumes: dict[str, Volume], claims: Iterable[Json]) -> list[tuple[Volume, Json]]:
    """Return each volume that is there with the claim by which it is taken, at the size that it has."""
    found = []
    for each in claims:
        volume = volumes.get(each["metadata"]["name"])
        if volume is None:
            continue
        claim = deepcopy(each)
        claim["spec"]["volumeName"] = volume.name
        claim["spec"]["resources"] = {"requests": {"storage": f"{volume.capacity_gib}Gi"}}
        found.append((volume, claim))
    return found


async def adopt(making: Making, intended: Intended) -> None:
    """Take what is left of a workspace's volumes, if anything is; an engine finds them as they are.

    Raises:
        Unreachable, Forbidden, …: the cluster; it may be repeated.
    """
    view = making.cache.view(intended.workspace)
    if not adoptable(view):
        return
    volumes = left(view)
    kept = replace(intended, kept=True)
    await making.lodge(kept)
    for volume, claim in claimed(volumes, making.claims(kept)):
        await making.reserve(volume.name, _LET_GO)
        try:
            await making.claim(claim)
        except Conflict:
            continue
