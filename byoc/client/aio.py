"""The face of the SDK for an event loop. The same verbs as ``sync``, awaited.

Example::

    async with AsyncClient("http://127.0.0.1:8787", token) as byoc:
        created = await byoc.groups.create(name="sales", firewallRanges=[], regionID=region)
        change = await byoc.workspaces.create(name="orders", workspaceGroupID=created.id)
        workspace = await byoc.workspaces.wait(change, Goal.RUNNING, timeout=600)
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Self

import httpx2

from byoc import __version__
from byoc.client import calls
from byoc.client.answers import Answer
from byoc.client.http import AsyncHTTP, Cut, lost, read_event
from byoc.client.models import (
    Cell,
    CellEvent,
    Changed,
    Connection,
    Created,
    Deed,
    Detail,
    Enrolment,
    Event,
    Group,
    Identity,
    Metrics,
    OpenedService,
    Organization,
    Region,
    Workspace,
)
from byoc.client.retry import pause
from byoc.client.waiting import FIRST_QUIET, GRACE, QUIET, Goal, OnStep, Story, ignore
from byoc.clock import Clock, SystemClock
from byoc.errors import Unreachable


class Groups:
    """Workspace groups."""

    def __init__(self, http: AsyncHTTP) -> None:
        self._http = http

    async def metrics(self, group_id: str) -> list[Metrics]:
        """Return what each workspace of a group uses now, read from its cell."""
        return await self._http.send(calls.group_metrics(group_id))

    async def list(self, *, include_terminated: bool = False) -> list[Group]:
        """Return all groups."""
        return await self._http.send(calls.groups(include_terminated=include_terminated))

    async def get(self, group_id: str) -> Group:
        """Return one group."""
        return await self._http.send(calls.group(group_id))

    async def create(self, **fields: Any) -> Created:
        """Make a group. A generated admin password is in the answer, once."""
        return await self._http.send(calls.create_group(fields))

    async def update(self, group_id: str, **fields: Any) -> Changed:
        """Change a group."""
        return await self._http.send(calls.update_group(group_id, fields))

    async def set_password(self, group_id: str, password: str | None = None) -> str:
        """Set the admin password, or have one generated; returns it."""
        return await self._http.send(calls.set_password(group_id, password))

    async def terminate(self, group_id: str, *, force: bool = False) -> Changed:
        """End a group; with ``force`` its workspaces too."""
        return await self._http.send(calls.terminate_group(group_id, force=force))


class Workspaces:
    """Workspaces."""

    def __init__(self, http: AsyncHTTP, clock: Clock, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._http = http
        self._clock = clock
        self._sleep = sleep

    async def list(self, group_id: str, *, include_terminated: bool = False) -> list[Workspace]:
        """Return the workspaces of one group."""
        return await self._http.send(calls.workspaces(group_id, include_terminated=include_terminated))

    async def get(self, workspace_id: str) -> Workspace:
        """Return one workspace."""
        return await self._http.send(calls.workspace(workspace_id))

    async def detail(self, workspace_id: str) -> Detail:
        """Return generation, phase, reason and whether its cell is connected."""
        return await self._http.send(calls.detail(workspace_id))

    async def create(self, **fields: Any) -> Changed:
        """Make a workspace; returns as soon as the intent is recorded."""
        return await self._http.send(calls.create_workspace(fields))

    async def update(self, workspace_id: str, **fields: Any) -> Changed:
        """Change size, scale factor, cache config or the automatic rules."""
        return await self._http.send(calls.update_workspace(workspace_id, fields))

    async def suspend(self, workspace_id: str) -> Changed:
        """Stop a workspace and keep its data."""
        return await self._http.send(calls.suspend_workspace(workspace_id))

    async def resume(self, workspace_id: str, *, disable_auto_suspend: bool = False) -> Changed:
        """Start a suspended workspace."""
        return await self._http.send(
            calls.resume_workspace(workspace_id, disable_auto_suspend=disable_auto_suspend)
        )

    async def terminate(self, workspace_id: str) -> Changed:
        """End a workspace and remove its data."""
        return await self._http.send(calls.terminate_workspace(workspace_id))

    async def logs(self, workspace_id: str) -> str:
        """Return the engine's own log, if the cell's policy lets it out."""
        return await self._http.send(calls.logs(workspace_id))

    async def metrics(self, workspace_id: str) -> Metrics:
        """Return what a workspace uses now, read from its cell."""
        return await self._http.send(calls.workspace_metrics(workspace_id))

    async def events(
        self, workspace_id: str, *, after: int = 0, newest: int | None = None, follow: bool = False
    ) -> AsyncIterator[Event]:
        """Yield the story of a workspace, or its ``newest`` events; with ``follow`` for ever, across cuts."""
        failures = 0
        while True:
            query = calls.events_query(after, follow=follow, newest=newest)
            try:
                async with aclosing(self._stream(workspace_id, query, QUIET)) as stream:
                    async for event in stream:
                        failures = 0
                        if event is not None:
                            after, newest = max(after, event.number), None
                            yield event
                if not follow:
                    return
                failures += 1
            except (Cut, Unreachable) as error:
                if not follow:
                    raise lost(error) from error
                failures += 0 if isinstance(error, Cut) and error.silent else 1
            await self._sleep(pause(failures, 1.0) if failures else 0)

    async def wait(
        self,
        change: Changed,
        goal: Goal,
        *,
        timeout: float,  # noqa: ASYNC109 - both faces say it alike
        name: str = "",
        on_step: OnStep | None = None,
    ) -> Workspace:
        """Return the workspace once ``change`` has taken effect.

        Args:
            change: what a changing call returned.
            goal: the states that end the wait.
            timeout: seconds; the change goes on after them.
            name: what to call the workspace in messages.
            on_step: told of each step, with its reason.

        Raises:
            StillPending: the time is over; :class:`CellAway` if the cell is not connected.
            ByocError: the change was refused, superseded, or failed; see :class:`Story`.
        """
        generation = change.generation or (await self.detail(change.id)).generation
        story = Story(generation, goal, name or change.id)
        await self._until_over(change.id, story, on_step or ignore, timeout)
        return await self.get(change.id)

    async def _until_over(self, workspace_id: str, story: Story, show: OnStep, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        failures, quiet = 0, FIRST_QUIET
        while not story.done:
            left = end - self._clock.monotonic()
            if left <= 0:
                raise story.out_of_time(seconds)
            try:
                await self._listen(workspace_id, story, show, min(left, quiet), end)
                # Left because the time is nearly over, it is taken up again with a shorter patience.
                failures += 0 if end - self._clock.monotonic() < min(left, quiet) - GRACE else 1
            except Unreachable as error:
                show(story.lost(error.message))
                failures += 1
            except Cut as cut:
                failures = 0 if cut.silent else failures + 1
                if cut.silent:
                    once = quiet is FIRST_QUIET or self._clock.monotonic() >= end
                    await self._look(workspace_id, story, show, repeat=not once)
                    quiet = QUIET
            if failures and not story.done:
                await self._sleep(min(pause(failures, 1.0), max(0.0, end - self._clock.monotonic())))

    async def _listen(
        self, workspace_id: str, story: Story, show: OnStep, silence: float, end: float
    ) -> None:
        heard = self._clock.monotonic()
        query = calls.events_query(story.last, follow=True, generation=story.generation)
        async with aclosing(self._stream(workspace_id, query, silence)) as stream:
            async for event in stream:
                now = self._clock.monotonic()
                if event is None and (now - heard >= silence or end - now < silence):
                    raise Cut(silent=True)
                heard = now if event else heard
                step = story.hear(event) if event else None
                if step is not None:
                    show(step)
                if story.done or end - now < silence - GRACE:
                    return

    async def _look(self, workspace_id: str, story: Story, show: OnStep, *, repeat: bool) -> None:
        before = story.step
        try:
            story.look(await self.detail(workspace_id), self._clock.now())
        except Unreachable as error:
            story.lost(error.message)
        if not story.done and (repeat or story.step.word != before.word):
            show(story.step)

    async def _stream(
        self, workspace_id: str, query: dict[str, str], silence: float
    ) -> AsyncGenerator[Event | None, None]:
        path = calls.events_path(workspace_id)
        async with self._http.lines(path, query, silence=silence) as lines:
            async for line in lines:
                # A blank line says only that the other end is still there.
                yield read_event(line) if line.strip() else None


class Cells:
    """Cells."""

    def __init__(self, http: AsyncHTTP) -> None:
        self._http = http

    async def get(self, cell_id: str) -> Cell:
        """Return one cell."""
        return await self._http.send(calls.cell(cell_id))

    async def register(self, **fields: Any) -> Cell:
        """Make a record of a cell that is to be enrolled."""
        return await self._http.send(calls.register_cell(fields))

    async def enrolment(self, cell_id: str, thumbprint: str) -> Enrolment:
        """Return a token that enrols the cell with this thumbprint within 15 minutes."""
        return await self._http.send(calls.enrolment(cell_id, thumbprint))

    async def rotate_keys(self, cell_id: str) -> str:
        """Have a cell replace its own keys; return the thumbprint of the new signing key."""
        return await self._http.send(calls.rotate_keys(cell_id))

    async def open_service(
        self, cell_id: str, service: str, *, certificate: str, life_seconds: int | None = None
    ) -> OpenedService:
        """Open a way to a service that the cell's policy names; the certificate is for this one alone."""
        return await self._http.send(calls.open_service(cell_id, service, certificate, life_seconds))

    async def retire(self, cell_id: str) -> None:
        """End a cell's right to connect."""
        await self._http.send(calls.retire_cell(cell_id))

    async def connections(self, cell_id: str) -> list[Connection]:
        """Return the tunnel sessions of a cell."""
        return await self._http.send(calls.connections(cell_id))

    async def events(self, cell_id: str) -> list[CellEvent]:
        """Return what happened to a cell, in order."""
        return await self._http.send(calls.cell_events(cell_id))

    async def list(self) -> list[Cell]:
        """Return all cells."""
        return await self._http.send(calls.cells())


