"""The agent in a cluster: one of two processes, of which one leads and is the cell while it does.

``byoc agent run`` calls :func:`run` where the settings say ``kubernetes``. The one that does not lead
waits and does nothing else: it holds no state, dials nobody and touches no workspace. The invariants: an
agent acts only while its term is valid; when the Lease or the state shows that its term is over, it lets
everything go at once and stands for the next one; a stop that was asked for hands the Lease over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from lightkube import Client, KubeConfig

from byoc import log
from byoc.clock import Clock
from byoc.dataplane.agent import LEDGER, Agent, Announce, Memory, Outside, alone
from byoc.dataplane.files import FileStorage
from byoc.dataplane.kubernetes.authority import ask_for_another
from byoc.dataplane.kubernetes.connect import kube_config, open_client
from byoc.dataplane.kubernetes.desk import ClusterDesk
from byoc.dataplane.kubernetes.lease import (
    LOOK_SECONDS,
    RENEW_SECONDS,
    LeaseObject,
    Term,
    Watched,
)
from byoc.dataplane.kubernetes.notice import Notice, put_token_away
from byoc.dataplane.kubernetes.objects import ObjectStorage, SharedReplays, newest_epoch, take_over
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.runtime import Runtime
from byoc.dataplane.settings import AgentSettings
from byoc.dataplane.standing import Standing
from byoc.dataplane.state import HEAD
from byoc.dataplane.storage import Deposed, Shelf, get
from byoc.errors import ByocError, Conflict, Failed, LedgerBroken, PreconditionFailed, Unwritable
from byoc.model.report import LedgerHead

_RENEW_AGAIN_SECONDS: Final = 1.0
_TAKE_OVER_AGAIN_SECONDS: Final = 0.5
_LOG: Final = log.get(__name__)

OpenRuntime = Callable[[KubeConfig, Callable[[], bool]], Runtime]
"""Makes the runtime of one term: how to reach the cluster, and whether the term is still valid."""


async def run(
    settings: AgentSettings,
    environment: Mapping[str, str],
    open_runtime: OpenRuntime,
    stop: asyncio.Event,
    on_ready: Announce,
    outside: Outside | None = None,
) -> None:
    """Stand for the Lease, and be the cell whenever it is held, until ``stop`` is set.

    ``on_ready`` is called once the process stands, whether it leads or not.

    Raises:
        PreconditionFailed: the environment does not say which pod this is or which cluster it is in.
        DataInUse: another agent works on this folder.
        StateBroken: a part of the cell's state is missing or cannot be understood; it is named.
    """
    name = environment.get("POD_NAME", "")
    if not name:
        raise PreconditionFailed(
            "POD_NAME is not set: the agent does not know which of the two it is",
            hint="`runtime: kubernetes` is for pods of a cell",
        )
    config = kube_config(environment)
    world = outside or Outside()
    async with alone(settings.cell, world.clock):
        with open_client(config) as client:
            one = Candidate(_Place(settings, config, client, name), open_runtime, world)
            on_ready({"pod": name})
            await one.run(stop)


@dataclass(frozen=True)
class _Place:
    settings: AgentSettings
    config: KubeConfig
    client: Client
    name: str


class Candidate:
    """One of the two agents."""

    def __init__(self, place: _Place, open_runtime: OpenRuntime, outside: Outside) -> None:
        self._place = place
        self._open_runtime = open_runtime
        self._outside = outside
        self._clock: Clock = outside.clock
        self._lease = LeaseObject(place.client, place.name, outside.clock)
        self._notice = Notice(place.client, outside.clock)
        self._standing = Standing(place.settings.cell, outside.clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Stand and lead, in turns."""
        while not stop.is_set():
            term = await self._win(stop)
            if term is None:
                return
            _LOG.info("leading", epoch=term.epoch)
            if term.went_back_from:
                _LOG.error("the Lease was put back to an older one", state_was_of=term.went_back_from)
            try:
                await self._lead(term, stop)
            except Deposed as error:
                _LOG.warning("deposed while beginning", error=error.message)
            finally:
                await self._let_go(term)

    # --- standing ------------------------------------------------------------------------

    async def _win(self, stop: asyncio.Event) -> Term | None:
        watched: Watched | None = None
        while not stop.is_set():
            try:
                seen, term = await asyncio.to_thread(self._look, watched)
            except ByocError as error:
                self._standing.say("standby", f"cannot see who leads: {error.message}")
            else:
                if term is not None:
                    return term
                watched = seen
                self._standing.say("standby", f"{seen.held.holder or 'another'} leads")
            await _pause(self._clock, stop, LOOK_SECONDS)
        return None

    def _look(self, watched: Watched | None) -> tuple[Watched, Term | None]:
        held, now = self._lease.look(), self._clock.monotonic()
        watched = watched.seen(held, now) if watched else Watched(held, now)
        # Our own name: whoever held it worked on this very folder, whose lock says that it is gone.
        if not (watched.free(now) or held.holder == self._place.name):
            return watched, None
        return watched, self._lease.take(held, newest_epoch(self._place.client))

    # --- leading -------------------------------------------------------------------------

    async def _lead(self, term: Term, stop: asyncio.Event) -> None:
        over = asyncio.Event()
        asked = asyncio.create_task(_pass_on(stop, over))
        renewing = asyncio.create_task(self._keep(term, over))
        showing = asyncio.create_task(self._notice.run())
        try:
            storage = await self._take_over(term, over)
            if storage is not None:
                await self._be_the_cell(term, storage, over)
        finally:
            for task in (asked, renewing, showing):
                task.cancel()
            await asyncio.gather(asked, renewing, showing, return_exceptions=True)

    async def _keep(self, term: Term, over: asyncio.Event) -> None:
        """Renew the Lease; says when the term is over."""
        pause = RENEW_SECONDS
        while True:
            await self._clock.sleep(pause)
            if not term.valid():
                break
            try:
                await asyncio.to_thread(self._lease.renew, term)
                pause = RENEW_SECONDS
            except Conflict:
                break
            except Exception as error:  # noqa: BLE001 - a term that nobody renews must be seen to end
                pause = _RENEW_AGAIN_SECONDS
                said = error.message if isinstance(error, ByocError) else repr(error)
                _LOG.warning("lease not renewed", error=said)
        term.over = True
        _LOG.warning("not leading any more", epoch=term.epoch)
        over.set()

    async def _take_over(self, term: Term, over: asyncio.Event) -> ObjectStorage | None:
        def deposed() -> None:
            term.over = True
            over.set()

        while not over.is_set():
            try:
                kept = await asyncio.to_thread(take_over, self._place.client, term.epoch)
            except (Deposed, Failed):
                raise
            except ByocError as error:
                _LOG.warning("state not taken over yet", error=error.message)
                await self._clock.sleep(_TAKE_OVER_AGAIN_SECONDS)
            else:
                return ObjectStorage(
                    self._place.client,
                    term.epoch,
                    kept,
                    clock=self._clock,
                    leading=term.valid,
                    deposed=deposed,
                    carrier=term,
                )
        return None

    async def _be_the_cell(self, term: Term, storage: ObjectStorage, over: asyncio.Event) -> None:
        settings = self._place.settings
        self._copy_who_we_are(storage)
        ledger = Ledger(settings.cell / LEDGER, self._clock, self._outside.new_id)
        desk = ClusterDesk(self._place.client, settings.control, term.valid)
        memory = Memory(
            desk=desk,
            succeed=partial(ask_for_another, self._place.client),
            kept=storage,
            seen=SharedReplays(storage),
            ledger=ledger,
            standing=Standing(settings.cell, self._clock, lambda said: self._notice.show(standing=said)),
            enrolled=self._enrolled(storage),
            leading=term.valid,
            epoch=term.epoch,
        )
        runtime = self._open_runtime(self._place.config, term.valid)
        # Pods outlive the agents that look after them.
        agent = Agent(replace(settings, stop_engines=False), runtime, self._outside, memory)
        self._notice.show(thumbprint=agent.thumbprint)
        try:
            ledger.record("leader", epoch=term.epoch, holder=self._place.name, **_before(term, storage))
        except (Unwritable, LedgerBroken) as error:
            _LOG.error("the change of leader is not on record", error=error.message)
        looking = asyncio.create_task(desk.run(self._clock, agent.look))
        try:
            await agent.run(over, _nobody)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def _enrolled(self, storage: ObjectStorage) -> Callable[[], Awaitable[None]]:
        async def enrolled() -> None:
            self._copy_who_we_are(storage)
            mounted = self._place.settings.enrolment
            if mounted is None or not mounted.exists():
                return
            try:
                await asyncio.to_thread(put_token_away, self._place.client)
            except ByocError as error:
                _LOG.warning("the used enrolment token is still there", error=error.message)

        return enrolled

    def _copy_who_we_are(self, storage: ObjectStorage) -> None:
        """Put what a ledger is verified by beside it: none of it is secret."""
        files = FileStorage(self._place.settings.cell)
        for name, text in storage.each(Shelf.SELF):
            if files.read(Shelf.SELF, name) != text:
                files.change(Shelf.SELF, {name: text})

    async def _let_go(self, term: Term) -> None:
        if term.over:
            return
        try:
            await asyncio.to_thread(self._lease.release, term)
        except ByocError as error:
            _LOG.info("lease not handed over; it runs out by itself", error=error.message)


def _before(term: Term, storage: ObjectStorage) -> dict[str, object]:
    """Return where the chain of the leader before ends, as the Control Plane has last confirmed it.

    And, where somebody put back an older Lease, the epoch that the state had.
    """
    head = get(storage, Shelf.LIFE, HEAD, LedgerHead)
    follows = {"follows": {"chain": head.chain, "seq": head.seq, "hash": head.hash}} if head else {}
    return follows | ({"leaseWentBackFrom": term.went_back_from} if term.went_back_from else {})


def _nobody(_: Mapping[str, object]) -> None:
    """Tell nobody: the process was announced when it stood."""


async def _pass_on(one: asyncio.Event, other: asyncio.Event) -> None:
    await one.wait()
    other.set()


async def _pause(clock: Clock, stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not past a stop."""
    waits: list[asyncio.Task[Any]] = [
        asyncio.ensure_future(clock.sleep(seconds)),
        asyncio.ensure_future(stop.wait()),
    ]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
