"""Makes a Control Plane's folder: keys, database, the first organization and its owner's key.

Run by ``byoc controlplane init``; may be killed and run again at any point. The owner's key
is in ``owner.token`` (0600) and in nothing else; the database has its hash.
"""

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc import durable
from byoc.clock import Clock, SystemClock
from byoc.controlplane.fleet.service import hash_key
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.ids import KeyID, NewID, OrganizationID, ProjectID, UserID, new_id
from byoc.model.records import Organization, Project
from byoc.store.sqlite import open_store
from byoc.store.transaction import Transaction

DATABASE: Final = "byoc.sqlite"
OWNER_TOKEN: Final = "owner.token"  # noqa: S105 - the name of a file
STANDARD_PROJECT: Final = ("Standard Project", "STANDARD")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who the instance belongs to."""

    email: str = "owner@localhost"
    organization: str = "Local"


def init(
    data: Path, owner: Owner | None = None, *, clock: Clock | None = None, make_id: NewID = new_id
) -> str:
    """Make what is missing in ``data``/controlplane; return the owner's Management API key.

    Raises:
        DataInUse: the database is of a newer byoc; nothing was touched.
        Unwritable: the folder cannot be written.
        PreconditionFailed: a file that is there cannot be read.
    """
    return asyncio.run(make(data, owner or Owner(), clock or SystemClock(), make_id))


async def make(data: Path, owner: Owner, clock: Clock, make_id: NewID) -> str:
    """Do the same inside an event loop."""
    folder = data / "controlplane"
    durable.make_folder(folder)
    store = open_store(folder / DATABASE)
    try:
        now = clock.now()
        ControlPlaneKeys.make(folder, now)
        token_file = folder / OWNER_TOKEN
        if token_file.exists():
            token = token_file.read_text(encoding="ascii").strip()
            if await store.read(lambda tx: tx.identities.principal(hash_key(token), now)) is not None:
                return token
        token = secrets.token_hex(32)
        first = _First(owner, hash_key(token), make_id)
        await store.write(lambda tx: first.write(tx, clock))
        durable.write_file(token_file, token + "\n")
        return token
    finally:
        await store.close()


@dataclass(frozen=True, slots=True)
class _First:
    owner: Owner
    key_hash: str
    make_id: NewID

    def write(self, tx: Transaction, clock: Clock) -> None:
        """Add what is missing. A key that no file tells is worth nothing, so earlier ones end."""
        now = clock.now()
        organization = next(iter(tx.identities.organizations()), None)
        if organization is None:
            organization = Organization(OrganizationID(self.make_id()), self.owner.organization, now)
            tx.identities.add_organization(organization)
        if not tx.identities.projects(organization.id):
            own = ProjectID(self.make_id())
            tx.identities.add_project(Project(own, organization.id, *STANDARD_PROJECT, now))
        user = tx.identities.user(organization.id, self.owner.email)
        if user is None:
            user = UserID(self.make_id())
            tx.identities.add_user(user, organization.id, self.owner.email, now)
        tx.identities.revoke_keys(user, now)
        tx.identities.add_key(KeyID(self.make_id()), user, self.key_hash, now, None)