class AsyncClient:
    """A Control Plane, seen with one key.

    Args:
        url: its address; plain HTTP is refused for other machines.
        token: a Management API key.
        transport: replaces the network, for tests.
        clock: time, for waits.
        sleep: how to pause between attempts.
        chance: random numbers in [0, 1) for the jitter of pauses.

    Raises:
        UsageError: ``url`` is not an address a key may be sent to.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._http = AsyncHTTP(
            url, token, version=__version__, chance=chance, sleep=sleep, transport=transport
        )
        self.groups = Groups(self._http)
        self.workspaces = Workspaces(self._http, clock or SystemClock(), sleep)
        self.cells = Cells(self._http)

    async def whoami(self) -> Identity:
        """Return who the key speaks for."""
        return await self._http.send(calls.whoami())

    async def audit(self, *, after: int = 0, newest: int = 100) -> list[Deed]:
        """Return who did what: the ``newest`` calls with a number above ``after``, in order."""
        return await self._http.send(calls.audit(after, newest))

    async def organization(self) -> Organization:
        """Return the organization that the key belongs to."""
        return await self._http.send(calls.organization())

    async def regions(self) -> list[Region]:
        """Return where groups can be made."""
        return await self._http.send(calls.regions())

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send any request; return the answer as it is.

        Raises:
            ByocError: the answer is not a success.
        """
        return await self._http.send(calls.raw(method, path, body, query or {}))

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
