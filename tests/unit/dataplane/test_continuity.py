"""A state folder that is older than its ledger is found by what the ledger says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from byoc.dataplane import continuity
from byoc.dataplane.files import FileStorage
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_files import LEDGER
from byoc.dataplane.ledger_verify import read_records
from byoc.dataplane.state import CellState
from byoc.errors import Unwritable
from byoc.ids import new_id
from byoc.testing import ManualClock
from byoc.testing.cell import GROUP, ORDERS, following


@dataclass
class Folder:
    path: Path
    ledger: Ledger

    def state(self) -> CellState:
        """Open the state as an agent that starts."""
        return CellState.open(FileStorage(self.path), self.ledger, new_id, lambda: None)

    def request(self, name: str, generations: Sequence[int], outcome: str = "applied") -> None:
        """Record a delivery and how it ended."""
        changes = [{"generation": generation, "verb": "workspace.resize"} for generation in generations]
        seq = self.ledger.record("received", target=f"/cell/v1/workspaces/{name}", changes=changes)
        if outcome:
            self.ledger.record("outcome", request=seq, outcome=outcome)

    def check(self) -> bool:
        return continuity.check(self.path / "ledger", self.state())

    def begun(self) -> list[str]:
        records = read_records(self.path / "ledger")
        return [record["began"] for record in records if record["kind"] == "incarnation"]


@pytest.fixture
def folder(tmp_path: Path, clock: ManualClock) -> Folder:
    made = Folder(tmp_path, Ledger(tmp_path / "ledger", clock, new_id))
    made.ledger.open()
    state = made.state()
    state.desired.put_group(GROUP)
    state.desired.put_workspace(following(ORDERS))
    return made


def test_a_state_that_holds_what_was_applied_goes_on(folder: Folder) -> None:
    folder.request(ORDERS.id, [1])
    folder.request(ORDERS.id, [2])
    began = folder.state().life.incarnation
    assert not folder.check()
    assert folder.state().life.incarnation == began
    assert folder.begun() == []


@pytest.mark.parametrize(
    ("name", "generations", "held"), [(ORDERS.id, [2, 3], 2), (new_id(), [1], 0)], ids=["older", "missing"]
)
def test_a_state_that_lacks_what_was_applied_begins_a_new_incarnation_once(
    folder: Folder, name: str, generations: list[int], held: int
) -> None:
    ended = folder.state().life.incarnation
    folder.request(name, generations)
    assert folder.check()
    (record,) = [r for r in read_records(folder.path / "ledger") if r["kind"] == "incarnation"]
    assert (record["id"], record["held"], record["applied"]) == (name, held, generations[-1])
    assert (record["ended"], record["began"]) == (ended, folder.state().life.incarnation)
    assert not folder.check()


@pytest.mark.parametrize("outcome", ["refused", "failed", "known", ""])
def test_only_what_was_applied_counts(folder: Folder, outcome: str) -> None:
    folder.request(ORDERS.id, [9], outcome)
    assert not folder.check()


def test_what_is_buried_is_held(folder: Folder) -> None:
    state = folder.state()
    state.desired.forget(ORDERS.id)
    folder.request(ORDERS.id, [2])
    assert not folder.check()


def test_a_crash_between_the_record_and_the_new_incarnation_is_made_good(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.request(ORDERS.id, [3])
    ended = folder.state().life.incarnation

    def full(*_: object, **__: object) -> None:
        raise Unwritable("no space")

    monkeypatch.setattr("byoc.dataplane.storage.put", full)
    with pytest.raises(Unwritable):
        folder.check()
    monkeypatch.undo()
    assert folder.state().life.incarnation == ended
    assert folder.check()
    assert folder.begun()[-1] == folder.state().life.incarnation


def test_without_a_record_there_is_no_new_incarnation(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.request(ORDERS.id, [3])
    ended = folder.state().life.incarnation

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("byoc.durable.append_to", full)
    with pytest.raises(Unwritable):
        folder.check()
    assert folder.state().life.incarnation == ended


def test_a_copy_of_an_incarnation_that_is_over_is_found_though_it_lacks_nothing(folder: Folder) -> None:
    before = (folder.path / "state" / "incarnation.json").read_bytes()
    folder.state().begin_anew("controlplane")
    (folder.path / "state" / "incarnation.json").write_bytes(before)
    assert folder.check()
    assert len(set(folder.begun())) == 2


def _remove(path: Path) -> None:
    path.unlink()


def _damage(path: Path) -> None:
    path.write_bytes(b"\xff\nnot a record\n" + path.read_bytes())


@pytest.mark.parametrize("harm", [_remove, _damage])
def test_a_ledger_that_says_nothing_proves_nothing(folder: Folder, harm: Callable[[Path], None]) -> None:
    harm(folder.path / "ledger" / LEDGER)
    assert not folder.check()


def test_only_the_end_of_a_long_ledger_is_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.request(ORDERS.id, [9])
    for _ in range(20):
        folder.ledger.record("note", text="x" * 100)
    assert continuity.look(folder.path / "ledger")[1] == {ORDERS.id: 9}
    monkeypatch.setattr(continuity, "LOOK_BACK", 2000)
    assert continuity.look(folder.path / "ledger")[1] == {}


def test_what_a_chain_says_of_terms_before_the_other_agent_began_anew_proves_nothing(
    folder: Folder,
) -> None:
    folder.ledger.record("leader", epoch=1)
    folder.state().begin_anew("ledger")
    folder.request(ORDERS.id, [3])
    other = CellState.open(FileStorage(folder.path), folder.ledger, new_id, lambda: None, epoch=2)
    other.life.begin(new_id())
    folder.ledger.record("leader", epoch=3)
    assert not folder.check()


def test_a_state_older_than_this_agents_own_newest_term_is_found(folder: Folder) -> None:
    CellState.open(FileStorage(folder.path), folder.ledger, new_id, lambda: None, epoch=2).life.begin(
        new_id()
    )
    folder.ledger.record("leader", epoch=3)
    folder.request(ORDERS.id, [3])
    folder.ledger.record("leader", epoch=4)
    assert folder.check()
