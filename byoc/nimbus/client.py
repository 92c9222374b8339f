"""The end that dials: a cell's agent, and the Control Plane towards each gateway.

Keeps one tunnel up for as long as :meth:`TunnelClient.run` runs, serves named services to
the other end and opens streams. It knows nothing of tokens: ``login`` makes the answer to a
challenge.

Invariants: between two dials there is a wait with full jitter; a client that was told no
waits long; the state always says, in words, what is being waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, Final

from byoc import log
from byoc.clock import Clock
from byoc.errors import ByocError, Unreachable
from byoc.nimbus import handshake
from byoc.nimbus.backoff import CAP, Backoff
from byoc.nimbus.connection import Connection, Handler
from byoc.nimbus.deadline import within
from byoc.nimbus.dialling import Busy, Dial, dialler
from byoc.nimbus.handshake import VERSIONS, Code, Denial, Role
from byoc.nimbus.http import HttpRequest, HttpResponse, request
from byoc.nimbus.stream import Stream
from byoc.wire import frames
from byoc.wire.claims import CLOCK_SKEW
from byoc.wire.frames import FrameType

Login = Callable[[bytes, str], Awaitable[Mapping[str, Any]]]
"""Makes the answer to a challenge: ``login(challenge, gateway)`` -> members of LOGIN, ``token`` at least."""

HANDSHAKE_SECONDS: Final = 20.0
"""Longer than the gateway waits for a Control Plane."""
WAITING_CAP: Final = 5.0
_LONG: Final = {
    Code.RETIRED: (300.0, 600.0),
    Code.VERSION: (60.0, 300.0),
    Code.NOT_AUTHENTICATED: (5.0, 60.0),
}
_LOG: Final = log.get(__name__)


class Phase(StrEnum):
    """What a client is doing."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    OFFLINE = "offline"
    """The gateway cannot be reached; dialling again."""
    WAITING = "waiting"
    """The gateway is there, but no Control Plane behind it."""
    REFUSED = "refused"
    """The gateway said no; trying again rarely."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ClientState:
    """What a client is doing and why, in words.

    Attributes:
        session: the gateway's name for the tunnel, while connected.
        code: why a login was denied, one of ``handshake.Code``; empty otherwise.
    """

    phase: Phase
    reason: str = ""
    session: str = ""
    code: str = ""


class _Denied(Unreachable):
    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.message or str(denial.code))
        self.denial = denial


class TunnelClient:
    """One standing tunnel to one gateway.

    Args:
        url: ``wss://host:port`` of the gateway.
        role: as whom to log in.
        login: see :data:`Login`.
        services: what the other end may open. A name that ends in ``:`` or ``/`` takes every
            service that begins with it, and the bare name. The handler gets an accepted stream.
        rng: for jitter only.
        ca: PEM file to trust instead of the system's authorities.
        on_state: called at each change of state.
        longest_wait: seconds between two dials at most, where the gateway cannot be reached.
        dial: another way to get a line; a test's.
    """

    def __init__(
        self,
        url: str,
        *,
        role: Role | str,
        login: Login,
        services: Mapping[str, Handler],
        clock: Clock,
        rng: Random,
        ca: Path | None = None,
        on_state: Callable[[ClientState], None] | None = None,
        longest_wait: float = CAP,
        dial: Dial | None = None,
    ) -> None:
        self._dial = dial or dialler(url, ca=ca)
        self._role = Role(role)
        self._login = login
        self._services = dict(services)
        self._clock = clock
        self._on_state = on_state
        self._backoff = Backoff(rng, longest_wait)
        self._connection: Connection | None = None
        self._carriers: set[asyncio.Task[None]] = set()
        self._state = ClientState(Phase.CONNECTING, "not dialled yet")
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._stopped = asyncio.Event()
        self._close_reason = "closed"
        self._running = False
        self._clocks = ""

    @property
    def state(self) -> ClientState:
        """What the client is doing."""
        return self._state

    @property
    def connected(self) -> bool:
        """Whether streams can be opened now."""
        connection = self._connection
        return connection is not None and not connection.going_away.is_set()

    @property
    def sessions(self) -> int:
        """How many tunnels stand: beside the one that is used, those that are being drained."""
        return len(self._carriers)

    @property
    def streams(self) -> int:
        """How many streams are open in the tunnel that is used."""
        return self._connection.streams if self._connection is not None else 0

    async def wait_connected(self, *, timeout: float) -> None:  # noqa: ASYNC109 - on our own clock
        """Return once the tunnel stands.

        Raises:
            Unreachable: it did not within ``timeout`` seconds; the message has the reason.
        """
        try:
            async with within(self._clock, timeout, "connecting"):
                while not self.connected:
                    self._changed.clear()
                    await self._changed.wait()
        except Unreachable as error:
            raise Unreachable(f"the tunnel is not connected: {self._state.reason}") from error

    async def open(self, service: str, *, timeout: float = 10.0) -> Stream:  # noqa: ASYNC109 - on our own clock
        """Open a stream to a service at the other end.

        Raises:
            CellAway: the gateway has no session of the wanted cell.
            Unreachable: the tunnel is not connected, or the other end refused.
        """
        connection = self._connection
        if connection is None or connection.going_away.is_set():
            raise Unreachable(f"the tunnel is not connected: {self._state.reason}")
        return await connection.open(service, timeout=timeout)

    async def request(self, service: str, asked: HttpRequest, *, timeout: float) -> HttpResponse:  # noqa: ASYNC109 - on our own clock
        """Open a stream and make one HTTP request on it.

        Raises:
            CellAway, Unreachable: as ``open`` and ``http.request`` do.
        """
        stream = await self.open(service, timeout=timeout)
        return await request(stream, asked, timeout=timeout)

    async def run(self) -> None:
        """Keep the tunnel up until ``close``."""
        self._running = True
        closing = asyncio.create_task(self._closing.wait())
        keeping = asyncio.create_task(self._keep())
        try:
            await asyncio.wait((closing, keeping), return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
            if self._connection is not None:
                await self._connection.close(self._close_reason)
        finally:
            tasks = (closing, keeping, *self._carriers)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._set(ClientState(Phase.CLOSED, "closed"))
            self._stopped.set()

    async def close(self, reason: str = "closed") -> None:
        """End the tunnel and ``run``."""
        self._close_reason = reason
        self._closing.set()
        if self._running:
            await self._stopped.wait()

    # --- keeping it up -------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            if not self.connected and self._state.phase in {Phase.CONNECTED, Phase.OFFLINE}:
                self._set(ClientState(Phase.CONNECTING, "dialling the gateway"))
            wait = await self._try_once()
            await self._clock.sleep(wait)

    async def _try_once(self) -> float:
        """Dial, log in, stay; return how long to wait before the next try."""
        began = self._clock.monotonic()
        try:
            reason = await self._stay()
        except _Denied as error:
            return self._wait_after(error.denial)
        except Busy as error:
            self._set(ClientState(Phase.WAITING, error.message, code=Code.BUSY))
            # It said when: all who were told the same come back spread over as long again.
            return self._backoff.between(error.retry_after, 2 * error.retry_after) or self._backoff.delay()
        except ByocError as error:
            reason = error.message
        except Exception as error:  # noqa: BLE001 - a fault of `login` must not end the client
            _LOG.error("login failed", error=repr(error))
            reason = "the login could not be made"
        self._backoff.lasted(self._clock.monotonic() - began)
        self._set(ClientState(Phase.OFFLINE, reason))
        return self._backoff.delay()

    def _wait_after(self, denial: Denial) -> float:
        code = denial.code
        if code in {Code.NO_CONTROLPLANE, Code.BUSY, Code.REPLACED}:
            self._set(ClientState(Phase.WAITING, denial.message, code=code))
            return self._backoff.delay(WAITING_CAP)
        self._set(ClientState(Phase.REFUSED, f"{denial.message or code}{self._clocks}", code=code))
        known = {str(one): span for one, span in _LONG.items()}
        return self._backoff.between(*known.get(code, (5.0, 60.0)))

    async def _stay(self) -> str:
        """Hold one tunnel until it ends or is being drained; return why."""
        transport = await self._dial()
        self._clocks = _compare(transport.their_clock, self._clock.now())
        connection = Connection(transport, first_id=2, clock=self._clock)
        carrier = asyncio.create_task(connection.run(self._serve))
        self._carriers.add(carrier)
        carrier.add_done_callback(self._carriers.discard)
        answering: asyncio.Task[None] | None = None
        try:
            await self._log_in(connection)
            answering = asyncio.create_task(self._answer_challenges(connection))
            drained = asyncio.create_task(connection.going_away.wait())
            await asyncio.wait((answering, drained), return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
            if answering.done():
                answering.result()
        except BaseException as error:
            connection.end(str(error) or "cancelled")
            raise
        finally:
            if self._connection is connection:
                self._connection = None
            if answering is not None:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)
        return connection.reason or "the gateway ended the tunnel"

    async def _log_in(self, connection: Connection) -> None:
        frame = await connection.message(timeout=HANDSHAKE_SECONDS)
        if frame.kind is not FrameType.CHALLENGE:
            raise frames.broken(f"{frame.kind.name} instead of a challenge")
        connection.send_message(FrameType.LOGIN, await self._answer(frames.members(frame)))
        welcome = await _welcome(connection)
        connection.allow_streams()
        self._connection = connection
        self._set(ClientState(Phase.CONNECTED, f"connected{self._clocks}", session=welcome.session))

    async def _answer(self, members: Mapping[str, Any]) -> dict[str, Any]:
        challenge = handshake.read_challenge(members)
        answer = await self._login(challenge.challenge, challenge.gateway)
        return {**answer, "role": str(self._role), "versions": list(VERSIONS)}

    async def _answer_challenges(self, connection: Connection) -> None:
        while True:
            frame = await connection.message()
            if frame.kind is FrameType.RELOGIN:
                connection.send_message(FrameType.LOGIN, await self._answer(frames.members(frame)))
            elif frame.kind is FrameType.LOGIN_ERR:
                raise _Denied(handshake.read_denial(frames.members(frame)))
            else:
                raise frames.broken(f"{frame.kind.name} on a tunnel that is logged in")

    async def _serve(self, stream: Stream) -> None:
        handler = self._handler(stream.service)
        if handler is None:
            await stream.reject("unknown-service", f"no service {stream.service[:100]} here")
            return
        await stream.accept()
        await handler(stream)

    def _handler(self, service: str) -> Handler | None:
        exact = self._services.get(service)
        if exact is not None:
            return exact
        prefixes = [name for name in self._services if name.endswith((":", "/"))]
        fitting = [name for name in prefixes if service.startswith(name) or service == name[:-1]]
        return self._services[max(fitting, key=len)] if fitting else None

    def _set(self, state: ClientState) -> None:
        over = self._closing.is_set() and state.phase is not Phase.CLOSED
        if state != self._state and not over:
            self._state = state
            self._changed.set()
            _LOG.info("tunnel", phase=str(state.phase), reason=state.reason, code=state.code)
            if self._on_state is not None:
                self._on_state(state)


def _compare(theirs: datetime | None, ours: datetime) -> str:
    """Return what to add to a state where the clocks differ by more than tokens allow; empty otherwise."""
    ahead = (ours - theirs).total_seconds() if theirs is not None else 0.0
    if abs(ahead) <= CLOCK_SKEW.total_seconds():
        return ""
    way = "ahead of" if ahead > 0 else "behind"
    return f"; this machine's clock is {abs(ahead):.0f} s {way} the gateway's"


async def _welcome(connection: Connection) -> handshake.Welcome:
    frame = await connection.message(timeout=HANDSHAKE_SECONDS)
    members = frames.members(frame)
    if frame.kind is FrameType.LOGIN_ERR:
        raise _Denied(handshake.read_denial(members))
    if frame.kind is not FrameType.LOGIN_OK:
        raise frames.broken(f"{frame.kind.name} instead of an answer to the login")
    welcome = handshake.read_welcome(members)
    if welcome.version not in VERSIONS:
        raise _Denied(Denial(Code.VERSION, f"the gateway chose tunnel protocol {welcome.version}"))
    return welcome


async def request_unenrolled(dial: Dial, asked: HttpRequest, *, clock: Clock, timeout: float) -> HttpResponse:  # noqa: ASYNC109 - on our own clock
    """Make one request to the Control Plane as a peer that is not enrolled; how a cell enrols.

    Raises:
        Unreachable: the gateway or the Control Plane cannot be reached, or answered no.
    """
    async with within(clock, timeout, "enrolling"):
        connection = Connection(await dial(), first_id=2, clock=clock)
        carrier = asyncio.create_task(connection.run(_no_service))
        try:
            await connection.message(timeout=timeout)
            connection.send_message(FrameType.ENROL, {"versions": list(VERSIONS)})
            await _welcome(connection)
            stream = await connection.open("controlplane", timeout=timeout)
            return await request(stream, asked, timeout=timeout)
        finally:
            connection.end("enrolled")
            await asyncio.gather(carrier, return_exceptions=True)


async def _no_service(stream: Stream) -> None:
    await stream.reject("unknown-service", "not enrolled")
