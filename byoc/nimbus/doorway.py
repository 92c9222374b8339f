"""The gateway's port: how many may stand in the door before they have said who they are.

Used by ``transport.listening``; ``gateway`` says who is known. A connection counts from the moment the kernel
hands it over, long before TLS or the websocket are through. When the room is full the one that
has stood there longest has to go, not the one that comes: who is honest needs a tenth of a
second, so a crowd that says nothing keeps nobody out.
"""

import contextlib
import socket
from collections import OrderedDict
from typing import Final

_BACKLOG: Final = 1024


class Strangers:
    """Connections of peers that have not logged in, oldest first.

    Args:
        most: how many there may be at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: OrderedDict[str, socket.socket] = OrderedDict()

    def __len__(self) -> int:
        self._forget_closed()
        return len(self._waiting)

    def came(self, peer: str, line: socket.socket) -> None:
        """Take in one more; the oldest is turned out where that is one too many."""
        self._waiting[peer] = line
        if len(self._waiting) > self._most:
            self._forget_closed()
        while len(self._waiting) > self._most:
            _, oldest = self._waiting.popitem(last=False)
            # Whoever holds the socket sees its end and closes it.
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)

    def known(self, peer: str) -> None:
        """``peer`` has said who it is: it is no stranger any more."""
        self._waiting.pop(peer, None)

    def _forget_closed(self) -> None:
        for peer in [peer for peer, line in self._waiting.items() if line.fileno() < 0]:
            del self._waiting[peer]


class Doorway(socket.socket):
    """A listening socket that counts in everybody whom it accepts."""

    strangers: Strangers

    def accept(self) -> tuple[socket.socket, object]:
        """Return the next connection and its address."""
        line, address = super().accept()
        self.strangers.came(name_of(address), line)
        return line, address


def open_doorway(host: str, port: int, strangers: Strangers) -> Doorway:
    """Return a listening socket on the first address of ``host``.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    doorway = Doorway(family, kind, protocol)
    doorway.strangers = strangers
    try:
        doorway.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        doorway.bind(address)
        doorway.listen(_BACKLOG)
        doorway.setblocking(False)
    except OSError:
        doorway.close()
        raise
    return doorway


def name_of(address: object) -> str:
    """Return a peer's address as it stands in logs."""
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "unknown"
