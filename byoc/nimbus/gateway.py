"""The gateway: logs peers in and relays streams between cells and the Control Plane.

Run by ``nimbus.serve``. It holds no signing key and reads none of what it relays, so all
that a hostile gateway can do is delay or drop. What may be opened by whom::

    a cell           controlplane   ->  cell:<cellID>  at any Control Plane session
    un-enrolled      controlplane   ->  enrol          at any Control Plane session, few and slowly
    Control Plane    cell/<cellID>  ->  cell           at that cell's newest session
                     service/<cellID>/<forward>/<what>  ->  service/<forward>/<what>  there
                     close/<cellID> ->  ends that cell's session

Invariants: nobody opens a stream before login; a cell's login is believed only when the
Control Plane says so; a cell has one session, a newer login ends the older at once.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from byoc import faults, log
from byoc.clock import Clock
from byoc.errors import ByocError, CellAway, NotAuthenticated, Unreachable, UsageError
from byoc.ids import CellID, NewID
from byoc.nimbus import handshake
from byoc.nimbus.admission import Limits, TokenBucket
from byoc.nimbus.connection import Connection
from byoc.nimbus.deadline import within
from byoc.nimbus.handshake import CHALLENGE_BYTES, VERSIONS, Challenge, Code, Denial, Role, Welcome
from byoc.nimbus.http import HttpRequest, HttpResponse, request
from byoc.nimbus.relay import splice
from byoc.nimbus.stream import CELL_AWAY, Stream
from byoc.nimbus.transport import Transport
from byoc.wire import frames
from byoc.wire.frames import FrameType

VerifyControlPlane = Callable[[Mapping[str, Any], bytes], str]
"""Checks a Control Plane's LOGIN (all its members) against the challenge; returns its name.

