"""The seam between deciding and running: how a cell sees and moves one workspace.

The reconciler observes, asks :func:`byoc.dataplane.plan.plan` for one step, acts, and
observes again. Three implementations answer to one contract suite: objects of a Kubernetes cluster
(``byoc.dataplane.kubernetes``), local MariaDB processes (``byoc.dataplane.local``) and memory
(``byoc.testing``).

Invariants of every implementation:

* ``observe`` tells what *is*, never what was asked for; it never raises for a sick engine.
* ``act`` is idempotent: repeated after a kill at any point it ends in the same place.
* A coded failure of an action is not raised: it shows in ``Observation.failures`` and
  the next plan decides. What is raised is a defect or a machine gone wrong.
* An engine's own words never leave the runtime but through ``logs``.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from byoc.ids import WorkspaceID
from byoc.model.metrics import Sample
from byoc.model.report import CellFacts, Reason
from byoc.model.spec import WorkspaceSpec

QUIET_SECONDS: Final = 30.0
"""An engine that answered for so long has recovered: its next crash counts as the first."""


class Process(StrEnum):
    """What the engine's process is doing."""

    ABSENT = "absent"
    """None was started, or it was stopped as asked."""
    STARTING = "starting"
    """It runs and has not answered SQL since it was started."""
    RUNNING = "running"
    EXITED = "exited"
    """It ended without being asked to."""
    UNRESPONSIVE = "unresponsive"
    """It runs, answered once, and has not answered for longer than the runtime's patience."""


class Action(StrEnum):
    """Everything that can be done to a workspace."""

    CREATE_VOLUME = "create-volume"
    START = "start"
    WAIT_FOR_SQL = "wait-for-sql"
    """Returns as soon as the engine answers or its process ends, and after a second at the latest."""
    SET_PASSWORD = "set-password"  # noqa: S105 - the name of an action
    """Make ``admin`` and the database ``cluster`` where they are missing, and set the password."""
    RESIZE_ONLINE = "resize-online"
    RESTART = "restart"
    GROW = "grow"
    """Have the volume expanded to what ``Observation.room`` says; returns once that was asked for."""
    MEND = "mend"
    """Put what belongs to the workspace back as it should be: who may connect, what somebody changed."""
    UPGRADE = "upgrade"
    """Have the engine run the image that the cell's settings name; only where ``outdated`` was seen."""
    DETACH = "detach"
    """Have the engine detach its databases to the cell's bucket, each on record; one try."""
    RELEASE = "release"
    """Remove the volumes, and whatever else an engine needs; only where ``Databases.away`` was seen."""
    ATTACH = "attach"
    """Have a running engine attach what is on record as detached; one try for each database."""
    STOP = "stop"
    REMOVE = "remove"
    """End the process and remove the volume, completely."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a workspace's memory follows from."""

    size: str
    scale_factor: int = 1
    cache_config: int = 1

    @classmethod
    def wanted(cls, spec: WorkspaceSpec) -> "Limits":
        """The limits that ``spec`` asks for."""
        return cls(spec.size, spec.scale_factor, spec.cache_config)


@dataclass(frozen=True, slots=True)
class Doors:
    """From where a workspace can be reached; a runtime on one machine has none.

    Attributes:
        ranges: CIDR ranges and addresses of the group's firewall.
        everybody: from anywhere, whatever the ranges say.
    """

    ranges: tuple[str, ...] = ()
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """What is to be said of a volume that is nearly full, or is being expanded.

    Attributes:
        why: what is done about it, or why nothing is.
        grow_to_gib: to what it may be expanded now; 0 for nothing to do.
        held_gib: what it has.
    """

    why: Reason
    grow_to_gib: int = 0
    held_gib: int = 0


@dataclass(frozen=True, slots=True)
class Databases:
    """How the databases of a workspace stand that can be suspended without its volumes.

    Attributes:
        detachable: the cell suspends so, and nothing has been found yet that speaks against it.
        away: all are on record as detached: its volumes, if there are any left, hold nothing.
        volumes: some volume is left.
        kept: why its volumes are kept although the cell suspends without them; None for no reason.
        returning: its engine is on its way back, or is back, from such a suspension.
        attach: those on record are to be attached now.
        attached: how many are on record as attached again, its engine being back.
        missing: how many are on record as detached although its engine is back.
    """

    detachable: bool = False
    away: bool = False
    volumes: bool = False
    kept: Reason | None = None
    returning: bool = False
    attach: bool = False
    attached: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Failures:
    """What went wrong since all was last well.

    Attributes:
        generation: the generation that was being carried out; a newer one starts at zero.
        starts: failed starts (or other actions) in a row; zero again once SQL was answered.
        crashes: ends of an engine that had answered; zero again after a quiet while or a stop.
        last: the code of the newest.
        at: when that was.
    """

    generation: int = 0
    starts: int = 0
    crashes: int = 0
    last: Reason | None = None
    at: datetime | None = None

    def failed(self, generation: int, reason: Reason, at: datetime) -> "Failures":
        """Count a start, or another action, that did not succeed."""
        before = self._in(generation)
        return Failures(generation, before.starts + 1, before.crashes, reason, at)

    def crashed(self, generation: int, reason: Reason, at: datetime, *, ran_seconds: float) -> "Failures":
        """Count the end of an engine that had answered; one after a quiet while is the first again."""
        before = self._in(generation)
        crashes = 1 if ran_seconds >= QUIET_SECONDS else before.crashes + 1
        return Failures(generation, 0, crashes, reason, at)

    def answered(self) -> "Failures":
        """Forget failed starts: SQL was answered."""
        return replace(self, starts=0)

    def _in(self, generation: int) -> "Failures":
        return self if self.generation == generation else Failures(generation)


