"""What the public sees of a workspace group. Pure; called by the API and the CLI's server side."""

from enum import StrEnum

from byoc.model.records import GroupRecord
from byoc.model.spec import Desired


class GroupState(StrEnum):
    """The vendor's public states of a group; FAILED is never shown, clients give up on it at once."""

    ACTIVE = "ACTIVE"
    PENDING = "PENDING"
    TERMINATED = "TERMINATED"


def group_state(record: GroupRecord) -> GroupState:
    """Derive the public state.

    PENDING until the cell has it for the first time and while it is being terminated. Other
    changes (name, firewall, password) land while the group stays ACTIVE.
    """
    if record.terminated_at is not None:
        return GroupState.TERMINATED
    if record.spec.desired is Desired.TERMINATED or record.acknowledged_generation == 0:
        return GroupState.PENDING
    return GroupState.ACTIVE
