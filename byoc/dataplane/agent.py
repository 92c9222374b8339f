"""The cell's process: opens its state, reconciles, and keeps a tunnel to its Control Plane.

``byoc agent run`` calls :func:`run`. The invariants: reconciling starts before the tunnel and
does not need it; one agent at a time works on a folder; a stop that was asked for ends
engines cleanly (if told so) and leaves every spec as it was, so that the next start brings
them back on the same ports.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from byoc import __version__, durable, log
from byoc.clock import Clock, SystemClock
from byoc.dataplane import continuity
from byoc.dataplane.app import CellApp, Door
from byoc.dataplane.control import Control
from byoc.dataplane.desk import AGENT_LOCK, BELL, Desk, FolderDesk
from byoc.dataplane.doorbell import hung
from byoc.dataplane.enrol import Enrolling
from byoc.dataplane.files import FileStorage
from byoc.dataplane.guard import Guard, Rule
from byoc.dataplane.keys import CellKeys, Identity, PinnedKeys
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.outward import Outward, Way
from byoc.dataplane.policy import PolicyFile
from byoc.dataplane.rates import Rates
from byoc.dataplane.reconcile import Reconciler
from byoc.dataplane.renewal import Succeed
from byoc.dataplane.replay import InLedger, Replays, Seen
from byoc.dataplane.reporter import Reporter, Reporting
from byoc.dataplane.runtime import Runtime
from byoc.dataplane.services import SERVICE, Services
from byoc.dataplane.settings import AgentSettings
from byoc.dataplane.shipping import Watch
from byoc.dataplane.standing import REVOKED, Standing
from byoc.dataplane.state import CellState
from byoc.dataplane.storage import Storage
from byoc.errors import ByocError, DataInUse, LedgerBroken, Unreachable, Unwritable
from byoc.ids import NewID, new_id
from byoc.model.control import Standing as Said
from byoc.model.report import CellFacts
from byoc.model.spec import SPEC_VERSION
from byoc.model.verbs import Verb
from byoc.nimbus.client import ClientState, Phase, TunnelClient
from byoc.nimbus.deadline import within
from byoc.nimbus.dialling import Dial, dialler
from byoc.nimbus.handshake import Role
from byoc.nimbus.http import HttpRequest, Room, serve
from byoc.nimbus.stream import Stream

LEDGER: Final = "ledger"
_VERBS: Final = tuple(verb.value for verb in Verb)
_LOG: Final = log.get(__name__)
_LOCK_SECONDS: Final = 70.0
_LOCK_POLL: Final = 0.05
_FIRST_LOOK_SECONDS: Final = 10.0
_FLUSH_SECONDS: Final = 30.0
_COPIES_SECONDS: Final = 15.0
_TRY_AGAIN_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 10.0
_LAST_REPORT_SECONDS: Final = 2.0
_GOODBYE_SECONDS: Final = 0.1
"""How long a tunnel is given to say goodbye once access is revoked."""

Announce = Callable[[Mapping[str, object]], None]


async def _nothing() -> None:
    """Put nothing away."""


@dataclass(frozen=True)
class Memory:
    """What the agent remembers with.

    Attributes:
        seen: the requests of the last two minutes.
        ledger: this agent's own chain.
        desk: the customer's papers, and the cell's own; None where they are files of the cell's folder.
        succeed: has another authority of the engines follow; None where they have none.
        enrolled: awaited once the cell is enrolled, to put away what it was enrolled by.
        leading: whether this agent is the cell now; where there is one agent, it always is.
        epoch: of the term in which it leads; 0 where there is one agent.
    """

    kept: Storage
    seen: Seen
    ledger: Ledger
    standing: Standing
    enrolled: Callable[[], Awaitable[None]] = _nothing
    leading: Callable[[], bool] = lambda: True
    epoch: int = 0
    desk: Desk | None = None
    succeed: Succeed | None = None

    @classmethod
    def of_files(cls, settings: AgentSettings, outside: "Outside") -> "Memory":
        """Return the memory of a cell that is a folder."""
        folder, clock = settings.cell, outside.clock
        return cls(
            kept=FileStorage(folder),
            seen=InLedger(folder / LEDGER, outside.clock),
            ledger=Ledger(folder / LEDGER, clock, outside.new_id),
            standing=Standing(folder, clock),
        )


@dataclass(frozen=True)
class Outside:
    """What the agent takes from the world.

    Attributes:
        dial: how to reach the gateway; None: by the settings.
        outward: how to reach services that are forwarded.
    """

    clock: Clock = field(default_factory=SystemClock)
    rng: Random = field(default_factory=Random)
    new_id: NewID = new_id
    dial: Dial | None = None
    outward: Outward = field(default_factory=Outward)


async def run(
    settings: AgentSettings,
    runtime: Runtime,
    stop: asyncio.Event,
    on_ready: Announce,
    outside: Outside | None = None,
) -> None:
    """Be the cell until ``stop`` is set or the task is cancelled; both end it cleanly.

    ``on_ready`` is called once the cell reconciles; the tunnel may come later.

    Raises:
        DataInUse: another agent works on this folder.
        StateBroken: a file of the cell's state cannot be understood; it is named.
        Failed: the cell's keys are damaged.
        Unwritable: the folder cannot be written.
    """
    world = outside or Outside()
    async with alone(settings.cell, world.clock):
        agent = Agent(settings, runtime, world, Memory.of_files(settings, world))
        await agent.run(stop, on_ready)


@asynccontextmanager
async def alone(folder: Path, clock: Clock) -> AsyncIterator[None]:
    """Be the only agent that works on ``folder``, which is made if it is missing.

    Raises:
        DataInUse: another one does, and does not end.
        Unwritable: the folder cannot be written.
    """
    durable.make_folder(folder)
    lock = await _lock(folder / AGENT_LOCK, clock)
    try:
        yield
    finally:
        os.close(lock)


async def _lock(path: Path, clock: Clock) -> int:
    """Take the folder; an agent that is still stopping its engines is waited for."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, durable.PRIVATE)
    waited = 0.0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if waited >= _LOCK_SECONDS:
                os.close(descriptor)
                raise DataInUse(f"another agent works on {path.parent}") from error
            await clock.sleep(_LOCK_POLL)
            waited += _LOCK_POLL
        else:
            return descriptor


