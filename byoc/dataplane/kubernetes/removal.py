"""How a workspace is taken out of the cluster, so that nothing of it is left and nothing is paid for.

Called by the runtime. Volumes are kept by their class, so each is told to go before its claim is; what
is left is read from the cluster, never from what was asked.
"""

from typing import Final

from byoc.clock import Clock
from byoc.dataplane.kubernetes import kinds, names
from byoc.dataplane.kubernetes.cache import Cache, View
from byoc.dataplane.kubernetes.client import Cluster
from byoc.errors import NotFound
from byoc.ids import WorkspaceID

_PATIENCE: Final = 20.0
"""Seconds for one try; the plan tries again."""
_POLL_SECONDS: Final = 1.0


async def remove(cluster: Cluster, cache: Cache, workspace: WorkspaceID, clock: Clock) -> bool:
    """Take everything of ``workspace`` away; returns whether it is gone.

    Raises:
        Unreachable, Forbidden, …: the cluster.
    """
    ends = clock.monotonic() + _PATIENCE
    await clear(cluster, cache, workspace, clock)
    if cache.view(workspace).space is not None:
        await cluster.delete(kinds.NAMESPACE, names.namespace(workspace))
    while clock.monotonic() < ends and not cache.view(workspace).empty:
        await cache.news(workspace, _POLL_SECONDS)
    return cache.view(workspace).empty


async def clear(cluster: Cluster, cache: Cache, workspace: WorkspaceID, clock: Clock) -> bool:
    """Take an engine and its claims away, and what its operator made; returns whether all of it is gone.

    The volumes themselves go after their claims.

    Raises:
        Unreachable, Forbidden, …: the cluster.
    """
    place, ends = names.namespace(workspace), clock.monotonic() + _PATIENCE
    view = cache.view(workspace)
    if view.order is not None:
        # Who would bring back all the rest goes first.
        await cluster.delete(kinds.DEPLOYMENT, names.OPERATOR, place)
        await cluster.delete(kinds.MEMSQL_CLUSTER, names.CLUSTER, place)
    for name in list(view.sets):
        await cluster.delete(kinds.STATEFUL_SET, name, place)
    for name in list(view.pods):
        await cluster.delete(kinds.POD, name, place, grace=1)
    await _let_go(cluster, view)
    for name in list(view.claims):
        await cluster.delete(kinds.CLAIM, name, place)
    # Before the namespace: its own end finds nothing then that it would have to wait for.
    while clock.monotonic() < ends and _engine_left(view := cache.view(workspace)):
        await cache.news(workspace, _POLL_SECONDS)
    await _let_go(cluster, view)
    return not _engine_left(view)


def _engine_left(view: View) -> bool:
    return bool(view.order or view.sets or view.pods or view.claims)


async def _let_go(cluster: Cluster, view: View) -> None:
    """Have the volumes go with their claims."""
    for volume in [each for each in view.volumes.values() if each.keeps]:
        change = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
        try:
            await cluster.merge(kinds.VOLUME, volume.name, change)
        except NotFound:
            continue
