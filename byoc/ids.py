"""Typed identifiers. Every public id is a UUID in its canonical text form.

Vendor clients decode ids into UUIDs and fail otherwise, so nothing else may be used.
"""

import uuid
from collections.abc import Callable
from typing import NewType

from byoc.errors import UsageError

OrganizationID = NewType("OrganizationID", str)
ProjectID = NewType("ProjectID", str)
UserID = NewType("UserID", str)
CellID = NewType("CellID", str)
GroupID = NewType("GroupID", str)
WorkspaceID = NewType("WorkspaceID", str)
KeyID = NewType("KeyID", str)
IntervalID = NewType("IntervalID", str)

NewID = Callable[[], str]
"""How code is given ids: a parameter, so that tests can name them."""


def new_id() -> str:
    """Return a fresh random UUID."""
    return str(uuid.uuid4())


def parse_id(text: str, what: str) -> str:
    """Return ``text`` as a canonical UUID.

    Raises:
        UsageError: it is not one. The word ``UUID`` stands in the message because a
            vendor client looks for it.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        message = f"{what}: incorrect UUID `{text[:64]}`"
        raise UsageError(message, hint="ids look like 0b9e4c1e-6a3f-4c55-9a9e-0f1f6f6f2d11") from error
