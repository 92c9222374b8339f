"""Which ports an instance takes on loopback: what was asked for, what it had before, or the next free one."""

import socket
from typing import Final

from byoc.embedded import processes
from byoc.embedded.options import DEFAULT_PORT
from byoc.errors import PreconditionFailed

_HOST: Final = "127.0.0.1"
_TRIES: Final = 100


def is_free(port: int) -> bool:
    """Return whether a server may listen on ``port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier server that are still dying do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def any_free() -> int:
    """Return a port that the kernel says is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((_HOST, 0))
        _, port = probe.getsockname()
        return int(port)


def api_port(asked: int | None, kept: int) -> int:
    """Return the port of the Management API.

    Args:
        asked: by the user; 0 means any, None the one used before.
        kept: used before; 0 if there was none.

    Raises:
        PreconditionFailed: the port is taken; the message says by whom.
    """
    if asked == 0:
        return any_free()
    port = asked or kept or DEFAULT_PORT
    if not is_free(port):
        who = processes.who_listens(port)
        message = f"port {port} is taken" + (f" by {who}" if who else "")
        raise PreconditionFailed(message, hint="choose another with `byoc up --port N`")
    return port


def gateway_port(kept: int, api: int) -> int:
    """Return the port of the gateway: the one used before if it is free, else the next after ``api``."""
    candidates: list[int] = [kept, *range(api + 1, min(api + _TRIES, 65536))]
    for port in candidates:
        if port and port != api and is_free(port):
            return port
    return any_free()
