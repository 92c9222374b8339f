"""What a report says: pure functions from what the cell holds to a :class:`CellReport`.

Called by the reporter. The invariant: a delta names whatever differs from the last snapshot
that the Control Plane has acknowledged, so a lost report or answer is made good by the next
one; a full report names everything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from byoc.dataplane.desired import DesiredState, HeldGroup, HeldWorkspace
from byoc.dataplane.passwords import Passwords
from byoc.ids import CellID, GroupID, WorkspaceID
from byoc.model.report import (
    CellFacts,
    CellReport,
    Condition,
    GroupReport,
    Interval,
    LedgerHead,
    Stored,
    Tombstone,
    Transition,
    WorkspaceReport,
)
from byoc.model.spec import Desired
from byoc.wire.cell import spec_digest

PROGRESS: Final = timedelta(minutes=3)
"""How often the progress of an open interval is reported."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a report could name, at one moment."""

    workspaces: Mapping[WorkspaceID, WorkspaceReport] = field(default_factory=dict)
    groups: Mapping[GroupID, GroupReport] = field(default_factory=dict)
    tombstones: frozenset[Tombstone] = frozenset()
    intervals: frozenset[Interval] = frozenset()
    stored: frozenset[Stored] = frozenset()


def group_report(held: HeldGroup, password_version: int) -> GroupReport:
    """Say what the cell holds of one group."""
    spec = held.spec
    lacks = spec.password_version > password_version and spec.desired is not Desired.TERMINATED
    return GroupReport(
        id=spec.id,
        generation=spec.generation,
        digest=spec_digest(spec),
        terminated=spec.desired is Desired.TERMINATED,
        password_version=password_version,
        condition=Condition.PASSWORD_NEEDED if lacks else Condition.NONE,
        spec=spec,
    )


def workspace_report(held: HeldWorkspace, seen: WorkspaceReport) -> WorkspaceReport:
    """Put what is held of a workspace over what was last seen of it."""
    decision = held.auto_suspended
    # The first start of a new workspace is no resume.
    resumed = held.running_since if held.resumed_generation > 1 else None
    return replace(
        seen,
        generation=held.spec.generation,
        observed_generation=held.observed_generation,
        digest=spec_digest(held.spec),
        auto_suspended_at=decision.at if decision else None,
        last_resumed_at=resumed,
        spec=held.spec,
        scale_factor=held.scaling.factor if held.scaling else None,
    )


def snapshot(
    desired: DesiredState,
    passwords: Passwords,
    seen: Mapping[WorkspaceID, WorkspaceReport],
    intervals: Iterable[Interval],
    stored: Iterable[Stored] = (),
) -> Snapshot:
    """Gather everything; ``seen`` holds the reconciler's view of each workspace, gone ones included."""
    workspaces = {}
    for name, view in seen.items():
        held = desired.workspaces.get(name)
        workspaces[name] = view if held is None else workspace_report(held, view)
    groups = {name: group_report(held, passwords.version(name)) for name, held in desired.groups.items()}
    graves = frozenset(desired.tombstones())
    return Snapshot(workspaces, groups, graves, frozenset(intervals), frozenset(stored))


def steady(now: Snapshot, acknowledged: Snapshot | None) -> Snapshot:
    """Return ``now`` with open intervals that only went on for a little as they were told last.

    Their progress is no news worth a report every half minute; an end, or another size, is told at once.
    """
    if acknowledged is None:
        return now
    told = {interval.id: interval for interval in acknowledged.intervals}
    return replace(now, intervals=frozenset(_told(each, told.get(each.id)) for each in now.intervals))


def _told(now: Interval, before: Interval | None) -> Interval:
    if before is None or replace(before, last_seen=now.last_seen) != now:
        return now
    return before if now.last_seen - before.last_seen < PROGRESS else now


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who reports, when, in which order, where the ledger and its copies end, what the cell decided."""

    cell: CellID
    incarnation: str
    seq: int
    at: datetime
    ledger: LedgerHead | None = None
    decided: tuple[str, ...] = ()
    copies_late_since: datetime | None = None


def full(
    envelope: Envelope, now: Snapshot, transitions: Iterable[Transition], facts: CellFacts
) -> CellReport:
    """Build the report that names everything, specs included."""
    whole = _report(envelope, now, transitions)
    return replace(whole, full=True, facts=facts)


def delta(
    envelope: Envelope,
    now: Snapshot,
    acknowledged: Snapshot,
    transitions: Iterable[Transition],
    facts: CellFacts | None = None,
) -> CellReport:
    """Build the report that names what differs from the snapshot acknowledged last; no specs.

    ``facts``: where they differ too.
    """
    news = Snapshot(
        workspaces={
            name: replace(report, spec=None)
            for name, report in now.workspaces.items()
            if acknowledged.workspaces.get(name) != report
        },
        groups={
            name: replace(report, spec=None)
            for name, report in now.groups.items()
            if acknowledged.groups.get(name) != report
        },
        tombstones=now.tombstones - acknowledged.tombstones,
        intervals=now.intervals - acknowledged.intervals,
        stored=now.stored - acknowledged.stored,
    )
    return replace(_report(envelope, news, transitions), facts=facts)


def _report(envelope: Envelope, what: Snapshot, transitions: Iterable[Transition]) -> CellReport:
    return CellReport(
        cell=envelope.cell,
        incarnation=envelope.incarnation,
        seq=envelope.seq,
        at=envelope.at,
        full=False,
        workspaces=tuple(what.workspaces.values()),
        groups=tuple(what.groups.values()),
        tombstones=tuple(sorted(what.tombstones, key=lambda grave: grave.id)),
        intervals=tuple(sorted(what.intervals, key=lambda interval: (interval.start, interval.id))),
        transitions=tuple(transitions),
        ledger=envelope.ledger,
        decided=envelope.decided,
        stored=tuple(sorted(what.stored, key=lambda record: (record.start, record.id))),
        copies_late_since=envelope.copies_late_since,
    )