class Switch:
    """Two events of which one is set: whether the Control Plane may be let in."""

    def __init__(self) -> None:
        self.on, self.off = asyncio.Event(), asyncio.Event()
        self.off.set()

    def set(self, on: bool) -> None:
        """Turn it."""
        (self.on if on else self.off).set()
        (self.off if on else self.on).clear()


class Agent:
    """The parts of the process, and how they begin and end."""

    def __init__(self, settings: AgentSettings, runtime: Runtime, outside: Outside, memory: Memory) -> None:
        self._settings = settings
        self._runtime = runtime
        self._outside = outside
        self._clock = outside.clock
        # Before the state is opened: reading back what was under way is a change already.
        self._reporter: Reporter | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._client: TunnelClient | None = None
        self._dial = outside.dial or dialler(settings.gateway, ca=settings.ca)
        self._memory = memory
        self._standing = memory.standing
        self._ledger = memory.ledger
        self._copies = Watch(settings.cell / LEDGER, self._ledger.record, self._clock)
        self._keys = CellKeys.load_or_create(memory.kept)
        self._state = CellState.open(memory.kept, self._ledger, outside.new_id, self._changed, memory.epoch)
        self._policy = PolicyFile(settings.cell, settings.policy)
        self._rates: Rates | None = None
        self._reconciler = Reconciler(
            self._state, runtime, self._clock, self._policy.current, self._count_rates
        )
        desk = memory.desk or FolderDesk(settings.cell, settings.control)
        self._control = Control(desk, self._ledger, self._clock, self._changed, memory.succeed)
        self._services = Services(
            self._policy,
            self._control.gate,
            self._ledger,
            memory.kept,
            Way(outside.outward, runtime, self._clock),
            outside.new_id,
        )
        self._let_in = Switch()

    @property
    def thumbprint(self) -> str:
        """Of the cell's signing key."""
        return self._keys.thumbprint

    def look(self) -> None:
        """Look at the customer's papers now: somebody knows that there is news."""
        self._control.bell.ring()

    async def run(self, stop: asyncio.Event, on_ready: Announce) -> None:
        """Work until told to stop."""
        self._open_ledger()
        # Before anything dials: what the customer laid down counts from the first moment.
        self._let_in.set(not self._control.look())
        with hung(self._settings.cell / BELL, self._control.bell.ring):
            await self._work(stop, on_ready)

    async def _work(self, stop: asyncio.Event, on_ready: Announce) -> None:
        looking = asyncio.create_task(self._control.run(self._on_access, self._describe))
        reconciling = asyncio.create_task(self._reconciler.run())
        connecting = asyncio.create_task(self._stay_connected())
        forwarding = asyncio.create_task(self._services.run())
        watching = asyncio.create_task(self._watch_copies())
        stopping = asyncio.create_task(stop.wait())
        try:
            on_ready({"thumbprint": self._keys.thumbprint})
            working = (reconciling, looking, forwarding)
            await asyncio.wait({*working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done():
                    task.result()
        finally:
            await _end(reconciling, stopping, forwarding)
            await self._close()
            await _end(connecting, looking, watching)
            self._ledger.close()

    def _open_ledger(self) -> None:
        try:
            self._ledger.open()
        except (Unwritable, LedgerBroken) as error:
            # Verbs are refused until it is mended; what runs goes on running.
            _LOG.error("ledger cannot be used", error=error.message, hint=error.hint)

    def _changed(self) -> None:
        if self._reporter is not None:
            self._reporter.changed()

    async def _close(self) -> None:
        await self._runtime.close(stop_engines=self._settings.stop_engines)
        if self._settings.stop_engines:
            self._reconciler.settle_usage()
        await self._report_last()
        if self._client is not None:
            await self._client.close("the agent stops")

    async def _report_last(self) -> None:
        if self._reporting is None or self._reporter is None:
            return
        await _end(self._reporting)
        if self._client is None or not self._client.connected or not self._memory.leading():
            return
        try:
            async with within(self._clock, _LAST_REPORT_SECONDS, "the last report"):
                await self._reporter.send()
        except Exception as error:  # noqa: BLE001 - what is still to be closed must be
            _LOG.info("last report not delivered; it is sent at the next start", error=repr(error)[:500])

    # --- the tunnel ----------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        while True:
            await self._let_in.on.wait()
            try:
                await self._until_revoked(self._connect())
            except Exception as error:  # noqa: BLE001 - the cell works on without its Control Plane
                said = error.message if isinstance(error, ByocError) else "the tunnel failed"
                _LOG.error("tunnel failed", error=repr(error))
                self._standing.say("offline", said)
            if self._let_in.on.is_set():
                await self._until_revoked(self._clock.sleep(_TRY_AGAIN_SECONDS))

    async def _until_revoked(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do something until it is done or access is revoked; then the tunnel is closed."""
        task = asyncio.ensure_future(doing)
        revoked = asyncio.create_task(self._let_in.off.wait())
        try:
            await asyncio.wait({task, revoked}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            elif self._client is not None:
                await self._cut(self._client)
        finally:
            await _end(task, revoked)

    async def _cut(self, client: TunnelClient) -> None:
        try:
            async with within(self._clock, _GOODBYE_SECONDS, "the tunnel's end"):
                await client.close("access is revoked")
        except Unreachable as error:
            # A gateway that takes nothing any more: its line ends with the task.
            _LOG.info("tunnel cut", reason=error.message)

    def _on_access(self, revoked: bool) -> None:
        if revoked:
            self._services.cut(Rule.ACCESS_REVOKED)
            self._standing.say(REVOKED, self._control.gate.why)
        self._let_in.set(not revoked)

    def _describe(self, said: Said) -> Said:
        """Complete what the cell shows of itself."""
        state = self._client.state if self._client is not None else None
        phase, reason = (str(state.phase), state.reason) if state is not None else ("none", "not dialled yet")
        head = self._ledger.head()
        return replace(
            said,
            tunnel="revoked" if said.revoked else phase,
            reason=self._control.gate.why or reason,
            sessions=self._client.sessions if self._client is not None else 0,
            streams=self._client.streams if self._client is not None else 0,
            forwards=self._services.open,
            policy=self._policy.current().digest(),
            policy_problem=self._policy.problem,
            ledger=f"{head.chain} {head.seq} {head.hash}" if head is not None else "",
            copied=bool(self._settings.ledger_bucket),
            copies_late_since=self._copies.since,
            workspaces=self._state.served(),
        )

    async def _connect(self) -> None:
        identity, pinned = await self._identify()
        continuity.check(self._settings.cell / LEDGER, self._state)
        self._standing.say("connecting", "dialling the gateway")
        guard = Guard(
            identity.cell_id,
            pinned=pinned,
            policy=self._policy,
            ledger=self._ledger,
            replays=Replays(self._memory.seen, self._clock),
            rates=self._count_rates(),
            control=self._control,
            clock=self._clock,
        )
        self._keys.forget(self._clock.now())
        door = Door(identity.cell_id, self._keys, guard)
        app = CellApp(door, self._state, self._reconciler, self._runtime, self._services, self._clock)
        client = self._client = self._tunnel(identity, app)
        approvals = self._control.approvals
        who = Reporting(
            identity.cell_id,
            self._keys,
            self._facts,
            lambda: approvals.decided,
            lambda: self._copies.since,
        )
        self._reporter = Reporter(who, self._state, pinned, self._post, self._clock)
        reporting = self._reporting = asyncio.create_task(self._report(self._reporter))
        flushing = asyncio.create_task(self._flush(guard))
        try:
            await client.run()
        finally:
            await _end(reporting, flushing)

    async def _identify(self) -> tuple[Identity, PinnedKeys]:
        kept = self._memory.kept
        identity = Identity.load(kept)
        pinned = PinnedKeys.load(kept, self._clock)
        if identity is None or pinned is None:
            enrolling = Enrolling(
                self._settings.cell,
                kept,
                self._keys,
                self._dial,
                self._clock,
                self._standing,
                self._settings.enrolment,
            )
            identity, pinned = await enrolling.enrol()
        await self._memory.enrolled()
        return identity, pinned

    def _count_rates(self) -> Rates:
        """Return the one count of what was done, by others and by the cell itself."""
        if self._rates is None:
            self._rates = Rates(self._memory.kept, self._clock)
        return self._rates

    def _tunnel(self, identity: Identity, app: CellApp) -> TunnelClient:
        async def login(challenge: bytes, gateway: str) -> Mapping[str, Any]:
            token = self._keys.login(
                cell=identity.cell_id,
                challenge=challenge,
                audience=gateway,
                now=self._clock.now(),
                jti=self._outside.new_id(),
            )
            # Nothing of the runtime's: what it cannot tell is no reason for no tunnel.
            return {
                "token": token,
                "specVersion": SPEC_VERSION,
                "verbs": list(_VERBS),
                "agentVersion": __version__,
            }

        room = Room()

        async def answer(stream: Stream) -> None:
            await serve(stream, app, room=room)

        return TunnelClient(
            self._settings.gateway,
            role=Role.CELL,
            login=login,
            services={"cell": answer, SERVICE: self._services.serve},
            clock=self._clock,
            rng=self._outside.rng,
            on_state=self._on_state,
            longest_wait=self._settings.reconnect_cap,
            dial=self._dial,
        )

    def _on_state(self, state: ClientState) -> None:
        if self._let_in.on.is_set():
            self._standing.say(str(state.phase), state.reason)
        self._control.bell.ring()
        if self._reporter is not None:
            self._reporter.connected(yes=state.phase is Phase.CONNECTED)

    def _facts(self) -> CellFacts:
        return replace(self._runtime.facts(), verbs=_VERBS)

    async def _report(self, reporter: Reporter) -> None:
        # The first report says what is, not what was before the agent last stopped.
        try:
            async with within(self._clock, _FIRST_LOOK_SECONDS, "the first look"):
                await self._reconciler.looked.wait()
        except ByocError as error:
            _LOG.warning("reporting before every workspace was seen", error=error.message)
        await reporter.run()

    async def _flush(self, guard: Guard) -> None:
        while True:
            await self._clock.sleep(_FLUSH_SECONDS)
            guard.flush()

    async def _watch_copies(self) -> None:
        """Look after the ledger's copies, whether or not there is a tunnel; whoever can tell, tells it."""
        while self._settings.ledger_bucket:
            await self._clock.sleep(_COPIES_SECONDS)
            before = self._copies.since
            try:
                self._copies.look()
            except (Unwritable, LedgerBroken) as error:
                _LOG.error("not on record yet: the ledger's copies are late", error=error.message)
            if self._copies.since != before:
                self._control.bell.ring()
                self._changed()

    async def _post(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        assert self._client is not None  # noqa: S101 - the reporter is made with it
        kind = "application/jose" if body else "text/plain"
        asked = HttpRequest(method, path, (("content-type", kind),), body)
        answer = await self._client.request("controlplane", asked, timeout=_REQUEST_SECONDS)
        return answer.status, answer.body


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
