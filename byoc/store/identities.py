"""Organizations, projects, users and API keys. Of a key, only its SHA-256 is ever seen here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from byoc.ids import KeyID, OrganizationID, ProjectID, UserID
from byoc.model.records import Organization, Principal, Project
from byoc.store.rows import to_moment, to_number, to_number_or_none
from byoc.store.tables import api_keys, organizations, projects, users

_PRINCIPAL: Final = (
    select(users.c.id, users.c.organization_id, users.c.email, api_keys.c.id)
    .join_from(api_keys, users)
    .where(
        api_keys.c.hash == bindparam("key_hash"),
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("now")),
    )
)
_KEY: Final = select(api_keys.c.id).where(api_keys.c.hash == bindparam("key_hash"))
_ORGANIZATIONS: Final = select(organizations).order_by(organizations.c.created_at, organizations.c.id)
_ORGANIZATION: Final = select(organizations).where(organizations.c.id == bindparam("own"))
_PROJECTS: Final = (
    select(projects)
    .where(projects.c.organization_id == bindparam("organization"))
    .order_by(projects.c.created_at, projects.c.id)
)
_USER: Final = select(users.c.id).where(
    users.c.organization_id == bindparam("organization"), users.c.email == bindparam("address")
)


class Identities:
    """Verbs over who there is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_organization(self, organization: Organization) -> None:
        """Write a new organization."""
        values = {"id": organization.id, "name": organization.name}
        self._connection.execute(
            insert(organizations), values | {"created_at": to_number(organization.created_at)}
        )

    def add_project(self, project: Project) -> None:
        """Write a new project."""
        values = {
            "id": project.id,
            "organization_id": project.organization_id,
            "name": project.name,
            "edition": project.edition,
            "created_at": to_number(project.created_at),
        }
        self._connection.execute(insert(projects), values)

    def add_user(self, user: UserID, organization: OrganizationID, email: str, now: datetime) -> None:
        """Write a new user."""
        values = {"id": user, "organization_id": organization, "email": email, "created_at": to_number(now)}
        self._connection.execute(insert(users), values)

    def add_key(
        self, key: KeyID, user: UserID, key_hash: str, now: datetime, expires_at: datetime | None
    ) -> None:
        """Write a new key's hash."""
        values = {
            "id": key,
            "user_id": user,
            "hash": key_hash,
            "created_at": to_number(now),
            "expires_at": to_number_or_none(expires_at),
        }
        self._connection.execute(insert(api_keys), values)

    def revoke_keys(self, user: UserID, now: datetime) -> None:
        """Make every key of a user worthless."""
        self._connection.execute(
            update(api_keys)
            .where(api_keys.c.user_id == user, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=to_number(now))
        )

    def knows_key(self, key_hash: str) -> bool:
        """Whether there is a key with this hash, also one that is revoked or expired."""
        return self._connection.execute(_KEY, {"key_hash": key_hash}).first() is not None

    def principal(self, key_hash: str, now: datetime) -> Principal | None:
        """Return who holds the key with this hash, if it may be used now."""
        found = self._connection.execute(_PRINCIPAL, {"key_hash": key_hash, "now": to_number(now)}).first()
        if found is None:
            return None
        user, organization, email, key = found
        return Principal(UserID(user), OrganizationID(organization), email, KeyID(key))

    def user(self, organization: OrganizationID, email: str) -> UserID | None:
        """Return the user with this address."""
        parameters = {"organization": organization, "address": email}
        found = self._connection.execute(_USER, parameters).scalar()
        return None if found is None else UserID(found)

    def organization(self, own: OrganizationID) -> Organization | None:
        """Return one organization."""
        found = self._connection.execute(_ORGANIZATION, {"own": own}).first()
        return None if found is None else _organization(found)

    def organizations(self) -> list[Organization]:
        """Return every organization, oldest first."""
        return [_organization(row) for row in self._connection.execute(_ORGANIZATIONS)]

    def projects(self, organization: OrganizationID) -> list[Project]:
        """Return the projects of an organization, oldest first."""
        rows = self._connection.execute(_PROJECTS, {"organization": organization})
        return [
            Project(ProjectID(own), OrganizationID(of), name, edition, to_moment(created))
            for own, of, name, edition, created in rows
        ]


def _organization(row: Sequence[Any]) -> Organization:
    own, name, created = row
    return Organization(OrganizationID(own), name, to_moment(created))
