"""The seam of the store: two verbs, each over a function that sees one transaction.

Implemented by ``byoc.store.sqlite``. The functions are plain ones without ``await``, so that
nothing else can happen in their middle; what they return has been decided and, for ``write``,
is on disk when the caller sees it.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from byoc.store.transaction import Transaction

T = TypeVar("T")

Topics = frozenset[str]
Listener = Callable[[Topics], None]
"""Told what a commit was about: ids of workspaces and cells that the transactions named."""


class Store(Protocol):
    """The Control Plane's memory."""

    async def write(self, change: Callable[[Transaction], T], /) -> T:
        """Run ``change`` as one transaction and return its result once it is durable.

        Whatever ``change`` raises undoes all it wrote and reaches the caller.

        Raises:
            Unwritable: the disk took no more; nothing was written.
        """
        ...

    async def read(self, look: Callable[[Transaction], T], /) -> T:
        """Run ``look`` over one consistent picture of everything committed before."""
        ...

    async def scan(self, look: Callable[[Transaction], T], /) -> T:
        """Like ``read``, for queries whose size nobody knows: other work goes on meanwhile."""
        ...

    def listen(self, listener: Listener, /) -> None:
        """Have ``listener`` called after every commit."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let the database go."""
        ...
