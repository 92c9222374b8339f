"""Volumes that outlived their claims: of a cell that was taken out with ``--keep-data``, or put back by hand.

Used by the runtime at a start. Pure but for :func:`adopt`. The invariants: a volume is taken for the very
claim that it was made for, in the namespace of the same workspace, and for no other; one that is on its way
out is left alone; nothing is ever made in place of one that is not there; where two are kept for one claim,
none of a workspace's is taken, for nobody here knows which holds its data.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Final

from byoc import log
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
_LOG: Final = log.get(__name__)


def left(view: View) -> dict[str, Volume]:
    """Return the volumes of a workspace whose claims are gone, by the names of those."""
    return {claim: free[0] for claim, free in _free(view).items() if len(free) == 1}


def contested(view: View) -> dict[str, list[str]]:
    """Return the claims that are gone and for which more than one volume is kept, with those."""
    found = {claim: sorted(each.name for each in free) for claim, free in _free(view).items()}
    return {claim: volumes for claim, volumes in found.items() if len(volumes) > 1}


def _free(view: View) -> dict[str, list[Volume]]:
    found: dict[str, list[Volume]] = {}
    for each in view.volumes.values():
        if each.keeps and each.free and each.claim and each.claim not in view.claims:
            found.setdefault(each.claim, []).append(each)
    return found


def adoptable(view: View) -> bool:
    """Whether the engine's own volume is there, and no claim of it; and none of its volumes twice."""
    there = view.claim is None and any(name in left(view) for name in names.MAIN_CLAIMS)
    return there and not contested(view)


def exists(view: View) -> bool:
    """Whether a workspace has what it can be started from, or would have if somebody chose."""
    return view.claim is not None or away(view) or any(name in _free(view) for name in names.MAIN_CLAIMS)


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
    for name, found in contested(view).items():
        _LOG.warning("volumes contest a claim", workspace=intended.workspace, claim=name, volumes=found)
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
