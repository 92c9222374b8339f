"""Forwarded services: ways that are open for a while from outside to services that the policy names.

Made by the agent. The Cell API opens a forward for a signed command; its connections come as streams of the
tunnel. Nobody in between can use or read them: each connection shows the certificate that was named in the
command, and is answered with the one that the cell made for this forward. The invariants: no forward that
is not on record; what the policy, the kill switch or the time no longer allows is cut, the connections too;
bytes of both ways and the reason of the end are on record, at a crash those of a minute ago.
"""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from ssl import SSLContext
from typing import Final

from byoc import log
from byoc.clock import Clock, stamp
from byoc.dataplane import storage
from byoc.dataplane.access import Gate
from byoc.dataplane.bell import Bell
from byoc.dataplane.delivery import FORBIDDEN, Refused, Rule
from byoc.dataplane.named import Named
from byoc.dataplane.outward import Address, Way
from byoc.dataplane.policy import PolicyFile, decide
from byoc.dataplane.state import Record
from byoc.dataplane.storage import Shelf, Storage
from byoc.errors import Forbidden, LedgerBroken, Unreachable, Unwritable, UsageError
from byoc.ids import NewID
from byoc.model.verbs import Verb
from byoc.nimbus import inner
from byoc.nimbus.inner import Inner
from byoc.nimbus.relay import splice
from byoc.nimbus.sockets import Bytes, TcpLine
from byoc.nimbus.stream import Stream
from byoc.wire.cell import ServiceOpened, ServiceWish
from byoc.wire.certificates import check_pinned, make_pinned

