"""The gateway as a process: one TLS port, the files it reads, and its end.

``byoc gateway serve`` runs :func:`serve`. Files, all in ``DIR/gateway``: ``tls.crt`` and
``tls.key`` (PEM), which may be replaced while it runs, ``root.json`` (the Control Plane's public
root key, a JWK); it writes only ``keyset.json``, the highest version of the key set it has seen,
so that an older one is refused after a restart too.
"""

import asyncio
import json
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from byoc import durable, log
from byoc.clock import Clock, SystemClock
from byoc.errors import ByocError, PreconditionFailed
from byoc.ids import new_id
from byoc.nimbus.admission import Limits
from byoc.nimbus.doorway import Strangers
from byoc.nimbus.gateway import Gateway
from byoc.nimbus.transport import listening, server_context
from byoc.wire.keys import PublicKey
from byoc.wire.keysets import open_key_set
from byoc.wire.tokens import carried_key_set, check_controlplane_login

DRAIN_SECONDS: Final = 3.0
"""How long streams may go on once the process was asked to stop."""
LOOK_SECONDS: Final = 5.0
"""How often the certificate's files are looked at."""
_LOG: Final = log.get(__name__)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How the gateway runs.

    Attributes:
        data: the instance's folder; the gateway's files are in ``gateway`` below it.
        port: 0 for any.
        host: the address to listen on.
        name: what peers bind their logins to; differs for each gateway of an installation.
    """

    data: Path
    port: int
    host: str = "127.0.0.1"
    name: str = "gateway"


class PinnedRoot:
    """Believes a Control Plane whose key set hangs from the pinned root key.

    Args:
        folder: where ``root.json`` is and ``keyset.json`` is kept.
        name: this gateway's name.
    """

    def __init__(self, folder: Path, *, name: str, clock: Clock) -> None:
        self._kept = folder / "keyset.json"
        self._name = name
        self._clock = clock
        self._root = _read_root(folder / "root.json")
        self._minimum = _read_minimum(self._kept)

    def verify(self, login: Mapping[str, Any], challenge: bytes) -> str:
        """Return the name of the Control Plane that has answered ``challenge``.

        Raises:
            NotAuthenticated: the key set or the token does not verify.
        """
        token, presented = str(login.get("token", "")), login.get("keySet")
        text = presented if isinstance(presented, str) and presented else carried_key_set(token)
        now = self._clock.now()
        key_set = open_key_set(text, root=self._root, now=now, minimum_version=self._minimum)
        issuer = check_controlplane_login(
            token, key_set.keys, challenge=challenge, audience=self._name, now=now
        )
        if key_set.version > self._minimum:
            durable.write_file(self._kept, json.dumps({"version": key_set.version}))
            self._minimum = key_set.version
        return issuer


def _read_root(path: Path) -> PublicKey:
    try:
        return PublicKey.from_jwk(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, ByocError) as error:
        hint = "byoc up and byoc controlplane init write it"
        raise PreconditionFailed(f"{path}: the control plane's root key cannot be read", hint=hint) from error


def _read_minimum(path: Path) -> int:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["version"])
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, TypeError, KeyError) as error:
        hint = "remove it if you know that no key was withdrawn"
        raise PreconditionFailed(f"{path}: not the version of a key set", hint=hint) from error


async def serve(
    settings: GatewaySettings,
    stop: asyncio.Event,
    *,
    on_ready: Callable[[int], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Run the gateway until ``stop`` is set, then drain it.

    Args:
        settings: where and how.
        stop: set by whoever wants the end.
        on_ready: called with the port once peers can connect.
        clock: the machine's, unless a test brings its own.

    Raises:
        PreconditionFailed: the port is taken, or a file is missing or wrong.
    """
    time = clock or SystemClock()
    folder = settings.data / "gateway"
    context = server_context(folder / "tls.crt", folder / "tls.key")
    limits = Limits()
    strangers = Strangers(limits.pending)
    gateway = _gateway(settings, time, limits, strangers)
    listener = listening(
        gateway.attach,
        host=settings.host,
        port=settings.port,
        context=context,
        admits=gateway.admits,
        strangers=strangers,
    )
    async with listener as port:
        _LOG.info("gateway listens", host=settings.host, port=port, name=settings.name)
        if on_ready is not None:
            on_ready(port)
        renewing = asyncio.create_task(_renew(context, folder, time))
        try:
            await stop.wait()
        finally:
            renewing.cancel()
        await gateway.stop(DRAIN_SECONDS)
    _LOG.info("gateway stopped")


async def _renew(context: ssl.SSLContext, folder: Path, clock: Clock) -> None:
    """Show a certificate that was put in the old one's place to whoever connects from then on.

    Tunnels that stand go on. Files that do not belong together are looked at again: the other
    half may be on its way.
    """
    certificate, key = folder / "tls.crt", folder / "tls.key"
    shown = _written(certificate, key)
    while True:
        await clock.sleep(LOOK_SECONDS)
        found = _written(certificate, key)
        if found == shown:
            continue
        try:
            # In a context of its own first: half a pair would be left in the one that is in use.
            server_context(certificate, key)
            context.load_cert_chain(certificate, key)
        except (ByocError, OSError) as error:
            _LOG.error("the new certificate cannot be used; the old one stays", error=str(error))
            continue
        shown = found
        _LOG.info("a new certificate is shown")


def _written(*paths: Path) -> tuple[tuple[int, int], ...] | None:
    try:
        return tuple((found.st_mtime_ns, found.st_ino) for found in (path.stat() for path in paths))
    except OSError:
        return None


def _gateway(settings: GatewaySettings, clock: Clock, limits: Limits, strangers: Strangers) -> Gateway:
    root = PinnedRoot(settings.data / "gateway", name=settings.name, clock=clock)
    return Gateway(
        name=settings.name,
        verify_controlplane=root.verify,
        clock=clock,
        new_id=new_id,
        random_bytes=os.urandom,
        limits=limits,
        on_known=strangers.known,
    )
