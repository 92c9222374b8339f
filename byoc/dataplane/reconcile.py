"""Makes what is into what should be: observe, plan, act, one task per workspace.

Run by the agent, with or without the Control Plane. Level-triggered: every turn begins with
an observation, so it does not matter what was missed. The invariants: what a turn decides is
on disk before it acts; a tombstone is written before anything is removed; trouble with one
workspace never touches another; and nothing is polled that could ring.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from byoc import faults, log
from byoc.clock import Clock
from byoc.dataplane.autogrow import Grower
from byoc.dataplane.autoscale import Scaler
from byoc.dataplane.bell import Bell
from byoc.dataplane.desired import Decision, HeldWorkspace, Settled
from byoc.dataplane.meter import HEARTBEAT_SECONDS, Compute, Engine
from byoc.dataplane.plan import Situation, Step, plan
from byoc.dataplane.policy import Policy, default_policy
from byoc.dataplane.rates import Rates
from byoc.dataplane.runtime import Action, Doors, Observation, Process, Runtime, Secrets
from byoc.dataplane.state import CellState
from byoc.dataplane.views import Seen
from byoc.dataplane.volumes import LOOK_SECONDS
from byoc.errors import ByocError
from byoc.ids import GroupID, WorkspaceID
from byoc.model import suspension
from byoc.model.report import Attachments, Phase
from byoc.model.spec import Desired, GroupSpec, WorkspaceSpec
from byoc.model.suspension import Activity

PROBE_SECONDS: Final = 5.0
"""How often a running engine is asked whether it answers."""
_FAILED_PROBE_SECONDS: Final = 15.0
_LONGEST_BACKOFF: Final = 30.0
_MOST_TURNS: Final = 20
_STUCK_SECONDS: Final = 0.25
_LOG: Final = log.get(__name__)
_ALIVE: Final = frozenset({Process.STARTING, Process.RUNNING, Process.UNRESPONSIVE})


class Reconciler:
    """The loop over all workspaces."""

    def __init__(
        self,
        state: CellState,
        runtime: Runtime,
        clock: Clock,
        policy: Callable[[], Policy] = default_policy,
        rates: Callable[[], Rates] | None = None,
    ) -> None:
        self._scaler = Scaler(state, runtime, policy, rates)
        self._grower = Grower(state, policy, rates)
        self._state = state
        self._runtime = runtime
        self._clock = clock
        self._bells: dict[WorkspaceID, Bell] = {}
        self._activities: dict[WorkspaceID, Activity] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._gate = asyncio.Lock()
        self._unseen: set[WorkspaceID] = set(state.desired.workspaces)
        for held in state.desired.workspaces.values():
            state.views.begin(held, clock.now())
        self.looked = asyncio.Event()
        """Set once every workspace held at the start was observed."""

    async def run(self) -> None:
        """Reconcile until cancelled."""
        now = self._clock.now()
        for interval in self._state.meter.intervals():
            if interval.end is None and interval.workspace_id not in self._state.desired.workspaces:
                self._state.meter.follow(interval.workspace_id, Engine(), now)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._note_looked(None)
                for name in list(self._state.desired.workspaces):
                    self.wake(name)
                for group in list(self._state.desired.groups):
                    self._sweep(group)
                tasks.create_task(self._watch())
                tasks.create_task(self._beat())
                tasks.create_task(self._weigh())
        finally:
            self._tasks = None

    def wake(self, name: WorkspaceID) -> None:
        """There is news for a workspace: look at it now."""
        bell = self._bells.get(name)
        if bell is not None:
            bell.ring()
        elif self._tasks is not None and name in self._state.desired.workspaces:
            self._bells[name] = Bell(self._clock)
            self._tasks.create_task(self._work(name), name=f"workspace {name}")

    def wake_group(self, group: GroupID) -> None:
        """There is news for a group: look at all its workspaces."""
        for name in self._state.desired.members(group):
            self.wake(name)
        self._sweep(group)

    def settle_usage(self) -> None:
        """End every open interval now: the engines were stopped by us."""
        for name in self._state.desired.workspaces:
            self._meter(name, Engine())

    # --- loops ---------------------------------------------------------------------------

    async def _watch(self) -> None:
        errors = 0
        while True:
            try:
                async for name in self._runtime.watch():
                    errors = 0
                    self.wake(name)
            except Exception as error:  # noqa: BLE001 - probes go on without it
                errors += 1
                _LOG.warning("watch failed", error=repr(error))
            await self._clock.sleep(_backoff(errors + 1))

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            try:
                self._state.meter.heartbeat()
            except ByocError as error:
                _LOG.warning("usage heartbeat not stored", error=error.message)

    async def _weigh(self) -> None:
        while True:
            try:
                names = list(self._state.desired.workspaces)
                held = {name: await self._runtime.stored_bytes(name) for name in names}
                self._state.volumes.weighed(held, self._clock.now())
            except Exception as error:  # noqa: BLE001 - what is not weighed is not billed
                _LOG.warning("volumes not weighed", error=repr(error))
            await self._clock.sleep(LOOK_SECONDS)

    async def _work(self, name: WorkspaceID) -> None:
        bell = self._bells[name]
        errors = turns = 0
        while name in self._state.desired.workspaces:
            try:
                await self._one_by_one()
                pause = await self._turn(name)
                errors = 0
            except Exception as error:  # noqa: BLE001 - one workspace's trouble is its own
                errors += 1
                pause = _backoff(errors)
                _LOG.error("turn failed", workspace=name, error=repr(error), again_in=pause)
            self._note_looked(name)
            turns = turns + 1 if pause == 0 else 0
            if turns > _MOST_TURNS:
                # A runtime whose actions change nothing must not take the whole machine.
                pause = _STUCK_SECONDS
            if pause != 0:
                await bell.wait(pause)
        self._bells.pop(name, None)
        self._activities.pop(name, None)
        self._scaler.forget(name)
        self._grower.forget(name)

    async def _one_by_one(self) -> None:
        """Let one turn begin in each round of the loop: a thousand at once would hold all else up."""
        async with self._gate:
            await asyncio.sleep(0)

    def _note_looked(self, name: WorkspaceID | None) -> None:
        self._unseen.discard(name or WorkspaceID(""))
        if not self._unseen:
            self.looked.set()

    # --- one turn ------------------------------------------------------------------------

    async def _turn(self, name: WorkspaceID) -> float | None:
        """Take one step; returns seconds until the next, 0 for at once, None for not before news."""
        seen = await self._runtime.observe(name)
        now = self._clock.now()
        self._meter(name, _engine(seen))
        self._follow_activity(name, seen, now)
        self._decide(name, now)
        await self._scaler.turn(self._state.desired.workspaces[name], seen, now)
        seen = self._grower.turn(self._state.desired.workspaces[name], seen, now)
        held = self._state.desired.workspaces[name]
        spec = _intended(self._state.desired.effective(held), held)
        step = plan(spec, self._situation(held), seen, now)
        if step.action is None:
            return self._rest(held, step, seen, now)
        self._show(held, step, seen, now)
        if step.action is Action.REMOVE:
            self._state.desired.bury(name)
        faults.reach(faults.Step.ACTION_STARTED)
        secrets = self._secrets(spec.group_id, step.action)
        await self._runtime.act(spec, step.action, secrets, self._doors(spec.group_id))
        faults.reach(faults.Step.ACTION_DONE)
        return 0

    def _situation(self, held: HeldWorkspace) -> Situation:
        decision = held.auto_suspended
        group = held.spec.group_id
        return Situation(
            group_known=self._state.desired.spec(group) is not None,
            password_version=self._state.passwords.version(group),
            auto_suspended=decision.reason if decision else None,
            may_upgrade=self._may_upgrade(group),
            must_exist=held.must_exist,
            doors=self._doors(group),
        )

    def _may_upgrade(self, group: GroupID) -> bool:
        spec = self._state.desired.spec(group)
        window = spec.update_window if isinstance(spec, GroupSpec) else None
        return window is not None and window.holds(self._clock.now())

    def _doors(self, group: GroupID) -> Doors:
        spec = self._state.desired.spec(group)
        if not isinstance(spec, GroupSpec):
            return Doors()
        return Doors(spec.firewall_ranges, spec.allow_all_traffic)

    def _secrets(self, group: GroupID, action: Action) -> Secrets:
        password = self._state.passwords.get(group) if action is Action.SET_PASSWORD else None
        return Secrets(password.version, password.password) if password else Secrets()

    def _rest(self, held: HeldWorkspace, step: Step, seen: Observation, now: datetime) -> float | None:
        name = held.spec.id
        if step.phase is Phase.TERMINATED:
            self._state.desired.forget(name)
            self._state.views.gone(held, now)
            self._sweep(held.spec.group_id)
            return 0
        self._settle(held, step, seen, now)
        self._show(held, step, seen, now)
        if step.phase is Phase.RUNNING:
            return self._until_next_look(name, held.spec, now)
        if step.phase is Phase.FAILED:
            return _FAILED_PROBE_SECONDS
        return step.retry_after

    def _settle(self, held: HeldWorkspace, step: Step, seen: Observation, now: datetime) -> None:
        if not step.done:
            return
        view = self._state.views.now.get(held.spec.id)
        same = view is not None and (view.phase, view.reason) == (step.phase, step.reason)
        settled = Settled(step.phase, step.reason, view.since if view is not None and same else now)
        generation = 0 if step.phase is Phase.FAILED else held.spec.generation
        try:
            self._state.desired.settle(held.spec.id, settled, generation=generation, exists=seen.exists)
        except ByocError as error:
            _LOG.warning("state not stored", workspace=held.spec.id, error=error.message)
            return
        if generation > held.observed_generation:
            # Also where nothing else has changed, as after a new rule: somebody waits to hear of it.
            self._state.views.touch()

    def _show(self, held: HeldWorkspace, step: Step, seen: Observation, now: datetime) -> None:
        running = step.phase in {Phase.RUNNING, Phase.UPDATING}
        shown = Seen(
            phase=step.phase,
            reason=step.reason,
            progress=step.progress,
            endpoint=seen.endpoint if running else None,
            password_version=seen.password_version,
            attachments=_attachments(seen) if running else None,
        )
        if self._state.views.note(held, shown, now):
            _LOG.info("workspace", workspace=held.spec.id, phase=step.phase, reason=step.reason)

    # --- auto-suspend, usage, groups -----------------------------------------------------

    def _follow_activity(self, name: WorkspaceID, seen: Observation, now: datetime) -> None:
        if seen.process not in _ALIVE:
            self._activities.pop(name, None)
        held = self._state.desired.workspaces[name]
        if not seen.sql_ready or held.running_since is None:
            return
        activity = suspension.advance(
            self._activities.get(name), connections=seen.connections, queries=seen.queries, now=now
        )
        # Time since the resume is counted through restarts of agent and engine.
        self._activities[name] = replace(activity, resumed_at=held.running_since)

    def _decide(self, name: WorkspaceID, now: datetime) -> None:
        held = self._state.desired.workspaces[name]
        activity = self._activities.get(name)
        spec = self._state.desired.effective(held)
        fresh = held.resumed_generation < spec.desired_generation
        if activity is None or fresh or spec.desired is not Desired.RUNNING:
            return
        reason = suspension.decide(spec, activity, now)
        if reason is None:
            return
        try:
            self._state.ledger.record(
                "decision",
                workspace=name,
                generation=spec.generation,
                verb="workspace.suspend",
                reason=reason,
            )
            self._state.desired.decide(name, Decision(reason, now, spec.desired_generation))
        except ByocError as error:
            # A decision that is not on disk would be undone by a crash: let it run, look again.
            _LOG.warning("auto-suspend not stored", workspace=name, error=error.message)

    def _until_next_look(self, name: WorkspaceID, spec: WorkspaceSpec, now: datetime) -> float:
        activity = self._activities.get(name)
        due = suspension.due_at(spec, activity) if activity is not None else None
        if due is None:
            return PROBE_SECONDS
        return min(PROBE_SECONDS, max((due - now).total_seconds(), 0.05))

    def _meter(self, name: WorkspaceID, engine: Engine) -> None:
        try:
            self._state.meter.follow(name, engine, self._clock.now())
        except ByocError as error:
            # Healing goes on with a full disk; the interval ends where it was last seen.
            _LOG.warning("usage not stored", workspace=name, error=error.message)

    def _sweep(self, group: GroupID) -> None:
        """End a terminated group once nothing of it is left."""
        desired = self._state.desired
        if group not in desired.groups or not desired.group_terminated(group) or desired.members(group):
            return
        try:
            desired.bury(group)
            self._state.passwords.remove(group)
            desired.forget(group)
        except ByocError as error:
            _LOG.warning("group not removed", group=group, error=error.message)
        self._state.views.touch()


def _intended(effective: WorkspaceSpec, held: HeldWorkspace) -> WorkspaceSpec:
    """The stored spec as scaled, unless its group ends; the plan is told of the cell's suspension apart."""
    return effective if effective.desired is Desired.TERMINATED else held.in_effect


def _attachments(seen: Observation) -> Attachments | None:
    databases = seen.databases
    if databases is None or not databases.returning:
        return None
    return Attachments(databases.attached, databases.missing)


def _engine(seen: Observation) -> Engine:
    limits = seen.limits
    return Engine(
        alive=seen.process in _ALIVE,
        ready=seen.sql_ready,
        compute=Compute(limits.size, limits.scale_factor, limits.cache_config) if limits else None,
        started_at=seen.started_at,
    )


def _backoff(errors: int) -> float:
    return float(min(2 ** max(errors - 1, 0), _LONGEST_BACKOFF))