@dataclass(frozen=True, slots=True)
class Observation:
    """What is.

    Attributes:
        exists: there is a whole volume, or all databases are on record as detached from it.
        sql_ready: ``SELECT 1`` was answered over the socket and over TCP, now or so shortly ago that the
            runtime's patience has not ended.
        limits: in force in the running engine; None while none runs.
        restart_needed: the running engine could not take the limits asked for last.
        password_version: of the admin password in the volume; 0 before the first.
        endpoint: ``host:port`` of the volume, the same for its whole life.
        started_at: when the running process was started.
        connections: open now, ours not counted.
        queries: a counter, ours not counted; any change of it means that somebody asked something.
        doors: those in force; None where there are none, as on a local cell.
        amiss: something that belongs to the workspace is gone or was changed by somebody else.
        waiting_for: what an engine that does not answer yet lacks; None for nothing but time.
        remains: there is no whole volume, but something that has to be removed.
        outdated: the engine is not the one that the cell's settings name now.
        room: of the volume; None where there is enough, or nobody knows.
        databases: how they stand; None where they are on the volume, and stay there.
    """

    exists: bool = False
    process: Process = Process.ABSENT
    sql_ready: bool = False
    limits: Limits | None = None
    restart_needed: bool = False
    password_version: int = 0
    endpoint: str | None = None
    started_at: datetime | None = None
    connections: int = 0
    queries: int = 0
    failures: Failures = Failures()
    doors: Doors | None = None
    amiss: bool = False
    waiting_for: Reason | None = None
    remains: bool = False
    outdated: bool = False
    room: Room | None = None
    databases: Databases | None = None


@dataclass(frozen=True, slots=True)
class Secrets:
    """The group's admin password as the cell holds it; version 0 means it holds none."""

    password_version: int = 0
    password: str = field(default="", repr=False)


class Runtime(Protocol):
    """Observe, act, watch."""

    async def observe(self, workspace: WorkspaceID) -> Observation:
        """Return what is true of ``workspace`` now; of an unknown one, an empty observation."""
        ...

    async def act(
        self, spec: WorkspaceSpec, action: Action, secrets: Secrets, doors: Doors = Doors()
    ) -> None:
        """Carry out one action; may be cancelled at any await and repeated."""
        ...

    def watch(self) -> AsyncIterator[WorkspaceID]:
        """Yield the id of each workspace whose process has ended, or that was changed from outside."""
        ...

    async def list(self) -> list[WorkspaceID]:
        """Return every workspace that has a volume here, running or not."""
        ...

    def fits(self, limits: Limits, *, committed_bytes: int) -> bool:
        """Whether the machine has memory for ``limits`` beside ``committed_bytes`` of others."""
        ...

    def has_room(self, workspace: WorkspaceID, limits: Limits) -> bool:
        """Whether a running workspace can be given ``limits`` beside all others."""
        ...

    def facts(self) -> CellFacts:
        """Name and version of the engine, memory of the machine in bytes; ``verbs`` is left empty."""
        ...

    async def logs(self, workspace: WorkspaceID) -> str:
        """Return the end of the engine's own log; empty where there is none."""
        ...

    async def metrics(self, workspace: WorkspaceID) -> tuple[Sample, ...]:
        """Return what the engine and its machine count now, raw; at most one value per metric and node.

        Nothing for a workspace that is unknown, does not run, or does not answer.
        """
        ...

    async def stored_bytes(self, workspace: WorkspaceID) -> int:
        """Return what a workspace's volume takes, running or not; 0 where there is none.

        What it uses on a disk that is shared, its whole size where it is a disk of its own.
        """
        ...

    async def owns(self, address: str, port: int) -> str:
        """Return what of the cell itself answers there, such as an engine, in words; empty for nothing.

        Asked before a forwarded service is dialled. Where it cannot be known it is said to be something.
        """
        ...

    async def close(self, *, stop_engines: bool) -> None:
        """Let go of everything; engines go on unless ``stop_engines``, which ends them cleanly."""
        ...
