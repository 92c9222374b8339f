"""The Control Plane's tunnels to the gateways, and through them the way to every cell.

One :class:`TunnelClient` for each gateway that is configured, kept up in the background. The
invariant: a session counts as open only while the tunnel to its gateway stands; when that
breaks, its sessions are forgotten, and when it is back, the cells behind it log in again.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final
from weakref import WeakValueDictionary

from byoc import log
from byoc.clock import Clock
from byoc.controlplane.fleet import topics
from byoc.controlplane.keys import ISSUER, ControlPlaneKeys
from byoc.errors import ByocError, CellAway, Unreachable
from byoc.ids import CellID, NewID
from byoc.nimbus import http
from byoc.nimbus.backoff import CAP
from byoc.nimbus.client import ClientState, Phase, TunnelClient
from byoc.nimbus.dialling import Dial
from byoc.nimbus.handshake import Role
from byoc.nimbus.http import ASGIApp, HttpRequest, HttpResponse, Room
from byoc.nimbus.stream import Stream
from byoc.store.seam import Store
from byoc.store.transaction import Transaction
from byoc.wire import tokens

SERVICES: Final = ("cell:", "enrol", "login")
_CLOSE_SECONDS: Final = 5.0
_OPEN_SECONDS: Final = 10.0
_LOG: Final = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Dialling:
    """Where gateways are: their addresses, whom to trust, and a test's own way to dial.

    Attributes:
        longest_wait: seconds between two dials of a gateway that is out of reach, at most.
    """

    urls: tuple[str, ...]
    ca: Path | None = None
    longest_wait: float = CAP
    dial: Callable[[str], Dial] | None = None


class _Gateway:
    """One gateway: its tunnel and the name it gave itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = ""
        self.client: TunnelClient | None = None

    @property
    def connected(self) -> bool:
        return self.client is not None and self.client.connected


class Gateways:
    """Every tunnel; also the ``Link`` of the fleet's courier.

    Args:
        app: answers what cells and gateways ask.
        new_id: for the ids of login tokens.
        rng: for jitter only.
    """

    def __init__(
        self,
        where: Dialling,
        store: Store,
        keys: ControlPlaneKeys,
        clock: Clock,
        *,
        new_id: NewID,
        rng: Random,
    ) -> None:
        self._where = where
        self._store = store
        self._keys = keys
        self._clock = clock
        self._new_id = new_id
        self._rng = rng
        self._gateways = [_Gateway(url) for url in where.urls]
        self._forgetting: set[asyncio.Task[None]] = set()
        self._rooms: WeakValueDictionary[str, Room] = WeakValueDictionary()
        """By service, which names the cell: one that asks too much is in its own way only."""

    def unready(self) -> dict[str, str]:
        """Return each gateway without a tunnel, and why."""
        return {
            f"gateway {gateway.url}": gateway.client.state.reason if gateway.client else "not dialled yet"
            for gateway in self._gateways
            if not gateway.connected
        }

    async def run(self, app: ASGIApp) -> None:
        """Keep every tunnel up until cancelled; what cells ask is answered by ``app``."""
        # A process that begins knows of no session: those in the store are of the one before it.
        await self._store.write(lambda tx: tx.cells.close_sessions())
        for gateway in self._gateways:
            gateway.client = self._client(gateway, app)
        runs = [asyncio.create_task(gateway.client.run()) for gateway in self._gateways if gateway.client]
        try:
            await asyncio.gather(*runs)
        finally:
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, *self._forgetting, return_exceptions=True)

    async def drain(self) -> None:
        """End every tunnel in order, so that the gateways know at once."""
        clients = [gateway.client for gateway in self._gateways if gateway.client is not None]
        await asyncio.gather(*(client.close("the control plane is stopping") for client in clients))

    async def request(self, cell_id: CellID, asked: HttpRequest, timeout: float) -> HttpResponse:  # noqa: ASYNC109 - on the tunnel's clock
        """Make one request of a cell, through the gateway that holds its newest session."""
        client = await self._behind(cell_id)
        return await client.request(f"cell/{cell_id}", asked, timeout=timeout)

    async def open(self, cell_id: CellID, service: str) -> Stream:
        """Open a stream to a forwarded service of a cell."""
        client = await self._behind(cell_id)
        return await client.open(f"service/{cell_id}/{service}", timeout=_OPEN_SECONDS)

    async def _behind(self, cell_id: CellID) -> TunnelClient:
        """Return the tunnel to the gateway that holds the cell's newest session."""
        sessions = await self._store.read(lambda tx: tx.cells.sessions(cell_id))
        if not sessions:
            raise CellAway("the cell is not connected", hint="what was asked is done once it is back")
        wanted = sessions[-1].gateway
        for gateway in self._gateways:
            if gateway.name == wanted and gateway.client is not None:
                return gateway.client
        raise Unreachable(f"gateway `{wanted}` is not connected")

    async def close(self, cell_id: CellID) -> None:
        """End the cell's tunnels at every gateway; one that does not answer drops them with its own."""
        for gateway in self._gateways:
            if gateway.client is None or not gateway.connected:
                continue
            try:
                stream = await gateway.client.open(f"close/{cell_id}", timeout=_CLOSE_SECONDS)
                await stream.close_write()
            except ByocError as error:
                _LOG.warning("session not closed", cell=cell_id, gateway=gateway.name, error=error.message)

    def _client(self, gateway: _Gateway, app: ASGIApp) -> TunnelClient:
        async def answer(stream: Stream) -> None:
            state = {"service": stream.service, "gateway": gateway.name}
            room = self._rooms.setdefault(stream.service, Room())
            await http.serve(stream, app, state=state, room=room)

        async def log_in(challenge: bytes, name: str) -> Mapping[str, Any]:
            return await self._log_in(gateway, challenge, name)

        dial = self._where.dial(gateway.url) if self._where.dial is not None else None
        return TunnelClient(
            gateway.url,
            role=Role.CONTROLPLANE,
            login=log_in,
            services=dict.fromkeys(SERVICES, answer),
            clock=self._clock,
            rng=self._rng,
            ca=self._where.ca,
            on_state=lambda state: self._changed(gateway, state),
            longest_wait=self._where.longest_wait,
            dial=dial,
        )

    async def _log_in(self, gateway: _Gateway, challenge: bytes, name: str) -> dict[str, Any]:
        gateway.name = name
        now = self._clock.now()
        # Before the key is chosen: a look at the key set is also one at which key signs now.
        key_set, jti = self._keys.key_set(now).text, self._new_id()
        token = await self._keys.sign(
            lambda key: tokens.issue_controlplane_login(
                key, issuer=ISSUER, challenge=challenge, audience=name, now=now, jti=jti, key_set=key_set
            )
        )
        return {"token": token}

    def _changed(self, gateway: _Gateway, state: ClientState) -> None:
        if state.phase is not Phase.CONNECTED and gateway.name:
            task = asyncio.create_task(self._forget(gateway.name))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def _forget(self, gateway: str) -> None:
        """Drop the sessions behind a gateway that is out of reach."""

        def forget(tx: Transaction) -> None:
            now = self._clock.now()
            for cell in tx.cells.close_sessions(gateway=gateway):
                tx.cells.seen(cell, now)
                tx.topics.add(topics.cell(cell))

        try:
            await self._store.write(forget)
        except ByocError as error:
            _LOG.error("sessions not forgotten", gateway=gateway, error=error.message)
