"""The public state of a group."""

from dataclasses import replace
from datetime import UTC, datetime

from byoc.ids import CellID, GroupID, OrganizationID, ProjectID
from byoc.model.group import GroupState, group_state
from byoc.model.records import GroupRecord
from byoc.model.spec import Desired, GroupSpec

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NEW = GroupRecord(
    GroupSpec(GroupID("g"), 1, "sales"), OrganizationID("o"), ProjectID("p"), CellID("c"), created_at=NOW
)


def test_a_group_is_pending_until_the_cell_has_it() -> None:
    assert group_state(NEW) is GroupState.PENDING
    assert group_state(replace(NEW, acknowledged_generation=1)) is GroupState.ACTIVE


def test_later_changes_land_while_it_stays_active() -> None:
    changed = replace(NEW, spec=replace(NEW.spec, generation=5), acknowledged_generation=1)
    assert group_state(changed) is GroupState.ACTIVE


def test_a_group_that_is_going_is_pending_until_it_is_gone() -> None:
    going = replace(NEW, spec=replace(NEW.spec, desired=Desired.TERMINATED), acknowledged_generation=2)
    assert group_state(going) is GroupState.PENDING
    assert group_state(replace(going, terminated_at=NOW)) is GroupState.TERMINATED
