"""What differs between the engines that a cell's workspaces may run: the seam of the cluster's runtime.

A cell has one kind of engine, chosen by its settings (``chosen``). What is the same for all (namespaces,
walls, the walk of the runtime, the meaning of ready) is not here. The invariant of every kind: what an
``Intended`` says is all that its objects follow from, so that whatever differs from them was changed by
somebody else.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from byoc.dataplane.engine_sql import Answer
from byoc.dataplane.kubernetes.cache import Cache, View
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.door import Door, Heard
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.inventory import Listed
from byoc.dataplane.kubernetes.kinds import Json, Kind
from byoc.dataplane.kubernetes.manifests import Secrets
from byoc.dataplane.runtime import Limits
from byoc.errors import Failed
from byoc.ids import WorkspaceID
from byoc.model.metrics import Metric
from byoc.model.report import EXPLANATIONS, Reason

T = TypeVar("T")


class CannotStart(Failed):
    """An engine cannot be started for a reason that is known.

    Attributes:
        reason: which.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(EXPLANATIONS[reason])
        self.reason = reason


class Site(Protocol):
    """What a kind of engine acts through: the cluster, and threads for what blocks."""

    cluster: Cluster
    cache: Cache

    def password(self, workspace: WorkspaceID) -> str:
        """Return the password of our account in a workspace's engine."""
        ...

    async def apply(self, manifest: Json) -> None:
        """Apply one object; a right given a moment ago is waited for."""
        ...

    async def off(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread."""
        ...

    async def until(self, workspace: WorkspaceID, seconds: float, true: Callable[[View], bool]) -> bool:
        """Wait until something is true of a workspace; returns whether it is."""
        ...


class Detaching(Protocol):
    """An engine that can do without its volumes, its databases being in a bucket."""

    def place(self, intended: Intended) -> tuple[str, str]:
        """Return where a workspace's databases lie, as ``bucket/path``, and the bucket's region."""
        ...

    def shut(self, door: Door) -> None:
        """End what customers are doing. Blocks, as all that follows.

        Raises:
            Unreachable, NotAuthenticated, TooManyRequests, UsageError: it was not done.
        """
        ...

    def listed(self, door: Door, place: str) -> Listed:
        """Return which databases are attached; those below ``place`` can be detached.

        Raises:
            Unreachable, NotAuthenticated, TooManyRequests, UsageError: it does not answer as it should.
        """
        ...

    def detach(self, door: Door, database: str) -> None:
        """Detach a database, once all of it is in the bucket.

        Raises:
            UsageError: the engine said no.
            Unreachable, NotAuthenticated, TooManyRequests: it is not known whether it was done.
        """
        ...

    def attach(self, door: Door, database: str, place: str, region: str) -> None:
        """Attach a database from the bucket.

        Raises:
            UsageError: the engine said no.
            Unreachable, NotAuthenticated, TooManyRequests: it is not known whether it was done.
        """
        ...


class EngineKind(Protocol):
    """One kind of engine.

    Attributes:
        name: of the product, as a report says it.
        image: that the cell's settings name, by digest.
        version: that its image names.
        container: that holds the engine, in the pod that answers.
        followed: kinds of objects beyond those of every workspace.
        labelled: whether all objects of a workspace bear its label.
        rolls: whether somebody else replaces pods once their definition changed.
        detaching: how it can be suspended without volumes; None where it cannot.
    """

    name: str
    image: str
    version: str
    container: str
    followed: tuple[Kind, ...]
    labelled: bool
    rolls: bool

    @property
    def detaching(self) -> Detaching | None:
        """See above; read, never set."""
        ...

    # --- what there is to be: pure -------------------------------------------------------

    def disk_gib(self, limits: Limits) -> int:
        """Return the size of a new workspace's volumes together."""
        ...

    def disk_held(self, view: View, limits: Limits) -> int:
        """Return what volumes for ``limits`` have together at least, none being smaller than it was.

        0 where there are none.
        """
        ...

    def claims(self, intended: Intended) -> list[Json]:
        """Return the claims of the volumes: made by us, once."""
        ...

    def surroundings(self, intended: Intended) -> list[Json]:
        """Return what stands around the engine, running or not."""
        ...

    def services(self, intended: Intended) -> list[Json]:
        """Return the Services that name the engine; published only while it is meant to run."""
        ...

    def secret(self, intended: Intended, secrets: Secrets) -> Json:
        """Return the engine's Secret."""
        ...

    def watched(self, intended: Intended) -> list[Json]:
        """Return the objects in which a change by somebody else is seen at once."""
        ...

    # --- what is: pure -------------------------------------------------------------------

    def in_force(self, view: View, answer: Answer) -> Limits | None:
        """Return the limits that the engine really has; None where they are not those it should have."""
        ...

    def whole(self, view: View) -> bool:
        """Whether, beside the pod that answers, everything is there and ready."""
        ...

    def lost(self, view: View) -> bool:
        """Whether a volume is gone that was there."""
        ...

    def lacks(self, view: View) -> bool:
        """Whether something is gone that no watched object is."""
        ...

    def rolling(self, view: View) -> bool:
        """Whether the pod that answers is about to be replaced, as it was asked for."""
        ...

    def waiting_for(self, view: View, at: datetime, waited: float) -> Reason | None:
        """Return what an engine lacks that has not answered for ``waited`` seconds; None for only time."""
        ...

    # --- acting --------------------------------------------------------------------------

    async def raise_(self, site: Site, intended: Intended) -> None:
        """Have the engine be as ``intended`` says, all around it being there.

        Raises:
            CannotStart: something is missing that only a person can give.
        """
        ...

    async def lower(self, site: Site, intended: Intended) -> None:
        """Have the engine's pods go."""
        ...

    async def ask(self, site: Site, workspace: WorkspaceID, door: Door) -> Heard:
        """Ask ``SELECT 1`` and what an observation needs.

        Raises:
            Unreachable, UsageError: it does not answer as it should.
        """
        ...

    async def set_password(
        self, site: Site, intended: Intended, door: Door, password: str, *, first: bool
    ) -> bool:
        """Give ``admin`` its password; returns whether it was proved already.

        Raises:
            NotAuthenticated: our own account has no rights any more.
            Unreachable, UsageError: it was not done, or not proved.
        """
        ...

    async def renew(self, site: Site, door: Door) -> None:
        """Have the running engine take its new certificate, where it can.

        Raises:
            Unreachable, NotAuthenticated, UsageError: it was not done.
        """
        ...

    async def resize(self, site: Site, intended: Intended, door: Door) -> bool:
        """Have the running engine take its new limits; returns whether it has, or soon will."""
        ...

    async def count(self, site: Site, door: Door) -> dict[Metric, float]:
        """Ask the engine for what it counts.

        Raises:
            Unreachable, NotAuthenticated, TooManyRequests, UsageError: it does not answer as it should.
        """
        ...

    def close(self) -> None:
        """Let go of whatever is kept between calls; called once, when nothing else is."""
        ...
