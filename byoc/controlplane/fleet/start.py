"""Makes a Control Plane's folder: keys, database, the first organization and its owner's key.

Run by ``byoc controlplane init``; may be killed and run again at any point. The owner's key
is in ``owner.token`` (0600) and in nothing else; the database has its hash. The invariants:
whoever runs this has, at the end, a file with a key that works; no key that worked before
stops working, unless a new one is asked for in so many words; and a database with cells in it
never gets another root than the one that they trust.
"""

import asyncio
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from byoc import durable
from byoc.clock import Clock, SystemClock
from byoc.controlplane.fleet.service import hash_key
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.errors import PreconditionFailed
from byoc.ids import KeyID, NewID, OrganizationID, ProjectID, UserID, new_id
from byoc.model.records import Organization, Project
from byoc.store.seam import Store
from byoc.store.sqlite import open_store
from byoc.store.transaction import Transaction

DATABASE: Final = "byoc.sqlite"
OWNER_TOKEN: Final = "owner.token"  # noqa: S105 - the name of a file
STANDARD_PROJECT: Final = ("Standard Project", "STANDARD")
_TOKEN_BYTES: Final = 32
_TOKEN: Final = re.compile(rf"[0-9a-f]{{{2 * _TOKEN_BYTES}}}")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who the instance belongs to."""

    email: str = "owner@localhost"
    organization: str = "Local"


def init(
    data: Path,
    owner: Owner | None = None,
    *,
    clock: Clock | None = None,
    make_id: NewID = new_id,
    renew: bool = False,
) -> str:
    """Make what is missing in ``data``/controlplane; return the owner's Management API key.

    ``renew``: make a new key, and end every other one of the owner's.

    Raises:
        DataInUse: the database is of a newer byoc; nothing was touched.
        Unwritable: the folder cannot be written.
        PreconditionFailed: a file that is there cannot be read, or the root key that cells trust is gone.
    """
    return asyncio.run(make(data, owner or Owner(), clock or SystemClock(), make_id, renew=renew))


async def make(data: Path, owner: Owner, clock: Clock, make_id: NewID, *, renew: bool = False) -> str:
    """Do the same inside an event loop."""
    folder = data / "controlplane"
    durable.make_folder(folder)
    store = open_store(folder / DATABASE)
    try:
        if not ControlPlaneKeys.root_file(folder).exists():
            await _check_no_cell_trusts_another(store, folder)
        ControlPlaneKeys.make(folder, clock.now())
        token_file = folder / OWNER_TOKEN
        token = "" if renew else await _usable(store, _read(token_file), clock)
        if not token:
            token = secrets.token_hex(_TOKEN_BYTES)
            # Before the database: what a crash leaves here is taken over by the next run.
            durable.write_file(token_file, token + "\n")
        first = _First(owner, hash_key(token), make_id, renew=renew)
        await store.write(lambda tx: first.write(tx, clock))
        return token
    finally:
        await store.close()


async def _check_no_cell_trusts_another(store: Store, folder: Path) -> None:
    cells = await store.read(lambda tx: tx.cells.all())
    if any(held.record.signing_key is not None for held in cells):
        message = f"the root key that enrolled cells trust is missing: {ControlPlaneKeys.root_file(folder)}"
        raise PreconditionFailed(message, hint="bring the folder `keys` back from the backup")


def _read(file: Path) -> str:
    return file.read_bytes().decode("ascii", "replace").strip() if file.exists() else ""


async def _usable(store: Store, token: str, clock: Clock) -> str:
    """Return the key of the owner's file if it works, or may be made to; "" if a new one is needed.

    One that the database does not know was written just before a crash, or the database is
    older than the file; one that it knows as revoked or expired stays so.
    """
    name = hash_key(token)
    if await store.read(lambda tx: tx.identities.knows_key(name)):
        found = await store.read(lambda tx: tx.identities.principal(name, clock.now()))
        return token if found is not None else ""
    return token if _TOKEN.fullmatch(token) else ""


@dataclass(frozen=True, slots=True)
class _First:
    owner: Owner
    key_hash: str
    make_id: NewID
    renew: bool

    def write(self, tx: Transaction, clock: Clock) -> None:
        """Add what is missing."""
        now = clock.now()
        organization = next(iter(tx.identities.organizations()), None)
        if organization is None:
            organization = Organization(OrganizationID(self.make_id()), self.owner.organization, now)
            tx.identities.add_organization(organization)
        if not tx.identities.projects(organization.id):
            own = ProjectID(self.make_id())
            tx.identities.add_project(Project(own, organization.id, *STANDARD_PROJECT, now))
        user = tx.identities.user(organization.id, self.owner.email)
        if tx.identities.knows_key(self.key_hash):
            return
        if user is None:
            user = UserID(self.make_id())
            tx.identities.add_user(user, organization.id, self.owner.email, now)
        if self.renew:
            tx.identities.revoke_keys(user, now)
        tx.identities.add_key(KeyID(self.make_id()), user, self.key_hash, now, None)
