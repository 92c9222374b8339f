"""The engine `singlestore`: the vendor's operator makes it, one operator and one MemsqlCluster a workspace.

One of the kinds of ``engines``. The cell tells the operator what to run and believes none of it: ready means
that the pods are there, that they ask for what they were meant to ask for, and that SQL is answered. The
operator goes before the pods at a suspension, or it would bring them back, and comes before them at a resume.
"""

from datetime import datetime
from functools import partial
from typing import Final

from byoc import sql
from byoc.cell.incluster import NAMESPACE
from byoc.dataplane.engine_sql import Answer
from byoc.dataplane.kubernetes import kinds, names
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.door import Door, Heard
from byoc.dataplane.kubernetes.engines import CannotStart, Detaching, Site
from byoc.dataplane.kubernetes.following import waiting_for
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import Json, Kind
from byoc.dataplane.kubernetes.manifests import Secrets
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.kubernetes.singlestore import manifests, speech
from byoc.dataplane.kubernetes.singlestore.order import Secret, memsql_cluster
from byoc.dataplane.kubernetes.singlestore.shape import LEAF_CLAIMS, Nodes, disk_gib, leaves_of, shape
from byoc.dataplane.kubernetes.views import Pod, secret_text
from byoc.dataplane.runtime import Limits
from byoc.errors import NotFound
from byoc.ids import WorkspaceID
from byoc.model.metrics import Metric
from byoc.model.report import Reason

LICENCE_KEY: Final = "licence"
ROOT_PASSWORD: Final = "ROOT_PASSWORD"  # noqa: S105 - the name of a key
"""In the Secret that the operator makes, under the cluster's name."""
RUNNING: Final = "Running"
SOON_SECONDS: Final = 30.0
STUCK_SECONDS: Final = 300.0
"""Longer than an operator needs to make its StatefulSets, which is seconds."""
_DONE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.2


