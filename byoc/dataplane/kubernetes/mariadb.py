"""The engine `mysql`: one pod that speaks the MySQL protocol, MariaDB unless the cell names another image.

One of the kinds of ``engines``. Its size is changed while it runs, where its machine has room.
"""

from datetime import datetime
from functools import partial
from typing import Final

from byoc.dataplane.engine_sql import Answer
from byoc.dataplane.kubernetes import kinds, manifests, names, sizing
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.door import (
    Door,
    Heard,
    ask,
    count,
    internal,
    set_admin_password,
    set_variables,
    take_new_certificate,
)
from byoc.dataplane.kubernetes.engines import Detaching, Site
from byoc.dataplane.kubernetes.following import waiting_for
from byoc.dataplane.kubernetes.intended import Intended, limits_text
from byoc.dataplane.kubernetes.kinds import Json, Kind
from byoc.dataplane.kubernetes.sessions import Sessions
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.runtime import Limits
from byoc.errors import ByocError
from byoc.ids import WorkspaceID
from byoc.model.metrics import Metric
from byoc.model.report import Reason

RESIZE_SECONDS: Final = 10.0
_GIVE_UP: Final = frozenset({"Infeasible", "Deferred"})


class MariaDB:
    """MariaDB in a StatefulSet of one."""

    name = "MariaDB"
    container = names.ENGINE
    followed: tuple[Kind, ...] = ()
    labelled = True
    rolls = False
    detaching: Detaching | None = None

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._sessions = Sessions(internal)
        self.image = settings.image
        self.version = settings.image.rpartition(":")[0].partition("@")[0].rpartition(":")[2]

    # --- what there is to be -------------------------------------------------------------

    def disk_gib(self, limits: Limits) -> int:
        """Return the size of a new volume."""
        return sizing.disk_gib(limits, self._settings.size_divisor)

    def disk_held(self, view: View, limits: Limits) -> int:  # noqa: ARG002 - a part of the seam
        """Return the size of the volume."""
        return view.claim.disk_gib if view.claim is not None else 0

    def claims(self, intended: Intended) -> list[Json]:
        """Return the one claim."""
        return [manifests.claim(intended, self._settings)]

    def surroundings(self, intended: Intended) -> list[Json]:
        """Return limits, walls, settings and names."""
        return manifests.surroundings(intended, self._settings)

    def services(self, intended: Intended) -> list[Json]:
        """Return the two names."""
        return manifests.services(intended, self._settings)

    def secret(self, intended: Intended, secrets: manifests.Secrets) -> Json:
        """Return certificate, key, and our account."""
        return manifests.secret(intended, secrets)

    def watched(self, intended: Intended) -> list[Json]:
        """Return everything but the volume."""
        return manifests.watched(intended, self._settings)

    # --- what is -------------------------------------------------------------------------

    def in_force(self, view: View, answer: Answer) -> Limits | None:
        """Return the limits that the pod says, if the engine's own variables still say so."""
        limits = view.pod.limits if view.pod is not None else None
        said = answer.variables
        return limits if limits is None or said is None or said == self._variables(limits) else None

    def whole(self, view: View) -> bool:
        """Whether the controller has seen the newest."""
        return view.set is not None and view.set.current

    def lost(self, view: View) -> bool:
        """Whether the claim is gone, or about to."""
        return view.claim is None or view.claim.deleting

    def lacks(self, view: View) -> bool:  # noqa: ARG002 - a part of the seam
        """Whether anything is gone: all of it is watched."""
        return False

    def rolling(self, view: View) -> bool:  # noqa: ARG002 - a part of the seam
        """Whether somebody else replaces the pod: nobody does."""
        return False

    def waiting_for(self, view: View, at: datetime, waited: float) -> Reason | None:  # noqa: ARG002
        """Return what the pod lacks."""
        return waiting_for(view.pod, view.claim, at)

    # --- acting --------------------------------------------------------------------------

    async def raise_(self, site: Site, intended: Intended) -> None:
        """Apply the StatefulSet, and the claim where it is to grow."""
        claim = site.cache.view(intended.workspace).claim
        if claim is not None and claim.disk_gib < intended.disk_gib:
            await site.apply(manifests.claim(intended, self._settings))
        await site.apply(manifests.engine(intended, self._settings))

    async def lower(self, site: Site, intended: Intended) -> None:
        """Apply the StatefulSet of none."""
        await site.apply(manifests.engine(intended, self._settings))

    async def ask(self, site: Site, workspace: WorkspaceID, door: Door) -> Heard:  # noqa: ARG002
        """Ask for what an observation needs, its variables among it."""
        return await site.off(partial(ask, self._sessions, door, tuple(self._variables(Limits("S-00")))))

    async def set_password(
        self,
        site: Site,
        intended: Intended,  # noqa: ARG002 - a part of the seam
        door: Door,
        password: str,
        *,
        first: bool,
    ) -> bool:
        """Say it in SQL."""
        await site.off(partial(set_admin_password, self._sessions, door, password, first=first))
        return True

    async def renew(self, site: Site, door: Door) -> None:
        """Have it read the files again; connections that are open go on."""
        await site.off(partial(take_new_certificate, door))
        # What is open goes on with the old one.
        await site.off(partial(self._sessions.drop, door))

    async def resize(self, site: Site, intended: Intended, door: Door) -> bool:
        """Change pod and variables while it runs: less first in the engine, more first in the pod."""
        pod = site.cache.view(intended.workspace).pod
        compute = sizing.compute(intended.limits, self._settings.size_divisor)
        grows = pod is None or pod.memory is None or compute.memory >= pod.memory
        limits = intended.limits
        done = (grows or await self._set_variables(site, door, limits)) and await self._resize_pod(
            site, intended.workspace, compute
        )
        if not (done and await self._set_variables(site, door, limits)):
            return False
        said = {"metadata": {"annotations": {names.LIMITS: limits_text(limits)}}}
        place = names.namespace(intended.workspace)
        site.cache.note(kinds.POD, await site.cluster.merge(kinds.POD, names.POD, said, place))
        return True

    async def count(self, site: Site, door: Door) -> dict[Metric, float]:
        """Ask MariaDB's own counters."""
        return await site.off(partial(count, door))

    def close(self) -> None:
        """Let the sessions go."""
        self._sessions.close()

    async def _resize_pod(self, site: Site, workspace: WorkspaceID, compute: sizing.Compute) -> bool:
        """Change the running pod; returns whether its machine did it."""
        change = {"spec": {"containers": [{"name": names.ENGINE, "resources": manifests.resources(compute)}]}}
        await site.cluster.resize(names.POD, change, names.namespace(workspace))

        def decided(view: View) -> bool:
            pod = view.pod
            return pod is None or pod.resize in _GIVE_UP or pod.memory == compute.memory

        await site.until(workspace, RESIZE_SECONDS, decided)
        pod = site.cache.view(workspace).pod
        return pod is not None and pod.resize not in _GIVE_UP and pod.memory == compute.memory

    async def _set_variables(self, site: Site, door: Door, limits: Limits) -> bool:
        try:
            return await site.off(partial(set_variables, door, self._variables(limits)))
        except ByocError:
            return False

    def _variables(self, limits: Limits) -> dict[str, int]:
        return sizing.variables(limits, self._settings.size_divisor)
