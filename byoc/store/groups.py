"""Workspace groups, and their sealed passwords until the cell has them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from byoc.ids import CellID, GroupID, OrganizationID, ProjectID
from byoc.model.records import GroupRecord
from byoc.model.report import Condition
from byoc.model.spec import GroupSpec
from byoc.store.rows import (
    dump_group,
    load_group,
    to_moment,
    to_moment_or_none,
    to_number,
    to_number_or_none,
)
from byoc.store.setting import set_columns
from byoc.store.tables import groups, sealed_passwords
from byoc.store.values import HeldGroup

_GROUP: Final = select(
    groups.c.spec,
    groups.c.organization_id,
    groups.c.project_id,
    groups.c.cell_id,
    groups.c.created_at,
    groups.c.acknowledged_generation,
    groups.c.terminated_at,
    groups.c.expires_at,
    groups.c.deployment_type,
    groups.c.high_availability,
    groups.c.opt_in_preview,
    groups.c.condition,
    groups.c.accepted,
)
_ADD: Final = insert(groups)
_ORDER: Final = (groups.c.created_at, groups.c.id)
_ONE: Final = _GROUP.where(groups.c.id == bindparam("own"))
_OF_ORGANIZATION: Final = _GROUP.where(groups.c.organization_id == bindparam("organization")).order_by(
    *_ORDER
)
_LIVE_OF_ORGANIZATION: Final = _OF_ORGANIZATION.where(groups.c.terminated_at.is_(None))
_OF_CELL: Final = _GROUP.where(
    groups.c.cell_id == bindparam("cell"), groups.c.terminated_at.is_(None)
).order_by(*_ORDER)
_DUE: Final = (
    select(groups.c.id)
    .where(
        groups.c.cell_id == bindparam("cell"),
        groups.c.terminated_at.is_(None),
        groups.c.generation > groups.c.acknowledged_generation,
    )
    .order_by(*_ORDER)
)
_ANY_DUE: Final = _DUE.order_by(None).limit(1)
_EXPIRED: Final = _GROUP.where(
    groups.c.terminated_at.is_(None), groups.c.expires_at <= bindparam("now")
).order_by(*_ORDER)
_NAMED: Final = select(groups.c.id).where(
    groups.c.organization_id == bindparam("organization"),
    groups.c.name == bindparam("wanted"),
    groups.c.terminated_at.is_(None),
)
_LIVE_COUNT: Final = select(func.count()).select_from(groups).where(groups.c.terminated_at.is_(None))
_SEALED: Final = select(sealed_passwords.c.sealed).where(
    sealed_passwords.c.group_id == bindparam("group"), sealed_passwords.c.version == bindparam("wanted")
)


class Groups:
    """Verbs over groups."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, group: GroupRecord, accepted: GroupSpec | None = None) -> None:
        """Write a new group."""
        values = {
            "id": group.spec.id,
            "organization_id": group.organization_id,
            "project_id": group.project_id,
            "cell_id": group.cell_id,
            **_intent(group.spec),
            "acknowledged_generation": group.acknowledged_generation,
            "accepted": None if accepted is None else dump_group(accepted),
            "created_at": to_number(group.created_at),
            "terminated_at": to_number_or_none(group.terminated_at),
            "expires_at": to_number_or_none(group.expires_at),
            "deployment_type": group.deployment_type,
            "high_availability": group.high_availability,
            "opt_in_preview": group.opt_in_preview,
            "condition": group.condition.value,
        }
        self._connection.execute(_ADD, values)

    def get(self, own: str) -> HeldGroup | None:
        """Return one group, also a terminated one."""
        found = self._connection.execute(_ONE, {"own": own}).first()
        return None if found is None else _group(found)

    def of_organization(self, organization: OrganizationID, *, include_terminated: bool) -> list[GroupRecord]:
        """Return the groups of an organization, oldest first."""
        query = _OF_ORGANIZATION if include_terminated else _LIVE_OF_ORGANIZATION
        rows = self._connection.execute(query, {"organization": organization})
        return [_group(row).record for row in rows]

    def of_cell(self, cell: CellID) -> list[HeldGroup]:
        """Return the live groups of a cell, oldest first."""
        return [_group(row) for row in self._connection.execute(_OF_CELL, {"cell": cell})]

    def due(self, cell: CellID) -> list[GroupID]:
        """Return the ids of groups whose newest generation the cell has not acknowledged, oldest first."""
        return [GroupID(own) for (own,) in self._connection.execute(_DUE, {"cell": cell})]

    def any_due(self, cell: CellID) -> bool:
        """Whether there is one of them."""
        return self._connection.execute(_ANY_DUE, {"cell": cell}).first() is not None

    def expired(self, now: datetime) -> list[HeldGroup]:
        """Return the live groups whose time is over."""
        return [_group(row) for row in self._connection.execute(_EXPIRED, {"now": to_number(now)})]

    def named(self, organization: OrganizationID, name: str) -> GroupID | None:
        """Return the live group of this name."""
        parameters = {"organization": organization, "wanted": name}
        found = self._connection.execute(_NAMED, parameters).scalar()
        return None if found is None else GroupID(found)

    def count_live(self) -> int:
        """Return how many groups are not terminated."""
        return int(self._connection.execute(_LIVE_COUNT).scalar_one())

    def put_intent(self, spec: GroupSpec) -> None:
        """Write a newer generation."""
        self._set(spec.id, **_intent(spec))

    def put_beside(self, own: GroupID, **values: str | datetime | None) -> None:
        """Change what the cell is not told: ``deployment_type``, ``expires_at``."""
        numbers = {
            name: to_number(value) if isinstance(value, datetime) else value for name, value in values.items()
        }
        self._set(own, **numbers)

    def acknowledge(self, accepted: GroupSpec) -> None:
        """Note that the cell holds exactly this spec."""
        self._set(accepted.id, acknowledged_generation=accepted.generation, accepted=dump_group(accepted))

    def forget_acknowledgement(self, own: GroupID) -> None:
        """Note that the cell holds nothing of it."""
        self._set(own, acknowledged_generation=0)

    def set_condition(self, own: GroupID, condition: Condition) -> None:
        """Note what the owner should know."""
        self._set(own, condition=condition.value)

    def terminate(self, own: GroupID, at: datetime) -> None:
        """Note that nothing is left of it."""
        self._set(own, terminated_at=to_number(at))
        self.drop_sealed(own)

    def revive(self, own: GroupID) -> None:
        """Note that it is there after all: its cell was restored from a copy."""
        self._set(own, terminated_at=None)

    def _set(self, own: GroupID, **values: object) -> None:
        set_columns(self._connection, groups, own, values)

    # --- sealed passwords ----------------------------------------------------------------

    def put_sealed(self, own: GroupID, version: int, sealed: str, now: datetime) -> None:
        """Keep a sealed password; older ones are of no use any more."""
        self.drop_sealed(own)
        row = {"group_id": own, "version": version, "sealed": sealed, "created_at": to_number(now)}
        self._connection.execute(upsert(sealed_passwords).values(row))

    def sealed(self, own: GroupID, version: int) -> str | None:
        """Return the sealed password of this version, if it is still here."""
        parameters = {"group": own, "wanted": version}
        return self._connection.execute(_SEALED, parameters).scalar()

    def drop_sealed(self, own: GroupID, up_to: int | None = None) -> None:
        """Delete sealed passwords: all, or those up to a version."""
        gone = delete(sealed_passwords).where(sealed_passwords.c.group_id == own)
        if up_to is not None:
            gone = gone.where(sealed_passwords.c.version <= up_to)
        self._connection.execute(gone)


def _intent(spec: GroupSpec) -> dict[str, object]:
    return {"name": spec.name, "generation": spec.generation, "spec": dump_group(spec)}


def _group(row: Sequence[Any]) -> HeldGroup:
    (
        spec, organization, project, cell, created, acknowledged, terminated, expires,
        deployment, high_availability, opt_in, condition, accepted,
    ) = row  # fmt: skip
    record = GroupRecord(
        load_group(spec),
        OrganizationID(organization),
        ProjectID(project),
        CellID(cell),
        to_moment(created),
        acknowledged,
        to_moment_or_none(terminated),
        to_moment_or_none(expires),
        deployment,
        bool(high_availability),
        bool(opt_in),
        Condition(condition),
    )
    return HeldGroup(record, None if accepted is None else load_group(accepted))