SERVICE: Final = "service/"
"""Prefix of the tunnel's services that are forwards: ``service/<forward>/hold`` and ``…/line``."""
MOST: Final = 64
"""Forwards at once."""
MOST_LINES: Final = 256
"""Connections at once, over all forwards: the Cell API needs streams of the tunnel too."""
HOLD_SECONDS: Final = 30.0
"""How soon after it was opened somebody must hold a forward."""
LOOK_SECONDS: Final = 1.0
RECORD_SECONDS: Final = 60.0
NAME: Final = "forwards"
TOO_MANY: Final = 429
UNAVAILABLE: Final = 503
_LOG: Final = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Opener:
    """Who opened a forward. ``request``: number of the ledger's record of the command."""

    sub: str
    request: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """Forwards that are open, by name: what they lead to. An agent that finds some knows that they ended."""

    forwards: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Forward:
    """One way that is open.

    Attributes:
        ends_at: on the monotonic clock.
        why: why it has ended; empty while it is open.
    """

    name: str
    service: str
    named: Named
    opener: Opener
    began_at: float
    ends_at: float
    settings: SSLContext
    held: bool = False
    why: str = ""
    lines: int = 0
    connections: int = 0
    carried: Bytes = field(default_factory=Bytes)
    recorded: tuple[int, int] = (0, 0)
    recorded_at: float = 0.0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Services:
    """Every forward of one cell.

    Args:
        policy: asked at each opening, at each connection and once a second.
        gate: the kill switch.
        kept: where the open ones are noted, for the agent that comes next.
        way: out of the cell.
    """

    def __init__(
        self, policy: PolicyFile, gate: Gate, ledger: Record, kept: Storage, way: Way, new_id: NewID
    ) -> None:
        self._policy = policy
        self._gate = gate
        self._ledger = ledger
        self._kept = kept
        self._way = way
        self._clock: Clock = way.clock
        self._new_id = new_id
        self._open: dict[str, Forward] = {}
        self._unrecorded: list[tuple[str, dict[str, object]]] = []
        self._bell = Bell(way.clock)

    @property
    def open(self) -> int:
        """How many forwards are open."""
        return len(self._open)

    @property
    def lines(self) -> int:
        """How many connections they carry now."""
        return sum(each.lines for each in self._open.values())

    # --- a signed command ----------------------------------------------------------------

    async def begin(self, service: str, wish: ServiceWish, opener: Opener) -> ServiceOpened:
        """Open a way to ``service``; the verb itself has been allowed.

        Raises:
            Refused: the policy names no such service, or it leads to what no policy opens.
            Unreachable: nothing is known of where it leads.
            UsageError: the wish is not understood.
            Unwritable: it cannot be put on record.
        """
        named = self._policy.current().services.get(service)
        if named is None:
            reason = f"the customer's policy names no service `{service[:64]}`"
            raise Refused(Rule.SERVICE_UNNAMED, reason, FORBIDDEN)
        life, certificate = _life(wish, named), check_pinned(wish.certificate)
        try:
            found = await self._way.find(named.host, named.port)
        except Forbidden as error:
            raise Refused(Rule.SERVICE_FORBIDDEN, f"`{service}`: {error.message}", FORBIDDEN) from error
        # Asked again, for the look-up took time: from here on nothing is waited for.
        self._check(service, named, opener.sub)
        if len(self._open) >= MOST:
            raise Refused(Rule.TOO_MANY_REQUESTS, f"{MOST} services are forwarded already", TOO_MANY)
        mine = make_pinned(name="byoc forward", now=self._clock.now())
        settings = inner.context(mine, certificate, server=True)
        began = self._clock.monotonic()
        ends = began + life.total_seconds()
        forward = Forward(self._new_id(), service, named, opener, began, ends, settings, recorded_at=began)
        opened = ServiceOpened(forward.name, self._clock.now() + life, mine.certificate.decode())
        self._begin(forward, opened, found)
        return opened

    def _begin(self, forward: Forward, opened: ServiceOpened, found: Sequence[Address]) -> None:
        """Put a forward on record, then let it be used."""
        said: dict[str, object] = {
            "to": forward.named.spell(),
            "addresses": [str(each) for each in found],
            "sub": forward.opener.sub,
            "request": forward.opener.request,
            "until": stamp(opened.until),
        }
        try:
            self._ledger.record("service-opened", **_named(forward), **said)
        except LedgerBroken as error:
            raise Unwritable("the cell cannot write its ledger") from error
        self._open[forward.name] = forward
        try:
            self._keep()
        except Unwritable:
            self._finish(forward, "unwritable")
            raise
        self._bell.ring()

    def _check(self, service: str, named: Named, sub: str) -> None:
        why = self._against(service, named, sub)
        if why == Rule.ACCESS_REVOKED:
            raise Refused(why, "the customer has revoked access to the cell", UNAVAILABLE)
        if why:
            raise Refused(why, f"the customer's policy does not open `{service}` now", FORBIDDEN)

    def _against(self, service: str, named: Named, sub: str) -> str:
        """Return the rule that speaks against a forward now; empty where none does."""
        if self._gate.look():
            return Rule.ACCESS_REVOKED
        policy, now = self._policy.current(), self._clock.now()
        found = policy.services.get(service)
        if found is None or (found.host, found.port) != (named.host, named.port):
            return Rule.SERVICE_UNNAMED
        verdict = decide(policy, Verb.SERVICE_OPEN, sub, now, now)
        return "" if verdict.allowed else verdict.rule

    # --- its connections -----------------------------------------------------------------

    async def serve(self, stream: Stream) -> None:
        """Serve one accepted stream of the tunnel: what holds a forward, or one connection."""
        name, _, what = stream.service.removeprefix(SERVICE).partition("/")
        forward = self._open.get(name)
        if forward is None or what not in {"hold", "line"}:
            raise Unreachable("no such forward is open")
        if what == "hold":
            await self._hold(forward, stream)
        else:
            await _unless_ended(forward, self._carry(forward, stream))

    async def _hold(self, forward: Forward, stream: Stream) -> None:
        line = await inner.agree(stream, forward.settings, server=True)
        if forward.held:
            raise Unreachable("the forward is held already")
        forward.held = True
        watching = asyncio.create_task(_read_away(line))
        ended = asyncio.create_task(forward.ended.wait())
        try:
            await asyncio.wait({watching, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not forward.ended.is_set():
                lost = watching.exception() is not None
                self._finish(forward, "tunnel-lost" if lost else "closed")
        finally:
            watching.cancel()
            ended.cancel()
            await asyncio.gather(watching, ended, return_exceptions=True)
            if not forward.ended.is_set():
                self._finish(forward, "tunnel-lost")
        with suppress(Unreachable):
            await line.write(json.dumps({"reason": forward.why}).encode() + b"\n")
            await line.close_write()

    async def _carry(self, forward: Forward, stream: Stream) -> None:
        if self.lines >= MOST_LINES:
            raise Unreachable("too many connections are forwarded already")
        forward.lines += 1
        try:
            line = await inner.agree(stream, forward.settings, server=True)
            if self._against(forward.service, forward.named, forward.opener.sub):
                raise Unreachable("the forward is not allowed any more")
            forward.connections += 1
            reader, writer = await self._way.open(forward.named.host, forward.named.port)
            service = TcpLine(reader, writer, forward.carried)
            try:
                await splice(line, service)
            finally:
                if not service.over:
                    await service.reset("cut")
                await service.close()
        except Forbidden as error:
            _LOG.warning("a forwarded connection was refused", service=forward.service, reason=error.message)
            self._record_later("service-refused", _named(forward) | {"reason": error.message})
            raise Unreachable("the service is not one that can be opened") from error
        finally:
            forward.lines -= 1

    # --- the end -------------------------------------------------------------------------

    def cut(self, why: str) -> None:
        """End every forward now."""
        for forward in list(self._open.values()):
            self._finish(forward, why)

    def _finish(self, forward: Forward, why: str) -> None:
        if self._open.pop(forward.name, None) is None:
            return
        forward.why = str(why)
        forward.ended.set()
        _LOG.info("forward ended", service=forward.service, reason=forward.why)
        self._record_later("service-ended", _named(forward) | {"reason": forward.why} | _totals(forward))
        try:
            self._keep()
        except Unwritable as error:
            # At worst the next agent puts the end on record once more.
            _LOG.warning("open forwards not noted", error=error.message)

    async def run(self) -> None:
        """End what is over, until cancelled; then all."""
        self._bury()
        try:
            while True:
                await self._bell.wait(LOOK_SECONDS if self._open or self._unrecorded else None)
                self._look()
        finally:
            self.cut("agent-stopped")

    def _look(self) -> None:
        now = self._clock.monotonic()
        for forward in list(self._open.values()):
            why = self._over(forward, now)
            if why:
                self._finish(forward, why)
            elif now - forward.recorded_at >= RECORD_SECONDS:
                self._say_so_far(forward, now)
        self._drain()

    def _over(self, forward: Forward, now: float) -> str:
        if now >= forward.ends_at:
            return "expired"
        if not forward.held and now - forward.began_at >= HOLD_SECONDS:
            return "not-used"
        named = self._policy.current().services.get(forward.service)
        if named is not None and now - forward.began_at >= named.max_life.total_seconds():
            return "expired"
        return self._against(forward.service, forward.named, forward.opener.sub)

    def _say_so_far(self, forward: Forward, now: float) -> None:
        forward.recorded_at = now
        carried = (forward.carried.out, forward.carried.back)
        if carried != forward.recorded:
            forward.recorded = carried
            self._record_later("service-carried", _named(forward) | _totals(forward))

    # --- on record -----------------------------------------------------------------------

    def _record_later(self, kind: str, fields: dict[str, object]) -> None:
        self._unrecorded.append((kind, fields))
        self._drain()
        self._bell.ring()

    def _drain(self) -> None:
        while self._unrecorded:
            kind, fields = self._unrecorded[0]
            try:
                self._ledger.record(kind, **fields)
            except (Unwritable, LedgerBroken) as error:
                _LOG.error("not on record yet", kind=kind, error=error.message)
                return
            del self._unrecorded[0]

    def _keep(self) -> None:
        noted = _Kept({name: each.service for name, each in self._open.items()})
        storage.put(self._kept, Shelf.LIFE, NAME, noted)

    def _bury(self) -> None:
        """Put on record what an agent that was killed left open: its connections ended with it."""
        noted = storage.get(self._kept, Shelf.LIFE, NAME, _Kept) or _Kept()
        for name, service in noted.forwards.items():
            if name not in self._open:
                ended: dict[str, object] = {"forward": name, "service": service, "reason": "agent-gone"}
                self._record_later("service-ended", ended)
        if noted.forwards:
            with suppress(Unwritable):
                self._keep()


async def _unless_ended(forward: Forward, doing: Awaitable[None]) -> None:
    """Do something until it is done or the forward has ended; what holds it ends by itself."""
    task = asyncio.ensure_future(doing)
    ended = asyncio.create_task(forward.ended.wait())
    try:
        await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for each in (task, ended):
            each.cancel()
        await asyncio.gather(task, ended, return_exceptions=True)


async def _read_away(line: Inner) -> None:
    while await line.read():
        continue


def _life(wish: ServiceWish, named: Named) -> timedelta:
    if wish.life_seconds is None:
        return named.max_life
    life = timedelta(seconds=min(wish.life_seconds, 10**7))
    if life <= timedelta():
        raise UsageError("lifeSeconds: must be 1 or more")
    if life > named.max_life:
        reason = f"the customer's policy opens it for {named.max_life} at most"
        raise Refused(Rule.SERVICE_LIFE, reason, FORBIDDEN)
    return life


def _named(forward: Forward) -> dict[str, object]:
    return {"forward": forward.name, "service": forward.service}


def _totals(forward: Forward) -> dict[str, object]:
    return {
        "connections": forward.connections,
        "toService": forward.carried.out,
        "fromService": forward.carried.back,
    }
