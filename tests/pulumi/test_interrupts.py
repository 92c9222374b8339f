"""Every way a run is cut off, and that the next one goes on: nothing lost, nothing made twice."""

import os
import re
import signal
import threading
from pathlib import Path

import pytest

from byoc.bootstrap.engine.events import Started
from byoc.bootstrap.engine.interrupts import Patience
from byoc.bootstrap.engine.locks import Lock
from byoc.bootstrap.engine.repair import Fate
from byoc.errors import Cancelled, Failed, PreconditionFailed, StillPending
from tests.pulumi.program import RESOURCES
from tests.pulumi.test_life import MADE
from tests.pulumi.world import HOST, Tool, World, eventually

SLOW = {"aws:eks/cluster:Cluster": {"after": 4}}
"""The account has made the cluster; its answer comes 4 s later."""

FINISHING = re.compile(r"told finishing \d calls? in flight; press Ctrl-C again to abandon")
CLUSTER = "started cell aws:eks/cluster:Cluster"


def begun(world: World) -> Tool:
    """A run of another process that is in the middle of creating the cluster."""
    world.fault = SLOW
    tool = world.tool()
    tool.until(CLUSTER)
    eventually(lambda: world.leftovers()["clusters"])
    world.fault = {}
    return tool


def engine_of(world: World) -> int:
    (lock,) = world.locks()
    return lock.pid


def whole(world: World) -> None:
    """Everything there once, and the state knows it."""
    stack = world.stack()
    stack.up()
    assert stack.preview().total == 0
    assert stack.drift().total == 0
    assert world.leftovers() == MADE
    assert world.locks() == []


def test_one_interrupt_finishes_the_calls_in_flight_and_the_next_run_goes_on(world: World) -> None:
    tool = begun(world)
    tool.child.send_signal(signal.SIGINT)
    lines = tool.end()
    assert [line for line in lines if FINISHING.fullmatch(line)]
    assert any(
        line.startswith("failed Cancelled: prod: stopped; what was begun is finished") for line in lines
    )
    assert tool.child.returncode == 130
    assert (world.stack().pending(), world.locks(), world.plugins()) == ((), [], [])
    whole(world)


def test_ctrl_c_in_a_terminal_reaches_the_engine_through_us_only(world: World) -> None:
    tool = begun(world)
    os.killpg(tool.child.pid, signal.SIGINT)
    assert [line for line in tool.end() if FINISHING.fullmatch(line)]
    assert world.stack().pending() == ()
    whole(world)


def test_a_second_interrupt_abandons_and_repair_adopts_what_was_made(world: World) -> None:
    tool = begun(world)
    tool.child.send_signal(signal.SIGINT)
    tool.until("told finishing")
    tool.child.send_signal(signal.SIGINT)
    lines = tool.end()
    assert any("byoc cell repair prod" in line for line in lines)
    assert tool.child.returncode == 130
    stack = world.stack()
    assert [one.subject.name for one in stack.pending()] == ["cell"]
    with pytest.raises(PreconditionFailed, match="left 1 calls of unknown end"):
        stack.up()
    adopted(world, {"cell"})


def adopted(world: World, names: set[str]) -> None:
    """Repair finds ``names`` in the account; afterwards all is whole."""
    stack = world.stack()
    before = stack.export()
    repaired = stack.repair(world.finder)
    fates = {one.pending.subject.name: one.fate for one in repaired.decisions}
    assert names <= {name for name, fate in fates.items() if fate is Fate.ADOPT}
    assert repaired.plan.total == repaired.plan.counts.get("create", 0)
    kept = world.backend.objects.read(repaired.backup)
    assert kept is not None
    assert len(before["deployment"]["pending_operations"]) == kept.count(b'"type": "creating"')
    whole(world)


def test_a_killed_engine_leaves_a_lock_and_a_plugin_and_both_are_cleared(world: World) -> None:
    tool = begun(world)
    dead = engine_of(world)
    os.kill(dead, signal.SIGKILL)
    lines = tool.end()
    assert any(line.startswith("failed Failed: prod: the engine was killed") for line in lines)
    eventually(lambda: not world.plugins())
    assert [lock.pid for lock in world.locks()] == [dead]
    adopted(world, {"cell"})
    assert any("died; its lock is removed" in line for line in world.told)


def test_killing_us_and_the_engine_together_is_repaired_by_the_next_run(world: World) -> None:
    tool = begun(world)
    dead = engine_of(world)
    tool.child.kill()
    os.kill(dead, signal.SIGKILL)
    tool.end()
    eventually(lambda: not Path(f"/proc/{dead}").exists())
    adopted(world, {"cell"})
    eventually(lambda: not world.plugins())


def test_killing_us_alone_lets_the_engine_finish_and_record(world: World) -> None:
    tool = begun(world)
    engine = engine_of(world)
    tool.child.kill()
    tool.end()
    with pytest.raises(PreconditionFailed, match=rf"locked by .*@{HOST} \(process {engine}\)"):
        world.stack().up()
    eventually(lambda: not world.locks())
    eventually(lambda: not world.plugins())
    assert world.stack().pending() == ()
    whole(world)


def test_a_wish_to_stop_from_another_thread_is_heard(world: World) -> None:
    world.fault = SLOW
    stack = world.stack()

    def stop(fact: object) -> None:
        if isinstance(fact, Started) and fact.subject.type.endswith("Cluster"):
            threading.Thread(target=world.interrupts.ask).start()

    with pytest.raises(Cancelled, match="what was begun is finished and recorded"):
        stack.up(stop)
    with pytest.raises(Cancelled, match="nothing more was begun"):
        stack.up()
    assert stack.pending() == ()


def test_a_deadline_stops_a_run_as_a_person_would(world: World) -> None:
    world.fault = SLOW
    world.patience = Patience(deadline=3.0)
    with pytest.raises(StillPending, match="not done in time; what was begun is recorded"):
        world.stack().up()
    world.fault, world.patience = {}, Patience()
    assert world.stack().pending() == ()
    whole(world)


def test_a_lock_of_another_machine_is_refused_until_a_person_removes_it(world: World) -> None:
    stack = world.stack()
    key = ".pulumi/locks/organization/byoc/prod/one.json"
    facts = b'{"pid": 7, "username": "ann", "hostname": "laptop", "timestamp": "2026-11-24T10:00:00Z"}'
    world.backend.objects.write(key, facts)
    with pytest.raises(PreconditionFailed) as refusal:
        stack.preview()
    assert refusal.value.message == ("prod is locked by ann@laptop (process 7) since 2026-11-24T10:00:00Z")
    assert stack.unlock() == [Lock(key, 7, "ann", "laptop", "2026-11-24T10:00:00Z")]
    assert stack.preview().total == RESOURCES


def test_a_repair_that_would_replace_something_is_refused_and_deletes_nothing(world: World) -> None:
    tool = begun(world)
    os.kill(engine_of(world), signal.SIGKILL)
    tool.end()
    world.shape.cidr = "10.21.0.0/16"
    with pytest.raises(Failed, match="the next run would replace network") as refusal:
        world.stack().repair(world.finder)
    assert ".byoc/byoc/prod/backups/" in refusal.value.hint
    assert world.leftovers() == MADE
    world.shape.cidr = "10.20.0.0/16"
    whole(world)


def test_a_healthy_stack_has_nothing_to_repair(world: World) -> None:
    stack = world.stack()
    stack.up()
    repaired = stack.repair(world.finder)
    assert (repaired.decisions, repaired.backup, repaired.plan.total) == ((), "", 0)