Raises NotAuthenticated or UsageError (whatever ``wire.tokens`` raises).
"""

_LOG: Final = log.get(__name__)
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403


@dataclass(eq=False, slots=True)
class Peer:
    """One tunnel that has logged in.

    Attributes:
        role: None for a peer that is not enrolled.
        name: the cell's id, or what the Control Plane calls itself.
        again: set to have the peer log in again now.
    """

    connection: Connection
    session: str
    role: Role | None
    name: str = ""
    epoch: int = 0
    again: asyncio.Event = field(default_factory=asyncio.Event)


class Gateway:
    """Everything that the gateway process holds in memory; it keeps nothing else.

    Args:
        name: what peers bind their logins to.
        verify_controlplane: see :data:`VerifyControlPlane`.
        random_bytes: for challenges; must be cryptographic.
        on_known: told the address of each peer that has logged in.
    """

    def __init__(
        self,
        *,
        name: str,
        verify_controlplane: VerifyControlPlane,
        clock: Clock,
        new_id: NewID,
        random_bytes: Callable[[int], bytes],
        limits: Limits | None = None,
        on_known: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._verify_controlplane = verify_controlplane
        self._clock = clock
        self._new_id = new_id
        self._random_bytes = random_bytes
        self._limits = limits = limits or Limits()
        self._on_known = on_known
        self._pending = 0
        self._enrolling: list[Peer] = []
        self._stopping = False
        self._logins = TokenBucket(rate=limits.logins_a_second, burst=limits.login_burst, clock=clock)
        self._enrols = TokenBucket(rate=limits.enrols_a_second, burst=limits.enrol_burst, clock=clock)
        self._connections: set[Connection] = set()
        self._cells: dict[str, Peer] = {}
        self._controlplanes: list[Peer] = []
        self._controlplane_came = asyncio.Event()
        self._asking = asyncio.Semaphore(limits.asking)

    @property
    def cells(self) -> tuple[CellID, ...]:
        """The cells that are connected."""
        return tuple(CellID(name) for name, peer in self._cells.items() if not peer.connection.closed)

    @property
    def pending(self) -> int:
        """How many connections have not logged in."""
        return self._pending

    def admits(self) -> bool:
        """Whether one more connection may come in now."""
        return not self._stopping and self._logins.take()

    async def attach(self, transport: Transport) -> None:
        """Run one peer's tunnel from its challenge to its end."""
        guest = Peer(Connection(transport, first_id=1, clock=self._clock), session=self._new_id(), role=None)
        connection = guest.connection
        self._connections.add(connection)
        carrier = asyncio.create_task(connection.run(lambda stream: self._serve(guest, stream)))
        try:
            if await self._greet(guest):
                await self._host(guest)
        except Unreachable as error:
            connection.end(error.message)
        finally:
            self._connections.discard(connection)
            await self._await_end(carrier)

    async def stop(self, drain_seconds: float) -> None:
        """Tell every peer to go elsewhere, let streams finish, close."""
        self._stopping = True
        # Cells first: the end of their sessions is still reported to the Control Plane.
        last = {peer.connection for peer in self._controlplanes}
        for connections in (self._connections - last, last):
            drains = [one.drain("the gateway is stopping", drain_seconds) for one in connections]
            await asyncio.gather(*drains)

    async def _await_end(self, carrier: asyncio.Task[None]) -> None:
        try:
            await carrier
        finally:
            carrier.cancel()

    # --- login ---------------------------------------------------------------------------

    async def _greet(self, guest: Peer) -> bool:
        """Challenge a new connection; True once it is somebody, False once it was told no."""
        self._pending += 1
        try:
            challenge = self._challenge(guest.connection, FrameType.CHALLENGE)
            frame = await guest.connection.message(timeout=self._limits.handshake_seconds)
            members = frames.members(frame)
            version = handshake.choose_version(VERSIONS, theirs := handshake.read_versions(members))
            if version is None:
                denial: Denial | None = handshake.no_common_version(VERSIONS, theirs)
            elif frame.kind is FrameType.ENROL:
                denial = None
            elif frame.kind is FrameType.LOGIN:
                denial = await self._check(guest, members, challenge)
            else:
                raise frames.broken(f"{frame.kind.name} instead of a login")
            denial = denial or self._register(guest)
        finally:
            self._pending -= 1
        if denial is not None or version is None:
            self._deny(guest, denial or Denial(Code.MALFORMED, ""))
            return False
        welcome = Welcome(guest.session, guest.epoch, version)
        guest.connection.send_message(FrameType.LOGIN_OK, welcome.members())
        _LOG.info("logged in", role=guest.role, name=guest.name, session=guest.session)
        return True

    def _challenge(self, connection: Connection, kind: FrameType) -> bytes:
        challenge = self._random_bytes(CHALLENGE_BYTES)
        connection.send_message(kind, Challenge(challenge, self.name).members())
        return challenge

    def _deny(self, guest: Peer, denial: Denial) -> None:
        _LOG.info("login denied", code=str(denial.code), reason=denial.message, peer=guest.connection.peer)
        guest.connection.send_message(FrameType.LOGIN_ERR, denial.members())
        guest.connection.end(str(denial.code))

    async def _check(self, peer: Peer, members: Mapping[str, Any], challenge: bytes) -> Denial | None:
        """Verify a LOGIN and note on ``peer`` who it is; a login later on may not change that."""
        login = handshake.read_login(members)
        if login.role is Role.CELL:
            found = await self._ask_about_cell(peer, login.token, challenge)
        else:
            found = self._check_controlplane(login.members, challenge)
        if isinstance(found, Denial):
            return found
        name, epoch = found
        if peer.name and (peer.role, peer.name) != (login.role, name):
            return Denial(Code.NOT_AUTHENTICATED, "a login as somebody else")
        peer.role, peer.name, peer.epoch = login.role, name, max(peer.epoch, epoch)
        return None

    def _check_controlplane(self, members: Mapping[str, Any], challenge: bytes) -> tuple[str, int] | Denial:
        try:
            return self._verify_controlplane(members, challenge), 0
        except (NotAuthenticated, UsageError) as error:
            return Denial(Code.NOT_AUTHENTICATED, error.message)

    async def _ask_about_cell(self, peer: Peer, token: str, challenge: bytes) -> tuple[str, int] | Denial:
        login = handshake.cell_login(
            gateway=self.name, challenge=challenge, token=token, session=peer.session
        )
        try:
            answer = await self._ask("/cell/v1/login", login, self._limits.patience_seconds)
            if answer.status == _OK:
                return handshake.read_logged_in(answer.body)
        except ByocError as error:
            return Denial(Code.NO_CONTROLPLANE, f"waiting for the control plane: {error}")
        reason = answer.body[:200].decode("utf-8", "replace").strip()
        if answer.status == _UNAUTHORIZED:
            return Denial(Code.NOT_AUTHENTICATED, reason)
        if answer.status == _FORBIDDEN:
            return Denial(Code.RETIRED, reason)
        return Denial(Code.NO_CONTROLPLANE, f"the control plane answered {answer.status}")

    async def _ask(self, path: str, body: Any, patience: float) -> HttpResponse:
        limits = self._limits
        async with self._asking:
            controlplane = await self._wait_for_controlplane(patience)
            stream = await controlplane.connection.open("login", timeout=limits.ask_seconds)
            headers = (("content-type", "application/json"),)
            asked = HttpRequest("POST", path, headers, json.dumps(body).encode())
            return await request(stream, asked, timeout=limits.ask_seconds)

    # --- who is here ---------------------------------------------------------------------

    def _register(self, peer: Peer) -> Denial | None:
        limits = self._limits
        if peer.connection.closed:
            raise Unreachable("the peer left during its login")
        if peer.role is Role.CELL:
            older = self._cells.get(peer.name)
            if older is not None and not older.connection.closed:
                if older.epoch > peer.epoch:
                    return Denial(Code.REPLACED, "a newer session of this cell is connected")
                older.connection.end(Code.REPLACED)
            self._cells[peer.name] = peer
            peer.connection.allow_streams(limits.streams_of_a_cell)
        elif peer.role is Role.CONTROLPLANE:
            self._register_controlplane(peer)
            peer.connection.allow_streams()
        else:
            self._register_unenrolled(peer)
        if peer.role is not None:
            self._on_known(peer.connection.peer)
        return None

    def _register_unenrolled(self, peer: Peer) -> None:
        staying = [one for one in self._enrolling if not one.connection.closed]
        # Who enrols needs a moment only, so it is the oldest that is in nobody's way by going.
        for oldest in staying[: max(0, len(staying) + 1 - self._limits.enrolling)]:
            oldest.connection.end("others want to enrol")
        self._enrolling.append(peer)
        peer.connection.allow_streams(self._limits.streams_of_an_unenrolled)

    def _register_controlplane(self, peer: Peer) -> None:
        # A Control Plane that comes back has forgotten who is connected: every cell tells it.
        if not self._live_controlplanes():
            for cell in self._cells.values():
                cell.again.set()
        self._controlplanes.append(peer)
        self._controlplane_came.set()

    def _live_controlplanes(self) -> list[Peer]:
        return [peer for peer in self._controlplanes if not peer.connection.going_away.is_set()]

    async def _wait_for_controlplane(self, patience: float) -> Peer:
        async with within(self._clock, patience, "waiting for a control plane session"):
            while not (live := self._live_controlplanes()):
                self._controlplane_came.clear()
                await self._controlplane_came.wait()
        return live[-1]

    async def _host(self, peer: Peer) -> None:
        keeping = self._keep_logged_in if peer.role else self._end_enrolling
        keeper = asyncio.create_task(keeping(peer))
        try:
            await peer.connection.wait_ending()
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._forget(peer)

    async def _forget(self, peer: Peer) -> None:
        _LOG.info("tunnel ended", role=peer.role, name=peer.name, reason=peer.connection.reason)
        if peer.role is None:
            self._enrolling.remove(peer)
        elif peer.role is Role.CONTROLPLANE:
            self._controlplanes.remove(peer)
        else:
            if self._cells.get(peer.name) is peer:
                del self._cells[peer.name]
            if self._live_controlplanes():
                with suppress(ByocError):
                    await self._ask("/cell/v1/logout", {"session": peer.session}, 0.1)

    async def _end_enrolling(self, peer: Peer) -> None:
        await self._clock.sleep(self._limits.enrol_seconds)
        peer.connection.end("enrolling took too long")

    async def _keep_logged_in(self, peer: Peer) -> None:
        wait = self._limits.relogin_seconds
        while True:
            with suppress(Unreachable):
                async with within(self._clock, wait, "the time to the next login"):
                    await peer.again.wait()
            peer.again.clear()
            wait = self._limits.relogin_seconds
            try:
                denial = await self._log_in_again(peer)
            except Unreachable as error:
                peer.connection.end(f"login again: {error.message}")
                return
            if denial is not None and denial.code == Code.NO_CONTROLPLANE:
                wait = self._limits.relogin_retry_seconds
            elif denial is not None:
                self._deny(peer, denial)
                return

    async def _log_in_again(self, peer: Peer) -> Denial | None:
        challenge = self._challenge(peer.connection, FrameType.RELOGIN)
        frame = await peer.connection.message(timeout=self._limits.handshake_seconds)
        if frame.kind is not FrameType.LOGIN:
            raise frames.broken(f"{frame.kind.name} instead of a login")
        return await self._check(peer, frames.members(frame), challenge)

    # --- streams -------------------------------------------------------------------------

    async def _serve(self, peer: Peer, stream: Stream) -> None:
        if peer.role is Role.CONTROLPLANE:
            await self._serve_controlplane(stream)
        elif stream.service != "controlplane":
            await stream.reject("unknown-service", f"no service {stream.service[:100]} here")
        elif peer.role is Role.CELL:
            await self._relay(stream, self._live_controlplanes(), f"cell:{peer.name}")
        elif self._enrols.take():
            await self._relay(stream, self._live_controlplanes(), "enrol")
        else:
            await stream.reject("too-many", "too many cells are enrolling, try again later")

    async def _serve_controlplane(self, stream: Stream) -> None:
        service, _, rest = stream.service.partition("/")
        cell, _, inside = rest.partition("/")
        peer = self._cells.get(cell)
        if service == "cell" and not inside:
            await self._relay(stream, [peer] if peer is not None else [], "cell")
            faults.reach(faults.Step.RELAYED)
        elif service == "service" and inside:
            await self._relay(stream, [peer] if peer is not None else [], f"service/{inside}")
        elif service == "close":
            if peer is not None:
                self._deny(peer, Denial(Code.RETIRED, "the control plane closed this session"))
            await stream.accept()
            await stream.close_write()
        else:
            await stream.reject("unknown-service", f"no service {stream.service[:100]} here")

    async def _relay(self, stream: Stream, targets: list[Peer], service: str) -> None:
        if not targets:
            away = (CELL_AWAY, "the cell is not connected")
            none = ("no-controlplane", "no control plane is connected to the gateway")
            await stream.reject(*(away if _in_cell(service) else none))
            return
        try:
            onward = await targets[-1].connection.open(service, timeout=self._limits.open_seconds)
        except CellAway as error:
            await stream.reject(CELL_AWAY, error.message)
        except Unreachable as error:
            code = CELL_AWAY if targets[-1].connection.closed and _in_cell(service) else "unreachable"
            await stream.reject(code, error.message)
        else:
            await stream.accept()
            await splice(stream, onward)


def _in_cell(service: str) -> bool:
    return service == "cell" or service.startswith("service/")