class SingleStore:
    """SingleStore by its operator."""

    name = "SingleStore"
    container = "node"
    followed: tuple[Kind, ...] = (kinds.MEMSQL_CLUSTER, kinds.ACCOUNT, kinds.DEPLOYMENT)
    # What an operator makes bears the labels that it chooses.
    labelled = False
    rolls = True

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        # Whatever the cell's settings say now: a workspace may have been suspended by others.
        self.detaching: Detaching | None = Bottomless(settings)
        self.image = settings.image
        self.version = settings.image.partition("@")[0].rpartition(":")[2]

    # --- what there is to be -------------------------------------------------------------

    def disk_gib(self, limits: Limits) -> int:
        """Return the size of the leaves' new volumes together."""
        return disk_gib(limits, self._settings.size_divisor)

    def disk_held(self, view: View, limits: Limits) -> int:
        """Return the size that leaves of ``limits`` have together, none of them smaller than one that is."""
        held = [claim.disk_gib for name, claim in view.claims.items() if name.startswith(LEAF_CLAIMS)]
        return max(held, default=0) * leaves_of(limits)

    def claims(self, intended: Intended) -> list[Json]:
        """Return a claim a node."""
        return manifests.claims(intended, self._settings)

    def surroundings(self, intended: Intended) -> list[Json]:
        """Return limits, walls, the nodes' account and the names."""
        return manifests.surroundings(intended, self._settings)

    def services(self, intended: Intended) -> list[Json]:
        """Return the two names."""
        return manifests.services(intended, self._settings)

    def secret(self, intended: Intended, secrets: Secrets) -> Json:
        """Return certificate and key."""
        return manifests.secret(intended, secrets)

    def watched(self, intended: Intended) -> list[Json]:
        """Return everything but the volumes, and the secrets within."""
        return manifests.seen(intended, self._settings)

    # --- what is -------------------------------------------------------------------------

    def in_force(self, view: View, answer: Answer) -> Limits | None:  # noqa: ARG002 - a part of the seam
        """Return the limits that were asked for, if every pod really asks for its part of them."""
        intended = view.intended
        if intended is None:
            return None
        right = all(
            _asks(view.pods.get(name), nodes) for nodes in self._nodes(intended) for name in nodes.pods
        )
        return intended.limits if right else None

    def whole(self, view: View) -> bool:
        """Whether every node's pod is there and ready, by the controllers' newest word."""
        intended = view.intended
        if intended is None or view.order is None or view.order.phase not in {"", RUNNING}:
            return False
        return all(self._stands(view, nodes) for nodes in self._nodes(intended))

    def lost(self, view: View) -> bool:
        """Whether a node's volume is gone; the last ones of a size just asked for may be still to come."""
        intended = view.intended
        if view.claim is None or view.claim.deleting or intended is None:
            return True
        return any(_gap(view, nodes) for nodes in self._nodes(intended))

    def lacks(self, view: View) -> bool:
        """Whether the operator is gone, though it should be there."""
        intended = view.intended
        return intended is not None and intended.running and not operators(view)

    def rolling(self, view: View) -> bool:
        """Whether the operator was told that the master should have other limits or another image."""
        intended = view.intended
        if intended is None or view.pod is None or not intended.running:
            return False
        image = intended.image or self.image
        return view.pod.image != image or not _asks(view.pod, self._nodes(intended)[0])

    def waiting_for(self, view: View, at: datetime, waited: float) -> Reason | None:
        """Return what the operator lacks, else what the nodes lack, else that it does nothing."""
        intended = view.intended
        if intended is None or not intended.running or waited < SOON_SECONDS:
            return None
        operator = operators(view)
        if not operator:
            return Reason.OPERATOR_MISSING
        if not any(each.ready for each in operator):
            unpulled = any(each.unpulled for each in operator)
            return Reason.IMAGE_UNAVAILABLE if unpulled else Reason.OPERATOR_MISSING
        for nodes in self._nodes(intended):
            for name, claim in zip(nodes.pods, nodes.claims, strict=True):
                if lacking := waiting_for(view.pods.get(name), view.claims.get(claim), at):
                    return lacking
        stands = all(self._stands(view, nodes) for nodes in self._nodes(intended))
        return None if stands or waited < STUCK_SECONDS else Reason.OPERATOR_STUCK

    def _nodes(self, intended: Intended) -> tuple[Nodes, ...]:
        return shape(intended.limits, intended.disk_gib, self._settings.size_divisor).every

    @staticmethod
    def _stands(view: View, nodes: Nodes) -> bool:
        found = view.sets.get(nodes.set)
        pods = [view.pods.get(name) for name in nodes.pods]
        return (
            found is not None
            and found.current
            and found.replicas == nodes.count
            and all(pod is not None and pod.ready and not pod.deleting for pod in pods)
        )

    # --- acting --------------------------------------------------------------------------

    async def raise_(self, site: Site, intended: Intended) -> None:
        """Bring the operator in, and tell it what to run."""
        order = site.cache.view(intended.workspace).order
        admin = order.admin if order is not None else ""
        await self._tell(site, intended, admin or sql.native_hash(site.password(intended.workspace)))

    async def lower(self, site: Site, intended: Intended) -> None:
        """Have the operator go, and then the pods; again where the operator takes its time."""
        await site.apply(manifests.deployment(intended, self._settings))
        gone = await site.until(intended.workspace, _DONE_SECONDS, lambda view: not operators(view))
        if not gone:
            return
        place = names.namespace(intended.workspace)
        for name, found in list(site.cache.view(intended.workspace).sets.items()):
            if found.replicas:
                changed = await site.cluster.merge(kinds.STATEFUL_SET, name, {"spec": {"replicas": 0}}, place)
                site.cache.note(kinds.STATEFUL_SET, changed)

    async def ask(self, site: Site, workspace: WorkspaceID, door: Door) -> Heard:
        """Ask over our account; make it first where the engine does not know it yet."""
        heard = await site.off(partial(speech.ask, door))
        if not heard.answer.locked_out:
            return heard
        place = names.namespace(workspace)
        found = await site.cluster.get(kinds.SECRET, names.CLUSTER, place)
        root = secret_text(found, ROOT_PASSWORD)
        if not root:
            return heard
        await site.off(partial(speech.make_account, door, root))
        return await site.off(partial(speech.ask, door))

    async def set_password(
        self, site: Site, intended: Intended, door: Door, password: str, *, first: bool
    ) -> bool:
        """Tell the operator its hash, and log in with it: the account is the operator's."""
        await self._tell(site, intended, sql.native_hash(password))
        if not await self._logs_in(site, intended.workspace, door, password):
            return False
        view = site.cache.view(intended.workspace)
        had = view.databases
        if first and had is not None:
            # It has had its first database; whether it still has, was the customer's to say.
            await site.off(partial(speech.require_tls, door))
        elif first:
            storage = speech.storage_clause(self._settings, intended)
            await site.off(partial(speech.prepare_customer, door, storage))
        return True

    async def renew(self, site: Site, door: Door) -> None:
        """Leave it to the next start: the engine reads its certificate then."""

    async def resize(self, site: Site, intended: Intended, door: Door) -> bool:  # noqa: ARG002
        """Wait a while for the operator, who was told already; the plan asks again."""
        expected = self._nodes(intended)[0]
        await site.until(intended.workspace, _DONE_SECONDS, lambda view: _asks(view.pod, expected))
        return True

    async def count(self, site: Site, door: Door) -> dict[Metric, float]:
        """Ask the engine's own counters."""
        return await site.off(partial(speech.count, door))

    async def _tell(self, site: Site, intended: Intended, admin: str) -> None:
        found = await site.cluster.get(kinds.SECRET, self._settings.licence, NAMESPACE)
        licence = secret_text(found, LICENCE_KEY)
        if not licence:
            raise CannotStart(Reason.LICENCE_MISSING)
        order = memsql_cluster(intended, self._settings, Secret(licence, admin))
        try:
            await site.apply(order)
        except NotFound as error:
            raise CannotStart(Reason.OPERATOR_MISSING) from error
        for each in manifests.operator(intended, self._settings):
            await site.apply(each)

    def close(self) -> None:
        """Let go: nothing is kept."""

    @staticmethod
    async def _logs_in(site: Site, workspace: WorkspaceID, door: Door, password: str) -> bool:
        for _ in range(round(_DONE_SECONDS / _POLL_SECONDS)):
            if await site.off(partial(speech.logs_in, door, password)):
                return True
            await site.cache.news(workspace, _POLL_SECONDS)
        return False


class Bottomless:
    """How its databases are told to go to the bucket and to come back."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings

    def place(self, intended: Intended) -> tuple[str, str]:
        """Return where a workspace's databases lie, and the bucket's region."""
        return speech.place_of(self._settings, intended), self._settings.region

    shut = staticmethod(speech.shut)
    listed = staticmethod(speech.listed)
    detach = staticmethod(speech.detach)

    def attach(self, door: Door, database: str, place: str, region: str) -> None:
        """Attach a database from the bucket."""
        speech.attach(door, database, place, region, speech.credentials(self._settings))


def operators(view: View) -> list[Pod]:
    """Return the pods of the operator: one, but for moments."""
    return [pod for name, pod in view.pods.items() if name.startswith(f"{names.OPERATOR}-")]


def _asks(pod: Pod | None, nodes: Nodes) -> bool:
    return pod is not None and pod.asks == (nodes.compute.millicores, nodes.compute.memory)


def _gap(view: View, nodes: Nodes) -> bool:
    """Whether the first claim is gone, or one before another that is there."""
    there = [name in view.claims and not view.claims[name].deleting for name in nodes.claims]
    return not there[0] or any(later and not there[number] for number, later in enumerate(there[1:]))
