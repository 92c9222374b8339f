"""What to do next for one workspace: a pure function of intent, situation and observation.

Called by the reconciler after each observation. Level-triggered: it needs no memory of
earlier steps, so it gives the same answer after a crash at any point. Every wait has a
reason that a person can read.

::

    intent        seen                               step
    terminated    anything left                      remove -> TERMINATED removed
    suspended     it answers, databases to detach    detach
                  a process                          stop -> SUSPENDED
                  all detached, a volume left        release -> SUSPENDED
    running       no volume, one must exist          FAILED volume-missing (nothing is initialised)
                  no volume                          wait for group, wait for password, copy template
                  no process                         start
                  process, no SQL yet                wait for SQL
                  exited, unresponsive               start again, later each time; FAILED after five
                  SQL, databases to attach           attach
                  SQL, older password in the engine  set password
                  SQL, other limits in the engine    resize online, or restart
                  SQL, other doors, or meddled with  mend
                  SQL, an older image, in the window upgrade
                  volume nearly full, or filled up   grow it
                  SQL, all as asked                  RUNNING answered-sql
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from byoc.dataplane.runtime import Action, Databases, Doors, Failures, Limits, Observation, Process
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, WorkspaceSpec

MAX_FAILED_STARTS: Final = 5
"""In a row, in one generation; then the workspace is FAILED until a newer generation."""
LONGEST_DELAY: Final = 10.0
"""Seconds between two tries, at most."""
_FIRST_DELAY: Final = 0.5
_CURABLE: Final = frozenset(
    {
        Reason.PORT_TAKEN,
        Reason.DISK_FULL,
        Reason.ENGINE_MISSING,
        Reason.ENGINE_TOO_OLD,
        Reason.UPGRADE_TOOL_MISSING,
        Reason.OPERATOR_MISSING,
        Reason.LICENCE_MISSING,
    }
)
"""Caused by the machine around the engine: tried again for ever, shown as the reason of the wait."""
_HOPELESS: Final = frozenset({Reason.MEMORY_SHORT, Reason.VOLUME_MISSING})
"""Trying again cannot help; only another generation can."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the cell knows beside the spec.

    Attributes:
        group_known: the cell holds the spec of the workspace's group.
        password_version: of the group's admin password that the cell holds; 0 means none.
        auto_suspended: the cell's own decision that stands against the spec; None otherwise.
        doors: from where the workspace's group lets anybody in.
        may_upgrade: it is the time of the week at which the group lets engines be upgraded.
        must_exist: the volume was seen before, or a resync says there was one; then none is ever made.
    """

    group_known: bool = True
    password_version: int = 0
    auto_suspended: Reason | None = None
    may_upgrade: bool = False
    must_exist: bool = False
    doors: Doors = Doors()


@dataclass(frozen=True, slots=True)
class Step:
    """The answer.

    Attributes:
        action: what to do now; None where there is nothing to do.
        progress: percent of the way to what was asked for; None where nothing is under way.
        retry_after: seconds after which to look again although nothing was heard; None
            where only news can change anything.
    """

    action: Action | None
    phase: Phase
    reason: Reason
    progress: int | None = None
    retry_after: float | None = None

    @property
    def done(self) -> bool:
        """Whether the intent is in effect, or has failed for good."""
        return self.action is None and self.phase.settled


def plan(spec: WorkspaceSpec, situation: Situation, seen: Observation, now: datetime) -> Step:
    """Return the one next step."""
    if spec.desired is Desired.TERMINATED:
        return _terminate(seen)
    if situation.must_exist and not seen.exists:
        return _without_volume(seen)
    if spec.desired is Desired.SUSPENDED or situation.auto_suspended is not None:
        return _suspend(seen, situation.auto_suspended)
    return _run(spec, situation, seen, now)


def _terminate(seen: Observation) -> Step:
    if seen.exists or seen.remains or seen.process is not Process.ABSENT:
        return Step(Action.REMOVE, Phase.TERMINATING, Reason.REMOVING_DATA, 50)
    return Step(None, Phase.TERMINATED, Reason.REMOVED)


def _without_volume(seen: Observation) -> Step:
    if seen.process is not Process.ABSENT:
        return Step(Action.STOP, Phase.STOPPING, Reason.VOLUME_MISSING, 50)
    return Step(None, Phase.FAILED, Reason.VOLUME_MISSING)


def _suspend(seen: Observation, decided: Reason | None) -> Step:
    databases = seen.databases
    if databases is None:
        databases = Databases()
    if databases.detachable and seen.process is Process.RUNNING:
        return Step(Action.DETACH, Phase.STOPPING, Reason.DETACHING_DATABASES, 20)
    if seen.process is not Process.ABSENT:
        silent = Reason.ENGINE_SILENT if databases.detachable else Reason.STOPPING_ENGINE
        return Step(Action.STOP, Phase.STOPPING, databases.kept or silent, 50)
    if databases.away and databases.volumes:
        return Step(Action.RELEASE, Phase.STOPPING, Reason.RELEASING_VOLUMES, 80)
    ended = Reason.DATABASES_DETACHED if databases.away else databases.kept or Reason.STOPPED_AS_ASKED
    return Step(None, Phase.SUSPENDED, decided or ended)


def _run(spec: WorkspaceSpec, situation: Situation, seen: Observation, now: datetime) -> Step:
    held_back = _make_room(seen) or _hold_back(spec, seen, now)
    if held_back is not None:
        return held_back
    if not seen.exists:
        return _create(situation)
    match seen.process:
        case Process.UNRESPONSIVE:
            return Step(Action.RESTART, Phase.HEALING, Reason.ENGINE_UNRESPONSIVE, 40)
        case Process.ABSENT | Process.EXITED as ended:
            why = Reason.ENGINE_EXITED if ended is Process.EXITED else Reason.STARTING_ENGINE
            return Step(Action.START, _way_up(seen), why, 40)
        case Process.STARTING | Process.RUNNING if not seen.sql_ready:
            return Step(Action.WAIT_FOR_SQL, _way_up(seen), seen.waiting_for or Reason.WAITING_FOR_SQL, 60)
        case _:
            return _attach(seen) or _adjust(spec, situation, seen)


def _create(situation: Situation) -> Step:
    if not situation.group_known:
        return Step(None, Phase.PROVISIONING, Reason.WAITING_FOR_GROUP, 0)
    if situation.password_version == 0:
        return Step(None, Phase.PROVISIONING, Reason.WAITING_FOR_PASSWORD, 0)
    return Step(Action.CREATE_VOLUME, Phase.PROVISIONING, Reason.COPYING_TEMPLATE, 10)


def _attach(seen: Observation) -> Step | None:
    """Before anybody can log in to an engine that was made anew; what failed is tried again elsewhere."""
    if seen.databases is None or not seen.databases.attach or seen.databases.missing:
        return None
    return Step(Action.ATTACH, _way_up(seen), Reason.ATTACHING_DATABASES, 70)


def _adjust(spec: WorkspaceSpec, situation: Situation, seen: Observation) -> Step:
    if seen.password_version < situation.password_version:
        phase = _way_up(seen) if seen.password_version == 0 else Phase.UPDATING
        return Step(Action.SET_PASSWORD, phase, Reason.SETTING_PASSWORD, 80)
    if seen.password_version == 0:
        return Step(None, _way_up(seen), Reason.WAITING_FOR_PASSWORD, 80)
    if seen.limits != Limits.wanted(spec):
        if seen.restart_needed:
            return Step(Action.RESTART, Phase.UPDATING, Reason.RESTARTING_FOR_SIZE, 50)
        return Step(Action.RESIZE_ONLINE, Phase.UPDATING, Reason.APPLYING_SIZE_ONLINE, 50)
    if seen.outdated and situation.may_upgrade:
        return Step(Action.UPGRADE, Phase.UPDATING, Reason.UPGRADING_ENGINE, 50)
    return _mend(situation, seen) or Step(None, Phase.RUNNING, Reason.ANSWERED_SQL)


def _mend(situation: Situation, seen: Observation) -> Step | None:
    """What is done while it serves: no change of its state."""
    if seen.doors is not None and seen.doors != situation.doors:
        return Step(Action.MEND, Phase.RUNNING, Reason.APPLYING_FIREWALL)
    if seen.amiss:
        return Step(Action.MEND, Phase.RUNNING, Reason.PUTTING_BACK)
    if seen.databases is not None and seen.databases.missing:
        again = Action.ATTACH if seen.databases.attach else None
        return Step(again, Phase.RUNNING, Reason.DATABASES_NOT_ATTACHED)
    if seen.room is None:
        return None
    return Step(Action.GROW if seen.room.grow_to_gib else None, Phase.RUNNING, seen.room.why)


def _way_up(seen: Observation) -> Phase:
    returning = seen.databases is not None and seen.databases.returning
    if seen.password_version == 0 and not returning:
        return Phase.PROVISIONING
    failed = seen.failures.crashes + seen.failures.starts > 0
    return Phase.HEALING if failed or seen.process is Process.EXITED else Phase.STARTING


def _make_room(seen: Observation) -> Step | None:
    """What is done for an engine that ended because its volume was full: only more of it helps."""
    if seen.sql_ready or seen.room is None or not seen.room.grow_to_gib:
        return None
    return Step(Action.GROW, _way_up(seen), seen.room.why, 40)


def _hold_back(spec: WorkspaceSpec, seen: Observation, now: datetime) -> Step | None:
    """Give up, or wait before the next try; None where a step may be taken now."""
    failures = seen.failures
    if failures.generation != spec.generation or failures.last is None:
        return None
    if failures.last in _HOPELESS:
        return Step(None, Phase.FAILED, failures.last)
    if seen.process not in {Process.ABSENT, Process.EXITED}:
        return None
    if failures.starts >= MAX_FAILED_STARTS and failures.last not in _CURABLE:
        return Step(None, Phase.FAILED, failures.last)
    remaining = _remaining(failures, now)
    if remaining <= 0:
        return None
    return Step(None, _way_up(seen), failures.last, 40, remaining)


def _remaining(failures: Failures, now: datetime) -> float:
    if failures.at is None:
        return 0.0
    return (failures.at + timedelta(seconds=delay(failures)) - now).total_seconds()


def delay(failures: Failures) -> float:
    """Seconds between the newest failure and the next try: none after the first, then doubling."""
    tries = failures.starts + failures.crashes - 1
    return 0.0 if tries <= 0 else min(LONGEST_DELAY, _FIRST_DELAY * 2 ** min(tries - 1, 16))
