"""The cell's memory: what was acknowledged stays, what is not understood stops the start."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from byoc.dataplane.desired import Decision, DesiredState, Settled
from byoc.dataplane.files import FileStorage
from byoc.dataplane.life import BLOCK, Life
from byoc.dataplane.passwords import Password, Passwords
from byoc.dataplane.storage import StateBroken
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired, GroupSpec, WorkspaceSpec
from byoc.model.verbs import Verb, between

NOW = datetime(2030, 1, 1, tzinfo=UTC)
GROUP = GroupSpec(id=GroupID("11111111-1111-4111-8111-111111111111"), generation=1, name="sales")
ORDERS = WorkspaceSpec(
    id=WorkspaceID("22222222-2222-4222-8222-222222222222"),
    group_id=GROUP.id,
    generation=1,
    name="orders",
    size="S-00",
)
RAN = Settled(Phase.RUNNING, Reason.ANSWERED_SQL, NOW)
STOPPED = Settled(Phase.SUSPENDED, Reason.STOPPED_AS_ASKED, NOW)
IDLE = Decision(Reason.AUTO_SUSPENDED_IDLE, NOW, generation=1)


@pytest.fixture
def state(tmp_path: Path) -> DesiredState:
    desired = DesiredState(FileStorage(tmp_path))
    desired.put_group(GROUP)
    desired.put_workspace(ORDERS)
    return desired


def reopened(tmp_path: Path) -> DesiredState:
    return DesiredState(FileStorage(tmp_path))


def changed(spec: WorkspaceSpec, **changes: object) -> WorkspaceSpec:
    return replace(spec, generation=spec.generation + 1, **changes)  # type: ignore[arg-type]


CHANGES: dict[str, Callable[[DesiredState], None]] = {
    "a new spec": lambda s: s.put_workspace(changed(ORDERS, size="S-0")),
    "a new group spec": lambda s: s.put_group(replace(GROUP, generation=2, password_version=1)),
    "a decision": lambda s: s.decide(ORDERS.id, IDLE),
    "a settled generation": lambda s: s.settle(ORDERS.id, RAN, generation=1, exists=True),
    "a tombstone": lambda s: s.bury(ORDERS.id),
    "an end": lambda s: s.forget(ORDERS.id),
    "the end of a group": lambda s: (s.forget(ORDERS.id), s.forget(GROUP.id))[0],
}


def contents(state: DesiredState) -> object:
    return dict(state.groups), dict(state.workspaces), state.tombstones()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_a_method_returned_from_is_there_after_a_crash(
    change: Callable[[DesiredState], None], state: DesiredState, tmp_path: Path
) -> None:
    change(state)
    shutil.copytree(tmp_path / "state", tmp_path / "after the crash" / "state")
    assert contents(DesiredState(FileStorage(tmp_path / "after the crash"))) == contents(state)


def test_a_write_that_was_cut_short_is_as_if_it_had_never_begun(state: DesiredState, tmp_path: Path) -> None:
    (tmp_path / "state" / "workspaces" / f".{ORDERS.id}.json.tmp").write_text('{"spec": {"id"')
    assert contents(reopened(tmp_path)) == contents(state)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (f"workspaces/{ORDERS.id}.json", ""),
        (f"workspaces/{ORDERS.id}.json", "{"),
        (f"workspaces/{ORDERS.id}.json", "[]"),
        (f"workspaces/{ORDERS.id}.json", '{"spec": null}'),
        (f"groups/{GROUP.id}.json", '{"spec": {}, "newer": 1}'),
        (f"tombstones/{ORDERS.id}.json", "{}"),
        ("workspaces/orders.json", "{}"),
        ("groups/notes.txt", "mine"),
    ],
)
def test_what_is_not_understood_stops_the_start_and_is_named(
    path: str, content: str, state: DesiredState, tmp_path: Path
) -> None:
    file = tmp_path / "state" / path
    file.write_text(content)
    with pytest.raises(StateBroken, match=file.name):
        reopened(tmp_path)
    assert file.read_text() == content


def test_a_file_under_the_name_of_another_object_stops_the_start(state: DesiredState, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "workspaces"
    shutil.copy(folder / f"{ORDERS.id}.json", folder / "33333333-3333-4333-8333-333333333333.json")
    with pytest.raises(StateBroken, match="33333333"):
        reopened(tmp_path)


def test_a_full_disk_changes_nothing(state: DesiredState, tmp_path: Path) -> None:
    before = contents(state)
    shutil.rmtree(tmp_path / "state" / "workspaces")
    with pytest.raises(Exception, match="cannot write"):
        state.put_workspace(changed(ORDERS, size="S-0"))
    assert contents(state) == before


class TestDecisions:
    def test_a_decision_suspends_in_effect_and_leaves_the_spec_alone(self, state: DesiredState) -> None:
        state.decide(ORDERS.id, IDLE)
        held = state.workspaces[ORDERS.id]
        assert state.effective(held).desired is Desired.SUSPENDED
        assert held.spec.desired is Desired.RUNNING

    def test_a_resize_made_in_ignorance_of_it_does_not_wake_the_workspace(self, state: DesiredState) -> None:
        state.decide(ORDERS.id, IDLE)
        bigger = changed(ORDERS, size="S-0")
        assert between(state.effective_before(bigger), bigger) == {Verb.WORKSPACE_RESIZE}
        state.put_workspace(bigger)
        assert state.effective(state.workspaces[ORDERS.id]).desired is Desired.SUSPENDED

    def test_a_resume_ends_it(self, state: DesiredState) -> None:
        state.decide(ORDERS.id, IDLE)
        resumed = changed(ORDERS, desired_generation=2)
        assert between(state.effective_before(resumed), resumed) == {Verb.WORKSPACE_RESUME}
        state.put_workspace(resumed)
        held = state.workspaces[ORDERS.id]
        assert held.auto_suspended is None
        assert held.decision is None
        assert state.effective(held).desired is Desired.RUNNING

    def test_a_suspend_by_the_customer_takes_its_place(self, state: DesiredState) -> None:
        state.decide(ORDERS.id, IDLE)
        suspended = changed(ORDERS, desired=Desired.SUSPENDED, desired_generation=2)
        assert between(state.effective_before(suspended), suspended) == {Verb.WORKSPACE_SUSPEND}
        state.put_workspace(suspended)
        assert state.workspaces[ORDERS.id].auto_suspended is None

    def test_suspend_and_resume_in_one_delivery_end_it(self, state: DesiredState) -> None:
        state.decide(ORDERS.id, IDLE)
        both = replace(ORDERS, generation=3, desired_generation=3)
        state.put_workspace(both)
        assert state.effective(state.workspaces[ORDERS.id]).desired is Desired.RUNNING


class TestTermination:
    def test_the_end_of_a_group_is_the_end_of_its_workspaces(self, state: DesiredState) -> None:
        state.put_group(replace(GROUP, generation=2, desired=Desired.TERMINATED))
        assert state.effective(state.workspaces[ORDERS.id]).desired is Desired.TERMINATED

    def test_it_stays_so_when_the_group_is_gone(self, state: DesiredState) -> None:
        state.put_group(replace(GROUP, generation=2, desired=Desired.TERMINATED))
        state.forget(GROUP.id)
        assert state.effective(state.workspaces[ORDERS.id]).desired is Desired.TERMINATED

    def test_a_tombstone_remembers_the_last_spec(self, state: DesiredState, tmp_path: Path) -> None:
        last = changed(ORDERS, desired=Desired.TERMINATED)
        state.put_workspace(last)
        state.forget(ORDERS.id)
        assert reopened(tmp_path).spec(ORDERS.id) == last
        assert [grave.generation for grave in state.tombstones()] == [2]
        assert not state.workspaces

    def test_a_crash_between_tombstone_and_removal_leaves_work_to_do(
        self, state: DesiredState, tmp_path: Path
    ) -> None:
        state.put_workspace(changed(ORDERS, desired=Desired.TERMINATED))
        state.bury(ORDERS.id)
        after = reopened(tmp_path)
        assert ORDERS.id in after.workspaces
        assert after.buried(ORDERS.id)
        assert after.tombstones() == ()

    def test_a_later_generation_of_a_terminated_workspace_moves_the_tombstone(
        self, state: DesiredState, tmp_path: Path
    ) -> None:
        state.forget(ORDERS.id)
        state.put_workspace(replace(ORDERS, generation=5, desired=Desired.TERMINATED))
        assert [grave.generation for grave in reopened(tmp_path).tombstones()] == [5]
        assert not state.workspaces

    def test_a_change_that_arrives_while_it_is_removed_is_in_the_tombstone(self, state: DesiredState) -> None:
        state.bury(ORDERS.id)
        state.put_workspace(changed(ORDERS, desired=Desired.TERMINATED))
        state.forget(ORDERS.id)
        assert [grave.generation for grave in state.tombstones()] == [2]


class TestSettling:
    def test_running_since_moves_with_a_resume_only(self, state: DesiredState) -> None:
        state.settle(ORDERS.id, RAN, generation=1, exists=True)
        later = replace(RAN, since=NOW.replace(hour=5))
        state.settle(ORDERS.id, later, generation=1, exists=True)
        assert state.workspaces[ORDERS.id].running_since == NOW
        state.put_workspace(changed(ORDERS, desired_generation=2))
        state.settle(ORDERS.id, later, generation=2, exists=True)
        assert state.workspaces[ORDERS.id].running_since == later.since

    def test_an_observed_generation_never_goes_back(self, state: DesiredState) -> None:
        state.settle(ORDERS.id, STOPPED, generation=4, exists=True)
        state.settle(ORDERS.id, STOPPED, generation=2, exists=True)
        assert state.workspaces[ORDERS.id].observed_generation == 4

    def test_what_existed_once_must_exist_from_then_on(self, state: DesiredState) -> None:
        assert not state.workspaces[ORDERS.id].must_exist
        state.settle(ORDERS.id, STOPPED, generation=1, exists=True)
        state.settle(ORDERS.id, STOPPED, generation=1, exists=False)
        assert state.workspaces[ORDERS.id].must_exist

    def test_coming_to_rest_as_before_writes_nothing(self, state: DesiredState, tmp_path: Path) -> None:
        state.settle(ORDERS.id, STOPPED, generation=1, exists=True)
        file = tmp_path / "state" / "workspaces" / f"{ORDERS.id}.json"
        before = file.stat().st_ino
        state.settle(ORDERS.id, STOPPED, generation=1, exists=True)
        assert file.stat().st_ino == before

    def test_an_adopted_workspace_must_exist_from_the_start(self, tmp_path: Path) -> None:
        state = reopened(tmp_path)
        state.put_workspace(ORDERS, adopted=True)
        assert state.workspaces[ORDERS.id].must_exist


def test_only_a_cell_without_any_trace_is_empty(tmp_path: Path) -> None:
    state = reopened(tmp_path)
    assert state.empty
    state.put_group(GROUP)
    assert not state.empty
    state.forget(GROUP.id)
    assert not state.empty


class TestLife:
    def test_a_new_incarnation_lasts_and_its_numbers_go_on(self, tmp_path: Path) -> None:
        life = Life(FileStorage(tmp_path), new_id)
        ended, numbers = life.incarnation, [life.next_seq(), life.next_seq()]
        life.begin(life.another())
        assert life.incarnation != ended
        numbers.append(life.next_seq())
        again = Life(FileStorage(tmp_path), new_id)
        assert again.incarnation == life.incarnation
        assert again.next_seq() > numbers[2] > numbers[1] > numbers[0]

    @pytest.fixture
    def ids(self) -> Iterator[str]:
        return (f"{number:08d}-0000-4000-8000-000000000000" for number in count())

    def test_a_folder_keeps_its_incarnation_and_a_new_one_gets_another(
        self, tmp_path: Path, ids: Iterator[str]
    ) -> None:
        first = Life(FileStorage(tmp_path), lambda: next(ids))
        assert Life(FileStorage(tmp_path), lambda: next(ids)).incarnation == first.incarnation
        assert Life(FileStorage(tmp_path / "other"), lambda: next(ids)).incarnation != first.incarnation

    def test_numbers_never_come_twice_whenever_it_crashes(self, tmp_path: Path, ids: Iterator[str]) -> None:
        seen: list[int] = []
        for used in (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3):
            life = Life(FileStorage(tmp_path), lambda: next(ids))
            seen += [life.next_seq() for _ in range(used)]
        assert seen == sorted(set(seen))
        assert seen[0] == 1

    @pytest.mark.parametrize("lost", ["incarnation.json", "seq.json"])
    def test_a_lost_file_stops_the_start(self, lost: str, tmp_path: Path, ids: Iterator[str]) -> None:
        Life(FileStorage(tmp_path), lambda: next(ids))
        reopened(tmp_path).put_group(GROUP)
        (tmp_path / "state" / lost).unlink()
        with pytest.raises(StateBroken, match=lost):
            Life(FileStorage(tmp_path), lambda: next(ids))

    def test_a_birth_that_was_cut_short_begins_again(self, tmp_path: Path, ids: Iterator[str]) -> None:
        Life(FileStorage(tmp_path), lambda: next(ids))
        (tmp_path / "state" / "incarnation.json").unlink()
        assert Life(FileStorage(tmp_path), lambda: next(ids)).next_seq() == 1

    def test_an_incarnation_that_is_no_uuid_stops_the_start(self, tmp_path: Path, ids: Iterator[str]) -> None:
        Life(FileStorage(tmp_path), lambda: next(ids))
        (tmp_path / "state" / "incarnation.json").write_text(json.dumps({"incarnation": "second"}))
        with pytest.raises(StateBroken, match="UUID"):
            Life(FileStorage(tmp_path), lambda: next(ids))


class TestPasswords:
    def test_a_password_stays_private_and_survives(self, tmp_path: Path) -> None:
        Passwords(FileStorage(tmp_path)).put(GROUP.id, Password(1, "correct horse"))
        (file,) = (tmp_path / "secrets").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert Passwords(FileStorage(tmp_path)).get(GROUP.id) == Password(1, "correct horse")

    def test_an_older_one_never_replaces_a_newer_one(self, tmp_path: Path) -> None:
        passwords = Passwords(FileStorage(tmp_path))
        passwords.put(GROUP.id, Password(2, "new"))
        passwords.put(GROUP.id, Password(1, "old"))
        assert passwords.get(GROUP.id) == Password(2, "new")

    def test_it_is_not_in_what_a_program_prints(self) -> None:
        assert "horse" not in repr(Password(1, "correct horse"))

    def test_a_removed_one_is_gone(self, tmp_path: Path) -> None:
        passwords = Passwords(FileStorage(tmp_path))
        passwords.put(GROUP.id, Password(1, "x"))
        passwords.remove(GROUP.id)
        assert passwords.version(GROUP.id) == 0
        assert passwords.get(GROUP.id) is None
        assert Passwords(FileStorage(tmp_path)).version(GROUP.id) == 0

    def test_a_bad_file_stops_the_start_without_showing_what_it_holds(self, tmp_path: Path) -> None:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / f"{GROUP.id}.json").write_text('{"version": "horse", "password": "horse"}')
        with pytest.raises(StateBroken, match="secrets") as caught:
            Passwords(FileStorage(tmp_path))
        assert "horse" not in str(caught.value)
