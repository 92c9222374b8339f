"""Facts: what a cell has seen. Reports come up ordered by (incarnation, seq).

An incarnation is one life of a cell's state folder; a new one starts with a full report.
Only reason codes and typed fields leave a cell: never engine text, never data.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from byoc.ids import CellID, GroupID, IntervalID, WorkspaceID
from byoc.model.scaling import Change
from byoc.model.spec import GroupSpec, WorkspaceSpec


class Phase(StrEnum):
    """What a workspace is doing, as the cell sees it."""

    PROVISIONING = "provisioning"
    STARTING = "starting"
    RUNNING = "running"
    UPDATING = "updating"
    HEALING = "healing"
    STOPPING = "stopping"
    SUSPENDED = "suspended"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    FAILED = "failed"

    @property
    def settled(self) -> bool:
        """Whether nothing is under way."""
        return self in {Phase.RUNNING, Phase.SUSPENDED, Phase.TERMINATED, Phase.FAILED}


class Reason(StrEnum):
    """Why a workspace is in its phase. Every wait has one that a person can read."""

    ACCEPTED = "accepted"
    WAITING_FOR_GROUP = "waiting-for-group"
    WAITING_FOR_PASSWORD = "waiting-for-password"  # noqa: S105 - a reason code
    COPYING_TEMPLATE = "copying-template"
    STARTING_ENGINE = "starting-engine"
    WAITING_FOR_SQL = "waiting-for-sql"
    SETTING_PASSWORD = "setting-password"  # noqa: S105 - a reason code
    ANSWERED_SQL = "answered-sql"
    STOPPING_ENGINE = "stopping-engine"
    STOPPED_AS_ASKED = "stopped-as-asked"
    AUTO_SUSPENDED_IDLE = "auto-suspended-idle"
    AUTO_SUSPENDED_SCHEDULED = "auto-suspended-scheduled"
    AUTO_SCALED_UP = "auto-scaled-up"
    AUTO_SCALED_DOWN = "auto-scaled-down"
    APPLYING_SIZE_ONLINE = "applying-size-online"
    RESTARTING_FOR_SIZE = "restarting-for-size"
    UPGRADING_ENGINE = "upgrading-engine"
    ENGINE_EXITED = "engine-exited"
    ENGINE_UNRESPONSIVE = "engine-unresponsive"
    ENGINE_CANNOT_START = "engine-cannot-start"
    ENGINE_MISSING = "engine-missing"
    ENGINE_TOO_OLD = "engine-too-old"
    UPGRADING_DATA = "upgrading-data"
    UPGRADE_TOOL_MISSING = "upgrade-tool-missing"
    DATA_NOT_UPGRADED = "data-not-upgraded"
    PORT_TAKEN = "port-taken"
    DISK_FULL = "disk-full"
    VOLUME_MISSING = "volume-missing"
    MEMORY_SHORT = "memory-short"
    WAITING_FOR_MACHINE = "waiting-for-machine"
    NO_MACHINE_LARGE_ENOUGH = "no-machine-large-enough"
    WAITING_FOR_VOLUME = "waiting-for-volume"
    IMAGE_UNAVAILABLE = "image-unavailable"
    OPERATOR_MISSING = "operator-missing"
    OPERATOR_STUCK = "operator-stuck"
    LICENCE_MISSING = "licence-missing"
    MACHINE_LOST = "machine-lost"
    ZONE_LOST = "zone-lost"
    EXPANDING_VOLUME = "expanding-volume"
    VOLUME_AT_LIMIT = "volume-at-limit"
    VOLUME_CANNOT_GROW = "volume-cannot-grow"
    DETACHING_DATABASES = "detaching-databases"
    DATABASES_DETACHED = "databases-detached"
    RELEASING_VOLUMES = "releasing-volumes"
    ATTACHING_DATABASES = "attaching-databases"
    DATABASES_NOT_ATTACHED = "databases-not-attached"
    DATABASE_ON_VOLUMES = "database-on-volumes"
    DATABASE_ELSEWHERE = "database-elsewhere"
    DETACH_REFUSED = "detach-refused"
    ENGINE_SILENT = "engine-silent"
    APPLYING_FIREWALL = "applying-firewall"
    PUTTING_BACK = "putting-back"
    ADOPTED = "adopted"
    REMOVING_DATA = "removing-data"
    REMOVED = "removed"


EXPLANATIONS: dict[Reason, str] = {
    Reason.ACCEPTED: "the cell has stored the change",
    Reason.WAITING_FOR_GROUP: "waiting for the workspace group to reach the cell",
    Reason.WAITING_FOR_PASSWORD: (
        "the cell has no admin password for this group; set one with `byoc group set-password`"
    ),
    Reason.COPYING_TEMPLATE: "making the data folder",
    Reason.STARTING_ENGINE: "starting the SQL server",
    Reason.WAITING_FOR_SQL: "waiting for the SQL server to answer",
    Reason.SETTING_PASSWORD: "setting the admin password",
    Reason.ANSWERED_SQL: "answered SELECT 1",
    Reason.STOPPING_ENGINE: "stopping the SQL server",
    Reason.STOPPED_AS_ASKED: "the SQL server is stopped, its data is kept",
    Reason.AUTO_SUSPENDED_IDLE: "suspended by the cell: no connection and no query for the time set",
    Reason.AUTO_SUSPENDED_SCHEDULED: "suspended by the cell: the scheduled time was reached",
    Reason.AUTO_SCALED_UP: "scaled up by the cell: its processors were busy for the time set",
    Reason.AUTO_SCALED_DOWN: "scaled down by the cell: fewer processors were enough for the time set",
    Reason.APPLYING_SIZE_ONLINE: "changing the memory limits of the running SQL server",
    Reason.RESTARTING_FOR_SIZE: "restarting the SQL server: this change cannot be made while it runs",
    Reason.UPGRADING_ENGINE: "replacing the SQL server by the cell's newer one, in the group's update window",
    Reason.ENGINE_EXITED: "the SQL server exited; it is being started again",
    Reason.ENGINE_UNRESPONSIVE: "the SQL server did not answer; it is being restarted",
    Reason.ENGINE_CANNOT_START: "the SQL server cannot start; its log stays in the cell",
    Reason.ENGINE_MISSING: "no SQL engine on the cell's machine; get one with `byoc engine install`",
    Reason.ENGINE_TOO_OLD: (
        "the data was written by a newer SQL engine than the cell has; it is left untouched"
    ),
    Reason.UPGRADING_DATA: "bringing data that an older SQL engine has written up to date",
    Reason.UPGRADE_TOOL_MISSING: (
        "the data was written by an older SQL engine, and `mariadb-upgrade`, or the `mariadb` and "
        "`mariadb-check` that it needs, is not beside the cell's engine; it is left untouched"
    ),
    Reason.DATA_NOT_UPGRADED: (
        "data that an older SQL engine has written cannot be brought up to date; its words stay in the cell"
    ),
    Reason.PORT_TAKEN: "another process has the workspace's port",
    Reason.DISK_FULL: "the cell's disk is full",
    Reason.VOLUME_MISSING: (
        "the workspace's data folder is gone; the cell never makes an empty one in its place"
    ),
    Reason.MEMORY_SHORT: "the cell's machine has too little memory for this size",
    Reason.WAITING_FOR_MACHINE: "waiting for a machine in the cell's cluster with room for this size",
    Reason.NO_MACHINE_LARGE_ENOUGH: (
        "no machine of the cell's cluster is large enough for this size, and none has come; it starts once "
        "one does, or choose a smaller size"
    ),
    Reason.WAITING_FOR_VOLUME: "waiting for the volume to be made, or attached to the workspace's machine",
    Reason.IMAGE_UNAVAILABLE: "the SQL server's image cannot be pulled; it is tried again",
    Reason.OPERATOR_MISSING: (
        "the SQL engine's operator does not run, or the cell's cluster does not know its kind of object"
    ),
    Reason.OPERATOR_STUCK: (
        "the SQL engine's operator runs, but has not done what it was told; its log in the cell says why"
    ),
    Reason.LICENCE_MISSING: "the cell has no licence for its SQL engine; the customer puts it there",
    Reason.MACHINE_LOST: (
        "nothing is heard of the workspace's machine; it moves to another one of its zone once that one is "
        "given up"
    ),
    Reason.ZONE_LOST: (
        "nothing is heard of any machine in the zone of the workspace's volume; it goes on with its zone"
    ),
    Reason.EXPANDING_VOLUME: "its volume is nearly full and is being expanded",
    Reason.VOLUME_AT_LIMIT: (
        "its volume is nearly full, and the cell's limit or policy lets it grow no further by itself; a "
        "larger size has a larger one"
    ),
    Reason.VOLUME_CANNOT_GROW: "its volume is nearly full, and the cell's storage cannot expand volumes",
    Reason.DETACHING_DATABASES: "detaching the databases to the cell's bucket",
    Reason.DATABASES_DETACHED: (
        "the SQL server and its volumes are gone, its databases are in the cell's bucket"
    ),
    Reason.RELEASING_VOLUMES: "removing the volumes: every database is on record as detached",
    Reason.ATTACHING_DATABASES: "attaching the databases again",
    Reason.DATABASES_NOT_ATTACHED: (
        "a database could not be attached again; it is in the cell's bucket and is tried again; the record "
        "in the cell names it"
    ),
    Reason.DATABASE_ON_VOLUMES: (
        "volumes are kept: a database lies on them and in no bucket; the record in the cell names it"
    ),
    Reason.DATABASE_ELSEWHERE: (
        "volumes are kept: a database lies in a bucket from which the cell could not attach it; the record "
        "in the cell names it"
    ),
    Reason.DETACH_REFUSED: (
        "volumes are kept: the SQL server would not detach a database; the record in the cell names it"
    ),
    Reason.ENGINE_SILENT: (
        "volumes are kept: the SQL server did not answer, so that nothing could be detached"
    ),
    Reason.APPLYING_FIREWALL: "letting in whom the group's firewall ranges name, and nobody else",
    Reason.PUTTING_BACK: "putting back what somebody removed or changed in the cell's cluster",
    Reason.ADOPTED: "found again by the cell, data untouched",
    Reason.REMOVING_DATA: "removing the workspace's data",
    Reason.REMOVED: "removed, nothing is left",
}


class Condition(StrEnum):
    """Something about a group that its owner should know."""

    NONE = ""
    PASSWORD_NEEDED = "password-needed"  # noqa: S105 - a condition code


@dataclass(frozen=True, slots=True)
class Attachments:
    """What became of a workspace's databases when it came back without its volumes: numbers, never names."""

    attached: int
    missing: int


