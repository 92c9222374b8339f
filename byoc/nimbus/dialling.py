"""How a client gets a line to its gateway, and what stood in the way where it gets none.

``dialler`` makes the function that ``client`` dials with. Between a cell and its gateway there may be
proxies, portals and boxes that read along; each of them answers in its own way, and whoever reads the
cell's standing should learn which one it was. The invariants: no redirection is followed, for a gateway
never sends one; and a name is looked up anew at each dial.
"""

import ipaddress
import ssl
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from websockets.http11 import Response

from byoc.errors import Unreachable, UsageError
from byoc.nimbus.transport import LINE, OPEN_SECONDS, PATH, Transport, WebSocketTransport

Dial = Callable[[], Awaitable[Transport]]
"""How a client gets a new line to the gateway; raises Unreachable."""

_BUSY: Final = 503
_PROXY_AUTH: Final = 407
_REDIRECTS: Final = range(300, 400)
_REFUSALS: Final = frozenset({401, 403, 511})
_LONGEST_WAIT: Final = 300.0
# A proxy of a kind that the library needs another library for, or with a port that is none.
_FAILURES: Final = (OSError, EOFError, ImportError, ValueError)


class Busy(Unreachable):
    """The gateway is there and has no room now.

    Attributes:
        retry_after: seconds after which it may be asked again; 0 where it did not say.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Plainly(connect):
    """A dial that takes a redirection for what it is here: the answer of somebody else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow nothing."""
        return exc


async def open_line(
    target: str, *, tls: ssl.SSLContext | None = None, headers: Mapping[str, str] | None = None
) -> ClientConnection:
    """Open a websocket to ``target``; raises what the library does.

    ``HTTPS_PROXY`` and ``NO_PROXY`` are honoured, but what is on loopback is never looked for
    through a proxy: a developer's proxy cannot reach this machine's loopback.
    """
    near = is_loopback(urllib.parse.urlsplit(target).hostname or "")
    proxy: Literal[True] | None = None if near else True
    secured: dict[str, Any] = {} if tls is None else {"ssl": tls}
    return await _Plainly(
        target,
        proxy=proxy,
        additional_headers=headers,
        user_agent_header="byoc-nimbus",
        **secured,
        **LINE,
    )


def client_context(ca: Path | None) -> ssl.SSLContext:
    """Return TLS 1.3 settings that trust ``ca`` (PEM) alone, or the system's authorities.

    Raises:
        UsageError: the file is missing or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{ca}: no CA certificate can be read from it") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def address(url: str) -> urllib.parse.SplitResult:
    """Return the parts of a gateway's URL.

    Raises:
        UsageError: it is not one of a gateway.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.scheme == "wss" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(f"not a gateway's URL: {url}", hint="it looks like wss://gateway.example.com:443")
    return parts


def dialler(url: str, *, ca: Path | None = None) -> Dial:
    """Return a function that dials the gateway at ``url`` (``wss://host:port``, the path is ours).

    Raises:
        UsageError: the URL is not one of a gateway, or the CA file cannot be read.
    """
    parts = address(url)
    target = urllib.parse.urlunsplit(("wss", parts.netloc, PATH, "", ""))
    context = client_context(ca)

    async def dial() -> Transport:
        try:
            websocket = await open_line(target, tls=context)
        except (*_FAILURES, InvalidHandshake, InvalidProxy, InvalidURI, ConnectionClosed) as error:
            raise explain(parts.netloc, error) from error
        return WebSocketTransport(websocket, their_clock=_clock_of(websocket))

    return dial


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _clock_of(websocket: ClientConnection) -> datetime | None:
    said = websocket.response.headers.get("Date", "") if websocket.response else ""
    try:
        return parsedate_to_datetime(said).astimezone(UTC)
    except ValueError:
        return None


def explain(gateway: str, error: Exception) -> Unreachable:
    """Return what a failed dial means, in words for whoever can mend it. Pure."""
    match error:
        case InvalidProxyStatus():
            return _proxy_said(gateway, error.response.status_code)
        case InvalidStatus():
            return _answered(gateway, error.response)
        case InvalidProxy():
            # What the library says of it begins with the whole address, and a password may be in that.
            message = f"the proxy cannot be used to reach {gateway}: {error.msg}"
            hint = "check HTTPS_PROXY where the agent runs"
        case ProxyError():
            message = f"the proxy cannot be used to reach {gateway}: {error}"
            hint = "check HTTPS_PROXY where the agent runs"
        case InvalidMessage() | EOFError() | ConnectionClosed():
            message = f"what answers at {gateway} is not a gateway"
            hint = "something on the way speaks in its place: a firewall, a load balancer"
        case ssl.SSLCertVerificationError():
            why = f"certificate verify failed: {error.verify_message}"
            message = f"the gateway at {gateway} shows a certificate that is not trusted: {why}"
            hint = "if a proxy inspects TLS here, give its authority as `ca` in the agent's configuration"
        case ImportError() | ValueError():
            # Its words may be a piece of the proxy's address, and so of a password.
            message = f"the address of {gateway}, or of the proxy to it, cannot be used"
            hint = "check HTTPS_PROXY where the agent runs: http://USER:PASSWORD@proxy:3128"
        case TimeoutError():
            message = f"the gateway at {gateway} did not answer in {OPEN_SECONDS:.0f} s"
            hint = "a network that drops large packets looks like this too: check the MTU on the way"
        case _:
            message = f"the gateway at {gateway} cannot be reached: {str(error) or type(error).__name__}"
            hint = ""
    return Unreachable(message, hint=hint)


def _proxy_said(gateway: str, status: int) -> Unreachable:
    if status == _PROXY_AUTH:
        hint = "put the user and password into HTTPS_PROXY: http://USER:PASSWORD@proxy:3128"
        return Unreachable(f"the proxy wants to know who asks before it lets anybody to {gateway}", hint=hint)
    hint = f"let the proxy allow CONNECT to {gateway}"
    return Unreachable(f"the proxy refuses to connect to {gateway}: it answered {status}", hint=hint)


def _answered(gateway: str, response: Response) -> Unreachable:
    status = response.status_code
    if status == _BUSY:
        return Busy(f"the gateway at {gateway} has no room now", retry_after=_seconds(response))
    if status in _REDIRECTS:
        where = response.headers.get("Location", "elsewhere")[:200]
        message = f"something between here and {gateway} sends whoever asks to {where}"
        return Unreachable(message, hint="a captive portal? Let this machine through to the gateway")
    if status in _REFUSALS:
        message = f"something between here and {gateway} refuses the tunnel: it answered {status}"
        return Unreachable(message, hint="let WebSocket upgrades to the gateway through")
    return Unreachable(f"what answers at {gateway} is not a gateway: it answered {status}")


def _seconds(response: Response) -> float:
    try:
        said = float(response.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return min(said, _LONGEST_WAIT) if said > 0 else 0.0
