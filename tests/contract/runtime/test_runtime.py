"""What every runtime promises."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from byoc.dataplane.plan import Step
from byoc.dataplane.runtime import Action, Limits, Observation, Process, Runtime, Secrets
from byoc.errors import Unreachable
from byoc.ids import WorkspaceID, new_id
from byoc.model.metrics import Metric
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, WorkspaceSpec
from byoc.testing.walking import step, walk

Crash = Callable[[WorkspaceID], None]
OF_USE = {
    Metric.THREADS_CONNECTED,
    Metric.THREADS_RUNNING,
    Metric.CONNECTIONS,
    Metric.SUCCESSFUL_READ_QUERIES,
    Metric.SUCCESSFUL_WRITE_QUERIES,
    Metric.FAILED_READ_QUERIES,
    Metric.FAILED_WRITE_QUERIES,
    Metric.ROWS_RETURNED_BY_READS,
    Metric.ROWS_AFFECTED_BY_WRITES,
}


async def do(
    runtime: Runtime, spec: WorkspaceSpec, action: Action, secrets: Secrets | None = None
) -> Observation:
    await runtime.act(spec, action, secrets or Secrets())
    return await runtime.observe(spec.id)


def to(spec: WorkspaceSpec, desired: Desired) -> WorkspaceSpec:
    return replace(spec, generation=spec.generation + 1, desired=desired)


async def test_of_an_unknown_workspace_nothing_is_true(runtime: Runtime, spec: WorkspaceSpec) -> None:
    assert await runtime.observe(spec.id) == Observation()
    assert await runtime.logs(spec.id) == ""
    assert await runtime.list() == []


async def test_a_new_workspace_comes_to_run_step_by_step(
    runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets, host: str
) -> None:
    steps = await walk(runtime, spec, secrets)
    reasons = list(dict.fromkeys(taken.reason for taken in steps))
    assert reasons == [
        Reason.COPYING_TEMPLATE,
        Reason.STARTING_ENGINE,
        Reason.WAITING_FOR_SQL,
        Reason.SETTING_PASSWORD,
        Reason.ANSWERED_SQL,
    ]
    assert {taken.phase for taken in steps[:-1]} == {Phase.PROVISIONING}
    seen = await runtime.observe(spec.id)
    assert (seen.exists, seen.process, seen.sql_ready) == (True, Process.RUNNING, True)
    assert (seen.limits, seen.password_version) == (Limits("S-00"), 1)
    assert seen.started_at is not None
    assert seen.connections == 0
    assert seen.failures.starts == seen.failures.crashes == 0
    where, port = (seen.endpoint or "").split(":")
    assert (where, int(port) > 1024) == (host, True)
    assert await runtime.list() == [spec.id]


async def test_nobody_has_used_an_engine_that_only_we_look_at(
    runtime: Runtime, running: WorkspaceSpec
) -> None:
    first = await runtime.observe(running.id)
    for _ in range(3):
        again = await runtime.observe(running.id)
    assert (again.connections, again.queries) == (0, first.queries)


async def test_every_action_done_twice_ends_in_the_same_place(
    runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets
) -> None:
    for desired in (Desired.RUNNING, Desired.SUSPENDED, Desired.RUNNING, Desired.TERMINATED):
        spec = to(spec, desired)
        await walk(runtime, spec, secrets, times=2)
    assert await runtime.observe(spec.id) == Observation()
    assert await runtime.list() == []


async def test_a_suspended_workspace_keeps_all_but_its_process(
    runtime: Runtime, running: WorkspaceSpec, secrets: Secrets
) -> None:
    before = await runtime.observe(running.id)
    steps = await walk(runtime, to(running, Desired.SUSPENDED), secrets)
    assert [taken.phase for taken in steps] == [Phase.STOPPING, Phase.SUSPENDED]
    seen = await runtime.observe(running.id)
    assert (seen.exists, seen.process, seen.sql_ready) == (True, Process.ABSENT, False)
    assert (seen.endpoint, seen.password_version) == (before.endpoint, 1)
    assert (seen.limits, seen.started_at) == (None, None)
    steps = await walk(runtime, to(running, Desired.RUNNING), secrets)
    assert {taken.phase for taken in steps[:-1]} == {Phase.STARTING}
    assert (await runtime.observe(running.id)).endpoint == before.endpoint


async def test_a_crash_is_heard_counted_and_healed(
    runtime: Runtime, crash: Crash, running: WorkspaceSpec, secrets: Secrets
) -> None:
    heard = asyncio.ensure_future(anext(runtime.watch()))
    await asyncio.sleep(0)
    crash(running.id)
    assert await asyncio.wait_for(heard, 5) == running.id
    seen = await runtime.observe(running.id)
    assert (seen.process, seen.sql_ready, seen.limits) == (Process.EXITED, False, None)
    assert (seen.failures.crashes, seen.failures.last) == (1, Reason.ENGINE_EXITED)
    assert (await runtime.observe(running.id)).failures.crashes == 1
    steps = await walk(runtime, running, secrets)
    assert [steps[0].phase, steps[0].reason] == [Phase.HEALING, Reason.ENGINE_EXITED]
    assert steps[-1].phase is Phase.RUNNING


async def test_a_stop_that_was_asked_for_is_no_crash(
    runtime: Runtime, running: WorkspaceSpec, secrets: Secrets
) -> None:
    heard = asyncio.ensure_future(anext(runtime.watch()))
    seen = await do(runtime, running, Action.STOP)
    assert (seen.process, seen.failures.crashes) == (Process.ABSENT, 0)
    await asyncio.wait({heard}, timeout=0.3)
    assert not heard.done()
    heard.cancel()


async def test_limits_change_while_it_runs(
    runtime: Runtime, running: WorkspaceSpec, secrets: Secrets
) -> None:
    started = (await runtime.observe(running.id)).started_at
    bigger = replace(running, generation=2, size="S-0", scale_factor=2, cache_config=4)
    steps = await walk(runtime, bigger, secrets)
    assert steps[0].phase is Phase.UPDATING
    seen = await runtime.observe(bigger.id)
    assert seen.limits == Limits("S-0", 2, 4)
    assert seen.started_at == started


async def test_limits_changed_while_suspended_hold_from_the_resume(
    runtime: Runtime, running: WorkspaceSpec, secrets: Secrets
) -> None:
    await walk(runtime, to(running, Desired.SUSPENDED), secrets)
    bigger = replace(running, generation=3, size="S-0")
    steps = await walk(runtime, bigger, secrets)
    assert Action.RESIZE_ONLINE not in {taken.action for taken in steps}
    assert (await runtime.observe(bigger.id)).limits == Limits("S-0")


async def test_a_new_password_is_applied_once_and_an_older_one_never(
    runtime: Runtime, running: WorkspaceSpec
) -> None:
    steps = await walk(runtime, running, Secrets(2, "second"))
    assert [taken.action for taken in steps] == [Action.SET_PASSWORD, None]
    seen = await do(runtime, running, Action.SET_PASSWORD, Secrets(1, "first password"))
    assert seen.password_version == 2
    seen = await do(runtime, running, Action.SET_PASSWORD, Secrets())
    assert seen.password_version == 2


@pytest.mark.parametrize("turns", range(7))
async def test_termination_at_any_step_leaves_nothing(
    runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets, turns: int
) -> None:
    for _ in range(turns):
        await step(runtime, spec, secrets)
    await walk(runtime, to(spec, Desired.TERMINATED), secrets)
    assert await runtime.observe(spec.id) == Observation()
    assert await runtime.list() == []


@pytest.mark.parametrize("action", [each for each in Action if each is not Action.CREATE_VOLUME])
async def test_no_action_makes_anything_of_an_unknown_workspace(
    runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets, action: Action
) -> None:
    seen = await do(runtime, spec, action, secrets)
    assert not seen.exists
    assert seen.process is Process.ABSENT
    assert await runtime.list() == []


@pytest.mark.parametrize(
    "action", [Action.WAIT_FOR_SQL, Action.SET_PASSWORD, Action.RESIZE_ONLINE, Action.STOP]
)
async def test_no_action_but_a_start_wakes_a_stopped_workspace(
    runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets, action: Action
) -> None:
    created = await do(runtime, spec, Action.CREATE_VOLUME)
    assert await do(runtime, spec, action, secrets) == created


async def test_a_start_without_a_volume_fails_with_a_code(runtime: Runtime, spec: WorkspaceSpec) -> None:
    seen = await do(runtime, spec, Action.START)
    assert (seen.failures.last, seen.failures.generation) == (Reason.VOLUME_MISSING, spec.generation)


async def test_more_memory_than_there_is_is_refused_before_anything_starts(
    runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets
) -> None:
    big = replace(spec, size="S-4")
    steps = await walk(runtime, big, secrets)
    assert (steps[-1].phase, steps[-1].reason) == (Phase.FAILED, Reason.MEMORY_SHORT)
    assert (await runtime.observe(big.id)).process is Process.ABSENT
    smaller = replace(spec, generation=2)
    assert (await walk(runtime, smaller, secrets))[-1].phase is Phase.RUNNING
    too_big = replace(spec, generation=3, size="S-1", scale_factor=2)
    assert (await walk(runtime, too_big, secrets))[-1].reason is Reason.MEMORY_SHORT
    assert (await runtime.observe(too_big.id)).sql_ready


async def test_memory_of_the_others_counts(
    runtime: Runtime, running: WorkspaceSpec, secrets: Secrets
) -> None:
    other = replace(running, id=WorkspaceID(new_id()), size="S-1")
    assert (await walk(runtime, other, secrets))[-1].reason is Reason.MEMORY_SHORT
    await walk(runtime, to(running, Desired.SUSPENDED), secrets)
    assert (await walk(runtime, replace(other, generation=2), secrets))[-1].phase is Phase.RUNNING


def test_what_fits_is_known_beforehand(runtime: Runtime) -> None:
    assert runtime.fits(Limits("S-1"), committed_bytes=0)
    assert not runtime.fits(Limits("S-1"), committed_bytes=128 * 2**20)
    assert not runtime.fits(Limits("S-1", 2), committed_bytes=0)


async def test_there_is_room_for_more_beside_what_the_others_have(
    runtime: Runtime, running: WorkspaceSpec
) -> None:
    assert runtime.has_room(running.id, Limits("S-00", 4))
    assert not runtime.has_room(running.id, Limits("S-1", 2))
    assert not runtime.has_room(WorkspaceID(new_id()), Limits("S-1"))


async def test_workspaces_do_not_touch_each_other(
    runtime: Runtime, running: WorkspaceSpec, secrets: Secrets
) -> None:
    other = replace(running, id=WorkspaceID(new_id()))
    await walk(runtime, other, secrets)
    mine, theirs = await runtime.observe(running.id), await runtime.observe(other.id)
    assert mine.endpoint != theirs.endpoint
    await walk(runtime, to(other, Desired.TERMINATED), secrets)
    assert await runtime.observe(running.id) == mine
    assert await runtime.list() == [running.id]


@pytest.mark.parametrize("action", [Action.CREATE_VOLUME, Action.START, Action.WAIT_FOR_SQL, Action.STOP])
async def test_a_cancelled_action_can_be_repeated(
    runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets, action: Action
) -> None:
    taken = await step(runtime, spec, secrets)
    while taken.action is not action and not taken.done:
        taken = await step(runtime, spec, secrets)
    acting = asyncio.ensure_future(runtime.act(spec, action, secrets))
    await asyncio.sleep(0.005)
    acting.cancel()
    await asyncio.wait({acting})
    assert (await walk(runtime, spec, secrets))[-1].phase is Phase.RUNNING


async def test_a_stop_that_was_cut_short_and_taken_back_ends_in_an_engine_that_answers(
    runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets
) -> None:
    while (await step(runtime, spec, secrets)).action is not Action.WAIT_FOR_SQL:
        pass
    acting = asyncio.ensure_future(runtime.act(spec, Action.STOP, secrets))
    await asyncio.sleep(0.005)
    acting.cancel()
    await asyncio.wait({acting})
    steps: list[Step] = []
    while not steps:
        with suppress(Unreachable):  # one that had heard of it may be about to end under what comes next
            steps = await walk(runtime, spec, secrets)
    assert steps[-1].phase is Phase.RUNNING


async def test_engines_outlive_an_agent_that_leaves_them(
    runtime: Runtime, reopen: Callable[[], Runtime], running: WorkspaceSpec, secrets: Secrets
) -> None:
    before = await runtime.observe(running.id)
    await runtime.close(stop_engines=False)
    again = reopen()
    assert await again.list() == [running.id]
    assert await again.observe(running.id) == before
    assert [taken.phase for taken in await walk(again, running, secrets)] == [Phase.RUNNING]
    await again.close(stop_engines=False)


async def test_engines_that_were_stopped_at_the_close_are_stopped_and_come_back(
    runtime: Runtime, reopen: Callable[[], Runtime], running: WorkspaceSpec, secrets: Secrets
) -> None:
    before = await runtime.observe(running.id)
    await runtime.close(stop_engines=True)
    again = reopen()
    seen = await again.observe(running.id)
    assert (seen.exists, seen.process, seen.failures.crashes) == (True, Process.ABSENT, 0)
    steps = await walk(again, running, secrets)
    assert {taken.phase for taken in steps} == {Phase.STARTING, Phase.RUNNING}
    assert (await again.observe(running.id)).endpoint == before.endpoint
    await again.close(stop_engines=True)


def test_facts_say_what_runs_here(runtime: Runtime) -> None:
    facts = runtime.facts()
    assert facts.engine
    assert facts.engine_version
    assert facts.memory_bytes == 600 * 2**20
    assert facts.verbs == ()


async def test_a_running_workspace_has_every_metric_once_and_whole_figures(
    runtime: Runtime, running: WorkspaceSpec
) -> None:
    samples = await runtime.metrics(running.id)
    (node,) = {sample.node for sample in samples}
    assert running.id in node
    values = {sample.metric: sample.value for sample in samples}
    assert len(values) == len(samples) == len(Metric)
    assert all(value >= 0 for value in values.values())
    assert values[Metric.CPU_RESOURCE_LIMITS] > 0
    assert values[Metric.MEM_TOTAL_B] == 128 * 2**20
    assert values[Metric.DISK_TOTAL_B] >= values[Metric.DISK_USED_B]
    assert values[Metric.MAX_CONNECTIONS] >= 64


async def test_measuring_is_no_use_and_counts_nothing_itself(
    runtime: Runtime, running: WorkspaceSpec
) -> None:
    before = await runtime.observe(running.id)
    counted = []
    for _ in range(3):
        samples = await runtime.metrics(running.id)
        counted.append({sample.metric: sample.value for sample in samples if sample.metric in OF_USE})
    assert counted[0] == counted[1] == counted[2]
    assert counted[0][Metric.THREADS_CONNECTED] == counted[0][Metric.THREADS_RUNNING] == 0
    after = await runtime.observe(running.id)
    assert (after.connections, after.queries) == (before.connections, before.queries)


async def test_a_volume_has_a_weight_running_and_suspended_and_none_once_removed(
    runtime: Runtime, running: WorkspaceSpec, secrets: Secrets
) -> None:
    assert await runtime.stored_bytes(WorkspaceID(new_id())) == 0
    assert await runtime.stored_bytes(running.id) > 2**20
    await walk(runtime, to(running, Desired.SUSPENDED), secrets)
    assert await runtime.stored_bytes(running.id) > 2**20
    await walk(runtime, to(running, Desired.TERMINATED), secrets)
    assert await runtime.stored_bytes(running.id) == 0


async def test_what_does_not_run_has_no_metrics(
    runtime: Runtime, running: WorkspaceSpec, secrets: Secrets, crash: Crash
) -> None:
    assert await runtime.metrics(WorkspaceID(new_id())) == ()
    crash(running.id)
    assert await runtime.metrics(running.id) == ()
    await walk(runtime, to(running, Desired.SUSPENDED), secrets)
    assert await runtime.metrics(running.id) == ()


async def test_the_runtime_knows_its_engines_by_their_addresses(
    runtime: Runtime, running: WorkspaceSpec, address: Callable[[str], str]
) -> None:
    endpoint = (await runtime.observe(running.id)).endpoint or ""
    host, _, port = endpoint.rpartition(":")
    assert await runtime.owns(address(host), int(port)) == "an engine"
    assert await runtime.owns("192.0.2.7", 8080) == ""