@dataclass(frozen=True, slots=True)
class WorkspaceReport:
    """What the cell says of one workspace.

    Attributes:
        generation: the newest generation the cell has stored.
        observed_generation: the newest generation that is fully in effect.
        digest: of the stored spec, see ``byoc.wire.canonical``.
        since: when ``phase`` and ``reason`` became so.
        progress: percent of the work under way; None where nothing is under way.
        auto_suspended_at: when the cell suspended it by its own decision; None otherwise.
        password_version: version of the admin password that the engine answers to.
        spec: the stored spec, in full reports only.
        scale_factor: in effect by the cell's own decision; None where it is the spec's.
        attachments: of a running one whose databases had been detached; None for any other.
    """

    id: WorkspaceID
    generation: int
    observed_generation: int
    digest: str
    phase: Phase
    reason: Reason
    since: datetime
    progress: int | None = None
    endpoint: str | None = None
    auto_suspended_at: datetime | None = None
    last_resumed_at: datetime | None = None
    password_version: int = 0
    spec: WorkspaceSpec | None = None
    scale_factor: int | None = None
    attachments: Attachments | None = None


@dataclass(frozen=True, slots=True)
class GroupReport:
    """What the cell says of one group.

    Attributes:
        password_version: version of the password that the cell has safely stored.
    """

    id: GroupID
    generation: int
    digest: str
    terminated: bool = False
    password_version: int = 0
    condition: Condition = Condition.NONE
    spec: GroupSpec | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which a workspace ran, at one size. ``end`` is None while it still runs.

    ``last_seen`` bounds what a crash of everything can bill, in the customer's favour.
    """

    id: IntervalID
    workspace_id: WorkspaceID
    size: str
    scale_factor: int
    cache_config: int
    start: datetime
    last_seen: datetime
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """How much the volume of a workspace held, running or not, within one hour of the clock.

    Attributes:
        until: when it was last looked at.
        byte_seconds: what it held, over the time from ``start`` to ``until``.
        closed: nothing will be added.
    """

    id: IntervalID
    workspace_id: WorkspaceID
    start: datetime
    until: datetime
    byte_seconds: int
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of phase or reason, for the event stream. ``scaled`` has the figures of an auto-scaling."""

    workspace_id: WorkspaceID
    generation: int
    phase: Phase
    reason: Reason
    at: datetime
    progress: int | None = None
    scaled: Change | None = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Something terminated, and the last generation it had."""

    id: str
    generation: int


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """Where a ledger chain ends: number and hash of its last record."""

    chain: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Authority:
    """Who vouches for the cell's engines: a certificate authority made in the cell. Public.

    Attributes:
        certificate: PEM, signed by itself.
        voucher: PEM of a certificate by which the authority before it vouches for this one; empty for the
            cell's first.
    """

    certificate: str
    voucher: str = ""


@dataclass(frozen=True, slots=True)
class Zone:
    """The machines of one zone on which workspaces may run, together; numbers, and no machine's name.

    Attributes:
        ready: how many of them take pods.
        millicores: that the ready ones have for pods, as ``memory_bytes``.
        version: of Kubernetes, the oldest that one of them runs.
    """

    name: str
    machines: int
    ready: int
    millicores: int
    memory_bytes: int
    version: str


@dataclass(frozen=True, slots=True)
class CellFacts:
    """What the cell is made of; sent with full reports, and where it changed.

    Attributes:
        authorities: what clients of its engines trust, the one that signs first; none where engines speak no
            TLS.
        zones: what the machines of a cluster offer now; none where the cell is no cluster.
    """

    engine: str
    engine_version: str
    agent_version: str
    spec_version: int
    memory_bytes: int
    verbs: tuple[str, ...] = ()
    authorities: tuple[Authority, ...] = ()
    zones: tuple[Zone, ...] = ()


@dataclass(frozen=True, slots=True)
class CellReport:
    """One report. ``full`` means: what is not named here, the cell does not have.

    Attributes:
        decided: objects whose change was answered in the cell, or expired there, after it had to wait for
            approval: delivered anew, it ends.
        copies_late_since: since when the ledger's copies in the customer's bucket lack what the ledger has;
            None while they are in time, or where none are made.
    """

    cell: CellID
    incarnation: str
    seq: int
    at: datetime
    full: bool
    workspaces: tuple[WorkspaceReport, ...] = ()
    groups: tuple[GroupReport, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    intervals: tuple[Interval, ...] = ()
    transitions: tuple[Transition, ...] = ()
    ledger: LedgerHead | None = None
    facts: CellFacts | None = None
    decided: tuple[str, ...] = ()
    stored: tuple[Stored, ...] = ()
    copies_late_since: datetime | None = None
