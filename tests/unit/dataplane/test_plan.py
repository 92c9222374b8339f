"""The table of next steps, and that walking it always ends where the intent says."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from byoc.dataplane.plan import LONGEST_DELAY, MAX_FAILED_STARTS, Situation, Step, delay, plan
from byoc.dataplane.runtime import Action, Databases, Failures, Limits, Observation, Process, Room, Secrets
from byoc.ids import GroupID, WorkspaceID
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, UpdateWindow, WorkspaceSpec
from byoc.testing import ManualClock
from byoc.testing.clock import START
from byoc.testing.runtime import MemoryRuntime

SPEC = WorkspaceSpec(WorkspaceID("w"), GroupID("g"), 3, "orders", "S-00")
READY = Situation(password_version=2)
RUNS = Observation(
    exists=True, process=Process.RUNNING, sql_ready=True, limits=Limits("S-00"), password_version=2
)
STOPPED = Observation(exists=True, password_version=2)
NOTHING = Observation()


def failed(starts: int, reason: Reason = Reason.ENGINE_CANNOT_START, *, crashes: int = 0) -> Failures:
    return Failures(SPEC.generation, starts, crashes, reason, START)


@pytest.mark.parametrize(
    ("situation", "seen", "step"),
    [
        (
            Situation(group_known=False),
            NOTHING,
            Step(None, Phase.PROVISIONING, Reason.WAITING_FOR_GROUP, 0),
        ),
        (Situation(), NOTHING, Step(None, Phase.PROVISIONING, Reason.WAITING_FOR_PASSWORD, 0)),
        (
            READY,
            NOTHING,
            Step(Action.CREATE_VOLUME, Phase.PROVISIONING, Reason.COPYING_TEMPLATE, 10),
        ),
        (
            READY,
            Observation(exists=True),
            Step(Action.START, Phase.PROVISIONING, Reason.STARTING_ENGINE, 40),
        ),
        (READY, STOPPED, Step(Action.START, Phase.STARTING, Reason.STARTING_ENGINE, 40)),
        (
            READY,
            replace(STOPPED, process=Process.STARTING),
            Step(Action.WAIT_FOR_SQL, Phase.STARTING, Reason.WAITING_FOR_SQL, 60),
        ),
        (
            READY,
            replace(RUNS, sql_ready=False),
            Step(Action.WAIT_FOR_SQL, Phase.STARTING, Reason.WAITING_FOR_SQL, 60),
        ),
        (
            READY,
            replace(RUNS, password_version=0),
            Step(Action.SET_PASSWORD, Phase.PROVISIONING, Reason.SETTING_PASSWORD, 80),
        ),
        (
            READY,
            replace(RUNS, password_version=1),
            Step(Action.SET_PASSWORD, Phase.UPDATING, Reason.SETTING_PASSWORD, 80),
        ),
        (READY, RUNS, Step(None, Phase.RUNNING, Reason.ANSWERED_SQL)),
        (
            READY,
            replace(RUNS, limits=Limits("S-1")),
            Step(Action.RESIZE_ONLINE, Phase.UPDATING, Reason.APPLYING_SIZE_ONLINE, 50),
        ),
        (
            READY,
            replace(RUNS, limits=Limits("S-1"), restart_needed=True),
            Step(Action.RESTART, Phase.UPDATING, Reason.RESTARTING_FOR_SIZE, 50),
        ),
        (
            READY,
            replace(RUNS, process=Process.UNRESPONSIVE, sql_ready=False),
            Step(Action.RESTART, Phase.HEALING, Reason.ENGINE_UNRESPONSIVE, 40),
        ),
        (
            READY,
            replace(STOPPED, process=Process.EXITED, failures=failed(0, crashes=1)),
            Step(Action.START, Phase.HEALING, Reason.ENGINE_EXITED, 40),
        ),
        (
            Situation(),
            replace(RUNS, password_version=1),
            Step(None, Phase.RUNNING, Reason.ANSWERED_SQL),
        ),
        (
            Situation(),
            replace(RUNS, password_version=0),
            Step(None, Phase.PROVISIONING, Reason.WAITING_FOR_PASSWORD, 80),
        ),
        (replace(READY, must_exist=True), NOTHING, Step(None, Phase.FAILED, Reason.VOLUME_MISSING)),
        (
            replace(READY, must_exist=True),
            replace(RUNS, exists=False),
            Step(Action.STOP, Phase.STOPPING, Reason.VOLUME_MISSING, 50),
        ),
    ],
)
def test_what_should_run_is_brought_there_step_by_step(
    situation: Situation, seen: Observation, step: Step
) -> None:
    assert plan(SPEC, situation, seen, START) == step


@pytest.mark.parametrize("process", [Process.STARTING, Process.RUNNING, Process.EXITED, Process.UNRESPONSIVE])
def test_a_suspended_workspace_keeps_no_process(process: Process) -> None:
    spec = replace(SPEC, desired=Desired.SUSPENDED)
    assert plan(spec, READY, replace(STOPPED, process=process), START).action is Action.STOP


def test_suspended_says_who_wanted_it() -> None:
    asked = plan(replace(SPEC, desired=Desired.SUSPENDED), READY, STOPPED, START)
    decided = plan(SPEC, replace(READY, auto_suspended=Reason.AUTO_SUSPENDED_IDLE), STOPPED, START)
    assert (asked.phase, asked.reason) == (Phase.SUSPENDED, Reason.STOPPED_AS_ASKED)
    assert (decided.phase, decided.reason) == (Phase.SUSPENDED, Reason.AUTO_SUSPENDED_IDLE)
    assert asked.done
    assert decided.done


SUSPENDED = replace(SPEC, desired=Desired.SUSPENDED)
DETACHABLE = Databases(detachable=True)
AWAY = Databases(away=True, volumes=True, returning=True, attach=True)
GONE = replace(AWAY, volumes=False)
KEPT = Databases(kept=Reason.DATABASE_ON_VOLUMES, returning=True, attach=True)


@pytest.mark.parametrize(
    ("seen", "databases", "step"),
    [
        (RUNS, DETACHABLE, Step(Action.DETACH, Phase.STOPPING, Reason.DETACHING_DATABASES, 20)),
        # An engine that does not answer can detach nothing: its volumes are kept.
        (
            replace(RUNS, process=Process.UNRESPONSIVE, sql_ready=False),
            DETACHABLE,
            Step(Action.STOP, Phase.STOPPING, Reason.ENGINE_SILENT, 50),
        ),
        (
            replace(RUNS, sql_ready=False),
            DETACHABLE,
            Step(Action.DETACH, Phase.STOPPING, Reason.DETACHING_DATABASES, 20),
        ),
        (STOPPED, DETACHABLE, Step(None, Phase.SUSPENDED, Reason.STOPPED_AS_ASKED)),
        (RUNS, AWAY, Step(Action.STOP, Phase.STOPPING, Reason.STOPPING_ENGINE, 50)),
        (STOPPED, AWAY, Step(Action.RELEASE, Phase.STOPPING, Reason.RELEASING_VOLUMES, 80)),
        (STOPPED, GONE, Step(None, Phase.SUSPENDED, Reason.DATABASES_DETACHED)),
        (RUNS, KEPT, Step(Action.STOP, Phase.STOPPING, Reason.DATABASE_ON_VOLUMES, 50)),
        (STOPPED, KEPT, Step(None, Phase.SUSPENDED, Reason.DATABASE_ON_VOLUMES)),
    ],
)
def test_volumes_go_once_every_database_is_on_record_as_detached_and_no_sooner(
    seen: Observation, databases: Databases, step: Step
) -> None:
    assert plan(SUSPENDED, READY, replace(seen, databases=databases), START) == step


MADE_ANEW = replace(RUNS, password_version=0)
MISSING = Databases(detachable=True, returning=True, missing=1)


@pytest.mark.parametrize(
    ("seen", "databases", "step"),
    [
        (STOPPED, GONE, Step(Action.START, Phase.STARTING, Reason.STARTING_ENGINE, 40)),
        (MADE_ANEW, GONE, Step(Action.ATTACH, Phase.STARTING, Reason.ATTACHING_DATABASES, 70)),
        (RUNS, KEPT, Step(Action.ATTACH, Phase.STARTING, Reason.ATTACHING_DATABASES, 70)),
        (MADE_ANEW, MISSING, Step(Action.SET_PASSWORD, Phase.STARTING, Reason.SETTING_PASSWORD, 80)),
        (RUNS, MISSING, Step(None, Phase.RUNNING, Reason.DATABASES_NOT_ATTACHED)),
        (
            RUNS,
            replace(MISSING, attach=True),
            Step(Action.ATTACH, Phase.RUNNING, Reason.DATABASES_NOT_ATTACHED),
        ),
        (RUNS, DETACHABLE, Step(None, Phase.RUNNING, Reason.ANSWERED_SQL)),
    ],
)
def test_what_was_detached_is_attached_before_anybody_can_log_in_and_again_while_it_serves(
    seen: Observation, databases: Databases, step: Step
) -> None:
    assert plan(SPEC, READY, replace(seen, databases=databases), START) == step


def test_a_lost_volume_is_said_even_of_a_suspended_workspace() -> None:
    spec = replace(SPEC, desired=Desired.SUSPENDED)
    assert plan(spec, replace(READY, must_exist=True), NOTHING, START).reason is Reason.VOLUME_MISSING


@pytest.mark.parametrize(
    "seen", [RUNS, STOPPED, replace(RUNS, exists=False), replace(STOPPED, process=Process.EXITED)]
)
def test_termination_removes_whatever_is_left(seen: Observation) -> None:
    spec = replace(SPEC, desired=Desired.TERMINATED)
    assert plan(spec, READY, seen, START).action is Action.REMOVE


def test_termination_needs_neither_group_nor_volume() -> None:
    spec = replace(SPEC, desired=Desired.TERMINATED)
    step = plan(spec, Situation(group_known=False, must_exist=True), NOTHING, START)
    assert (step.phase, step.reason, step.done) == (Phase.TERMINATED, Reason.REMOVED, True)


def test_the_first_failure_is_tried_again_at_once_and_the_next_ones_later_and_later() -> None:
    assert [delay(failed(count)) for count in range(1, 8)] == [0, 0.5, 1, 2, 4, 8, LONGEST_DELAY]
    assert plan(SPEC, READY, replace(STOPPED, failures=failed(1)), START).action is Action.START
    waiting = plan(SPEC, READY, replace(STOPPED, failures=failed(3)), START + timedelta(seconds=0.25))
    assert (waiting.action, waiting.reason) == (None, Reason.ENGINE_CANNOT_START)
    assert waiting.retry_after == pytest.approx(0.75)
    assert not waiting.done


def test_an_engine_that_cannot_start_has_failed_for_this_generation_only() -> None:
    seen = replace(STOPPED, process=Process.EXITED, failures=failed(MAX_FAILED_STARTS))
    later = START + timedelta(hours=1)
    step = plan(SPEC, READY, seen, later)
    assert (step.phase, step.reason, step.done) == (Phase.FAILED, Reason.ENGINE_CANNOT_START, True)
    assert plan(replace(SPEC, generation=4), READY, seen, START).action is Action.START


@pytest.mark.parametrize(
    "reason",
    [
        Reason.PORT_TAKEN,
        Reason.DISK_FULL,
        Reason.ENGINE_MISSING,
        Reason.ENGINE_TOO_OLD,
        Reason.UPGRADE_TOOL_MISSING,
    ],
)
def test_trouble_of_the_machine_is_waited_out(reason: Reason) -> None:
    seen = replace(STOPPED, failures=failed(50, reason))
    waiting = plan(SPEC, READY, seen, START)
    assert (waiting.reason, waiting.phase, waiting.retry_after) == (reason, Phase.HEALING, LONGEST_DELAY)
    after = plan(SPEC, READY, seen, START + timedelta(seconds=LONGEST_DELAY))
    assert after.action is Action.START


def test_too_little_memory_is_final_without_another_try() -> None:
    for seen in (STOPPED, replace(RUNS, limits=Limits("S-1"))):
        step = plan(SPEC, READY, replace(seen, failures=failed(1, Reason.MEMORY_SHORT)), START)
        assert (step.action, step.phase, step.reason) == (None, Phase.FAILED, Reason.MEMORY_SHORT)


def test_failures_never_stand_in_the_way_of_a_suspend() -> None:
    seen = replace(STOPPED, failures=failed(MAX_FAILED_STARTS))
    assert plan(replace(SPEC, desired=Desired.SUSPENDED), READY, seen, START).phase is Phase.SUSPENDED


def test_counting_failures_begins_anew_with_a_generation_an_answer_and_a_quiet_while() -> None:
    some = Failures().failed(1, Reason.ENGINE_CANNOT_START, START)
    some = some.failed(1, Reason.ENGINE_CANNOT_START, START)
    assert (some.starts, some.answered().starts) == (2, 0)
    assert some.failed(2, Reason.DISK_FULL, START).starts == 1
    crashed = some.crashed(1, Reason.ENGINE_EXITED, START, ran_seconds=1)
    assert (crashed.starts, crashed.crashes) == (0, 1)
    assert crashed.crashed(1, Reason.ENGINE_EXITED, START, ran_seconds=1).crashes == 2
    assert crashed.crashed(1, Reason.ENGINE_EXITED, START, ran_seconds=60).crashes == 1


def test_an_older_engine_is_replaced_in_the_group_s_window_only() -> None:
    outdated = replace(RUNS, outdated=True)
    assert plan(SPEC, READY, outdated, START) == Step(None, Phase.RUNNING, Reason.ANSWERED_SQL)
    open_now = replace(READY, may_upgrade=True)
    step = plan(SPEC, open_now, outdated, START)
    assert (step.action, step.phase, step.reason) == (
        Action.UPGRADE,
        Phase.UPDATING,
        Reason.UPGRADING_ENGINE,
    )
    assert plan(SPEC, open_now, RUNS, START).done


@pytest.mark.parametrize(
    ("window", "holds"),
    [
        (UpdateWindow(0, 12), True),
        (UpdateWindow(0, 11), False),
        (UpdateWindow(0, 13), False),
        (UpdateWindow(6, 12), False),
        (UpdateWindow(1, 12), False),
    ],
)
def test_a_window_is_one_hour_of_one_day_with_sunday_first(window: UpdateWindow, holds: bool) -> None:
    sunday = datetime(2026, 11, 29, 14, 59, 59, tzinfo=timezone(timedelta(hours=2)))
    assert window.holds(sunday) is holds


observations = st.builds(
    Observation,
    exists=st.booleans(),
    process=st.sampled_from(Process),
    sql_ready=st.booleans(),
    limits=st.none() | st.builds(Limits, st.sampled_from(["S-00", "S-1"])),
    restart_needed=st.booleans(),
    outdated=st.booleans(),
    password_version=st.integers(0, 3),
    failures=st.builds(
        Failures,
        generation=st.integers(2, 4),
        starts=st.integers(0, 9),
        crashes=st.integers(0, 9),
        last=st.none() | st.sampled_from(Reason),
        at=st.just(START),
    ),
    amiss=st.booleans(),
    waiting_for=st.none() | st.just(Reason.WAITING_FOR_MACHINE),
    room=st.none() | st.builds(Room, st.just(Reason.EXPANDING_VOLUME), st.integers(0, 2), st.just(1)),
    databases=st.none()
    | st.builds(
        Databases,
        detachable=st.booleans(),
        away=st.booleans(),
        volumes=st.booleans(),
        kept=st.none() | st.just(Reason.DETACH_REFUSED),
        returning=st.booleans(),
        attach=st.booleans(),
        missing=st.integers(0, 2),
    ),
)
situations = st.builds(
    Situation,
    group_known=st.booleans(),
    password_version=st.integers(0, 3),
    auto_suspended=st.none() | st.just(Reason.AUTO_SUSPENDED_IDLE),
    must_exist=st.booleans(),
    may_upgrade=st.booleans(),
)


@given(observations, situations, st.sampled_from(Desired))
def test_whatever_is_seen_there_is_a_sane_answer(
    seen: Observation, situation: Situation, desired: Desired
) -> None:
    step = plan(replace(SPEC, desired=desired), situation, seen, START)
    if step.done:
        assert step.retry_after is None
    assert (step.progress is None) is step.phase.settled
    if step.action is Action.CREATE_VOLUME:
        assert not situation.must_exist
        assert not seen.exists
    if step.action is Action.REMOVE:
        assert desired is Desired.TERMINATED
    if step.action is Action.UPGRADE:
        assert situation.may_upgrade
        assert seen.sql_ready
    if step.phase is Phase.RUNNING:
        assert seen.sql_ready
    if step.action is Action.DETACH:
        assert seen.process is Process.RUNNING
    if step.action is Action.RELEASE:
        assert seen.databases is not None
        assert seen.databases.away
        assert seen.process is Process.ABSENT
    if step.action is not None and desired is Desired.RUNNING:
        assert step.phase is not Phase.FAILED


class Walk(RuleBasedStateMachine):
    """Any order of intents, steps and trouble; then repeating plan and act ends."""

    @initialize(online=st.booleans(), detaching=st.booleans())
    def begin(self, online: bool, detaching: bool) -> None:
        self.clock = ManualClock()
        self.runtime = MemoryRuntime(self.clock, online=online, detaching=detaching)
        self.spec = replace(SPEC, generation=1)
        self.situation = Situation()
        self.loop = asyncio.new_event_loop()
        self.gone = False
        self.password = 0

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            try:
                self.it_ends()
                self.change(desired=Desired.TERMINATED)
                self.it_ends()
            finally:
                self.loop.close()

    def seen(self) -> Observation:
        return self.loop.run_until_complete(self.runtime.observe(self.spec.id))

    def change(self, **fields: object) -> None:
        if self.spec.desired is not Desired.TERMINATED:
            self.spec = replace(self.spec, generation=self.spec.generation + 1, **fields)  # type: ignore[arg-type]

    @rule(desired=st.sampled_from([Desired.RUNNING, Desired.SUSPENDED]))
    def suspend_or_resume(self, desired: Desired) -> None:
        self.change(desired=desired)
        self.situation = replace(self.situation, auto_suspended=None)

    @rule()
    def decide_to_suspend(self) -> None:
        self.situation = replace(self.situation, auto_suspended=Reason.AUTO_SUSPENDED_SCHEDULED)

    @rule(missing=st.integers(0, 2))
    def not_all_are_attached(self, missing: int) -> None:
        if self.seen().databases is not None and self.seen().sql_ready:
            self.runtime.miss(self.spec.id, missing)

    @rule()
    def something_speaks_against_detaching(self) -> None:
        databases = self.seen().databases
        if databases is not None and databases.detachable:
            self.runtime.keep_volumes(self.spec.id, Reason.DATABASE_ON_VOLUMES)

    @rule(size=st.sampled_from(["S-00", "S-0", "S-1"]), scale=st.sampled_from([1, 2, 4]))
    def resize(self, size: str, scale: int) -> None:
        self.change(size=size, scale_factor=scale)

    @rule()
    def new_password(self) -> None:
        self.password += 1
        self.situation = replace(self.situation, password_version=self.password)

    @rule()
    def terminate(self) -> None:
        self.change(desired=Desired.TERMINATED)

    @rule()
    def crash(self) -> None:
        if self.seen().process in {Process.STARTING, Process.RUNNING}:
            self.runtime.crash(self.spec.id)

    @rule()
    def hang(self) -> None:
        if self.seen().process is Process.RUNNING:
            self.runtime.hang(self.spec.id)

    @rule(
        action=st.sampled_from([Action.CREATE_VOLUME, Action.START, Action.SET_PASSWORD]),
        reason=st.sampled_from([Reason.ENGINE_CANNOT_START, Reason.DISK_FULL, Reason.PORT_TAKEN]),
        times=st.integers(1, 7),
    )
    def trouble(self, action: Action, reason: Reason, times: int) -> None:
        self.runtime.fail(self.spec.id, action, reason, times)

    @rule()
    def lose_the_volume(self) -> None:
        if self.seen().exists:
            self.runtime.lose_volume(self.spec.id)

    @rule(steps=st.integers(0, 4))
    def a_few_steps(self, steps: int) -> None:
        for _ in range(steps):
            self.turn()

    def turn(self) -> Step:
        seen = self.seen()
        if seen.exists:
            self.situation = replace(self.situation, must_exist=True)
        step = plan(self.spec, self.situation, seen, self.clock.now())
        if step.action is not None:
            secrets = Secrets(self.password, f"password {self.password}")
            self.loop.run_until_complete(self.runtime.act(self.spec, step.action, secrets))
        elif step.retry_after is not None:
            self.clock.advance(step.retry_after)
        return step

    @rule()
    def it_ends(self) -> None:
        before = (replace(self.spec), self.situation)
        for _ in range(60):
            step = self.turn()
            if step.action is None and step.retry_after is None:
                break
        else:
            pytest.fail(f"no end in sight: {step} from {before}")
        self.check(step)

    def check(self, step: Step) -> None:
        seen = self.seen()
        waits = {Reason.WAITING_FOR_PASSWORD}
        assert step.done or step.reason in waits
        if self.spec.desired is Desired.TERMINATED:
            assert step.reason is Reason.REMOVED
            assert replace(seen, failures=Failures()) == Observation()
        elif step.phase is Phase.RUNNING:
            assert (seen.sql_ready, seen.limits) == (True, Limits.wanted(self.spec))
            assert seen.password_version == self.password
            assert self.runtime.passwords[self.spec.id] == f"password {self.password}"
        elif step.phase is Phase.SUSPENDED:
            assert seen.process is Process.ABSENT


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
