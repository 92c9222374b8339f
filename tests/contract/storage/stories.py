"""What every storage promises. A test class inherits the stories and gives ``reopen`` and ``storage``."""

from collections.abc import Callable

import pytest

from byoc.dataplane.desired import DesiredState
from byoc.dataplane.keys import CellKeys, Identity
from byoc.dataplane.life import Life
from byoc.dataplane.meter import Compute, Engine, Meter
from byoc.dataplane.passwords import Password, Passwords
from byoc.dataplane.storage import NAMED_BY_ID, Shelf, StateBroken, Storage
from byoc.ids import CellID, OrganizationID, new_id
from byoc.testing import ManualClock
from byoc.testing.cell import GROUP, ORDERS

Open = Callable[[], Storage]
ONE, TWO = ORDERS.id, GROUP.id


def opened(storage: Storage) -> Storage:
    """Read every shelf once, as each part of the cell does before it writes."""
    for shelf in NAMED_BY_ID:
        list(storage.each(shelf))
    return storage


class StorageStories:
    @pytest.mark.parametrize("shelf", sorted(NAMED_BY_ID))
    def test_what_was_stored_is_there_after_a_crash(
        self, storage: Storage, reopen: Open, shelf: Shelf
    ) -> None:
        storage.change(shelf, {ONE: b'{"a":1}', TWO: b'{"b":2}'})
        storage.change(shelf, {ONE: b'{"a":3}'})
        again = reopen()
        assert dict(again.each(shelf)) == {ONE: b'{"a":3}', TWO: b'{"b":2}'}
        assert again.read(shelf, ONE) == b'{"a":3}'

    @pytest.mark.parametrize("shelf", sorted(NAMED_BY_ID))
    def test_what_was_removed_is_gone_after_a_crash(
        self, storage: Storage, reopen: Open, shelf: Shelf
    ) -> None:
        storage.change(shelf, {ONE: b"{}", TWO: b"{}"})
        storage.change(shelf, {ONE: None, new_id(): None})
        assert storage.read(shelf, ONE) is None
        assert [name for name, _ in reopen().each(shelf)] == [TWO]

    def test_one_change_stores_and_removes(self, storage: Storage, reopen: Open) -> None:
        storage.change(Shelf.GROUPS, {ONE: b"{}"})
        storage.change(Shelf.GROUPS, {ONE: None, TWO: b"{}"})
        assert [name for name, _ in storage.each(Shelf.GROUPS)] == [TWO]
        assert [name for name, _ in reopen().each(Shelf.GROUPS)] == [TWO]

    def test_records_come_in_the_order_of_their_names(self, storage: Storage) -> None:
        names = [new_id() for _ in range(30)]
        storage.change(Shelf.WORKSPACES, dict.fromkeys(names, b"{}"))
        assert [name for name, _ in storage.each(Shelf.WORKSPACES)] == sorted(names)

    def test_shelves_are_apart(self, storage: Storage) -> None:
        storage.change(Shelf.WORKSPACES, {ONE: b"{}"})
        assert storage.read(Shelf.TOMBSTONES, ONE) is None

    def test_what_has_no_name_of_ours_stops_the_start(self, storage: Storage, reopen: Open) -> None:
        storage.change(Shelf.WORKSPACES, {"notes": b"{}"})
        with pytest.raises(StateBroken, match="notes"):
            reopen()

    def test_an_error_names_where_a_person_has_to_look(self, storage: Storage) -> None:
        assert ONE in storage.where(Shelf.WORKSPACES, ONE)

    def test_a_whole_cell_comes_back(self, storage: Storage, reopen: Open, clock: ManualClock) -> None:
        keys, life = CellKeys.load_or_create(storage), Life(storage, new_id)
        Identity(CellID("c"), OrganizationID("o")).store(storage)
        desired, passwords, meter = DesiredState(storage), Passwords(storage), Meter(storage, new_id)
        desired.put_group(GROUP)
        desired.put_workspace(ORDERS)
        passwords.put(GROUP.id, Password(1, "correct horse"))
        meter.follow(ORDERS.id, Engine(alive=True, ready=True, compute=Compute("S-00", 1, 1)), clock.now())
        number = life.next_seq()

        again = reopen()
        assert CellKeys.load_or_create(again).thumbprint == keys.thumbprint
        assert Identity.load(again) == Identity(CellID("c"), OrganizationID("o"))
        assert Life(again, new_id).incarnation == life.incarnation
        assert Life(again, new_id).next_seq() > number
        assert DesiredState(again).workspaces == desired.workspaces
        assert Passwords(again).get(GROUP.id) == Password(1, "correct horse")
        assert Meter(again, new_id).intervals() == meter.intervals()
