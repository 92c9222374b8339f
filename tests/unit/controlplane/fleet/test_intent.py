"""New generations of specs, and what is refused before one is written."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from byoc.controlplane.fleet import intent
from byoc.errors import IllegalState, LimitReached, UsageError
from byoc.ids import CellID, GroupID, OrganizationID, ProjectID, WorkspaceID
from byoc.model.records import CellRecord, CellState, GroupChanges, GroupRecord, WorkspaceChanges
from byoc.model.report import CellFacts
from byoc.model.spec import AutoScale, AutoSuspend, Desired, GroupSpec, SuspendType, WorkspaceSpec
from byoc.model.verbs import Verb, between

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SPEC = WorkspaceSpec(WorkspaceID("w"), GroupID("g"), 3, "orders", "S-00")
GROUP = GroupSpec(GroupID("g"), 3, "sales", password_version=2)
FACTS = CellFacts("MariaDB", "10.11", "0.1", 1, 4 * 2**30)
CELL = CellRecord(
    CellID("c"),
    OrganizationID("o"),
    "local",
    "AWS",
    "US Local",
    "local",
    CellState.ENROLLED,
    NOW,
    sealing_key={"kty": "OKP"},
    facts=FACTS,
)


def test_an_update_changes_what_was_asked_for_and_the_generation() -> None:
    changed = intent.updated_workspace(SPEC, WorkspaceChanges(size="S-1", auto_scale=AutoScale(2)))
    assert changed == replace(SPEC, generation=4, size="S-1", auto_scale=AutoScale(2))


def test_an_update_does_not_say_that_it_should_run() -> None:
    changed = intent.updated_workspace(SPEC, WorkspaceChanges(size="S-1"))
    assert changed.desired_generation == SPEC.desired_generation
    assert between(SPEC, changed) == {Verb.WORKSPACE_RESIZE}


def test_suspend_and_resume_say_so_in_their_own_generation() -> None:
    down = intent.suspended(SPEC)
    assert (down.desired, down.desired_generation) == (Desired.SUSPENDED, 4)
    up = intent.resumed(down, disable_auto_suspend=False)
    assert (up.desired, up.desired_generation) == (Desired.RUNNING, 5)
    assert between(down, up) == {Verb.WORKSPACE_RESUME}


def test_a_resume_of_what_the_cell_suspended_by_itself_is_a_resume() -> None:
    assert between(SPEC, intent.resumed(SPEC, disable_auto_suspend=False)) == {Verb.WORKSPACE_RESUME}


def test_resume_can_take_auto_suspend_away() -> None:
    idle = replace(SPEC, auto_suspend=AutoSuspend(SuspendType.IDLE, 60))
    assert intent.resumed(idle, disable_auto_suspend=True).auto_suspend == AutoSuspend()
    assert intent.without_auto_suspend(idle) == replace(idle, generation=4, auto_suspend=AutoSuspend())
    assert intent.without_auto_suspend(SPEC) is None


def test_a_new_password_raises_its_version_and_nothing_else() -> None:
    changed = intent.updated_group(GROUP, GroupChanges(admin_password=""))
    assert changed == replace(GROUP, generation=4, password_version=3)
    assert between(GROUP, changed) == {Verb.GROUP_PASSWORD}


def test_termination_is_its_own_verb() -> None:
    assert between(SPEC, intent.terminated_workspace(SPEC)) == {Verb.WORKSPACE_TERMINATE}
    assert between(GROUP, intent.terminated_group(GROUP)) == {Verb.GROUP_TERMINATE}


@pytest.mark.parametrize(("size", "scale"), [("S-00", 1), ("S-1", 4), ("S-8", 1), ("S-4", 2)])
def test_a_size_that_fits_a_local_cell_is_taken(size: str, scale: int) -> None:
    # 1/128 of the real memory: S-8 is 4 GiB here.
    intent.check_size(CELL, size, scale)
    with pytest.raises(UsageError):
        intent.check_size(replace(CELL, facts=replace(FACTS, memory_bytes=2**20)), size, scale)


@pytest.mark.parametrize(("size", "scale"), [("S-12", 1), ("S-8", 2), ("S-384", 4)])
def test_a_size_above_the_machine_is_refused(size: str, scale: int) -> None:
    with pytest.raises(UsageError, match=r"cell `local` has 4\.0 GiB"):
        intent.check_size(CELL, size, scale)


def test_another_engine_needs_the_whole_memory() -> None:
    facts = replace(FACTS, engine="SingleStore", memory_bytes=32 * 2**30)
    intent.check_size(replace(CELL, facts=facts), "S-0", 1)
    with pytest.raises(UsageError):
        intent.check_size(replace(CELL, facts=facts), "S-1", 1)


def test_a_cell_that_has_not_said_what_it_is_refuses_no_size() -> None:
    intent.check_size(replace(CELL, facts=None), "S-384", 4)
    assert intent.check_cell(CELL) is None


@pytest.mark.parametrize("cell", [replace(CELL, sealing_key=None), replace(CELL, state=CellState.RETIRED)])
def test_intent_for_a_cell_that_cannot_carry_it_out_is_refused(cell: CellRecord) -> None:
    with pytest.raises(IllegalState):
        intent.check_cell(cell)


def test_a_group_that_goes_or_is_gone_takes_no_change() -> None:
    record = GroupRecord(GROUP, OrganizationID("o"), ProjectID("p"), CellID("c"), NOW)
    intent.check_live(record)
    for ended in (replace(record, terminated_at=NOW), replace(record, spec=intent.terminated_group(GROUP))):
        with pytest.raises(IllegalState):
            intent.check_live(ended)


def test_changes_do_not_pile_up_beyond_what_a_delivery_can_bring() -> None:
    intent.check_room(500, 1)
    with pytest.raises(LimitReached):
        intent.check_room(501, 1)
